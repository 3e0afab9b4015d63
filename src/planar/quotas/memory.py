"""Quotas in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from threading import Lock

from planar.errors import ConfigurationError
from planar.protocols import Clock
from planar.quotas._calendar import SECOND
from planar.quotas._engine import QuotaEngine
from planar.quotas._ledger import Ledger
from planar.quotas._limits import LimitTable, within
from planar.quotas._state import Leases
from planar.quotas._usage import UsageFold
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
    TenantPath,
    UsageReport,
)


class MemoryQuotaStore:
    """Keeps the quotas of one process, for as long as it runs.

    Nothing survives a restart, budgets and ledger included, and two processes each count for themselves: with four
    workers a tenant may spend four times its limit. Where that matters, use a store that processes share.

    It may be used from several event loops and threads at once. Its methods never wait for anything but a lock that is
    held for microseconds, so they are never cancelled half-way.

    Time is the wall clock at construction plus what the monotonic clock counted since, so that setting the wall clock
    neither gives nor takes budget. On a machine that was asleep, calendar windows end later by as long as it slept.

    Args:
        limits: By scope (`"acme"`, `"acme/search"`), as `set_limits` would set them.
        known_tenants_only: Refuse tenants whose root has no entry in `limits`. An entry may be empty.
        clock: Where time comes from; default is the machine's.
        ledger_limit: Keep only this many of the newest ledger rows; `ledger()` and `usage()` then see no others, and
            older leases can no longer be refunded, nor are they recognised when they are settled again. The default
            keeps every row, so that sums are complete: about 1 KB per request, without what its metadata takes.
            Limits count on either way.

    Raises:
        ConfigurationError: A limit makes no sense, or `ledger_limit` is less than 1.
        UnknownTenantError: A scope in `limits` is not a tenant's name.

    Example:
        >>> store = MemoryQuotaStore(limits={"acme": [Limit.usd("50"), Limit.concurrency(8)]})
    """

    def __init__(
        self,
        *,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        known_tenants_only: bool = False,
        clock: Clock | None = None,
        ledger_limit: int | None = None,
    ) -> None:
        if ledger_limit is not None and ledger_limit < 1:
            raise ConfigurationError(f"ledger_limit must be at least 1, not {ledger_limit!r}")
        clock = clock or _SystemClock()
        self._monotonic = clock.monotonic
        self._started = clock.monotonic()
        self._epoch = round(clock.time() * SECOND)
        self._lock = Lock()
        leases = Leases()
        self._ledger = Ledger(limit=ledger_limit, forget=leases.drop)
        self._engine = QuotaEngine(limits=LimitTable(known_only=known_tenants_only), leases=leases, ledger=self._ledger)
        for scope, bounds in (limits or {}).items():
            self._engine.set_limits(scope, bounds, now=self._now())

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        An id that is known is answered with its lease as it is now, even if that has ended.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere, and no request was counted.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or not one that was set up where only those are let in.
            InvalidRequestError: The id was used for another request, or `ttl` is not a positive number.
        """
        with self._lock:
            return self._engine.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment, now=self._now())

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
        """
        with self._lock:
            return self._engine.extend(lease, more=more, ttl=ttl, now=self._now())

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked: from here on expiry charges instead of releasing.

        Raises:
            InvalidRequestError: The lease was released or has expired: do not ask.
        """
        with self._lock:
            self._engine.dispatched(lease, now=self._now())

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step.

        After an expiry that charged, the difference becomes a `correction` row, and so it does after a settle that was
        flagged `estimated`, once, if this one is not. Settling twice changes nothing otherwise, and is answered with
        the first row. A charge above the hold is booked all the same: it was spent.

        Raises:
            InvalidRequestError: The lease was released, or is not known here.
        """
        with self._lock:
            return self._engine.settle(lease, charge=charge, now=self._now())

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        """Settle parts of what a lease holds, each under an id of its own, as `planar.protocols.SplitsLeases` says.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
        """
        with self._lock:
            return self._engine.split(lease, parts=parts, keep=keep, now=self._now())

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked. A lease that has ended is left as it is.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
        """
        with self._lock:
            self._engine.release(lease, now=self._now())

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row with negative numbers, once per lease.

        Budgets get it back while the window in which the lease counts is open.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
        """
        with self._lock:
            return self._engine.refund(lease_id, amount=amount, reason=reason, now=self._now())

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What a scope used between two times (seconds since the epoch, end excluded), children included.

        `by` tells it apart by tenant, deployment and day, in any combination; days are those of the time zone `tz`.

        Raises:
            UnknownTenantError: Not a tenant's name. A name that was never used has used nothing.
            InvalidRequestError: `by` names something else.
            ConfigurationError: This machine does not know the time zone.
        """
        fold = UsageFold(tenant, by=by, tz=tz)
        with self._lock:
            held, concurrent = self._engine.held(fold.scope, now=self._now())
            rows = self._ledger.between(since, until)
        for row in rows:
            fold.add(row)
        return fold.report(held=held, concurrent=concurrent)

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children (default: of everybody), oldest first, as they stand now.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        scope = None if tenant is None else TenantPath(tenant)
        with self._lock:
            self._engine.expire(now=self._now())
            rows = self._ledger.between(since, until)
        return _Rows(rows, scope)

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched.

        A budget counts what its current window has already used, even if it is set in the middle of it.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
        """
        with self._lock:
            self._engine.set_limits(tenant, limits, now=self._now())

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        with self._lock:
            return self._engine.limits(tenant)

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands now, in the order of `limits`.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        with self._lock:
            return self._engine.counts(tenant, now=self._now())

    async def aclose(self) -> None:
        """Nothing: there is nothing to give back."""

    def _now(self) -> int:
        return self._epoch + round((self._monotonic() - self._started) * SECOND)


class _SystemClock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class _Rows:
    """A class, not an async generator: one that is dropped half-way has nothing to clean up."""

    def __init__(self, rows: list[LedgerEntry], scope: TenantPath | None) -> None:
        self._rows = iter(rows)
        self._scope = scope

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> LedgerEntry:
        for row in self._rows:
            if self._scope is None or within(row.tenant, self._scope):
                return row
        raise StopAsyncIteration
