"""What a process knows of its slabs: what is free, who holds the rest, and until when. No I/O, no clock, no lock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, TypeAlias

import anyio

from planar.quotas._gate import Gate
from planar.quotas._measures import MOST
from planar.types import Amount, Charge, Headroom, Lease, LeaseId, LeasePart, Receipt, TenantPath

Vector: TypeAlias = tuple[int, int, int]
"""Input tokens, output tokens, nano-USD."""

NOTHING: Vector = (0, 0, 0)

_PAST_KEPT = 10_000
"""How many leases that have ended, or passed through, are remembered."""


def vector(amount: Amount) -> Vector:
    """The numbers of an amount. An unknown price holds no money."""
    return amount.input_tokens, amount.output_tokens, amount.nano_usd or 0


def amount_of(numbers: Vector) -> Amount:
    """The amount of these numbers."""
    return Amount(input_tokens=numbers[0], output_tokens=numbers[1], nano_usd=numbers[2])


def plus(one: Vector, other: Vector) -> Vector:
    """Both together."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def minus(one: Vector, other: Vector) -> Vector:
    """What is left of one without the other, never less than nothing."""
    return max(0, one[0] - other[0]), max(0, one[1] - other[1]), max(0, one[2] - other[2])


def least(one: Vector, other: Vector) -> Vector:
    """The smaller number in every dimension."""
    return min(one[0], other[0]), min(one[1], other[1]), min(one[2], other[2])


def times(one: Vector, count: int) -> Vector:
    """So many of it."""
    return one[0] * count, one[1] * count, one[2] * count


def fits(one: Vector, room: Vector) -> bool:
    """Whether there is room for it in every dimension."""
    return one[0] <= room[0] and one[1] <= room[1] and one[2] <= room[2]


class SubLease:
    """One request's part of a slab.

    Attributes:
        reserved: What was asked for at first, to tell a repeated reservation from a reused id.
        hold: What is kept for it of the slab's hold.
        deadline: When its time is over, on the process's clock. `expires` is that on the store's.
        state: `active`; `released` by its verb or `lapsed` at its end; `ending` until its row stands, then `written`.
        charge: What it used, once it is known.
    """

    __slots__ = (
        "charge",
        "deadline",
        "deployment",
        "dispatched",
        "error",
        "expires",
        "headroom",
        "hold",
        "id",
        "priced",
        "receipt",
        "reserved",
        "slab",
        "state",
        "tenant",
    )

    def __init__(self, lease_id: LeaseId, slab: Slab, reserved: Amount, *, now: float, ttl: float) -> None:
        self.id = lease_id
        self.slab = slab
        self.tenant: TenantPath = slab.lease.tenant
        self.deployment = slab.lease.deployment
        self.reserved = reserved
        self.hold = vector(reserved)
        self.priced = True
        self.dispatched = False
        self.state: Literal["active", "released", "lapsed", "ending", "written"] = "active"
        self.charge: Charge | None = None
        self.receipt: Receipt | None = None
        self.error: Exception | None = None
        self.headroom = slab.headroom()
        self.deadline = self.expires = 0.0
        self.live(now, ttl)

    def live(self, now: float, ttl: float) -> None:
        """Live so many seconds from now."""
        self.deadline = now + ttl
        self.expires = self.slab.store_time(now) + ttl

    def lease(self) -> Lease:
        """What was answered last."""
        return Lease(
            id=self.id,
            tenant=self.tenant,
            hold=amount_of(self.hold)
            if self.priced
            else Amount(input_tokens=self.hold[0], output_tokens=self.hold[1], nano_usd=None),
            expires=self.expires,
            deployment=self.deployment,
            headroom=self.headroom,
        )

    def part(self) -> LeasePart:
        """What is written about it."""
        return LeasePart(id=self.id, hold=amount_of(self.hold), charge=self.charge)


