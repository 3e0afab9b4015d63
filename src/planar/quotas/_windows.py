"""Budgets per calendar period or for ever, and what a child may hold of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planar.quotas._calendar import SECOND, period, zone
from planar.quotas._measures import DIMENSIONS, FOREVER, Hold, Holds, Refusal, bound_of, threshold, wait_for
from planar.types import Alert, Limit


class Span:
    """What was used and is held in one window. A lease keeps the one it was reserved in for as long as it lives."""

    __slots__ = ("alerted", "cell", "children", "end", "held", "index", "notable", "start", "used")

    def __init__(self, cell: WindowCell, start: int, end: int) -> None:
        self.cell = cell
        self.index = cell.index
        self.start = start
        self.end = end
        self.used = 0
        self.held = 0
        self.children: dict[str, int] = {}
        """What each child holds, where the limit has a share."""
        self.alerted = 0
        self.watch()

    def watch(self) -> None:
        """See from where on there is something to tell of what is used: `notable`."""
        limit = self.cell.limit
        coming = [threshold(limit, percent) for percent in limit.alerts if percent > self.alerted]
        if limit.overage == "pay":
            coming.append(limit.amount + 1)
        self.notable = min(coming, default=FOREVER)

    def change(self, *, anew: bool) -> None:
        """The limit has changed. What has been reached by now counts as told: nobody crossed it.

        Args:
            anew: The amount is another one, of which other percentages have been told.
        """
        limit = self.cell.limit
        reached = max((each for each in limit.alerts if self.used >= threshold(limit, each)), default=0)
        self.alerted = reached if anew else max(self.alerted, reached)
        self.watch()

    def marks(self) -> tuple[bool, list[Alert]]:
        """Whether this window is overdrawn at its tenant's cost, and the percentages that were reached by now."""
        limit = self.cell.limit
        reached = [each for each in limit.alerts if each > self.alerted and self.used >= threshold(limit, each)]
        if reached:
            self.alerted = reached[-1]
            self.watch()
        since = None if self.start == -FOREVER else self.start / SECOND
        alerts = [
            Alert(
                scope=self.cell.scope,
                dimension=limit.dimension,
                window=limit.window,
                amount=limit.amount,
                since=since,
                percent=percent,
            )
            for percent in reached
        ]
        return limit.overage == "pay" and self.used > limit.amount, alerts

    def room(self, now: int) -> int:
        """How much could be held in this window, even if it has ended."""
        return self.cell.bound - self.used - self.held

    def hold(self, cost: int, now: int) -> None:
        """Hold more."""
        self.held += cost

    def settle(self, held: int, actual: int, at: int) -> bool:
        """Replace a hold with what was used. Whether there is something to tell of it."""
        self.held -= held
        self.used += actual
        return self.used >= self.notable and actual > 0

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why there is no room for `cost` beside the `own` hold. `holds` are those of others."""
        amount = self.cell.amount
        remaining = max(0, amount - self.used - self.held)
        if own + cost > amount:
            return Refusal("spent", remaining, None, amount)
        if self.used + own + cost > amount:
            return Refusal("spent", remaining, self._ends(now), amount)
        wait = self._freed(holds(self.cell.scope), self.used + self.held + cost - amount, now)
        return Refusal("busy", remaining, wait, amount)

    def share(self, used: int) -> int:
        """What one child may hold when so much is used."""
        percent = self.cell.limit.share
        assert percent is not None
        return max(0, self.cell.amount - used) * percent // 100

    def share_refusal(self, child: str, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why there is no room for `cost` in the share of a child, beside the `own` hold."""
        share, whole, held = self.share(self.used), self.share(0), self.children.get(child, 0)
        remaining = max(0, share - held)
        if own + cost > whole:
            return Refusal("spent", remaining, None, whole, child)
        if own + cost > share:
            return Refusal("spent", remaining, self._ends(now), whole, child)
        return Refusal("busy", remaining, self._freed(holds(child), held + cost - share, now), whole, child)

    def _ends(self, now: int) -> int | None:
        return self.end - now if now < self.end < FOREVER else None

    def _freed(self, holds: Sequence[Hold], short: int, now: int) -> int:
        freed = [(hold.expires, hold.amount) for hold in holds if self.start <= hold.reserved_at < self.end]
        wait, ends = wait_for(freed, short, now), self._ends(now)
        return wait if ends is None else min(wait, ends)


