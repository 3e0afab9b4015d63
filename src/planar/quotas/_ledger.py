"""The append-only book."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Literal, TypeAlias

from planar.quotas._calendar import SECOND
from planar.quotas._limits import within
from planar.quotas._state import Record
from planar.types import Alert, Charge, LeaseId, LedgerEntry

_time_of = attrgetter("time")
_PRESUMED = frozenset(("estimated",))

Marks: TypeAlias = tuple[bool, tuple[Alert, ...]]
"""Whether a budget that lets its tenant pay as it goes is overdrawn, and the alerts."""
UNMARKED: Marks = (False, ())


class Ledger:
    """Rows in the order in which they were written, which is the order of their times.

    Args:
        limit: Keep only this many of the newest rows; `None` keeps all.
        forget: Called with the ids of the leases whose rows were dropped.
    """

    def __init__(self, *, limit: int | None = None, forget: Callable[[list[LeaseId]], None] | None = None) -> None:
        self._limit = limit
        self._forget = forget
        self._rows: list[LedgerEntry] = []
        self._accounts: dict[LeaseId, Record] = {}

    def open(self, record: Record, entry: LedgerEntry) -> None:
        """Write the first row of a lease."""
        self._accounts[record.id] = record
        self.write(record, entry)

    def write(self, record: Record, entry: LedgerEntry) -> None:
        """Append a row about a lease that has one."""
        self._rows.append(entry)
        if self._limit is not None and len(self._rows) >= 2 * self._limit + 16:
            self._drop(len(self._rows) - self._limit)

    def account(self, lease_id: LeaseId) -> Record | None:
        """The lease that was charged; `None` if none was, or its row has been dropped."""
        return self._accounts.get(lease_id)

    def accounts(self, scope: str) -> Iterable[Record]:
        """The leases of a scope and its children that were charged."""
        return (record for record in self._accounts.values() if within(record.path.tenant, scope))

    def between(self, since: float | None, until: float | None) -> list[LedgerEntry]:
        """A copy of the rows between two times, the end excluded."""
        first = 0 if self._limit is None else max(0, len(self._rows) - self._limit)
        if since is not None:
            first = bisect_left(self._rows, since, lo=first, key=_time_of)
        last = len(self._rows) if until is None else bisect_left(self._rows, until, lo=first, key=_time_of)
        return self._rows[first:last]

    def _drop(self, count: int) -> None:
        dropped = [entry.lease_id for entry in self._rows[:count] if entry.kind in ("settled", "expired")]
        for lease_id in dropped:
            del self._accounts[lease_id]
        if self._forget is not None:
            self._forget(dropped)
        del self._rows[:count]


def row_of(
    record: Record,
    kind: Literal["settled", "expired", "correction", "refund"],
    input_tokens: int,
    output_tokens: int,
    nano_usd: int | None,
    now: int,
    charge: Charge | None = None,
    *,
    marks: Marks = UNMARKED,
    reason: str = "",
) -> LedgerEntry:
    """A row about a lease. Without a `charge` the amounts are what was held, presumed to be spent."""
    flags: frozenset[str] = charge.flags if charge else _PRESUMED
    if marks[0]:
        flags = flags | {"overage"}
    return LedgerEntry(
        lease_id=record.id,
        kind=kind,
        tenant=record.path.tenant,
        deployment=record.deployment,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        nano_usd=nano_usd,
        time=now / SECOND,
        usage=charge.usage if charge else None,
        price=charge.price if charge else None,
        flags=flags,
        reason=reason,
        metadata=dict(charge.metadata) if charge else {},
        alerts=marks[1],
    )
