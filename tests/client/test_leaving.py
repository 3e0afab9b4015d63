"""Leaving stops the spending: however a stream is left, the provider is stopped and the lease is settled."""

from __future__ import annotations

import asyncio
import gc
import threading

import anyio
import pytest

import planar
from planar.events import TextDelta
from planar.testing import ScriptedProvider
from planar.types import Charge, Lease, Receipt

pytestmark = pytest.mark.anyio


class Bench:
    """A client whose model says two words and then nothing, for ever."""

    def __init__(self, store: planar.MemoryQuotaStore | None = None) -> None:
        self.provider = ScriptedProvider([TextDelta("Ebro"), TextDelta(", "), anyio.sleep_forever])
        self.client = planar.Planar(providers=[self.provider], quotas=store)

    async def assert_nothing_is_left(self) -> None:
        with anyio.fail_after(5):
            while self.provider.open_streams or (await self.client.quotas.usage("default")).concurrent:
                await anyio.lowlevel.checkpoint()
        used = await self.client.quotas.usage("default")
        assert used.held.tokens == 0
        [entry] = [entry async for entry in self.client.quotas.ledger()]
        assert entry.output_tokens >= 1 or "estimated" in entry.flags
        await self.client.aclose()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_leaving_the_block(bench: Bench) -> None:
    async with bench.client.stream("Rivers?") as stream:
        await anext(stream)

    assert bench.provider.open_streams == 0
    await bench.assert_nothing_is_left()


async def test_a_break_without_the_block(bench: Bench) -> None:
    async for _token in bench.client.stream("Rivers?"):
        break

    gc.collect()
    await bench.assert_nothing_is_left()


async def test_a_break_out_of_the_events(bench: Bench) -> None:
    async for event in bench.client.stream("Rivers?").events():
        if isinstance(event, TextDelta):
            break

    gc.collect()
    await bench.assert_nothing_is_left()


async def test_a_stream_that_is_forgotten(bench: Bench) -> None:
    stream = bench.client.stream("Rivers?")
    await anext(stream)

    del stream
    gc.collect()

    await bench.assert_nothing_is_left()


async def test_a_stream_in_a_reference_cycle_is_found_by_the_collector(bench: Bench) -> None:
    holder: dict[str, object] = {"stream": bench.client.stream("Rivers?")}
    holder["self"] = holder
    await anext(holder["stream"])  # type: ignore[call-overload]

    del holder
    gc.collect()

    await bench.assert_nothing_is_left()


async def test_a_cancelled_scope(bench: Bench) -> None:
    with anyio.move_on_after(0.02):
        async for _token in bench.client.stream("Rivers?"):
            pass

    await bench.assert_nothing_is_left()


async def test_fail_after(bench: Bench) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.02):
            await bench.client.infer("Rivers?")

    await bench.assert_nothing_is_left()


async def test_a_cancelled_task_group(bench: Bench) -> None:
    async def read() -> None:
        async with bench.client.stream("Rivers?") as stream:
            async for _token in stream:
                pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not bench.provider.received:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    await bench.assert_nothing_is_left()


async def test_an_error_in_the_callers_own_block(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.client.stream("Rivers?") as stream:
            await anext(stream)
            raise ZeroDivisionError

    await bench.assert_nothing_is_left()


async def test_closing_twice_settles_once(bench: Bench) -> None:
    stream = bench.client.stream("Rivers?")
    await anext(stream)

    await stream.aclose()
    await stream.aclose()

    await bench.assert_nothing_is_left()


async def test_closing_the_client_ends_a_stream_that_nobody_reads(bench: Bench) -> None:
    stream = bench.client.stream("Rivers?")
    await anext(stream)

    await bench.client.aclose()

    assert bench.provider.open_streams == 0
    assert (await stream.completion()).finish_reason == "cancelled"


async def test_a_stream_has_one_reader(bench: Bench) -> None:
    stream = bench.client.stream("Rivers?")

    async def read() -> None:
        async for _token in stream:
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while bench.provider.open_streams == 0:
            await anyio.lowlevel.checkpoint()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        with pytest.raises(planar.ClosedError):
            await anext(stream)
        tasks.cancel_scope.cancel()

    await bench.assert_nothing_is_left()


async def test_a_hold_that_is_cancelled_before_the_provider_was_asked_is_released() -> None:
    provider = ScriptedProvider([TextDelta("Ebro")])
    client = planar.Planar(providers=[provider])
    stream = client.stream("Rivers?")
    events = stream.events()
    await anext(events)
    await anext(events)

    await stream.aclose()

    assert provider.received == []
    used = await client.quotas.usage("default")
    assert (used.requests, used.concurrent, used.held.tokens) == (0, 0, 0)


class SlowToSettle(planar.MemoryQuotaStore):
    """A store whose settle takes twenty turns of the event loop."""

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().settle(lease, charge=charge)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancel_even_twice_in_a_row(times: int, anyio_backend: str) -> None:
    bench = Bench(SlowToSettle())
    task = asyncio.create_task(bench.client.infer("Rivers?", wire="streamed"))
    while not bench.provider.open_streams:
        await asyncio.sleep(0)

    for _ in range(times):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.assert_nothing_is_left()


def test_a_stream_that_outlives_its_loop_says_so_when_it_is_dropped() -> None:
    bench = Bench()

    async def begin() -> planar.Stream:
        stream = bench.client.stream("Rivers?")
        await anext(stream)
        return stream

    stream = asyncio.run(begin())

    with pytest.warns(ResourceWarning, match="after its event loop had ended"):
        stream._run.abandon()
    del stream


def test_closing_on_one_loop_leaves_a_stream_to_its_own() -> None:
    bench = Bench()
    begun, closed = threading.Event(), threading.Event()
    reasons: list[str] = []

    async def read() -> None:
        stream = bench.client.stream("Rivers?")
        await anext(stream)
        begun.set()
        await asyncio.to_thread(closed.wait, 5)
        while bench.provider.open_streams:
            await asyncio.sleep(0)
        reasons.append((await stream.completion()).finish_reason)

    reader = threading.Thread(target=lambda: asyncio.run(read()))
    reader.start()
    assert begun.wait(5)
    asyncio.run(bench.client.aclose())
    closed.set()
    reader.join(5)

    assert reasons == ["cancelled"]
