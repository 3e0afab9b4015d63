"""Who gets a scarce place next: weighted turns between tenants, first come first served within one. Reads no clock."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")
NoRoom: TypeAlias = Literal["busy", "full", "tenant_full"]
"""No place is free, and: the asker may not wait; the queue is full; the tenant's share of it is."""

_THOUSANDTHS = 1000
_TURN = 2**64
"""A turn at a weight of a thousandth, in ticks of the fair clock. Ticks are whole, so that months of them add up."""
_REMEMBERED = 8
"""A new measurement counts for an eighth of the mean."""


class Ticket(Generic[T]):
    """A request that has a place, or waits for one. Made by `FairPlaces.ask`.

    Attributes:
        state: `waiting`, `placed`, or `gone` once it has left.
        since: When it got its place, where known.
    """

    __slots__ = ("owner", "since", "state", "tenant")

    def __init__(self, tenant: str, owner: T) -> None:
        self.tenant = tenant
        self.owner = owner
        self.state: Literal["waiting", "placed", "gone"] = "waiting"
        self.since: float | None = None


class _Line(Generic[T]):
    """What one tenant has waiting.

    Attributes:
        start: On the fair clock: from when on the oldest of them is due.
        entry: The number of its entry among the heads; older ones are out of date.
    """

    __slots__ = ("entry", "start", "tenant", "tickets", "weight")

    def __init__(self, tenant: str, weight: int, start: int) -> None:
        self.tenant = tenant
        self.weight = weight
        self.start = start
        self.entry = 0
        self.tickets: OrderedDict[Ticket[T], None] = OrderedDict()  # the oldest goes first, and any may leave

    @property
    def end(self) -> int:
        """By when the oldest has had its turn, if every tenant gets exactly its share."""
        return self.start + _TURN // self.weight


_Heads: TypeAlias = list[tuple[int, int, _Line[T]]]


