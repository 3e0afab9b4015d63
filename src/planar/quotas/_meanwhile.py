"""What one process lets through while the store is away, and what it must know for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from planar.errors import QuotaExceededError, StoreError
from planar.protocols import Clock
from planar.quotas.memory import MemoryQuotaStore
from planar.types import Amount, Charge, Dimension, Lease, LeaseId, Limit, Receipt, TenantPath

PathLimits: TypeAlias = Mapping[str, tuple[Limit, ...]]
"""The limits of every scope of a path."""

_SCOPES_KEPT = 10_000
_ROWS_KEPT = 10_000
_LONG_OVER = 3600.0
_MEASURES: tuple[Dimension, ...] = ("input_tokens", "output_tokens", "nano_usd")


class KnownLimits:
    """The limits of scopes, as they were last read.

    Args:
        every: Seconds after which they are to be read again.
    """

    def __init__(self, *, every: float, clock: Clock) -> None:
        self._every = every
        self._clock = clock
        self._limits: dict[str, tuple[Limit, ...]] = {}
        self._read_at: dict[str, float] = {}

    def due(self, tenant: TenantPath) -> list[str]:
        """The scopes of a path whose limits are to be read. They are not due again at once: one reader will do."""
        now = self._clock.monotonic()
        read_at = self._read_at
        scopes = [each for each in tenant.scopes if each not in read_at or now >= read_at[each] + self._every]
        if len(self._read_at) + len(scopes) > _SCOPES_KEPT:
            self._forget()  # names are made up by callers, and must not fill memory
        self._read_at.update(dict.fromkeys(scopes, now))
        return scopes

    def learn(self, scope: str, limits: Sequence[Limit]) -> None:
        """Take up what a scope's limits are."""
        self._limits[scope] = tuple(limits)

    def unread(self, scopes: Sequence[str]) -> None:
        """They could not be read: they are due the next time."""
        for scope in scopes:
            self._read_at.pop(scope, None)

    def of(self, tenant: TenantPath) -> PathLimits | None:
        """The limits of a path; `None` where those of a scope on it were never seen."""
        limits = self._limits
        if not all(scope in limits for scope in tenant.scopes):
            return None
        return {scope: limits[scope] for scope in tenant.scopes}

    def _forget(self) -> None:
        self._limits.clear()
        self._read_at.clear()


def has_budget(limits: PathLimits) -> bool:
    """Whether money, or tokens other than as a rate, are limited: what is let through there is gone for good."""
    return any(
        limit.dimension == "nano_usd" or (limit.window != "rate" and limit.dimension not in ("requests", "concurrency"))
        for bounds in limits.values()
        for limit in bounds
    )


class Meanwhile:
    """A limiter for one process that stands in for the store, and knows what it has let through.

    Args:
        capacity: Where it applies, the most that a tenant's root may use; a measure of 0 is not bounded by it.
    """

    def __init__(self, *, capacity: Amount, clock: Clock) -> None:
        self._clock = clock
        self._store = MemoryQuotaStore(clock=clock, ledger_limit=_ROWS_KEPT)
        self._capacity = {name: amount for name in _MEASURES if (amount := getattr(capacity, name))}
        self._set: dict[str, tuple[Limit, ...]] = {}
        self._granted: dict[LeaseId, float] = {}  # until when

    @property
    def idle(self) -> bool:
        """Nothing that was let through is still running."""
        over = self._clock.time() - _LONG_OVER
        return all(expires < over for expires in self._granted.values())

    def knows(self, lease_id: LeaseId) -> bool:
        """Whether it was granted here and has not been ended."""
        return lease_id in self._granted

    def running(self, lease_id: LeaseId) -> bool:
        """Whether it was granted here and is alive."""
        return self._granted.get(lease_id, 0.0) > self._clock.time()

    async def again(self, lease_id: LeaseId, tenant: TenantPath, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """The lease that was granted under this id."""
        lease = await self._store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
        return replace(lease, provisional=True)

    async def reserve(
        self, lease_id: LeaseId, tenant: TenantPath, *, hold: Amount, ttl: float, deployment: str,
        limits: PathLimits, capped: bool,
    ) -> Lease:  # fmt: skip
        """Hold against the limits that were last seen and, if `capped`, the capacity.

        Raises:
            QuotaExceededError: A limit that was last seen has no room in this process alone.
            StoreError: The capacity is used up.
        """
        root = tenant.scopes[0]
        for scope in tenant.scopes:
            bounds = limits.get(scope, ())
            if capped and scope == root:
                bounds = self._with_capacity(bounds)
            if self._set.get(scope, ()) != bounds:
                await self._store.set_limits(scope, *bounds)
                self._set[scope] = bounds
        try:
            lease = await self.again(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
        except QuotaExceededError as error:
            self._check_capacity(error, root)
            raise
        self._granted[lease_id] = lease.expires
        return lease

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold more of the same.

        Raises:
            QuotaExceededError, StoreError: As when reserving. What was held is still held.
        """
        try:
            longer = await self._store.extend(lease, more=more, ttl=ttl)
        except QuotaExceededError as error:
            self._check_capacity(error, lease.tenant.scopes[0])
            raise
        self._granted[lease.id] = longer.expires
        return replace(longer, provisional=True)

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked."""
        await self._store.dispatched(lease)

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Put the truth in place of the hold."""
        receipt = await self._store.settle(lease, charge=charge)
        self._granted.pop(lease.id, None)
        return receipt

    async def release(self, lease: Lease) -> None:
        """Give the hold back."""
        await self._store.release(lease)
        self._granted.pop(lease.id, None)

    def _with_capacity(self, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        bounds: list[Limit] = []
        left = dict(self._capacity)
        for limit in limits:
            most = left.pop(limit.dimension, None) if limit.window == "total" else None
            amount = limit.amount if most is None else min(most, limit.amount)
            bounds.append(limit if most is None else Limit(dimension=limit.dimension, amount=amount, window="total"))
        bounds += [Limit(dimension=name, amount=left[name], window="total") for name in _MEASURES if name in left]
        return tuple(bounds)

    def _check_capacity(self, error: QuotaExceededError, root: str) -> None:
        if error.scope == root and error.limit == self._capacity.get(error.dimension):
            raise StoreError(
                f"the quota store is away, and what {root} may use meanwhile is used up: {error.message}"
            ) from error
