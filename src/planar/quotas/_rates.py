"""Rates, which drain evenly, and budgets over the last so many seconds."""

from __future__ import annotations

from collections.abc import Mapping

from planar.quotas._calendar import SECOND
from planar.quotas._measures import BUCKETS, DIMENSIONS, MOST, Holds, Refusal, bound_of, wait_for
from planar.types import Alert, Limit


class RollingCell:
    """A budget over the last so many seconds.

    Time is cut into buckets of a 60th of the window. What was used counts for 60 whole buckets beside the one that it
    was booked in, so never for less than the window, and is forgotten a bucket at a time. What live leases hold always
    counts, and is booked when the truth is known: there is no edge on which a long stream could slip out.
    """

    __slots__ = ("_buckets", "_length", "_newest", "amount", "bound", "held", "index", "limit", "scope", "used")

    def __init__(self, scope: str, limit: Limit, now: int) -> None:
        self.scope = scope
        self.index = DIMENSIONS.index(limit.dimension)
        self.limit = limit
        self.amount = limit.amount
        self.bound = bound_of(limit)
        self.held = 0
        self.used = 0
        self._length = limit.seconds * SECOND
        self._newest = self._bucket(now)
        self._buckets: dict[int, int] = {}

    def restore(self, *, used: int, held: int, newest: int, buckets: Mapping[int, int]) -> None:
        """Stand where another counter of the same limit stood."""
        self.used = used
        self.held = held
        self._newest = newest
        self._buckets = dict(buckets)

    def standing(self) -> tuple[int, int, int, Mapping[int, int]]:
        """Where it stands, in the order of what `restore` takes."""
        return self.used, self.held, self._newest, self._buckets

    def change(self, limit: Limit, now: int) -> None:
        """Take another amount or policy. What is used and held stays."""
        self.limit = limit
        self.amount = limit.amount
        self.bound = bound_of(limit)

    def room(self, now: int) -> int:
        """How much could be held; below 0 where more is used than there is."""
        if now * BUCKETS // self._length != self._newest:
            self._forget(now)
        return self.bound - self.used - self.held

    def hold(self, cost: int, now: int) -> RollingCell:
        """Hold `cost`."""
        self.held += cost
        return self

    def settle(self, held: int, actual: int, at: int) -> bool:
        """Replace a hold with what was used, booked in the bucket of `at`. Whether there is something to tell of it."""
        self.held -= held
        if actual:
            self._book(actual, at)
        return actual > 0 and self.marks()[0]

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> bool:
        """Correct what was booked at `booked_at`, if it still counts. Whether there is something to tell of it."""
        self._forget(now)
        if delta:
            self._book(delta, booked_at)
        return delta > 0 and self.marks()[0]

    def marks(self) -> tuple[bool, list[Alert]]:
        """Whether it is overdrawn at its tenant's cost. Without a beginning of its window there are no alerts."""
        return self.used > self.amount and self.limit.overage == "pay", []

    def adopt(self, cost: int, reserved_at: int, now: int) -> RollingCell:
        """Hold `cost` for a lease that is older than this cell."""
        self.held += cost
        return self

    def counts(self, now: int) -> tuple[int, int]:
        """What was used in the window that ends now, and what is held."""
        self._forget(now)
        return self.used, self.held

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why there is no room for `cost` beside the `own` hold. `holds` are those of others."""
        remaining = max(0, self.amount - self.used - self.held)
        if own + cost > self.amount:
            return Refusal("spent", remaining, None, self.amount)
        busy = self.used + own + cost <= self.amount
        freed = [(self._forgotten_at(number), used) for number, used in self._buckets.items()]
        for hold in holds(self.scope):
            # A dispatched lease that expires is charged: it leaves the window only when its bucket does. Where holds
            # alone are in the way, that they end is what is worth waiting for, whatever becomes of them.
            charged = hold.dispatched and not busy
            at = self._forgotten_at(self._bucket(hold.expires)) if charged else hold.expires
            freed.append((at, hold.amount))
        short = self.used + self.held + cost - self.amount
        return Refusal("busy" if busy else "spent", remaining, wait_for(sorted(freed), short, now), self.amount)

    def _bucket(self, at: int) -> int:
        return at * BUCKETS // self._length

    def _forgotten_at(self, number: int) -> int:
        return -(-(number + BUCKETS + 1) * self._length // BUCKETS)

    def _book(self, amount: int, at: int) -> None:
        number = self._bucket(at)
        if number > self._newest:
            self._forget(at)
        if number >= self._newest - BUCKETS:
            self._buckets[number] = self._buckets.get(number, 0) + amount
            self.used += amount

    def _forget(self, now: int) -> None:
        newest = self._bucket(now)
        if newest > self._newest:
            self._newest = newest
            for number in [number for number in self._buckets if number < newest - BUCKETS]:
                self.used -= self._buckets.pop(number)


class RateCell:
    """A bucket that drains evenly: requests (GCRA) or tokens per minute or hour.

    The level is in units of a `_unit`-th of a request or token, of which `amount` drain in a microsecond: nothing is
    ever rounded. It stays within 2**53, so that every store can count it.
    """

    __slots__ = ("_capacity", "_unit", "amount", "at", "index", "level", "limit", "scope")

    def __init__(self, scope: str, limit: Limit, now: int) -> None:
        self.scope = scope
        self.index = DIMENSIONS.index(limit.dimension)
        self.limit = limit
        self.amount = limit.amount
        self.level = 0
        self.at = now
        self._unit = limit.seconds * SECOND
        self._capacity = limit.burst * self._unit

    def change(self, limit: Limit, now: int) -> None:
        """Take another rate and burst. The level stays."""
        self._drain(now)
        self.limit = limit
        self.amount = limit.amount
        self._capacity = limit.burst * self._unit

    def room(self, now: int) -> int:
        """How much could be let in at once; below 0 while there is debt."""
        elapsed = now - self.at
        if elapsed > 0:  # as `_drain` does: every request comes by here, for each rate on its path
            level = self.level - elapsed * self.amount
            self.level = 0
            if level > 0:
                self.level = level
            self.at = now
        return (self._capacity - self.level) // self._unit

    def hold(self, cost: int, now: int) -> RateCell:
        """Pour `cost` in."""
        if now > self.at:
            self._drain(now)
        level = self.level + cost * self._unit
        if level < 0:
            level = 0
        elif level > MOST:
            level = MOST
        self.level = level
        return self

    def settle(self, held: int, actual: int, at: int) -> bool:
        """Give back what was not used, down to an empty bucket, or add what was used beyond the hold."""
        if actual != held:
            self.hold(actual - held, at)
        return False

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> bool:
        """Nothing: a late correction concerns tokens that flowed long ago."""
        return False

    def counts(self, now: int) -> tuple[int, int]:
        """The level, rounded up, and nothing held."""
        self._drain(now)
        return -(-self.level // self._unit), 0

    def marks(self) -> tuple[bool, list[Alert]]:
        """Nothing: a rate is not used up."""
        return False, []

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why `cost` is not let in, and when it will be."""
        remaining = max(0, self.room(now))
        excess = self.level + cost * self._unit - self._capacity
        larger = cost * self._unit > self._capacity
        return Refusal("spent", remaining, None if larger else -(-excess // self.amount), self.limit.burst)

    def _drain(self, now: int) -> None:
        if now > self.at:
            self.level = max(0, self.level - (now - self.at) * self.amount)
            self.at = now
