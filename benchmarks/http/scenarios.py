"""One contender's figures, in a process of its own: `python scenarios.py CONTENDER URL SCENARIO,... SECONDS`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from contenders import Contender, make

OPEN = 500
REQUESTS = 10_000


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))


async def repeat(work: Callable[[], Awaitable[object]], *, times: int, at_once: int) -> None:
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await work()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(worker())


async def cpu_of(work: Callable[[], Awaitable[object]], *, at_once: int, seconds: float) -> float:
    """Microseconds of this process per piece of work, user and system."""
    trial = max(50, 2 * at_once)
    await repeat(work, times=trial, at_once=at_once)
    begun = time.perf_counter()
    await repeat(work, times=trial, at_once=at_once)
    times = max(trial, int(trial * seconds / (time.perf_counter() - begun)))
    gc.collect()
    used = time.process_time()
    await repeat(work, times=times, at_once=at_once)
    return (time.process_time() - used) / times * 1e6


def ignore(token: str) -> None:
    return None


async def whole_1(client: Contender, seconds: float) -> float:
    return await cpu_of(lambda: client.whole("mock-64"), at_once=1, seconds=seconds)


async def whole_64(client: Contender, seconds: float) -> float:
    return await cpu_of(lambda: client.whole("mock-64"), at_once=64, seconds=seconds)


async def stream_32(client: Contender, seconds: float) -> float:
    return await cpu_of(lambda: client.stream("mock-32", ignore), at_once=16, seconds=seconds)


async def firehose(client: Contender, seconds: float) -> float:
    tokens = 0

    def count(token: str) -> None:
        nonlocal tokens
        tokens += 1

    await client.stream("mock-20000", ignore)
    used, until = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < until:
        await client.stream("mock-20000", count)
    return (time.process_time() - used) / tokens * 1e6


async def first_token(client: Contender, seconds: float) -> float:
    """Microseconds from asking to the first token, the median."""
    waits: list[float] = []

    async def once() -> None:
        begun, seen = time.perf_counter(), 0.0

        def note(token: str) -> None:
            nonlocal seen
            seen = seen or time.perf_counter()

        await client.stream("mock-4", note)
        waits.append(seen - begun)

    until = time.perf_counter() + seconds
    while len(waits) < 100 or time.perf_counter() < until:
        await once()
    return statistics.median(waits[20:]) * 1e6


async def memory(client: Contender, seconds: float) -> float:
    """KiB per stream that is open and has said something."""
    await repeat(lambda: client.stream("mock-4", ignore), times=20, at_once=4)
    gc.collect()
    before, spoken = resident(), 0

    def note(token: str) -> None:
        nonlocal spoken
        spoken += 1

    tasks = [asyncio.create_task(client.stream("mock-1000-1000", note)) for _ in range(OPEN)]
    while spoken < OPEN:  # noqa: ASYNC110 - an event would be set by every token
        await asyncio.sleep(0.05)
    gc.collect()
    used = resident() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return used / OPEN / 1024


async def growth(client: Contender, seconds: float) -> float:
    """Bytes that stay per request, over the later part of a run."""
    sizes: list[int] = []
    for _ in range(10):
        await repeat(lambda: client.whole("mock-1"), times=REQUESTS // 10, at_once=32)
        gc.collect()
        sizes.append(resident())
    late = sizes[3:]
    return statistics.linear_regression(range(len(late)), late).slope / (REQUESTS // 10)


SCENARIOS: dict[str, tuple[str, Callable[[Contender, float], Awaitable[float]]]] = {
    "whole-1": ("whole answer, one at a time, CPU us", whole_1),
    "whole-64": ("whole answer, 64 at a time, CPU us", whole_64),
    "firehose": ("one token of a fast stream, CPU us", firehose),
    "stream-32": ("stream of 32 tokens, CPU us", stream_32),
    "first-token": ("time to the first token, us", first_token),
    "memory": ("memory per open stream, KiB", memory),
    "growth": ("growth per request, bytes", growth),
}


async def main() -> None:
    name, url, names, seconds = sys.argv[1:]
    client = make(name, url)
    for scenario in names.split(","):
        value = await SCENARIOS[scenario][1](client, float(seconds))
        print(json.dumps({"scenario": scenario, "value": value}), flush=True)
    os._exit(0)  # what is still open is nobody's loss


if __name__ == "__main__":
    asyncio.run(main())
