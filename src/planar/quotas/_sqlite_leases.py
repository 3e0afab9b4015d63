"""The leases and the book of a file: read when a verb asks for them, written back where they have changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from planar.errors import StoreError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import Part, cell_of
from planar.quotas._codec import entry_from_dict, entry_to_dict, from_json, to_json
from planar.quotas._limits import Path
from planar.quotas._measures import FOREVER, Costs, Hold
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._sqlite_cells import FiledLimits, below, span_of, standing_of
from planar.quotas._state import HOLDS_READ, SWEEP, TOMBSTONE, Record
from planar.quotas._windows import ChildSpan, Span, WindowCell
from planar.types import Amount, Headroom, Lease, LeaseId, LedgerEntry

_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(separators=(",", ":")).encode
_KEPT = 10_000
_COLUMNS = "id, tenant, deployment, state, dispatched, reserved_at, booked_at, input, output, nano, row, facts"
_WRITE = (
    "INSERT INTO leases (id, tenant, root, deployment, state, ends, until, reserved_at, booked_at, dispatched, input,"
    " output, nano, row, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " state = excluded.state, ends = excluded.ends, until = excluded.until, booked_at = excluded.booked_at,"
    " dispatched = excluded.dispatched, input = excluded.input, output = excluded.output, nano = excluded.nano,"
    " row = ifnull(excluded.row, row), facts = excluded.facts"
)
_COST = ("1", "input", "output", "input + output", "nano", "1")
_INSIDE = "(tenant = ? OR (tenant > ? AND tenant < ?))"
ROW = "lease, kind, tenant, deployment, input, output, nano, time, more"
"""The columns of which `entry_of` makes a ledger row."""
_IN_COLUMNS = frozenset(
    ("lease_id", "kind", "tenant", "deployment", "input_tokens", "output_tokens", "nano_usd", "time")
)


class FiledLeases:
    """Every lease in a file. Implements what the engine needs of them.

    Attributes:
        wake: Before this time there is nothing to end and nothing to forget.
        dirty: Something in the file is about to change.
    """

    def __init__(self, connection: sqlite3.Connection, limits: FiledLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._records: dict[LeaseId, Record] = {}
        self._changed: dict[LeaseId, Record] = {}
        self._usual: set[LeaseId] = set()
        self._rows: dict[LeaseId, int] = {}
        self._missing: LeaseId | None = None
        self.wake = FOREVER
        self.dirty = False

    def begin(self, *, wake: int, current: bool) -> None:
        """A transaction begins, in which nothing has changed yet.

        Args:
            wake: As it stands in the file.
            current: Nobody else has written since the last one, so what was read is still true.
        """
        self.wake = wake
        self.dirty = False
        self._missing = None
        if not current or len(self._records) > _KEPT:
            self._records.clear()
            self._usual.clear()

    def get(self, lease_id: LeaseId, now: int) -> Record | None:
        """The lease with this id, alive or remembered."""
        record = self.find(lease_id)
        return None if record is None or record.until <= now else record

    def find(self, lease_id: LeaseId) -> Record | None:
        """The lease with this id, if only as an account of what it was charged."""
        record = self._changed.get(lease_id) or self._records.get(lease_id)
        if record is not None:
            self._limits.touch(record.path.tenant)
            return record
        if lease_id == self._missing:  # the engine looks twice: for the lease, and for its account
            return None
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM leases WHERE id = ?", (lease_id,)).fetchone()
        if row is None:
            self._missing = lease_id
            return None
        return self._restored(row)

    def add(self, record: Record) -> None:
        """Take up a new lease."""
        self._records[record.id] = record
        self._usual.add(record.id)
        self.prolong(record)

    def prolong(self, record: Record) -> None:
        """Take note that a lease ends at another time now."""
        self.changed(record)
        self.wake = min(self.wake, record.expires)

    def changed(self, record: Record) -> None:
        """Take note that something about a lease is different."""
        self._changed[record.id] = record
        self._missing = None
        self.dirty = True

    def charged(self, record: Record, row: int) -> None:
        """Take note of the first row of a lease."""
        self._rows[record.id] = row
        self.changed(record)

    def end(self, record: Record, *, now: int) -> None:
        """Take a lease from the living, and remember it for a quarter of an hour."""
        record.parts = ()
        record.until = now + TOMBSTONE
        self.changed(record)
        self.wake = min(self.wake, record.until)

    def remember(self, record: Record, *, now: int) -> None:
        """Take up a lease that has ended already, and remember it as long."""
        record.until = now + TOMBSTONE
        self.changed(record)

    def next_due(self, now: int) -> Record | None:
        """Take the next lease whose time is over, of those of one time the first by its id. The caller ends it."""
        if now < self.wake:
            return None
        self.flush()
        query = "SELECT id FROM leases WHERE ends <= ? ORDER BY ends, id LIMIT 1"
        row = self._connection.execute(query, (now,)).fetchone()
        return None if row is None else self.find(row[0])

    def forget(self, now: int) -> None:
        """Drop a few of those that were remembered long enough, and see when there is something to do again."""
        self.flush()
        query = "SELECT id FROM leases WHERE until <= ? ORDER BY until LIMIT ?"
        over = self._connection.execute(query, (now, SWEEP)).fetchall()
        if over:
            self._connection.executemany("DELETE FROM leases WHERE id = ?", over)
            for (lease_id,) in over:
                self._records.pop(lease_id, None)
            self.dirty = True
        [ends] = self._connection.execute("SELECT min(ends) FROM leases WHERE ends IS NOT NULL").fetchone()
        [until] = self._connection.execute("SELECT min(until) FROM leases WHERE until IS NOT NULL").fetchone()
        self.wake = min(FOREVER if ends is None else ends, FOREVER if until is None else until)

    def within(self, scope: str) -> list[Record]:
        """The living leases of a scope and its children."""
        self.flush()
        query = (
            f"SELECT {_COLUMNS} FROM leases WHERE ends IS NOT NULL AND root = ? AND {_INSIDE} ORDER BY reserved_at, id"
        )
        rows = self._connection.execute(query, (scope.partition("/")[0], scope, *below(scope))).fetchall()
        return [self._records.get(row[0]) or self._restored(row) for row in rows]

    def holds(self, scope: str, index: int, *, besides: Record | None) -> list[Hold]:
        """What leases of a scope hold of one dimension, first to expire first; of very many the oldest."""
        self.flush()
        query = (
            f"SELECT ends, reserved_at, {_COST[index]}, dispatched FROM leases WHERE ends IS NOT NULL AND root = ?"
            f" AND {_INSIDE} AND id <> ? ORDER BY reserved_at, id LIMIT ?"
        )
        other = "" if besides is None else besides.id
        bounds = (scope.partition("/")[0], scope, *below(scope), other, HOLDS_READ)
        rows = self._connection.execute(query, bounds)
        holds = [Hold(ends, reserved_at, amount, bool(dispatched)) for ends, reserved_at, amount, dispatched in rows]
        return sorted(holds, key=lambda hold: hold.expires)

    def oldest(self, root: str) -> int:
        """When the oldest living lease of a root was reserved."""
        self.flush()
        query = "SELECT min(reserved_at) FROM leases WHERE ends IS NOT NULL AND root = ?"
        [reserved_at] = self._connection.execute(query, (root,)).fetchone()
        return FOREVER if reserved_at is None else reserved_at

    def flush(self) -> None:
        """Write what has changed."""
        if self._limits.replaced:
            self._usual.clear()
        for lease_id, record in self._changed.items():
            self._connection.execute(_WRITE, self._row(record))
            if record.state != "active":
                self._records.pop(lease_id, None)
                self._usual.discard(lease_id)
        self._changed.clear()
        self._rows.clear()

    def _row(self, record: Record) -> tuple[Any, ...]:
        reserved, hold, costs = record.reserved, record.hold, record.costs
        alive = record.state == "active"
        now_held = "null" if hold is reserved else _amount_text(hold)
        unusual = "null" if not alive or record.id in self._usual else _encode(self._unusual(record))
        facts = (
            f"[{record.expires},{record.until},{_text(record.nano_usd)},{_amount_text(reserved)},{now_held},"
            f"{_text(record.room_for_tokens)},{_text(record.room_for_money)},{unusual}]"
        )
        return (
            record.id,
            str(record.path.tenant),
            record.path.root,
            record.deployment,
            record.state,
            min(record.expires, FOREVER) if alive else None,
            record.until if record.state in ("released", "lapsed") else None,
            record.reserved_at,
            record.booked_at,
            record.dispatched,
            costs[1],
            costs[2],
            costs[4],
            self._rows.get(record.id),
            facts,
        )

    def _restored(self, row: Sequence[Any]) -> Record:
        lease_id, tenant, deployment, state, dispatched, reserved_at, booked_at, *costs_and_row, text = row
        tokens_in, tokens_out, nano, first_row = costs_and_row
        expires, until, nano_usd, reserved, hold, tokens, money, unusual = _decode(text)
        path = self._limits.path(tenant)
        first = Amount(input_tokens=reserved[0], output_tokens=reserved[1], nano_usd=reserved[2])
        lease = Lease(
            id=LeaseId(lease_id),
            tenant=path.tenant,
            hold=first,
            expires=expires / SECOND,
            deployment=deployment,
            headroom=Headroom(tokens=tokens, nano_usd=money),
        )
        alive = state == "active"
        costs: Costs = (1, tokens_in, tokens_out, tokens_in + tokens_out, nano, int(alive))
        record = Record(lease, path, costs, (), reserved_at, expires)
        if hold is not None:
            record.hold = Amount(input_tokens=hold[0], output_tokens=hold[1], nano_usd=hold[2])
        record.state = state
        record.dispatched = bool(dispatched)
        record.booked_at = booked_at
        record.nano_usd = nano_usd
        record.until = until
        if alive:
            parts = self._usual_parts(path, reserved_at) if unusual is None else self._parts(path, unusual)
            if parts is None:
                raise StoreError(f"the windows are missing in which lease {lease_id} was reserved")
            record.parts = parts
            self._records[record.id] = record
        elif state != "released" and state != "lapsed":
            self._read_rows(record, first_row)
        return record

    def _read_rows(self, record: Record, first: int) -> None:
        query = (
            f"SELECT {ROW} FROM ledger WHERE number = ? OR (lease = ? AND kind IN ('correction', 'refund'))"
            " ORDER BY number"
        )
        for row in self._connection.execute(query, (first, record.id)):
            entry = entry_of(row)
            if entry.kind == "refund":
                record.refund = entry
            else:
                record.charge = record.charge or entry
                record.answer = None if entry.kind == "expired" else entry

    # --- Parts: where a lease has its hold of each counter ---------------------------------------

    def _usual_parts(self, path: Path, reserved_at: int) -> list[Part] | None:
        """Those of a lease that was reserved under the limits of today: in the windows of that time."""
        parts: list[Part] = []
        for seen, _ in path.budgets:
            if isinstance(seen, RateCell | RollingCell):
                parts.append(seen)
                continue
            span = self._span(seen if isinstance(seen, WindowCell) else seen.cell, reserved_at)
            if span is None:
                return None
            parts.append(span if isinstance(seen, WindowCell) else ChildSpan(span, seen.child))
        return parts

    def _unusual(self, record: Record) -> list[Any] | None:
        """The parts as plain data, unless they are the usual ones."""
        if self._are_usual(record):
            return None
        depths = {scope: depth for depth, scope in enumerate(record.path.tenant.scopes)}
        return [self._plain(part, depths) for part in record.parts]

    def _are_usual(self, record: Record) -> bool:
        usual = self._usual_parts(self._limits.path(record.path.tenant), record.reserved_at)
        return usual is not None and len(usual) == len(record.parts) and all(map(_same_part, usual, record.parts))

    def _plain(self, part: Part, depths: dict[str, int]) -> list[Any]:
        cell = cell_of(part)
        plain: list[Any] = [depths[cell.scope], self._limits.cells(cell.scope).index(cell)]
        if isinstance(part, RateCell | RollingCell):
            return plain
        span, child = (part.span, part.child) if isinstance(part, ChildSpan) else (part, None)
        assert isinstance(cell, WindowCell)
        kept = self._limits.scope(cell.scope)
        shared = kept is not None and kept.span_at(cell, span.start) is span
        return [*plain, child, span.start if shared else standing_of(span)]

    def _parts(self, path: Path, unusual: Sequence[Sequence[Any]]) -> list[Part] | None:
        scopes = path.tenant.scopes
        parts: list[Part] = []
        for plain in unusual:
            depth: int = plain[0]
            position: int = plain[1]
            cell = self._limits.cells(scopes[depth])[position]
            if not isinstance(cell, WindowCell):
                parts.append(cell)
                continue
            child, start = plain[2:]
            # One that is written here was never the scope's: the lease is older than the limit.
            span = self._span(cell, start) if isinstance(start, int) else span_of(cell, start)
            if span is None:
                return None
            parts.append(span if child is None else ChildSpan(span, child))
        return parts

    def _span(self, cell: WindowCell, at: int) -> Span | None:
        kept = self._limits.scope(cell.scope)
        return None if kept is None else kept.span_at(cell, at)


def _text(number: int | None) -> str:
    return "null" if number is None else str(number)


def _amount_text(amount: Amount) -> str:
    return f"[{amount.input_tokens},{amount.output_tokens},{_text(amount.nano_usd)}]"


def _same_part(one: Part, other: Part) -> bool:
    if isinstance(one, ChildSpan) and isinstance(other, ChildSpan):
        return one.span is other.span and one.child == other.child
    return one is other


@dataclass(frozen=True, slots=True)
class Account:
    """What counters know of a lease that was charged."""

    costs: Costs
    reserved_at: int
    booked_at: int


class FiledLedger:
    """The append-only book in a file. Implements what the engine needs of it."""

    def __init__(self, connection: sqlite3.Connection, leases: FiledLeases) -> None:
        self._connection = connection
        self._leases = leases

    def open(self, record: Record, entry: LedgerEntry) -> None:
        """Write the first row of a lease."""
        self._leases.charged(record, self._append(entry))

    def write(self, record: Record, entry: LedgerEntry) -> None:
        """Append a row about a lease that has one."""
        self._leases.changed(record)
        self._append(entry)

    def account(self, lease_id: LeaseId) -> Record | None:
        """The lease that was charged; `None` if none was."""
        record = self._leases.find(lease_id)
        return None if record is None or record.charge is None else record

    def accounts(self, scope: str) -> Iterator[Account]:
        """The leases of a scope and its children that were charged."""
        self._leases.flush()
        query = (
            "SELECT input, output, nano, reserved_at, booked_at FROM leases"
            f" WHERE state IN ('settled', 'charged') AND {_INSIDE}"
        )
        for tokens_in, tokens_out, nano, *times in self._connection.execute(query, (scope, *below(scope))):
            yield Account((1, tokens_in, tokens_out, tokens_in + tokens_out, nano, 0), *times)

    def _append(self, entry: LedgerEntry) -> int:
        more = None
        if entry.usage or entry.price or entry.flags or entry.reason or entry.metadata or entry.alerts:
            written = entry_to_dict(entry)
            more = to_json({name: written[name] for name in written if name not in _IN_COLUMNS})
        written_at = self._connection.execute(
            "INSERT INTO ledger (lease, kind, tenant, root, deployment, input, output, nano, time, more)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.lease_id,
                entry.kind,
                str(entry.tenant),
                entry.tenant.partition("/")[0],
                entry.deployment,
                entry.input_tokens,
                entry.output_tokens,
                entry.nano_usd,
                entry.time,
                more,
            ),
        ).lastrowid
        assert written_at is not None
        return written_at


def entry_of(row: Sequence[Any]) -> LedgerEntry:
    """The ledger row in these columns."""
    lease_id, kind, tenant, deployment, tokens_in, tokens_out, nano_usd, time, more = row
    written = {} if more is None else from_json(more)
    written.update(
        lease_id=lease_id,
        kind=kind,
        tenant=tenant,
        deployment=deployment,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        nano_usd=nano_usd,
        time=time,
    )
    return entry_from_dict(written)