class FairPlaces(Generic[T]):
    """A number of places, and a bounded queue for them in which every tenant has its share.

    A fair clock runs at the pace at which every waiting tenant would be served if turns could be cut into slices: a
    tenant of weight 2 gets twice the slices of one of weight 1. Each turn goes to the one whose slices would have made
    a whole turn first, among those whose turn would have begun. So whoever keeps waiting is never a turn ahead of its
    share, nor a turn behind it for as long as the same tenants wait. Nobody starves, however many others come and go.

    A turn is a request, however long it keeps its place. A place that is free while nobody waits is given away and
    held against nobody. Every step takes time that grows with the logarithm of the number of waiting tenants.

    `now` is always seconds on one monotonic clock. Not thread-safe: the owner holds a lock.

    Args:
        places: How many may be taken at a time.
        length: Most requests that may wait.
        per_tenant: Most requests of one tenant that may wait.
        weights: By tenant, in thousandths; of a tenant that is not there, 1.
    """

    def __init__(
        self, places: int, *, length: int, per_tenant: int, weights: Mapping[str, float] | None = None
    ) -> None:
        self._places = places
        self._length = length
        self._per_tenant = per_tenant
        self._weights = {tenant: max(1, round(weight * _THOUSANDTHS)) for tenant, weight in (weights or {}).items()}
        self._clock = 0
        self._lines: dict[str, _Line[T]] = {}
        self._weight = 0  # of all that wait
        self._due: _Heads[T] = []  # by when they should have had their turn
        self._later: _Heads[T] = []  # by when their turn begins
        self._entries = 0
        self._ahead: dict[str, int] = {}  # who was served lately and does not wait: until when that was its share
        self._forget: list[tuple[int, str]] = []
        self._held: float | None = None
        self.taken = 0
        self.waiting = 0

    # -- asking and leaving --------------------------------------------------------------------

    def ask(self, tenant: str, owner: T, now: float | None, *, may_wait: bool = True) -> Ticket[T] | NoRoom:
        """Take a place, or the last place in the tenant's line; or say why there is neither."""
        ticket = Ticket(tenant, owner)
        if self.taken < self._places:
            # Whoever waits has been given a place as soon as there was one: nobody is overtaken here.
            self._take(ticket, now)
            return ticket
        if not may_wait:
            return "busy"
        line = self._lines.get(tenant)
        if line is not None and len(line.tickets) >= self._per_tenant:
            return "tenant_full"
        if self.waiting >= self._length:
            return "full"
        if line is None:
            line = self._open(tenant)
        line.tickets[ticket] = None
        self.waiting += 1
        return ticket

    def leave(self, ticket: Ticket[T], now: float | None) -> list[Ticket[T]]:
        """Give the place back, or leave the queue. A second time changes nothing.

        Args:
            now: `None` where nobody can tell: then the time that the place was held is not learned from.

        Returns:
            Those that have a place now: whoever owns them waits to be told.
        """
        state, ticket.state = ticket.state, "gone"
        if state == "waiting":
            self._withdraw(ticket)
        elif state == "placed":
            self.taken -= 1
            if now is not None and ticket.since is not None:
                self._learn(max(0.0, now - ticket.since))
        return self._serve(now)

    def close(self) -> list[Ticket[T]]:
        """Send away everybody who waits; those that have a place keep it. Returns who was sent away."""
        away = [ticket for line in self._lines.values() for ticket in line.tickets]
        for ticket in away:
            ticket.state = "gone"
        self.waiting = 0
        self._lines.clear()
        self._rest()
        return away

    def wait(self, tenant: str) -> float | None:
        """About how many seconds pass until this tenant's line is one shorter; `None` while nothing was measured."""
        if self._held is None:
            return None
        line = self._lines.get(tenant)
        weight = self._weight_of(tenant)
        everybody = self._weight if line is not None else self._weight + weight
        return self._held / self._places * everybody / weight

    def turn(self) -> float | None:
        """About how many seconds pass until the whole queue is one shorter; `None` while nothing was measured."""
        return None if self._held is None else self._held / self._places

    # -- turns ---------------------------------------------------------------------------------

    def _serve(self, now: float | None) -> list[Ticket[T]]:
        placed: list[Ticket[T]] = []
        while self.waiting and self.taken < self._places:
            line = self._next()
            ticket, _ = line.tickets.popitem(last=False)
            self.waiting -= 1
            self._take(ticket, now)
            placed.append(ticket)
            self._clock += _TURN // self._weight
            line.start = line.end
            if line.tickets:
                self._enter(line)
            else:
                self._close(line)
        return placed

    def _take(self, ticket: Ticket[T], now: float | None) -> None:
        self.taken += 1
        ticket.state = "placed"
        ticket.since = now

    def _next(self) -> _Line[T]:
        """Whose turn it is. Its entry among the heads is used up."""
        later, due = self._later, self._due
        while True:
            while later and (later[0][0] <= self._clock or _is_old(later[0])):
                head = heapq.heappop(later)
                if not _is_old(head):
                    heapq.heappush(due, (head[2].end, head[1], head[2]))
            while due:
                head = heapq.heappop(due)
                if not _is_old(head):
                    return head[2]
            self._clock = later[0][0]  # nobody's turn has begun: the clock goes on to the first that does

    def _open(self, tenant: str) -> _Line[T]:
        line = _Line[T](tenant, self._weight_of(tenant), max(self._clock, self._ahead.pop(tenant, 0)))
        self._lines[tenant] = line
        self._weight += line.weight
        self._enter(line)
        return line

    def _enter(self, line: _Line[T]) -> None:
        self._entries += 1
        line.entry = self._entries
        heapq.heappush(self._later, (line.start, line.entry, line))

    def _withdraw(self, ticket: Ticket[T]) -> None:
        line = self._lines[ticket.tenant]
        del line.tickets[ticket]
        self.waiting -= 1
        if not line.tickets:
            self._close(line)

    def _close(self, line: _Line[T]) -> None:
        """Nobody of this tenant waits any more. What it had beyond its share is remembered for as long as it was."""
        line.entry = 0
        del self._lines[line.tenant]
        self._weight -= line.weight
        if not self._lines:
            self._rest()
            return
        if line.start > self._clock:
            self._ahead[line.tenant] = line.start
            heapq.heappush(self._forget, (line.start, line.tenant))
        while self._forget and self._forget[0][0] <= self._clock:
            until, tenant = heapq.heappop(self._forget)
            if self._ahead.get(tenant) == until:
                del self._ahead[tenant]
        self._tidy()

    def _rest(self) -> None:
        """Nobody waits, so nobody is ahead of anybody."""
        self._clock = self._weight = 0
        self._due.clear()
        self._later.clear()
        self._ahead.clear()
        self._forget.clear()

    def _tidy(self) -> None:
        """Throw out what is out of date once there is more of it than of the rest."""
        if len(self._due) + len(self._later) > 2 * len(self._lines) + 16:
            self._due = [head for head in self._due if not _is_old(head)]
            self._later = [head for head in self._later if not _is_old(head)]
            heapq.heapify(self._due)
            heapq.heapify(self._later)
        if len(self._forget) > 2 * len(self._ahead) + 16:
            self._forget = [(until, tenant) for tenant, until in self._ahead.items()]
            heapq.heapify(self._forget)

    def _weight_of(self, tenant: str) -> int:
        return self._weights.get(tenant, _THOUSANDTHS)

    def _learn(self, seconds: float) -> None:
        self._held = seconds if self._held is None else self._held + (seconds - self._held) / _REMEMBERED


def _is_old(head: tuple[int, int, _Line[T]]) -> bool:
    return head[1] != head[2].entry
