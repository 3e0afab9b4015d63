"""The memory store behind a line that takes time, breaks on demand and counts what passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import anyio

from planar.errors import StoreError
from planar.quotas import MemoryQuotaStore
from planar.types import (
    Amount,
    Charge,
    GroupBy,
    Lease,
    LeaseId,
    LeasePart,
    LedgerEntry,
    Limit,
    LimitCount,
    Receipt,
    UsageReport,
)


class LoopClock:
    """The event loop's own time, so that virtual loops take their stores along."""

    def monotonic(self) -> float:
        return anyio.current_time()

    def time(self) -> float:
        return 1_767_225_600 + anyio.current_time()


@dataclass
class CountedStore:
    inner: MemoryQuotaStore
    latency: float = 0.0
    trips: Counter[str] = field(default_factory=Counter)
    breaks_before: set[str] = field(default_factory=set)
    breaks_after: set[str] = field(default_factory=set)
    split_sizes: list[int] = field(default_factory=list)

    async def _go(self, verb: str) -> None:
        self.trips[verb] += 1
        if self.latency:
            await anyio.sleep(self.latency / 2)
        if verb in self.breaks_before:
            raise StoreError(f"{verb} did not get there")

    async def _come(self, verb: str) -> None:
        if self.latency:
            await anyio.sleep(self.latency / 2)
        if verb in self.breaks_after:
            raise StoreError(f"the answer to {verb} was lost")

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        await self._go("reserve")
        lease = await self.inner.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
        await self._come("reserve")
        return lease

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        await self._go("extend")
        lease = await self.inner.extend(lease, more=more, ttl=ttl)
        await self._come("extend")
        return lease

    async def dispatched(self, lease: Lease) -> None:
        await self._go("dispatched")
        await self.inner.dispatched(lease)
        await self._come("dispatched")

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        await self._go("settle")
        receipt = await self.inner.settle(lease, charge=charge)
        await self._come("settle")
        return receipt

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        self.split_sizes.append(len(parts))
        await self._go("split")
        receipts = await self.inner.split(lease, parts=parts, keep=keep)
        await self._come("split")
        return receipts

    async def release(self, lease: Lease) -> None:
        await self._go("release")
        await self.inner.release(lease)
        await self._come("release")

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        await self._go("refund")
        receipt = await self.inner.refund(lease_id, amount=amount, reason=reason)
        await self._come("refund")
        return receipt

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        return await self.inner.usage(tenant, since=since, until=until, by=by, tz=tz)

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        return self.inner.ledger(tenant, since=since, until=until)

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        await self.inner.set_limits(tenant, *limits)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        await self._go("limits")
        return await self.inner.limits(tenant)

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        return await self.inner.counts(tenant)

    async def aclose(self) -> None:
        await self.inner.aclose()
