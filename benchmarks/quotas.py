"""What a reservation and its settlement cost in each store, beside a floor that nobody can do without.

    python benchmarks/quotas.py [memory] [sqlite]

3 scopes with 4 limits on each. A pair is a reserve and a settle. The floor is measured in turns with the store, in the
same run, so that a busy machine slows both: the figure that travels between machines is the ratio.

- memory: beside a dict that is changed twice, each time under a lock.
- sqlite: 8 processes on one file, each with 16 requests in flight and then with one, beside 8 processes that write one
  row each time, by an upsert in a transaction of its own in the same mode (WAL, synchronous=NORMAL). What is in flight
  together is written together; one request at a time pays for its way to another thread and back, twice, alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from threading import Lock
from time import perf_counter
from typing import Any

from quota_workload import LIMITS, SCOPES, pair

from planar.quotas import MemoryQuotaStore
from planar.quotas.sqlite import SQLiteQuotaStore

WRITERS = 8
SECONDS = 2.0
TURNS = 5
PATIENCE = 120


# --- Memory --------------------------------------------------------------------------------------


async def memory(rounds: int = 60, pairs: int = 500) -> None:
    store = MemoryQuotaStore(limits=dict.fromkeys(SCOPES, LIMITS), ledger_limit=10_000)
    counts, lock = {"acme": 0}, Lock()
    taken: list[float] = []
    floors: list[float] = []
    for number in range(rounds):
        floors.append(_dict_pairs(counts, lock, pairs))
        ids = [f"{number}-{each}" for each in range(pairs)]
        start = perf_counter()
        for lease_id in ids:
            await pair(store, lease_id)
        taken.append((perf_counter() - start) / pairs)
    one, floor = median(taken) * 1e6, median(floors) * 1e6
    print(f"memory: {one:.1f} us a pair (best round {min(taken) * 1e6:.1f} us)")
    print(f"  floor, a dict changed twice under a lock: {floor:.2f} us; ratio {one / floor:.0f}")


def _dict_pairs(counts: dict[str, int], lock: Lock, pairs: int) -> float:
    start = perf_counter()
    for _ in range(pairs):
        with lock:
            counts["acme"] += 1
        with lock:
            counts["acme"] -= 1
    return (perf_counter() - start) / pairs


# --- Many processes on one store -----------------------------------------------------------------

Writer = Callable[[str, int, Any, Any, int], None]
"""Writes for SECONDS once all are ready, and tells how much it did and how long it waited at most."""


def race(writer: Writer, where: str, in_flight: int = 1) -> tuple[float, list[float]]:
    """How much all writers do in a second, and how long each step of each took."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(WRITERS, timeout=PATIENCE), context.Queue()
    processes = [
        context.Process(target=writer, args=(where, number, ready, done, in_flight)) for number in range(WRITERS)
    ]
    for process in processes:
        process.start()
    results = [done.get(timeout=PATIENCE) for _ in processes]  # one that died would be waited for
    for process in processes:
        process.join()
    waits = sorted(wait for _, each in results for wait in each)
    return sum(count / SECONDS for count, _ in results), waits


def write_pairs(where: str, number: int, ready: Any, done: Any, in_flight: int) -> None:
    async def work() -> None:
        store = SQLiteQuotaStore(where, patience=30)
        await pair(store, f"{number}-first")
        waits: list[float] = []

        async def one(name: int) -> None:
            while (start := perf_counter()) < end:
                await pair(store, f"{number}-{name}-{start}")
                waits.append((perf_counter() - start) / 2)

        ready.wait()
        end = perf_counter() + SECONDS
        await asyncio.gather(*(one(name) for name in range(in_flight)))
        done.put((len(waits), waits))
        await store.aclose()

    asyncio.run(work())


def write_rows(where: str, number: int, ready: Any, done: Any, in_flight: int) -> None:
    connection = sqlite3.connect(where, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    upsert = "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET used = used + 1"
    connection.execute(upsert, (f"writer-{number}",))
    ready.wait()
    count, waits, end = 0, [], perf_counter() + SECONDS
    while (start := perf_counter()) < end:
        connection.execute(upsert, (f"writer-{number}",))
        waits.append(perf_counter() - start)
        count += 1
    done.put((count, waits))
    connection.close()


async def sqlite() -> None:
    for in_flight in (16, 1):
        ratios: list[float] = []
        for _ in range(TURNS):
            with tempfile.TemporaryDirectory() as folder:
                ratios.append(await _sqlite_turn(folder, in_flight))
        print(f"  median ratio with {in_flight} in flight: {median(ratios):.2f}", flush=True)


async def _sqlite_turn(folder: str, in_flight: int) -> float:
    store = SQLiteQuotaStore(f"{folder}/quotas.db", limits=dict.fromkeys(SCOPES, LIMITS))
    await store.limits("acme")
    await store.aclose()
    connection = sqlite3.connect(f"{folder}/rows.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE counts (name TEXT PRIMARY KEY, used INTEGER) WITHOUT ROWID")
    connection.close()
    rows, row_waits = race(write_rows, f"{folder}/rows.db")
    pairs, waits = race(write_pairs, f"{folder}/quotas.db", in_flight)
    print(
        f"sqlite, {WRITERS} writers with {in_flight} in flight: {pairs:,.0f} pairs/s, longest wait {waits[-1]:.3f} s,"
        f" p99 {waits[-len(waits) // 100] * 1e3:.1f} ms; {rows:,.0f} upserts/s, longest wait {row_waits[-1]:.3f} s;"
        f" ratio {pairs / rows:.2f}",
        flush=True,
    )
    return pairs / rows


async def main() -> None:
    chosen = sys.argv[1:] or ["memory", "sqlite"]
    for name in chosen:
        await {"memory": memory, "sqlite": sqlite}[name]()


if __name__ == "__main__":
    asyncio.run(main())