class Slab:
    """A lease that pays for many requests of one tenant at one deployment.

    Attributes:
        lease: As the store answered it last.
        free: What of its hold nobody has.
        unit: The hold of the request that it was made for.
        until: From here on no request is let in.
        expires: From here on the store may have ended it. Both are on the process's clock, rather early than late.
        subs: Those of its requests that have no row yet, alive or to be written.
        queue: Those to be written.
        writing: Somebody is writing; `shrinking`: and is giving some of the hold back; `growing`: is asking for more.
        retired: Nobody is let in any more. `ended`: the store holds nothing any more.
        touched: When a request was let in last.
    """

    __slots__ = (
        "_store_ahead",
        "ended",
        "expires",
        "free",
        "gate",
        "growing",
        "lease",
        "queue",
        "retired",
        "shrinking",
        "subs",
        "touched",
        "unit",
        "until",
        "writing",
    )

    def __init__(self, lease: Lease, unit: Vector, *, sent: float, ttl: float, until: float) -> None:
        self.lease = lease
        self.unit = unit
        self.free = vector(lease.hold)
        self.subs: dict[LeaseId, SubLease] = {}
        self.queue: list[SubLease] = []
        self.gate = Gate()
        self.writing = self.shrinking = self.growing = self.retired = self.ended = False
        self.touched = sent
        self.until = until
        self.expires = sent + ttl
        self._store_ahead = lease.expires - ttl - sent

    def store_time(self, now: float) -> float:
        """The time at the store, in seconds since the epoch; late by at most the way of the reservation there."""
        return now + self._store_ahead

    def headroom(self) -> Headroom:
        """What a request could hold beyond what it has: what is free here, and what the store had beside it."""
        told = self.lease.headroom
        return Headroom(
            tokens=None if told.tokens is None else told.tokens + self.free[1],
            nano_usd=None if told.nano_usd is None else told.nano_usd + self.free[2],
        )

    def lets_in(self, hold: Vector, *, now: float, ttl: float) -> bool:
        """Whether a request can have its hold from here, for as long as it wants it."""
        return not self.retired and now < self.until and now + ttl <= self.expires and fits(hold, self.free)

    def let_in(self, sub: SubLease, *, now: float) -> None:
        """Give a request its hold."""
        self.free = minus(self.free, sub.hold)
        self.subs[sub.id] = sub
        self.touched = now
        sub.headroom = self.headroom()

    def take_back(self, sub: SubLease, state: Literal["released", "lapsed"]) -> None:
        """A request that asked nobody has ended. After that nothing is kept for it, should it be settled yet."""
        del self.subs[sub.id]
        self.free = plus(self.free, sub.hold)
        sub.hold = NOTHING
        sub.state = state

    def enqueue(self, sub: SubLease, charge: Charge | None) -> None:
        """What a request used is known, or presumed, and wants to be written. Beyond its hold it takes what is free."""
        sub.charge = charge
        if charge is not None:
            excess = least(minus(vector(charge.amount), sub.hold), self.free)
            sub.hold = plus(sub.hold, excess)
            self.free = minus(self.free, excess)
        sub.state = "ending"
        self.subs[sub.id] = sub
        self.queue.append(sub)

    def held(self) -> Vector:
        """What the requests hold that have no row yet."""
        held = NOTHING
        for sub in self.subs.values():
            held = plus(held, sub.hold)
        return held

    def worth(self, more: Vector, *, share: int) -> Vector:
        """What else to ask for when one request wants more: as much for each of the others, within a share."""
        if self.retired:
            return NOTHING
        told = self.lease.headroom
        return times(more, max(0, _within(len(self.subs) - 1, more, told, share)))

    def to_extend(self) -> Lease:
        """The lease, holding what the store holds for it now, or a little more where a reply was lost."""
        lease = self.lease
        return Lease(
            id=lease.id,
            tenant=lease.tenant,
            hold=amount_of(plus(self.free, self.held())),
            expires=lease.expires,
            deployment=lease.deployment,
            headroom=lease.headroom,
        )

    def grown(self, lease: Lease, more: Vector, *, sent: float, ttl: float) -> None:
        """The store holds more, or for longer."""
        self.lease = lease
        self.free = plus(self.free, more)
        self.expires = max(self.expires, sent + ttl)

    def keep(self, batch: Sequence[SubLease], *, now: float) -> Vector | None:
        """What the store is to hold on once `batch` is written; `None` for what there is.

        A slab that is used up or too old ends with the last of its requests.
        """
        if self.growing or self.ended:
            return None
        ending = {sub.id for sub in batch}
        others = [sub for sub in self.subs.values() if sub.id not in ending]
        used_up = not others and not fits(self.unit, self.free)
        if not (self.retired or now >= self.until or used_up):
            return None
        self.retired = True
        kept = NOTHING
        for sub in others:
            kept = plus(kept, sub.hold)
        if others and NOTHING in (self.free, kept):
            return None  # there is nothing to give back, or to keep nothing would end it under them
        self.free = NOTHING
        return kept

    def written(self, batch: Sequence[SubLease]) -> None:
        """These have their rows."""
        for sub in batch:
            self.subs.pop(sub.id, None)
            sub.state = "written"
        self.queue = [sub for sub in self.queue if sub.state == "ending"]


