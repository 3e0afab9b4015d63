"""One queue for all the event loops and threads of a client: who waits on one is let in from another."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from typing import Any, Literal

import anyio
import pytest

import planar
from planar.client._deployments import Deployments
from planar.client._loops import current_loop
from planar.client._places import Line, Place, Queues
from planar.events import Finish, TextDelta
from planar.protocols import Call
from planar.testing import ScriptedProvider
from planar.types import TenantPath

Backend = Literal["asyncio", "trio"]


class Busy(ScriptedProvider):
    """Keeps the most streams that were ever open together, over all threads."""

    def __init__(self, *scripts: Any) -> None:
        super().__init__(*scripts, name="one")
        self.most = 0
        self.tenants: Counter[str] = Counter()

    def stream(self, request: Any, *, model: str, call: Call) -> Any:
        self.most = max(self.most, self.open_streams + 1)
        self.tenants[call.tenant] += 1
        return super().stream(request, model=model, call=call)


def client_of(provider: Busy, **more: Any) -> planar.Planar:
    policy = planar.QueuePolicy(**{"concurrency": 1, "max_wait": 60.0, **more})
    return planar.Planar(providers=[provider], queues={"one": policy})


def line_of(client: planar.Planar) -> Line:
    queues = client._core.queues
    assert queues is not None
    line = queues.before(client._core.deployments.resolve("one:default")[0])
    assert line is not None
    return line


async def until_waiting(line: Line, count: int) -> None:
    with anyio.fail_after(10):
        while line.waiting < count:
            await anyio.sleep(0.001)


class Elsewhere:
    """A call in a thread with a loop of its own."""

    def __init__(self, client: planar.Planar, backend: Backend) -> None:
        self.answers: list[planar.Completion] = []
        self._client = client
        self._thread = threading.Thread(target=anyio.run, args=(self._ask,), kwargs={"backend": backend})
        self._thread.start()

    async def _ask(self) -> None:
        self.answers.append(await self._client.infer("Rivers?", model="one:default"))

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("there", ["asyncio", "trio"])
@pytest.mark.anyio
async def test_who_waits_on_one_loop_is_let_in_from_another(there: Backend) -> None:
    provider = Busy([TextDelta("Ebro"), Finish("stop")])
    client = client_of(provider)

    async with client.stream("Rivers?", model="one:default") as stream:
        await anext(stream)
        elsewhere = Elsewhere(client, there)
        await until_waiting(line_of(client), 1)
    await anyio.to_thread.run_sync(elsewhere.join)

    assert [completion.text for completion in elsewhere.answers] == ["Ebro"]
    assert provider.most == 1
    assert (line_of(client).taken, line_of(client).waiting) == (0, 0)


def test_eight_threads_with_a_loop_each_share_the_places() -> None:
    provider = Busy([TextDelta("Ebro"), anyio.lowlevel.checkpoint, Finish("stop")])
    client = client_of(provider, concurrency=3, length=1000, per_tenant=1000)

    async def call(tenant: str) -> None:
        with anyio.move_on_after(0.05 if tenant == "t0" else 60):  # some of them leave the queue
            await client.infer("Rivers?", model="one:default", tenant=tenant, wire="streamed")

    async def work(number: int) -> None:
        for _ in range(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(call, f"t{number}")

    backends: list[Backend] = ["asyncio", "trio"]
    threads = [
        threading.Thread(target=anyio.run, args=(work, number), kwargs={"backend": backends[number % 2]})
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert provider.most <= 3
    assert {provider.tenants[f"t{number}"] for number in range(1, 8)} == {50}
    assert (line_of(client).taken, line_of(client).waiting) == (0, 0)


def test_a_place_is_not_lost_to_who_waits_on_a_loop_that_has_ended() -> None:
    client = client_of(Busy([TextDelta("Ebro"), Finish("stop")]))
    line = line_of(client)

    dead = asyncio.new_event_loop()
    waits = dead.create_task(client.infer("Rivers?", model="one:default", tenant="dead"))

    async def here() -> str:
        async with client.stream("Rivers?", model="one:default") as stream:
            await anext(stream)
            await asyncio.to_thread(dead.run_until_complete, until_waiting(line, 1))
            dead.close()
        with anyio.fail_after(10):
            return (await client.infer("Rivers?", model="one:default")).text

    text = asyncio.run(here())

    assert text == "Ebro"
    assert (line.taken, line.waiting) == (0, 0)
    waits._log_destroy_pending = False  # type: ignore[attr-defined]
    del waits
    gc.collect()
    assert (line.taken, line.waiting) == (0, 0)


def test_a_stream_that_outlives_its_loop_gives_its_place_back_when_it_is_dropped() -> None:
    client = client_of(Busy([TextDelta("Ebro"), TextDelta("Tajo"), Finish("stop")]))

    async def begin() -> planar.Stream:
        stream = client.stream("Rivers?", model="one:default")
        await anext(stream)
        return stream

    stream = asyncio.run(begin())
    taken = line_of(client).taken
    with pytest.warns(ResourceWarning, match="after its event loop had ended"):
        stream._run.abandon()

    assert (taken, line_of(client).taken) == (1, 0)


@pytest.mark.anyio
async def test_a_finaliser_in_the_middle_of_the_queues_own_work_neither_hangs_nor_is_forgotten() -> None:
    provider = Busy()
    deployments = Deployments([provider], {}, planar.Catalog())
    [deployment] = deployments.resolve("one:default")
    line = Queues({"one": planar.QueuePolicy(concurrency=2)}, deployments).before(deployment)
    assert line is not None

    async def take() -> Place:
        return await line.place(deployment, TenantPath("acme"), current_loop(), now=0.0)

    first = await take()
    with line._lock:  # as if the collector ran while this thread was at work there
        first.give_back()
        first.give_back()
        taken = line.taken
    second, third = await take(), await take()

    assert (taken, line.taken) == (1, 2)
    second.give_back()
    third.give_back()
    third.give_back()
    assert line.taken == 0
