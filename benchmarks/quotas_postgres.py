"""What a reservation and its settlement cost in PostgreSQL: 3 scopes, 4 limits on each, one connection.

    python benchmarks/quotas_postgres.py [URL]

Without a URL it starts a server of its own, as the tests do. The floor is what nobody can do without: two bare
`UPDATE ... RETURNING` of one row, each of which waits for the disk. All are measured in turns, so that a busy machine
slows all; the figure that travels between machines is the ratio.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import uuid4

import asyncpg
from quota_workload import LIMITS, SCOPES, pair

from planar.quotas.postgres import PostgresQuotaStore

ROUNDS = 30
PAIRS = 25


async def timed(step: Callable[[], Awaitable[None]]) -> float:
    start = perf_counter()
    for _ in range(PAIRS):
        await step()
    return PAIRS / (perf_counter() - start)


async def main(url: str) -> None:
    limits = dict.fromkeys(SCOPES, LIMITS)
    mixed = PostgresQuotaStore(url, schema="planar_benchmark", limits=limits)
    full = PostgresQuotaStore(url, schema="planar_benchmark", durability="full")
    connection = await asyncpg.connect(url)
    await connection.execute(
        "DROP SCHEMA IF EXISTS planar_floor CASCADE; CREATE SCHEMA planar_floor;"
        " CREATE TABLE planar_floor.row (id integer PRIMARY KEY, n bigint) WITH (fillfactor = 50);"
        " INSERT INTO planar_floor.row VALUES (1, 0)"
    )

    async def bare() -> None:
        for _ in range(2):
            await connection.fetchrow("UPDATE planar_floor.row SET n = n + 1 WHERE id = $1 RETURNING n", 1)

    await pair(mixed, uuid4().hex)
    await pair(full, uuid4().hex)
    rates: dict[str, list[float]] = {"floor": [], "mixed": [], "full": []}
    for _ in range(ROUNDS):
        rates["floor"].append(await timed(bare))
        rates["mixed"].append(await timed(lambda: pair(mixed, uuid4().hex)))
        rates["full"].append(await timed(lambda: pair(full, uuid4().hex)))
    print(f"two bare updates with synchronous commit: {median(rates['floor']):.0f} pairs/s")
    for name in ("mixed", "full"):
        ratio = median(ours / floor for ours, floor in zip(rates[name], rates["floor"], strict=True))
        print(f"reserve + settle, durability={name!r}: {median(rates[name]):.0f} pairs/s, {ratio:.2f} of the floor")
    await connection.execute("DROP SCHEMA planar_floor CASCADE; DROP SCHEMA planar_benchmark CASCADE")
    await connection.close()
    await mixed.aclose()
    await full.aclose()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
        from servers import postgres_server

        with postgres_server() as server:
            asyncio.run(main(server.url))