class Requests:
    """Which lease ids are known: those of requests that live from a slab, and for a while those that ended."""

    def __init__(self) -> None:
        self._alive: dict[LeaseId, SubLease] = {}
        self._past: OrderedDict[LeaseId, SubLease | None] = OrderedDict()

    def find(self, lease_id: LeaseId) -> SubLease | None:
        """The request; `None` if it is not known, or known to the store alone."""
        return self._alive.get(lease_id) or self._past.get(lease_id)

    def passed(self, lease_id: LeaseId) -> bool:
        """Whether the store knows more than we do."""
        return lease_id in self._past

    def begin(self, sub: SubLease) -> None:
        """A request was let in."""
        self._alive[sub.id] = sub

    def end(self, lease_id: LeaseId, sub: SubLease | None) -> None:
        """It has ended, or if no `sub` is given is the store's affair from here on."""
        self._alive.pop(lease_id, None)
        self._past[lease_id] = sub
        if len(self._past) > _PAST_KEPT:
            self._past.popitem(last=False)


class Demand:
    """How many requests a tenant makes of a deployment, and how large a slab they deserve.

    Attributes:
        slab: The one that lets requests in.
        filling: Somebody is asking the store for another.
        headroom: What the store had beside the last lease of this tenant, if it was told.
        scarce_until: The store had no room for a slab: until then requests ask it one by one.
    """

    __slots__ = ("_before", "_began", "_count", "filling", "gate", "headroom", "scarce_until", "slab")

    def __init__(self, now: float) -> None:
        self.slab: Slab | None = None
        self.filling = False
        self.gate = Gate()
        self.headroom = Headroom(tokens=0, nano_usd=0)
        self.scarce_until = now
        self._began = now
        self._count = self._before = 0

    def count(self, now: float, span: float) -> None:
        """A request came."""
        if now >= self._began + span:
            self._before = self._count if now < self._began + 2 * span else 0
            self._count = 0
            self._began = now
        self._count += 1

    def wait_or_fill(self) -> anyio.Event | None:
        """What to wait for while somebody asks for a slab; `None` if that is now the caller's part."""
        if self.filling:
            return self.gate.enter()
        self.filling = True
        if self.slab is not None:
            self.slab.retired = True
        return None

    def filled(self) -> None:
        """There is a slab now, or none to be had."""
        self.filling = False
        self.gate.open(1)

    def next(self) -> None:
        """Whoever has been served lets the next one look: there is room for it, or it asks for the next slab."""
        if not self.filling:
            self.gate.open(1)

    def idle(self, now: float, span: float) -> bool:
        """Nobody has asked for a while."""
        return (self.slab is None or self.slab.ended) and not self.filling and now >= self._began + 2 * span

    def worth(self, hold: Vector, *, now: float, most: int, share: int) -> int:
        """How many requests like this the next slab is for: as many as came lately, within a share of what is left."""
        if now < self.scarce_until:
            return 1
        return max(1, _within(min(most, max(self._count, self._before)), hold, self.headroom, share))


def _within(count: int, each: Vector, headroom: Headroom, share: int) -> int:
    """At most `count` of these, all together no more than a share of what is left."""
    for cost, left in ((each[0] + each[1], headroom.tokens), (each[2], headroom.nano_usd)):
        if cost:
            count = min(count, (MOST if left is None else left * share // 100) // cost)
    return count