class WindowCell:
    """A budget per calendar period or for ever, or a number of requests at the same time.

    Concurrency is a window that never ends, in which a request holds one place and in the end has used none.
    """

    __slots__ = ("_bounds", "amount", "bound", "index", "limit", "scope", "span")

    def __init__(self, scope: str, limit: Limit, now: int) -> None:
        self.scope = scope
        self.index = DIMENSIONS.index(limit.dimension)
        self.limit = limit
        self.amount = limit.amount
        self.bound = bound_of(limit)
        self._bounds = _bounds(limit)
        self.span = Span(self, *self._bounds(now))

    def change(self, limit: Limit, now: int) -> None:
        """Take another amount or policy. What is used and held stays."""
        anew = limit.amount != self.amount
        self.limit = limit
        self.amount = limit.amount
        self.bound = bound_of(limit)
        self.span.change(anew=anew)

    def room(self, now: int) -> int:
        """How much could be held; below 0 where more is used than there is."""
        span = self.span
        if now >= span.end:
            span = self._open(now)
        return self.bound - span.used - span.held

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

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> bool:
        """Correct what a lease used, if its window is still the current one. Whether there is something to tell."""
        if now >= self.span.end:
            self._open(now)
        return reserved_at >= self.span.start and self.span.settle(0, delta, now)

    def marks(self) -> tuple[bool, list[Alert]]:
        """As of the current window."""
        return self.span.marks()

    def counts(self, now: int) -> tuple[int, int]:
        """What is used and what is held in the current window."""
        if now >= self.span.end:
            self._open(now)
        return self.span.used, self.span.held

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why the current window has no room for `cost`."""
        return self.span.refusal(cost, own, now, holds)

    def _open(self, now: int) -> Span:
        self.span = Span(self, *self._bounds(now))
        return self.span


class ChildSpan:
    """What a child holds in a window of which it may have only a share."""

    __slots__ = ("child", "index", "span")

    def __init__(self, span: Span, child: str) -> None:
        self.span = span
        self.child = child
        self.index = span.index

    def room(self, now: int) -> int:
        """How much the child could hold in this window, even if it has ended."""
        span = self.span
        return min(span.room(now), span.share(span.used) - span.children.get(self.child, 0))

    def hold(self, cost: int, now: int) -> None:
        """Hold more."""
        self.span.held += cost
        if cost:
            self.span.children[self.child] = self.span.children.get(self.child, 0) + cost

    def settle(self, held: int, actual: int, at: int) -> bool:
        """Replace a hold with what was used. Whether there is something to tell of it."""
        children = self.span.children
        left = children.get(self.child, 0) - held
        if left:
            children[self.child] = left
        else:
            children.pop(self.child, None)
        return self.span.settle(held, actual, at)

    def marks(self) -> tuple[bool, list[Alert]]:
        """As of the window."""
        return self.span.marks()

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why there is no room for `cost`: the one of limit and share that takes longer, of equals the limit."""
        span, child = self.span, self.child
        refusals = [span.refusal(cost, own, now, holds)] if span.room(now) < cost else []
        if span.share(span.used) - span.children.get(child, 0) < cost:
            refusals.append(span.share_refusal(child, cost, own, now, holds))
        return max(refusals, key=lambda refusal: FOREVER if refusal.wait is None else refusal.wait)


class ChildCell:
    """A cell as one child sees it, that may hold only a share of it."""

    __slots__ = ("amount", "cell", "child", "index", "limit", "scope")

    def __init__(self, cell: WindowCell, child: str) -> None:
        self.cell = cell
        self.child = child
        self.scope = cell.scope
        self.index = cell.index
        self.limit = cell.limit
        self.amount = cell.amount

    def room(self, now: int) -> int:
        """How much the child could hold."""
        self.cell.room(now)
        return ChildSpan(self.cell.span, self.child).room(now)

    def hold(self, cost: int, now: int) -> ChildSpan:
        """Hold `cost` in the current window."""
        part = ChildSpan(self.cell.span, self.child)
        part.hold(cost, now)
        return part

    def adopt(self, cost: int, reserved_at: int, now: int) -> ChildSpan:
        """Hold `cost` for a lease that is older than this cell."""
        part = ChildSpan(self.cell.adopt(0, reserved_at, now), self.child)
        part.hold(cost, now)
        return part

    def amend(self, delta: int, reserved_at: int, booked_at: int, now: int) -> bool:
        """As the cell itself."""
        return self.cell.amend(delta, reserved_at, booked_at, now)

    def marks(self) -> tuple[bool, list[Alert]]:
        """As the cell itself."""
        return self.cell.marks()

    def refusal(self, cost: int, own: int, now: int, holds: Holds) -> Refusal:
        """Why there is no room for `cost`."""
        return ChildSpan(self.cell.span, self.child).refusal(cost, own, now, holds)


def _bounds(limit: Limit) -> Callable[[int], tuple[int, int]]:
    kind = limit.window
    if kind == "day" or kind == "week" or kind == "month":
        tz = zone(limit.tz)
        return lambda now: period(kind, tz, now)
    return lambda now: (-FOREVER, FOREVER)
