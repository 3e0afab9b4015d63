"""Streams that are left at random moments, in every way there is, over real sockets: nothing stays behind.

300 of them in every run, `nox -s chaos` does 10,000 for each transport and event loop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import anyio
import pytest
import sniffio

import planar

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="descriptors and memory are read from /proc"),
]

ABORTS = int(os.environ.get("PLANAR_ABORTS", "300"))
WEIGHED = ABORTS >= 1000
AT_ONCE = 20
GROWTH = 2 << 20
"""Bytes by which the process may grow over the last 70 % of the streams: pages of the allocator, and no stream's."""
WAYS = ("block", "aclose", "dropped", "scope", "error", "unread", "task", "completion")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    script = Path(__file__).with_name("endless_upstream.py")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Bench:
    """A client of the endless upstream, and what there was before it."""

    def __init__(self, url: str, transport: str) -> None:
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.threads = {thread for thread in threading.enumerate() if not _pooled(thread)}
        self.tasks = len(anyio.get_running_tasks())
        # Where memory is weighed the ledger must not grow, and where rows are counted it must be whole.
        self.store = planar.MemoryQuotaStore(ledger_limit=500 if WEIGHED else None)
        provider = planar.OpenAICompatible(base_url=f"{url}/v1", name="endless")
        self.client = planar.Planar(providers=[provider], quotas=self.store, transport=transport)  # type: ignore[arg-type]

    async def one(self, random: Random) -> None:
        """Begin a stream, and leave it somehow after a few words, or none, or a moment."""
        way = random.choice(WAYS)
        if way == "task" and sniffio.current_async_library() == "asyncio":
            task = asyncio.create_task(self._read())
            await anyio.sleep(random.uniform(0, 0.02))
            task.cancel()
            await asyncio.wait([task])
            return
        stream = self.client.stream("Rivers?", model="endless:m")
        words = random.randrange(1, 4)
        if way in ("scope", "task"):
            with anyio.move_on_after(random.uniform(0, 0.02)):
                await _read(stream, 10**9)
        elif way == "completion":
            with anyio.move_on_after(random.uniform(0, 0.02)):
                await stream.completion()
        elif way == "aclose":
            await _read(stream, words)
            await stream.aclose()
        elif way == "dropped":
            await _read(stream, words)
        elif way == "error":
            with pytest.raises(ZeroDivisionError):
                async with stream:
                    await _read(stream, words)
                    raise ZeroDivisionError
        else:
            async with stream:
                await _read(stream, 0 if way == "unread" else words)

    async def _read(self) -> None:
        async with self.client.stream("Rivers?", model="endless:m") as stream:
            await _read(stream, 10**9)

    async def settled(self) -> None:
        """Wait until what was dropped has been closed by its loop."""
        gc.collect()
        with anyio.fail_after(20):
            while (await self.store.usage("default")).concurrent:
                await anyio.sleep(0.001)


async def _read(stream: planar.Stream, words: int) -> None:
    left = words
    async for _word in _limited(stream, words):
        left -= 1
        if left <= 0:
            return


def _limited(stream: planar.Stream, words: int) -> AsyncIterator[str]:
    return stream if words else _Nothing()


class _Nothing:
    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        raise StopAsyncIteration


async def asked(url: str) -> int:
    """How many requests came whole to the upstream."""

    def ask() -> int:
        with urllib.request.urlopen(f"{url}/asked") as answer:
            return int(answer.read())

    return await anyio.to_thread.run_sync(ask)


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("transport", ["httpx", "httpx2", "aiohttp"])
async def test_nothing_is_left_of_streams_that_are_left(upstream: str, transport: str) -> None:
    if transport == "aiohttp" and sniffio.current_async_library() == "trio":
        pytest.skip("aiohttp runs on asyncio only")
    bench, asked_before = Bench(upstream, transport), await asked(upstream)
    warm, begun = 0, 0
    async with bench.client:
        while begun < ABORTS:
            async with anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    begun += 1
                    tasks.start_soon(bench.one, Random(begun))
            if not warm and begun >= ABORTS * 0.3:
                await bench.settled()
                warm = resident()
        await bench.settled()
        grown = resident() - warm
        rows = [row async for row in bench.store.ledger()]
    with anyio.move_on_after(5):
        while len(os.listdir("/proc/self/fd")) > bench.descriptors:  # a socket is closed by the loop, a turn later
            await anyio.sleep(0.001)

    report = await bench.store.usage("default")
    assert (report.concurrent, report.held) == (0, planar.types.Amount())
    if not WEIGHED:
        assert await asked(upstream) - asked_before <= len(rows) <= begun
    assert len({row.lease_id for row in rows}) == len(rows)
    assert {row.kind for row in rows} == {"settled"}
    assert len(anyio.get_running_tasks()) == bench.tasks
    assert {thread for thread in threading.enumerate() if not _pooled(thread)} == bench.threads
    assert len(os.listdir("/proc/self/fd")) <= bench.descriptors
    if WEIGHED:
        assert grown < GROWTH
    print(f"{transport}, {sniffio.current_async_library()}: {begun} streams left, grown by {grown / 1024:.0f} KiB")


def _pooled(thread: threading.Thread) -> bool:
    """A worker that the event loop keeps for whoever needs one."""
    return thread.name.startswith(("Trio thread", "AnyIO worker thread"))
