"""What a reservation and its settlement cost in Redis, beside two scripts that do nothing.

    python benchmarks/quotas_redis.py

3 scopes with 4 limits on each; one process, one connection, one request at a time. A pair is a reserve and a settle,
each one round trip. The floor is two EVALSHA of `return 1`, with as many keys and arguments, as redis-py sends them. It
is measured in turns with the store, in the same run, so that a busy machine slows both: what travels between machines
is the ratio. Beside it the CPU time of both sides, where `/proc` tells it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import quota_workload
import redis.asyncio as redis
from quota_workload import LIMITS, SCOPES

from planar.quotas._redis_scripts import keys_of
from planar.quotas.redis import RedisQuotaStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from servers import RedisServer, redis_server

ROUNDS = 31
PAIRS = 200

RESERVE = ("", "", f"{0:036}", SCOPES[-1], "openai:x", "1200", "1024", "4000000", "60000000", "")
SETTLE = ("", "", f"{0:036}", SCOPES[-1], "1150", "310", "1700000", "0", "", "")

Pair = Callable[[], Awaitable[None]]


async def main() -> None:
    with redis_server() as server:
        store = RedisQuotaStore(server.url, limits=dict.fromkeys(SCOPES, LIMITS), connections=1)
        client = redis.Redis.from_url(server.url)
        nothing = await client.script_load("return 1")
        keys = keys_of("bench", "acme")
        numbers = count(1)

        async def floor() -> None:
            await client.evalsha(nothing, len(keys), *keys, *RESERVE)
            await client.evalsha(nothing, len(keys), *keys, *SETTLE)

        async def ours() -> None:
            await quota_workload.pair(store, f"{next(numbers):036}")

        taken: dict[Pair, list[tuple[float, float, float]]] = {floor: [], ours: []}
        for _ in range(ROUNDS):
            for pair, rounds in taken.items():
                rounds.append(await measure(pair, server))
        await client.aclose()
        await store.aclose()
    for name, rounds in zip(("two EVALSHA of nothing", "reserve and settle"), taken.values(), strict=True):
        wall, here, there = (median(each) * 1e6 for each in zip(*rounds, strict=True))
        print(
            f"{name}: {1e6 / wall:,.0f} pairs/s; {wall:.0f} us, of CPU {here:.0f} us here and {there:.0f} us in Redis"
        )
    ratios = [bare[0] / pair[0] for bare, pair in zip(*taken.values(), strict=True)]
    print(f"ratio of pairs per second: {median(ratios):.2f} (worst round {min(ratios):.2f})")


async def measure(pair: Pair, server: RedisServer) -> tuple[float, float, float]:
    """Seconds a pair: by the wall, of this process, of the server."""
    start, here, there = perf_counter(), process_time(), cpu_of(server)
    for _ in range(PAIRS):
        await pair()
    return (perf_counter() - start) / PAIRS, (process_time() - here) / PAIRS, (cpu_of(server) - there) / PAIRS


def cpu_of(server: RedisServer) -> float:
    assert server._process is not None
    try:
        return int(Path(f"/proc/{server._process.pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


if __name__ == "__main__":
    asyncio.run(main())
