"""The leases: which are alive, when they end, and which are remembered for a repeated call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Literal, TypeAlias

from planar.quotas._calendar import SECOND
from planar.quotas._cells import Part
from planar.quotas._limits import Path, within
from planar.quotas._measures import FOREVER, Costs, Hold
from planar.types import Amount, Headroom, Lease, LeaseId, LedgerEntry

SWEEP = 16
"""How many expired leases and tombstones one operation clears away."""

TOMBSTONE = 15 * 60 * SECOND
"""How long a lease that has ended is remembered for calls that are repeated."""

HOLDS_READ = 512
"""At most so many leases are read to say when there will be room; they are the oldest."""

State: TypeAlias = Literal["active", "settled", "released", "charged", "lapsed"]


class Record:
    """One lease, as the store knows it, and what it was charged.

    An ended lease is kept as numbers rather than objects: the garbage collector walks objects, and they are many.

    Attributes:
        reserved: What was asked for at first, to tell a repeated reservation from a reused id.
        costs: What the counters took: the hold, and after the end what was charged, corrections and refunds included.
        reserved_at, booked_at: They say in which windows that counts.
        parts: What of each counter holds something; none after the end.
        state: `active`; `settled` and `released` by their verbs; after expiry `charged` or, undispatched, `lapsed`.
        charge: The first row. `answer` is the one that settling gave, `None` until the truth is known.
        nano_usd: What the rows add up to; `None` while the price is unknown.
        until: When a lease that has ended is forgotten.
    """

    __slots__ = (
        "answer",
        "booked_at",
        "charge",
        "costs",
        "deployment",
        "dispatched",
        "expires",
        "hold",
        "id",
        "nano_usd",
        "parts",
        "path",
        "refund",
        "reserved",
        "reserved_at",
        "room_for_money",
        "room_for_tokens",
        "state",
        "until",
    )

    def __init__(self, lease: Lease, path: Path, costs: Costs, parts: Sequence[Part], now: int, expires: int) -> None:
        self.id = lease.id
        self.deployment = lease.deployment
        self.reserved: Amount = lease.hold
        self.path = path
        self.costs = costs
        self.parts = parts
        self.reserved_at = now
        self.dispatched = False
        self.state: State = "active"
        self.booked_at = 0
        self.nano_usd: int | None = None
        self.charge: LedgerEntry | None = None
        self.answer: LedgerEntry | None = None
        self.refund: LedgerEntry | None = None
        self.hold: Amount = lease.hold
        self.expires = expires
        self.until = FOREVER
        self.room_for_tokens = lease.headroom.tokens
        self.room_for_money = lease.headroom.nano_usd

    def take(self, lease: Lease, expires: int) -> None:
        """Remember a later answer."""
        self.hold = lease.hold
        self.expires = expires
        self.room_for_tokens = lease.headroom.tokens
        self.room_for_money = lease.headroom.nano_usd

    def lease(self) -> Lease:
        """What was answered last."""
        return Lease(
            id=self.id,
            tenant=self.path.tenant,
            hold=self.hold,
            expires=self.expires / SECOND,
            deployment=self.deployment,
            headroom=Headroom(tokens=self.room_for_tokens, nano_usd=self.room_for_money),
        )

    def book(self, entry: LedgerEntry, costs: Costs, *, at: int) -> None:
        """Take up the first row."""
        self.charge = entry
        self.nano_usd = entry.nano_usd
        self.costs = costs
        self.booked_at = at

    def amend(self, delta: Costs, nano_usd: int | None) -> None:
        """Count a correction or a refund."""
        one, two, three, four, five, six = self.costs
        a, b, c, d, e, f = delta
        self.costs = one + a, two + b, three + c, four + d, five + e, six + f
        if nano_usd is not None:
            self.nano_usd = (self.nano_usd or 0) + nano_usd


class Leases:
    """Every lease that is alive, and for a while those that were.

    Attributes:
        wake: Before this time there is nothing to end and nothing to forget.
    """

    def __init__(self) -> None:
        self.wake = FOREVER
        self._records: dict[LeaseId, Record] = {}
        self._live: dict[str, dict[LeaseId, Record]] = {}
        self._due: list[tuple[int, LeaseId, int, Record]] = []
        self._order = 0  # of one that is in there twice: records do not compare
        self._stale = 0
        self._tombstones: deque[tuple[int, LeaseId]] = deque()

    def get(self, lease_id: LeaseId, now: int) -> Record | None:
        """The lease with this id, alive or remembered."""
        record = self._records.get(lease_id)
        return None if record is None or record.until <= now else record

    def add(self, record: Record) -> None:
        """Take up a new lease."""
        self._records[record.id] = record
        live = self._live.get(record.path.root)
        if live is None:
            live = self._live[record.path.root] = {}
        live[record.id] = record
        self._order += 1
        heappush(self._due, (record.expires, record.id, self._order, record))
        if record.expires < self.wake:
            self.wake = record.expires

    def prolong(self, record: Record) -> None:
        """Take note that a lease ends at another time now."""
        self._stale += 1
        self._order += 1
        heappush(self._due, (record.expires, record.id, self._order, record))
        self.wake = min(self.wake, record.expires)
        if self._stale > 64:
            self._compact()

    def changed(self, record: Record) -> None:
        """Nothing: the lease that was changed is the one that is kept."""

    def end(self, record: Record, *, now: int) -> None:
        """Take a lease from the living; it is remembered for a quarter of an hour."""
        del self._live[record.path.root][record.id]
        record.parts = ()
        record.until = until = now + TOMBSTONE
        self._tombstones.append((until, record.id))
        if until < self.wake:
            self.wake = until
        self._stale += 1
        if self._stale > 64:
            self._compact()

    def remember(self, record: Record, *, now: int) -> None:
        """Take up a lease that has ended already, for calls that are repeated."""
        self._records[record.id] = record
        record.until = now + TOMBSTONE
        self._tombstones.append((record.until, record.id))
        self.wake = min(self.wake, record.until)

    def next_due(self, now: int) -> Record | None:
        """Take the next lease whose time is over, of those of one time the first by its id. The caller ends it."""
        due = self._due
        while due and due[0][0] <= now:
            expires, _, _, record = heappop(due)
            if record.state == "active" and record.expires == expires:
                self._stale -= 1  # `end` will count it
                return record
            self._stale -= 1
        return None

    def forget(self, now: int) -> None:
        """Drop a few of those that were remembered long enough, and see when there is something to do again."""
        due, tombstones = self._due, self._tombstones
        for _ in range(SWEEP):
            if not tombstones or tombstones[0][0] > now:
                break
            _, lease_id = tombstones.popleft()
            record = self._records.get(lease_id)
            if record is not None and record.until <= now:  # else the id is in use again
                del self._records[lease_id]
        self.wake = min(due[0][0] if due else FOREVER, tombstones[0][0] if tombstones else FOREVER)

    def drop(self, lease_ids: Iterable[LeaseId]) -> None:
        """Forget leases that have ended, before their time: nobody can ask for what their rows said any more."""
        for lease_id in lease_ids:
            self._records.pop(lease_id, None)
        tombstones = self._tombstones
        while tombstones and tombstones[0][1] not in self._records:
            tombstones.popleft()

    def within(self, scope: str) -> Iterator[Record]:
        """The living leases of a scope and its children."""
        live = self._live.get(scope.partition("/")[0], {})
        return (record for record in live.values() if within(record.path.tenant, scope))

    def holds(self, scope: str, index: int, *, besides: Record | None) -> list[Hold]:
        """What leases of a scope hold of one dimension, first to expire first.

        At most so many are read that a flood of refusals stays cheap; they are the oldest.
        """
        records = islice((record for record in self.within(scope) if record is not besides), HOLDS_READ)
        holds = [Hold(each.expires, each.reserved_at, each.costs[index], each.dispatched) for each in records]
        return sorted(holds, key=lambda hold: hold.expires)

    def _compact(self) -> None:
        # Leases end long before their time: what the heap still knows of them must not outweigh the living.
        if self._stale * 2 > len(self._due):
            self._live = {root: live for root, live in self._live.items() if live}
            alive = [record for live in self._live.values() for record in live.values()]
            self._due = [(record.expires, record.id, 0, record) for record in alive]
            heapify(self._due)
            self._stale = 0
