"""What slabs save: the same requests with and without them, in turns, over one store that is some way off.

    python benchmarks/quota_slabs.py                            # memory, 2 ms away, 1 ms for each verb
    python benchmarks/quota_slabs.py --memory-latency 10 --memory-service 0
    python benchmarks/quota_slabs.py sqlite:///quotas.db        # or redis://..., postgresql://...: one of your own

A real store does one verb on a tenant after the other, each for as long as its disk needs; so does the one in memory.

A request is reserve, dispatched and settle; 3 scopes with 3 limits each. The figure that travels is the ratio.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import anyio
from quota_workload import CHARGE, HOLD, SCOPES

import planar
from planar.protocols import QuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, Limit, Receipt

TENANT = SCOPES[-1]
LIMITS = (
    Limit.tokens(10**12, per="day"),
    Limit.usd(1_000_000),
    Limit.rolling(10**12, dimension="tokens", seconds=3600),
)
ROUNDS = 5
IDS = itertools.count()


class Far:
    """The memory store at the end of a line: each verb takes a round trip, and for a part of it the store itself."""

    def __init__(self, trip: float, service: float) -> None:
        self.trip = trip
        self.service = service
        self.busy = anyio.Lock()
        self.trips = 0
        self.store = planar.MemoryQuotaStore(ledger_limit=10_000)
        self.usage, self.ledger, self.refund = self.store.usage, self.store.ledger, self.store.refund
        self.set_limits, self.aclose = self.store.set_limits, self.store.aclose
        self.counts = self.store.counts

    async def _trip(self) -> None:
        self.trips += 1
        await anyio.sleep(self.trip)
        if self.service:
            async with self.busy:
                await anyio.sleep(self.service)

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        await self._trip()
        return await self.store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        await self._trip()
        return await self.store.extend(lease, more=more, ttl=ttl)

    async def dispatched(self, lease: Lease) -> None:
        await self._trip()
        await self.store.dispatched(lease)

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        await self._trip()
        return await self.store.settle(lease, charge=charge)

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        await self._trip()
        return await self.store.split(lease, parts=parts, keep=keep)

    async def release(self, lease: Lease) -> None:
        await self._trip()
        await self.store.release(lease)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        await self._trip()
        return await self.store.limits(tenant)


async def request(store: QuotaStore) -> None:
    lease = await store.reserve(LeaseId(f"{next(IDS)}"), TENANT, hold=HOLD, ttl=60, deployment="openai:x")
    await store.dispatched(lease)
    await store.settle(lease, charge=CHARGE)


async def requests_per_second(store: QuotaStore, *, workers: int, each: int) -> float:
    async def work() -> None:
        for _ in range(each):
            await request(store)

    start = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)
    return workers * each / (perf_counter() - start)


async def compare(open_store: Callable[[], Awaitable[Any]], *, workers: int, each: int, size: int) -> None:
    store = await open_store()
    for scope in ("acme", "acme/search", TENANT):
        await store.set_limits(scope, *LIMITS)
    slabs = planar.SlabQuotaStore(store, size=size)
    rates: dict[str, list[float]] = {"plain": [], "slabs": []}
    trips: dict[str, int] = {"plain": 0, "slabs": 0}
    for _ in range(ROUNDS):
        for name, each_store in (("plain", store), ("slabs", slabs)):
            before = getattr(store, "trips", 0)
            rates[name].append(await requests_per_second(each_store, workers=workers, each=each))
            trips[name] += getattr(store, "trips", 0) - before
    await slabs.aclose()
    plain, shared = median(rates["plain"]), median(rates["slabs"])
    done = ROUNDS * workers * each
    line = f"{workers:4d} at once: plain {plain:8.0f}/s, slabs of {size} {shared:8.0f}/s, ratio {shared / plain:5.1f}"
    if trips["plain"]:
        line += f"; round trips per request {trips['plain'] / done:.2f} and {trips['slabs'] / done:.2f}"
    print(line)


def opener(url: str | None, trip: float, service: float) -> Callable[[], Awaitable[Any]]:
    async def far() -> Any:
        return Far(trip, service)

    async def by_url() -> Any:
        from planar.quotas import open_store

        return open_store(url)

    return far if url is None else by_url


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="a store with split; its limits for 'acme' are replaced")
    parser.add_argument("--memory-latency", type=float, default=2.0, help="milliseconds per round trip (default 2)")
    parser.add_argument(
        "--memory-service", type=float, default=1.0, help="of that in the store, one by one (default 1)"
    )
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    open_store = opener(arguments.url, arguments.memory_latency / 1000, arguments.memory_service / 1000)
    for workers, each in ((1, 40), (16, 10), (64, 5), (256, 2)):
        await compare(open_store, workers=workers, each=each, size=arguments.size)


if __name__ == "__main__":
    anyio.run(main)
