"""Larger leases that a process shares out in memory, over any store."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf

import anyio

from planar.errors import ConfigurationError, InvalidRequestError, QuotaExceededError, UnknownPriceError
from planar.protocols import Clock, QuotaStore, SplitsLeases
from planar.quotas._limits import within
from planar.quotas._slab_keeper import SlabKeeper, SplittingStore
from planar.quotas._slab_state import Demand, SubLease, Vector, amount_of, fits, minus, plus, vector
from planar.types import (
    Amount,
    Charge,
    GroupBy,
    Lease,
    LeaseId,
    LedgerEntry,
    Limit,
    LimitCount,
    Receipt,
    TenantPath,
    UsageReport,
)

_KEPT = 10_000
"""How many tenants at deployments are remembered."""


class SlabQuotaStore:
    """Asks a shared store once for many requests, and lets most of them in without a word to it.

    A slab is a lease in the store for so many requests of one tenant at one deployment as came lately. While it lasts,
    requests like these reserve, extend and release in memory. Rows are written together: who settles while others are
    being written waits for the next step, which takes all that have gathered. What `settle` has answered is in the
    store's ledger, one row per request, as ever.

    Nothing is spent beyond a limit, since what is shared out is held. What it costs: while a slab lasts, budget is held
    that nobody may need; and if the process is killed, what its slabs held is charged, as the store cannot know what
    was asked, in one row per slab. `share`, `size`, `life` and `idle` bound both.

    Requests pass through to the store one by one where slabs cannot be right or are no use: where a limit on requests
    or on concurrency is on the tenant's path (those count single requests), where fewer than two came lately, where
    the price is unknown, and where the store has no room for two. So a refusal is always the store's own. A limit on
    requests or concurrency that another process sets is kept here within twice `life`. A rate of tokens counts a
    slab when it is taken: its requests may come up to `life` later.

    It may be used from several event loops and threads at once, as far as `store` may; after a fork the child begins
    without slabs. On each loop a task in the background gives back what is not used, for as long as there are slabs.

    Args:
        store: Where the leases and the ledger are. It is closed with this one.
        size: Most requests that a slab is for.
        life: Seconds for which a slab lets requests in. It ends earlier where a day, week or month does.
        idle: Seconds after which what nobody has used is given back.
        share: Percent of what the tightest limit has left that one slab may hold at most.
        clock: Where time comes from, for tests; default is the machine's.

    Raises:
        ConfigurationError: `store` has no `planar.protocols.SplitsLeases`, or a number makes no sense.

    Example:
        >>> from planar.quotas import MemoryQuotaStore
        >>> store = SlabQuotaStore(MemoryQuotaStore(limits={"acme": [Limit.usd("50")]}), size=16)
    """

    def __init__(
        self,
        store: QuotaStore,
        *,
        size: int = 32,
        life: float = 5.0,
        idle: float = 1.0,
        share: int = 10,
        clock: Clock | None = None,
    ) -> None:
        if type(size) is not int or size < 1 or type(share) is not int or not 1 <= share <= 100:
            raise ConfigurationError(
                f"slabs are for at least 1 request and 1 to 100 percent, not {size!r} and {share!r}"
            )
        if not (0 < life < inf and 0 < idle < inf):
            raise ConfigurationError(f"life and idle must be positive numbers of seconds, not {life!r} and {idle!r}")
        self._store = _splitting(store)
        self.size = size
        self.life = life
        self.idle = idle
        self.share = share
        self.now = time.monotonic if clock is None else clock.monotonic
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._keeper = SlabKeeper(self._store, self)
        self._lock = self._keeper.lock
        self._demands: dict[tuple[str, str], Demand] = {}

    # -- the verbs -----------------------------------------------------------------------------

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or not one that the store lets in.
            InvalidRequestError: The id was used for another request, or `ttl` is not a positive number.
            StoreError: The store cannot be asked.
        """
        self._here()
        demand = self._demand(tenant, deployment)
        numbers, requests = vector(hold), self._keeper.requests
        shared = hold.nano_usd is not None and 0 < ttl < inf and not self._closed
        filled = False
        while True:
            now = self.now()
            with self._lock:
                known = requests.find(lease_id)
                if known is not None:
                    demand.next()
                    return _same(known, tenant, hold, deployment)
                slab = demand.slab
                shared = shared and not requests.passed(lease_id)
                if shared and slab is not None and slab.lets_in(numbers, now=now, ttl=ttl):
                    sub = SubLease(lease_id, slab, hold, now=now, ttl=ttl)
                    requests.begin(sub)
                    slab.let_in(sub, now=now)
                    demand.next()
                    return sub.lease()
                if not shared or filled or demand.worth(numbers, now=now, most=self.size, share=self.share) < 2:
                    requests.end(lease_id, None)
                    demand.next()
                    break
                event = demand.wait_or_fill()
            if event is not None:
                await self._wait(demand, event)
                continue
            await self._keeper.fill(demand, lease_id, tenant, numbers, ttl=ttl, deployment=deployment)
            filled = True
        while True:
            try:
                lease = await self._store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
            except QuotaExceededError as error:
                if not await self._keeper.free_up(error.scope):
                    raise
            else:
                demand.headroom = lease.headroom
                return lease

    async def _wait(self, demand: Demand, event: anyio.Event) -> None:
        try:
            await event.wait()
        except BaseException:
            with self._lock:
                demand.gate.leave(event)
            raise

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
            StoreError: The store cannot be asked.
        """
        sub = self._sub(lease)
        if sub is None:
            return await self._store.extend(lease, more=more, ttl=ttl)
        if not 0 < ttl < inf:
            raise InvalidRequestError(f"ttl must be a positive number of seconds, not {ttl!r}", param="ttl")
        if more.nano_usd is None and (scope := await self._keeper.priced(sub.tenant)):
            raise UnknownPriceError(
                f"{scope} has a money limit and nobody knows what {sub.deployment} costs: set a price for it",
                deployment=sub.deployment,
                scope=scope,
            )
        # The sum is a target: an extension that is repeated, from the same lease, finds it reached.
        target = plus(vector(lease.hold), vector(more))
        slab = sub.slab
        while True:
            now = self.now()
            with self._lock:
                self._keeper.lapse(sub, now)
                if sub.state != "active":
                    raise InvalidRequestError(f"lease {sub.id} cannot be extended: {_fate(sub)}", param="lease")
                delta = minus(target, sub.hold)
                repeated = not any(delta) and any(vector(more))
                if repeated:
                    return sub.lease()
                if fits(delta, slab.free) and now + ttl <= slab.expires:
                    self._extend(sub, delta, more, now=now, ttl=ttl)
                    return sub.lease()
            try:
                await self._keeper.grow(slab, delta, ttl=ttl)
            except QuotaExceededError as error:
                if not await self._keeper.free_up(error.scope, besides=slab):
                    raise

    def _extend(self, sub: SubLease, delta: Vector, more: Amount, *, now: float, ttl: float) -> None:
        slab = sub.slab
        slab.free = minus(slab.free, delta)
        sub.hold = plus(sub.hold, delta)
        sub.priced = sub.priced and more.nano_usd is not None
        sub.headroom = slab.headroom()
        sub.live(now, ttl)

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked: from here on expiry charges instead of releasing.

        Raises:
            InvalidRequestError: The lease was released or has expired: do not ask.
        """
        sub = self._sub(lease)
        if sub is None:
            await self._store.dispatched(lease)
            return
        with self._lock:
            self._keeper.lapse(sub, self.now())
            if sub.state in ("released", "lapsed"):
                raise InvalidRequestError(f"lease {sub.id} holds nothing: {_fate(sub)}", param="lease")
            sub.dispatched = True

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step, perhaps with others.

        Raises:
            InvalidRequestError: The lease was released, or is not known.
            StoreError: The row could not be written. Settle again.
        """
        sub = self._sub(lease)
        if sub is None:
            return await self._store.settle(lease, charge=charge)
        with self._lock:
            self._keeper.lapse(sub, self.now())
            if sub.state == "released":
                raise InvalidRequestError(f"lease {sub.id} cannot be settled: it was released", param="lease")
            first = sub.state in ("active", "lapsed")
            if first:
                sub.slab.enqueue(sub, charge)
        receipt = await self._keeper.write(sub)
        # Another's charge is in its row, or a presumption: the store knows whether this one still changes anything.
        return receipt if first else await self._store.settle(lease, charge=charge)

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked. A lease that has ended is left as it is.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
        """
        sub = self._sub(lease)
        if sub is None:
            await self._store.release(lease)
            return
        with self._lock:
            self._keeper.lapse(sub, self.now())
            if sub.state != "active":
                return
            if sub.dispatched:
                raise InvalidRequestError(f"lease {sub.id} was dispatched: settle it", param="lease")
            sub.slab.take_back(sub, "released")
            self._keeper.requests.end(sub.id, sub)

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row with negative numbers, once per lease.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
        """
        self._here()
        return await self._store.refund(lease_id, amount=amount, reason=reason)

    # -- what it says --------------------------------------------------------------------------

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

        Held is what requests of this process have, and all that other processes' slabs hold.
        """
        await self._tend()
        report = await self._store.usage(tenant, since=since, until=until, by=by, tz=tz)
        with self._lock:
            held, concurrent = vector(report.held), report.concurrent
            for slab in self._keeper.slabs.values():
                if within(slab.lease.tenant, tenant):
                    held = minus(held, slab.free)
                    concurrent += len(slab.subs) - 1
        return replace(report, held=amount_of(held), concurrent=max(0, concurrent))

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children (default: of everybody), oldest first.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        scope = None if tenant is None else TenantPath(tenant)
        return _Rows(self._tend, partial(self._store.ledger, scope, since=since, until=until))

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched; of slabs here only what requests have.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
        """
        self._here()
        await self._keeper.give_back(TenantPath(tenant))
        await self._store.set_limits(tenant, *limits)
        self._keeper.forget_limits(tenant)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        return await self._store.limits(tenant)

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands now, in the order of `limits`. What slabs hold counts as held."""
        return await self._store.counts(tenant)

    async def aclose(self) -> None:
        """Give all slabs back and close the store.

        Requests that asked a provider and were not settled are charged what they held. To settle one of them later
        corrects that, if the store can still be asked.
        """
        self._here()
        self._closed = True
        try:
            await self._keeper.close()
        finally:
            await self._store.aclose()

    async def _tend(self) -> None:
        self._here()
        await self._keeper.tend()

    # -- which lease is whose ------------------------------------------------------------------

    def _here(self) -> None:
        if os.getpid() != self._process:
            self._begin()  # the slabs are the parent's

    def _demand(self, tenant: str, deployment: str) -> Demand:
        now = self.now()
        with self._lock:
            demand = self._demands.get((tenant, deployment))
            if demand is None:
                if len(self._demands) >= _KEPT:
                    self._demands = {key: each for key, each in self._demands.items() if not each.idle(now, self.life)}
                demand = self._demands[tenant, deployment] = Demand(now)
            demand.count(now, self.life)
        return demand

    def _sub(self, lease: Lease) -> SubLease | None:
        """The request that has this lease of a slab; `None` where the store is to be asked."""
        self._here()
        sub = self._keeper.requests.find(lease.id)
        if sub is not None and sub.tenant != lease.tenant:
            raise InvalidRequestError(f"lease {lease.id} belongs to another tenant", param="lease")
        return sub


def _splitting(store: QuotaStore) -> SplittingStore:
    if not isinstance(store, SplitsLeases):
        raise ConfigurationError(f"{type(store).__name__} cannot split leases, so no slabs can be taken from it")
    return store


def _same(sub: SubLease, tenant: str, hold: Amount, deployment: str) -> Lease:
    if (sub.tenant, sub.reserved, sub.deployment) != (tenant, hold, deployment):
        raise InvalidRequestError(f"lease {sub.id} is in use for another request", param="lease_id")
    return sub.lease()


def _fate(sub: SubLease) -> str:
    match sub.state:
        case "released":
            return "it was released"
        case "lapsed":
            return "it expired"
        case "active" | "ending" | "written":
            return "it was settled, or expired"


class _Rows:
    """A class, not an async generator: one that is dropped half-way has nothing to clean up."""

    def __init__(self, before: Callable[[], Awaitable[None]], rows: Callable[[], AsyncIterator[LedgerEntry]]) -> None:
        self._before = before
        self._open = rows
        self._rows: AsyncIterator[LedgerEntry] | None = None

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> LedgerEntry:
        if self._rows is None:
            await self._before()
            self._rows = self._open()
        return await self._rows.__anext__()
