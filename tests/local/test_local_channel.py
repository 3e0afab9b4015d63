from __future__ import annotations

import threading

import anyio
import pytest

from planar.errors import ProviderServerError
from planar.providers.local._channel import Channel, post_to_this_loop


def channel(room: int = 4) -> Channel[int]:
    return Channel(changed=threading.Condition(), post=post_to_this_loop(), room=room)


@pytest.mark.anyio
async def test_everything_that_another_thread_sends_arrives_in_order() -> None:
    numbers = channel()

    def send() -> None:
        for number in range(200):
            numbers.send([number])
        numbers.finish()

    received: list[int] = []
    thread = threading.Thread(target=send)
    thread.start()
    with anyio.fail_after(20):
        while items := await numbers.receive():
            received += items
    thread.join()

    assert received == list(range(200))


@pytest.mark.anyio
async def test_an_error_comes_after_everything_that_was_sent() -> None:
    numbers = channel()
    numbers.send([1, 2])
    numbers.finish(ProviderServerError("broke"))

    items = await numbers.receive()

    assert items == [1, 2]
    with pytest.raises(ProviderServerError, match="broke"):
        await numbers.receive()


@pytest.mark.anyio
async def test_a_consumer_that_is_behind_leaves_no_room_until_it_reads() -> None:
    numbers = channel(room=2)
    numbers.send([1])
    numbers.send([2])
    before = numbers.has_room

    await numbers.receive()

    assert not before
    assert numbers.has_room


@pytest.mark.anyio
async def test_a_consumer_that_was_cancelled_loses_nothing() -> None:
    numbers = channel()
    with anyio.move_on_after(0):
        await numbers.receive()
    numbers.send([1])

    with anyio.fail_after(5):
        items = await numbers.receive()

    assert items == [1]


@pytest.mark.anyio
async def test_waiting_for_the_end_does_not_need_the_items_to_be_taken() -> None:
    numbers = channel()
    numbers.send([1])
    thread = threading.Thread(target=numbers.finish)
    thread.start()

    with anyio.fail_after(5):
        await numbers.wait_done()
    thread.join()

    assert numbers.done


@pytest.mark.anyio
async def test_everybody_who_waits_is_woken_by_the_end() -> None:
    numbers = channel()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(numbers.receive)
            tasks.start_soon(numbers.wait_done)
            await anyio.wait_all_tasks_blocked()
            numbers.finish()

    assert numbers.done


def test_a_closed_loop_is_found_out_and_hurts_nobody(anyio_backend: str) -> None:
    async def leave_open() -> Channel[int]:
        numbers = channel()
        with anyio.move_on_after(0):
            await numbers.receive()
        return numbers

    numbers = anyio.run(leave_open, backend=anyio_backend)

    numbers.knock()
    numbers.send([1])

    assert numbers.gone
