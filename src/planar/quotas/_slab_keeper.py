"""Takes slabs from a store, writes what their requests used, and gives back what is left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from math import inf
from threading import Lock
from typing import Protocol

import anyio

from planar.errors import InvalidRequestError, PlanarError, QuotaExceededError
from planar.protocols import QuotaStore, SplitsLeases
from planar.quotas._calendar import SECOND, period, zone
from planar.quotas._gate import Gate, running_loop, spawn
from planar.quotas._limits import within
from planar.quotas._slab_state import (
    NOTHING,
    Demand,
    Requests,
    Slab,
    SubLease,
    Vector,
    amount_of,
    minus,
    plus,
    times,
)
from planar.types import Amount, Headroom, Lease, LeaseId, Limit, Receipt, TenantPath

_GIVE_BACK_SECONDS = 2.0
_SCOPES_KEPT = 10_000
_log = logging.getLogger("planar.quotas")


class SplittingStore(QuotaStore, SplitsLeases, Protocol):
    """A store that slabs can be taken from."""


class Terms(Protocol):
    """How slabs are cut: see `SlabQuotaStore`."""

    size: int
    life: float
    idle: float
    share: int

    def now(self) -> float:
        """Seconds on the process's clock."""
        ...


class SlabKeeper:
    """All slabs of one process. What it knows is changed under `lock` alone, which is never held over an `await`."""

    def __init__(self, store: SplittingStore, terms: Terms) -> None:
        self._store = store
        self._terms = terms
        self.lock = Lock()
        self.slabs: dict[LeaseId, Slab] = {}
        self.requests = Requests()
        self._made = 0
        self._limits: dict[str, tuple[float, tuple[Limit, ...]]] = {}
        self._watched: set[object] = set()
        self._closing = Gate()

    # -- taking --------------------------------------------------------------------------------

    async def fill(
        self, demand: Demand, lease_id: LeaseId, tenant: str, hold: Vector, *, ttl: float, deployment: str
    ) -> None:
        """Take a slab for more requests like this one, or find that there is no room for one.

        Raises:
            UnknownTenantError, StoreError: From the store.
        """
        try:
            await self._fill(demand, lease_id, tenant, hold, ttl=ttl, deployment=deployment)
        finally:
            with self.lock:
                demand.filled()

    async def _fill(
        self, demand: Demand, lease_id: LeaseId, tenant: str, hold: Vector, *, ttl: float, deployment: str
    ) -> None:
        terms = self._terms
        limits = await self._limits_of(TenantPath(tenant))
        if any(limit.dimension in ("requests", "concurrency") for limit in limits):
            demand.scarce_until = terms.now() + terms.life
            return
        count = demand.worth(hold, now=terms.now(), most=terms.size, share=terms.share)
        while count > 1:
            sent = terms.now()
            try:
                lease = await self._take(lease_id, tenant, amount_of(times(hold, count)), ttl + terms.life, deployment)
            except QuotaExceededError as error:
                count = min(count // 2, _affordable(error, hold, terms.share))
                continue
            until = min(sent + terms.life, sent + _window_left(limits, lease.expires - ttl - terms.life))
            slab = Slab(lease, hold, sent=sent, ttl=ttl + terms.life, until=until)
            with self.lock:
                self.slabs[lease.id] = slab
                demand.slab, demand.headroom = slab, lease.headroom
            self._watch()
            return
        demand.scarce_until = terms.now() + terms.life

    async def _take(self, lease_id: LeaseId, tenant: str, hold: Amount, ttl: float, deployment: str) -> Lease:
        # Dispatched at once: the process may die with requests in flight that the store has never heard of.
        self._made += 1
        store, slab_id = self._store, LeaseId(f"{lease_id}-slab-{self._made}")
        lease = Lease(
            id=slab_id, tenant=TenantPath(tenant), hold=hold, expires=0, deployment=deployment, headroom=Headroom()
        )
        try:
            lease = await store.reserve(slab_id, tenant, hold=hold, ttl=ttl, deployment=deployment)
            await store.dispatched(lease)
        except QuotaExceededError:
            raise
        except BaseException:
            # Whether it is held is not known. If it cannot be given back now, it lapses or is charged.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _GIVE_BACK_SECONDS):
                await self._abandon(lease)
            raise
        return lease

    async def _abandon(self, lease: Lease) -> None:
        try:
            await self._store.split(lease, keep=amount_of(NOTHING))
        except InvalidRequestError:
            return  # it was never held
        except PlanarError as error:
            _log.warning("slab %s could not be given back: %s", lease.id, error)

    async def _limits_of(self, tenant: TenantPath) -> list[Limit]:
        found: list[Limit] = []
        for scope in tenant.scopes:
            known = self._limits.get(scope)
            if known is None or self._terms.now() >= known[0] + self._terms.life:
                asked = self._terms.now()
                if len(self._limits) >= _SCOPES_KEPT:
                    self._limits.clear()
                known = self._limits[scope] = asked, await self._store.limits(scope)
            found.extend(known[1])
        return found

    async def priced(self, tenant: TenantPath) -> str | None:
        """The first scope with a money limit, where there is one."""
        await self._limits_of(tenant)
        for scope in tenant.scopes:
            if any(limit.dimension == "nano_usd" for limit in self._limits.get(scope, (0, ()))[1]):
                return scope
        return None

    def forget_limits(self, scope: str) -> None:
        """They have changed."""
        self._limits.pop(scope, None)

    async def grow(self, slab: Slab, wanted: Vector, *, ttl: float) -> None:
        """Have the slab hold what is wanted beyond what is free, and live longer. Others may have taken it since.

        Raises:
            QuotaExceededError, InvalidRequestError, StoreError: From the store.
        """
        with self.lock:
            event = slab.gate.enter() if slab.growing or slab.shrinking else None
            slab.growing = slab.growing or event is None
            short, more = minus(wanted, slab.free), slab.worth(wanted, share=self._terms.share)
        if event is not None:
            await event.wait()
            return
        try:
            try:
                await self._extend(slab, plus(short, more), ttl=ttl)
            except QuotaExceededError:
                if not any(more):
                    raise
                await self._extend(slab, short, ttl=ttl)
        finally:
            with self.lock:
                slab.growing = False
                slab.gate.open()

    async def _extend(self, slab: Slab, more: Vector, *, ttl: float) -> None:
        sent, life = self._terms.now(), self._terms.life
        with self.lock:
            lease = slab.to_extend()
        lease = await self._store.extend(lease, more=amount_of(more), ttl=ttl + life)
        with self.lock:
            slab.grown(lease, more, sent=sent, ttl=ttl + life)

    # -- writing -------------------------------------------------------------------------------

    async def write(self, sub: SubLease) -> Receipt:
        """Have the row of a request that ended written, together with those of others that wait for it.

        Raises:
            StoreError: It could not be. It may be tried again.
        """
        slab = sub.slab
        while sub.receipt is None and sub.error is None:
            with self.lock:
                event = slab.gate.enter() if slab.writing else None
                slab.writing = True
            if event is not None:
                await event.wait()
            else:
                await self._round(slab)
        if sub.receipt is None:
            assert sub.error is not None
            raise sub.error
        return sub.receipt

    async def _round(self, slab: Slab) -> None:
        """Write what has gathered, and give back what is no longer wanted. The caller has set `writing`."""
        now = self._terms.now()
        with self.lock:
            # If the slab has expired at the store so have all of its requests, here and now: then all of them are
            # written in the step that takes the store's presumption back.
            for sub in list(slab.subs.values()):
                self.lapse(sub, now)
            batch = list(slab.queue)
            keep = slab.keep(batch, now=now)
            slab.shrinking = keep is not None
        try:
            if batch or keep is not None:
                await self._split(slab, batch, keep)
        finally:
            with self.lock:
                slab.writing = slab.shrinking = False
                slab.gate.open()

    async def _split(self, slab: Slab, batch: Sequence[SubLease], keep: Vector | None) -> None:
        parts = [sub.part() for sub in batch]
        try:
            receipts = await self._store.split(slab.lease, parts=parts, keep=None if keep is None else amount_of(keep))
        except InvalidRequestError as error:
            if len(batch) > 1:
                # One of them is wrong, and must not be in the way of the others.
                for sub in batch:
                    await self._split(slab, [sub], None)
                return
            self._book(slab, batch, error)
            if not batch and keep is not None:
                self._end(slab)  # the store has forgotten it
            return
        self._book(slab, batch, receipts)
        if keep == NOTHING:
            self._end(slab)

    def _end(self, slab: Slab) -> None:
        with self.lock:
            slab.ended = slab.retired = True
            self.slabs.pop(slab.lease.id, None)

    def _book(self, slab: Slab, batch: Sequence[SubLease], answer: Sequence[Receipt] | InvalidRequestError) -> None:
        with self.lock:
            for number, sub in enumerate(batch):
                if isinstance(answer, InvalidRequestError):
                    sub.error = answer
                else:
                    sub.receipt = answer[number]
                self.requests.end(sub.id, None)
            slab.written(batch)

    # -- giving back ---------------------------------------------------------------------------

    def lapse(self, sub: SubLease, now: float) -> bool:
        """End a request whose time is over, under the lock. True if it was charged: its row wants to be written."""
        if sub.state != "active" or now < sub.deadline:
            return False
        if sub.dispatched:
            sub.slab.enqueue(sub, None)
            return True
        sub.slab.take_back(sub, "lapsed")
        self.requests.end(sub.id, sub)
        return False

    async def tend(self) -> None:
        """Write what waits to be written, and give back what nobody has used for a while.

        Raises:
            StoreError: From the store.
        """
        now = self._terms.now()
        due: list[Slab] = []
        with self.lock:
            for slab in self.slabs.values():
                for sub in list(slab.subs.values()):
                    self.lapse(sub, now)
                if now >= min(slab.until, slab.touched + self._terms.idle):
                    slab.retired = True
                if not slab.writing and (slab.queue or (slab.retired and (not slab.subs or slab.free != NOTHING))):
                    slab.writing = True
                    due.append(slab)
        for slab in due:
            await self._tend(slab, due)

    async def _tend(self, slab: Slab, due: list[Slab]) -> None:
        try:
            await self._round(slab)
        except BaseException:
            with self.lock:
                for other in due[due.index(slab) + 1 :]:
                    other.writing = False
                    other.gate.open()
            raise

    async def give_back(self, scope: str | None = None) -> None:
        """Let no more requests in from the slabs of a scope and its children, and hold on only what requests have.

        Raises:
            StoreError: From the store.
        """
        with self.lock:
            for slab in self.slabs.values():
                if scope is None or within(slab.lease.tenant, scope):
                    slab.retired = True
        await self.tend()

    async def free_up(self, scope: str, *, besides: Slab | None = None) -> bool:
        """Give back what nobody uses in slabs of a scope where the store has no room. False if there is nothing.

        Without it the store would call busy what only lies idle here.

        Raises:
            StoreError: From the store.
        """
        idle: list[Slab] = []
        now = self._terms.now()
        with self.lock:
            for slab in self.slabs.values():
                if slab is besides or not within(slab.lease.tenant, scope):
                    continue
                for sub in list(slab.subs.values()):
                    self.lapse(sub, now)
                if slab.free != NOTHING:
                    slab.retired = True
                    idle.append(slab)
        if idle:
            await self.tend()
        return any(slab.free == NOTHING for slab in idle)

    async def close(self) -> None:
        """Give everything back. Requests that asked a provider and were not settled are charged what they hold.

        Raises:
            StoreError: From the store.
        """
        with self.lock:
            for slab in self.slabs.values():
                slab.retired = True
                for sub in list(slab.subs.values()):
                    self.lapse(sub, inf)
        while True:
            with self.lock:
                last = next(iter(self.slabs.values()), None)
                if last is None:
                    self._closing.open()
                    return
                event = last.gate.enter() if last.writing or last.growing else None
                last.writing = last.writing or event is None
            if event is not None:
                await event.wait()
            else:
                await self._round(last)

    def _watch(self) -> None:
        loop = running_loop()
        with self.lock:
            begins = loop not in self._watched
            self._watched.add(loop)
        if begins:
            spawn(partial(self._look_after, loop))

    async def _look_after(self, loop: object) -> None:
        """Look after all slabs for as long as there are any. Where the loop ends first, give back what is free."""
        with self.lock:
            closing = self._closing.enter()
        try:
            while self.slabs:
                with anyio.move_on_after(self._terms.idle):
                    await closing.wait()
                await self._try_to_tend()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _GIVE_BACK_SECONDS):
                await self.give_back()
            raise
        finally:
            with self.lock:
                self._closing.leave(closing)
                self._watched.discard(loop)

    async def _try_to_tend(self) -> None:
        try:
            await self.tend()
        except PlanarError as error:
            _log.warning("slabs could not be written or given back, and will be tried again: %s", error)


def _affordable(error: QuotaExceededError, hold: Vector, share: int) -> int:
    """How many requests a limit that refused would let pass, within a share of what it has left."""
    costs = {"input_tokens": hold[0], "output_tokens": hold[1], "tokens": hold[0] + hold[1], "nano_usd": hold[2]}
    each = costs.get(error.dimension, 0)
    return error.remaining * share // 100 // each if each else 0


def _window_left(limits: Sequence[Limit], at: float) -> float:
    """Seconds from `at`, on the store's clock, to the end of the first calendar window."""
    now = int(at * SECOND) - 1  # a float is not exact: rather the window before than the one after
    ends = [
        period(limit.window, zone(limit.tz), now)[1]
        for limit in limits
        if limit.window == "day" or limit.window == "week" or limit.window == "month"
    ]
    return (min(ends) - now) / SECOND if ends else inf
