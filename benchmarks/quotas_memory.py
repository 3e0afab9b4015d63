"""What a reservation and its settlement cost in memory: 3 scopes, 4 limits on each.

    python benchmarks/quotas_memory.py

The floor is what nobody can do without: a dict changed twice, each time under a lock. Both are measured in turns, so
that a busy machine slows both; the figure that travels between machines is the ratio.
"""

from __future__ import annotations

import asyncio
from statistics import median
from threading import Lock
from time import perf_counter

from planar.quotas.memory import MemoryQuotaStore
from planar.types import Amount, Charge, LeaseId, Limit

ROUNDS = 60
PAIRS = 500
LIMITS = (
    Limit.requests(10_000_000),
    Limit.tokens_per_minute(1_000_000_000),
    Limit.concurrency(1_000),
    Limit.usd(1_000_000),
)


async def store_pairs(store: MemoryQuotaStore, prefix: str) -> float:
    hold = Amount(input_tokens=1_200, output_tokens=1_024, nano_usd=4_000_000)
    charge = Charge(amount=Amount(input_tokens=1_150, output_tokens=310, nano_usd=1_700_000))
    ids = [LeaseId(f"{prefix}-{number}") for number in range(PAIRS)]
    start = perf_counter()
    for lease_id in ids:
        lease = await store.reserve(lease_id, "acme/search/alice", hold=hold, ttl=60, deployment="openai:x")
        await store.settle(lease, charge=charge)
    return (perf_counter() - start) / PAIRS


async def floor_pairs(counts: dict[str, int], lock: Lock) -> float:
    start = perf_counter()
    for _ in range(PAIRS):
        with lock:
            counts["acme"] += 1
        with lock:
            counts["acme"] -= 1
    return (perf_counter() - start) / PAIRS


async def main() -> None:
    scopes = ("acme", "acme/search", "acme/search/alice")
    store = MemoryQuotaStore(limits=dict.fromkeys(scopes, LIMITS), ledger_limit=10_000)
    counts, lock = {"acme": 0}, Lock()
    pairs: list[float] = []
    floors: list[float] = []
    for number in range(ROUNDS):
        floors.append(await floor_pairs(counts, lock))
        pairs.append(await store_pairs(store, str(number)))
    pair, floor = median(pairs) * 1e6, median(floors) * 1e6
    print(f"reserve + settle, 3 scopes x 4 limits: {pair:.1f} us (best round {min(pairs) * 1e6:.1f} us)")
    print(f"floor, a dict changed twice under a lock: {floor:.2f} us; ratio {pair / floor:.0f}")


if __name__ == "__main__":
    asyncio.run(main())
