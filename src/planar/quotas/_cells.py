"""The counters behind one limit. Whole numbers throughout; time is microseconds since the epoch.

Every cell does the same things: say how much `room` there is; `hold` some of it (after `room`, with the same `now`),
which gives the part of the cell in which the truth is put in place of the hold; and where there was no room, say when
there will be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from planar.errors import ConfigurationError
from planar.quotas._calendar import SECOND, period, zone
from planar.types import Dimension, Limit

Costs: TypeAlias = tuple[int, int, int, int, int, int]
"""Of one request: requests, input tokens, output tokens, tokens, nano-USD, places among the concurrent ones."""

DIMENSIONS: tuple[Dimension, ...] = ("requests", "input_tokens", "output_tokens", "tokens", "nano_usd", "concurrency")
REQUESTS, OUTPUT, TOKENS, MONEY = 0, 2, 3, 4
FOREVER = 2**63 - 1
MOST = 2**53
"""What every store can count to without rounding."""
BUCKETS = 60


@dataclass(frozen=True, slots=True)
class Hold:
    """What one live lease holds of a cell, and until when."""

    expires: int
    reserved_at: int
    amount: int
    dispatched: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a cell has no room. `wait` is in microseconds; `None` if waiting will not help."""

    kind: Literal["spent", "busy"]
    remaining: int
    wait: int | None


class Span:
    """What was used and is held in one window. A lease keeps the one it was reserved in for as long as it lives."""

    __slots__ = ("cell", "end", "held", "index", "start", "used")

    def __init__(self, cell: WindowCell, start: int, end: int) -> None:
        self.cell = cell
        self.index = cell.index
        self.start = start
        self.end = end
        self.used = 0
        self.held = 0

    def room(self, now: int) -> int:
        """How much could be held in this window, even if it has ended."""
        return self.cell.amount - self.used - self.held

    def hold(self, cost: int, now: int) -> None:
        """Hold more."""
        self.held += cost

    def settle(self, held: int, actual: int, at: int) -> None:
        """Replace a hold with what was used."""
        self.held -= held
        self.used += actual

    def refusal(self, cost: int, own: int, now: int, holds: Sequence[Hold]) -> Refusal:
        """Why there is no room for `cost` beside the `own` hold. `holds` are those of others, first to expire first."""
        amount = self.cell.amount
        remaining = max(0, amount - self.used - self.held)
        if own + cost > amount:
            return Refusal("spent", remaining, None)
        ends = self.end - now if now < self.end < FOREVER else None
        if self.used + own + cost > amount:
            return Refusal("spent", remaining, ends)
        freed = [(hold.expires, hold.amount) for hold in holds if self.start <= hold.reserved_at < self.end]
        wait = _wait(freed, self.used + self.held + cost - amount, now)
        return Refusal("busy", remaining, wait if ends is None else min(wait, ends))


class WindowCell:
    """A budget per calendar period or for ever, or a number of requests at the same time.

    Concurrency is a window that never ends, in which a request holds one place and in the end has used none.
    """

    __slots__ = ("_bounds", "amount", "index", "limit", "scope", "span")

    def __init__(self, scope: str, limit: Limit, now: int) -> None:
        self.scope = scope
        self.index = DIMENSIONS.index(limit.dimension)
        self.limit = limit
        self.amount = limit.amount
        self._bounds = _bounds(limit)
        self.span = Span(self, *self._bounds(now))

    def change(self, limit: Limit, now: int) -> None:
        """Take another amount. What is used and held stays."""
        self.limit = limit
        self.amount = limit.amount

    def room(self, now: int) -> int:
        """How much could be held; below 0 where more is used than there is."""
        span = self.span
        if now >= span.end:
            span = self._open(now)
        return self.amount - span.used - span.held

    def hold(self, cost: int, now: int) -> Span:
        """Hold `cost` in the current window."""
        span = self.span
        span.held += cost
        return span

    def adopt(self, cost: int, reserved_at: int, now: int) -> Span:
        """Hold `cost` for a lease that is older than this cell."""
        span = self.span if reserved_at >= self.span.start else Span(self, reserved_at, self.span.start)
        span.held += cost
        return span

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> None:
        """Correct what a lease used, if its window is still the current one."""
        if now >= self.span.end:
            self._open(now)
        if reserved_at >= self.span.start:
            self.span.used += delta

    def counts(self, now: int) -> tuple[int, int]:
        """What is used and what is held in the current window."""
        if now >= self.span.end:
            self._open(now)
        return self.span.used, self.span.held

    def refusal(self, cost: int, own: int, now: int, holds: Sequence[Hold]) -> Refusal:
        """Why the current window has no room for `cost`."""
        return self.span.refusal(cost, own, now, holds)

    def _open(self, now: int) -> Span:
        self.span = Span(self, *self._bounds(now))
        return self.span


