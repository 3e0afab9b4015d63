"""A quota store that fails on purpose, before it has done what it was asked or after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import Literal, TypeAlias, TypeVar, get_args

import anyio
import anyio.lowlevel

from planar.errors import StoreError
from planar.protocols import QuotaStore
from planar.types import Amount, Charge, GroupBy, Lease, LeaseId, LedgerEntry, Limit, LimitCount, Receipt, UsageReport

T = TypeVar("T")
StoreFault: TypeAlias = Literal["none", "before", "after", "hang"]
"""`before`: nothing was done. `after`: it was done, and the reply was lost. `hang`: no reply ever comes."""


class FaultyQuotaStore:
    """Any quota store, with failures. What it does not fail at is what the store inside does.

    A fault is chosen for every call: the next of `plan(...)`, else by `always`, else by chance, from a seed so that a
    failing test can be run again.

    Args:
        store: The real one.
        before, after, hang: The chance of each fault, from 0 to 1.
        seed: Of the chances.

    Attributes:
        always: The fault of every call that no plan speaks of; `None` leaves it to chance. `"before"` is an outage.
        calls: The names of the verbs that were asked for.

    Example:
        >>> from planar import MemoryQuotaStore
        >>> store = FaultyQuotaStore(MemoryQuotaStore())
        >>> store.always = "before"  # it is away
        >>> store.always = None  # it is back
        >>> store.plan("none", "after")  # the next call is answered; the one after it is done, and its reply is lost
    """

    def __init__(
        self, store: QuotaStore, *, before: float = 0.0, after: float = 0.0, hang: float = 0.0, seed: int = 0
    ) -> None:
        self._store = store
        self._chances: dict[StoreFault, float] = {"before": before, "after": after, "hang": hang}
        self._random = Random(seed)  # noqa: S311 - chances of a test
        self._planned: list[StoreFault] = []
        self.always: StoreFault | None = None
        self.calls: list[str] = []

    def plan(self, *faults: StoreFault) -> None:
        """Say what becomes of the next calls, one after the other, in place of what was said before."""
        unknown = set(faults) - set(get_args(StoreFault))
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}")
        self._planned = list(faults)

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """As the store inside, or a fault; so are all verbs."""
        return await self._do(
            "reserve", lambda: self._store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
        )

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold more, or a fault."""
        return await self._do("extend", lambda: self._store.extend(lease, more=more, ttl=ttl))

    async def dispatched(self, lease: Lease) -> None:
        """Note that the provider is asked, or a fault."""
        await self._do("dispatched", lambda: self._store.dispatched(lease))

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Put the truth in place of the hold, or a fault."""
        return await self._do("settle", lambda: self._store.settle(lease, charge=charge))

    async def release(self, lease: Lease) -> None:
        """Give the hold back, or a fault."""
        await self._do("release", lambda: self._store.release(lease))

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of a charge, or a fault."""
        return await self._do("refund", lambda: self._store.refund(lease_id, amount=amount, reason=reason))

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What a scope used, or a fault."""
        return await self._do("usage", lambda: self._store.usage(tenant, since=since, until=until, by=by, tz=tz))

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope; a fault comes before the first."""
        return _Rows(self._do, self._store.ledger(tenant, since=since, until=until))

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope, or a fault."""
        await self._do("set_limits", lambda: self._store.set_limits(tenant, *limits))

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, or a fault."""
        return await self._do("limits", lambda: self._store.limits(tenant))

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where the limits of one scope stand, or a fault."""
        return await self._do("counts", lambda: self._store.counts(tenant))

    async def aclose(self) -> None:
        """Close the store inside. This never fails by itself."""
        await self._store.aclose()

    async def _do(self, verb: str, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(verb)
        fault = self._fault()
        if fault == "hang":
            await anyio.sleep_forever()
        if fault == "before":
            raise StoreError(f"{verb}: the store cannot be reached")
        answer = await work()
        if fault == "after":
            raise StoreError(f"{verb}: the connection broke before the reply")
        return answer

    def _fault(self) -> StoreFault:
        if self._planned:
            return self._planned.pop(0)
        if self.always is not None:
            return self.always
        dice = self._random.random()
        for fault, chance in self._chances.items():
            dice -= chance
            if dice < 0:
                return fault
        return "none"


class _Rows:
    def __init__(
        self,
        do: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]],
        rows: AsyncIterator[LedgerEntry],
    ) -> None:
        self._do = do
        self._rows = rows
        self._begun = False

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> LedgerEntry:
        if not self._begun:
            await self._do("ledger", anyio.lowlevel.checkpoint)
            self._begun = True
        return await anext(self._rows)