class RollingCell:
    """A budget over the last so many seconds.

    Time is cut into buckets of a 60th of the window. What was used counts for 60 whole buckets beside the one that it
    was booked in, so never for less than the window, and is forgotten a bucket at a time. What live leases hold always
    counts, and is booked when the truth is known: there is no edge on which a long stream could slip out.
    """

    __slots__ = ("_buckets", "_length", "_newest", "amount", "held", "index", "limit", "scope", "used")

    def __init__(self, scope: str, limit: Limit, now: int) -> None:
        self.scope = scope
        self.index = DIMENSIONS.index(limit.dimension)
        self.limit = limit
        self.amount = limit.amount
        self.held = 0
        self.used = 0
        self._length = limit.seconds * SECOND
        self._newest = self._bucket(now)
        self._buckets: dict[int, int] = {}

    def change(self, limit: Limit, now: int) -> None:
        """Take another amount. What is used and held stays."""
        self.limit = limit
        self.amount = limit.amount

    def room(self, now: int) -> int:
        """How much could be held; below 0 where more is used than there is."""
        if now * BUCKETS // self._length != self._newest:
            self._forget(now)
        return self.amount - self.used - self.held

    def hold(self, cost: int, now: int) -> RollingCell:
        """Hold `cost`."""
        self.held += cost
        return self

    def settle(self, held: int, actual: int, at: int) -> None:
        """Replace a hold with what was used, booked in the bucket of `at`."""
        self.held -= held
        if actual:
            self._book(actual, at)

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> None:
        """Correct what was booked at `booked_at`, if it still counts."""
        self._forget(now)
        if delta:
            self._book(delta, booked_at)

    def adopt(self, cost: int, reserved_at: int, now: int) -> RollingCell:
        """Hold `cost` for a lease that is older than this cell."""
        self.held += cost
        return self

    def counts(self, now: int) -> tuple[int, int]:
        """What was used in the window that ends now, and what is held."""
        self._forget(now)
        return self.used, self.held

    def refusal(self, cost: int, own: int, now: int, holds: Sequence[Hold]) -> Refusal:
        """Why there is no room for `cost` beside the `own` hold. `holds` are those of others, first to expire first."""
        remaining = max(0, self.amount - self.used - self.held)
        if own + cost > self.amount:
            return Refusal("spent", remaining, None)
        busy = self.used + own + cost <= self.amount
        freed = [(self._forgotten_at(number), used) for number, used in self._buckets.items()]
        for hold in holds:
            # A dispatched lease that expires is charged: it leaves the window only when its bucket does. Where holds
            # alone are in the way, that they end is what is worth waiting for, whatever becomes of them.
            charged = hold.dispatched and not busy
            at = self._forgotten_at(self._bucket(hold.expires)) if charged else hold.expires
            freed.append((at, hold.amount))
        short = self.used + self.held + cost - self.amount
        return Refusal("busy" if busy else "spent", remaining, _wait(sorted(freed), short, now))

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
        if now > self.at:
            self._drain(now)
        return (self._capacity - self.level) // self._unit

    def hold(self, cost: int, now: int) -> RateCell:
        """Pour `cost` in."""
        if now > self.at:
            self._drain(now)
        level = self.level + cost * self._unit
        self.level = 0 if level < 0 else level if level < MOST else MOST
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

    def refusal(self, cost: int, own: int, now: int, holds: Sequence[Hold]) -> Refusal:
        """Why `cost` is not let in, and when it will be."""
        remaining = max(0, self.room(now))
        excess = self.level + cost * self._unit - self._capacity
        larger = cost * self._unit > self._capacity
        return Refusal("spent", remaining, None if larger else -(-excess // self.amount))

    def _drain(self, now: int) -> None:
        if now > self.at:
            self.level = max(0, self.level - (now - self.at) * self.amount)
            self.at = now


Cell: TypeAlias = WindowCell | RollingCell | RateCell
"""The counter of one limit."""

Part: TypeAlias = Span | RollingCell | RateCell
"""Where one lease has its hold of a cell: to be extended, and settled, where it was reserved."""


def cell_of(part: Part) -> Cell:
    """The cell that a part belongs to."""
    return part.cell if isinstance(part, Span) else part


def make_cell(scope: str, limit: Limit, now: int) -> Cell:
    """The counter for one limit, empty.

    Raises:
        ConfigurationError: The limit makes no sense: a window for concurrency, none for anything else, an unknown zone.
    """
    if (limit.dimension == "concurrency") != (limit.window == "none"):
        raise ConfigurationError(f"{scope}: {limit.dimension} cannot be limited per {limit.window!r} window")
    if limit.window == "rate":
        return RateCell(scope, limit, now)
    if limit.window == "rolling":
        return RollingCell(scope, limit, now)
    return WindowCell(scope, limit, now)


def _bounds(limit: Limit) -> Callable[[int], tuple[int, int]]:
    kind = limit.window
    if kind == "day" or kind == "week" or kind == "month":
        tz = zone(limit.tz)
        return lambda now: period(kind, tz, now)
    return lambda now: (-FOREVER, FOREVER)


def _wait(freed: Sequence[tuple[int, int]], short: int, now: int) -> int:
    """Microseconds until `short` is free again; where not all is known that is in the way, until the last we know."""
    last = now
    for at, amount in freed:
        last = at
        short -= amount
        if short <= 0:
            break
    return max(0, last - now)
