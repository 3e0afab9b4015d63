"""What the engine needs of whoever keeps its limits, leases and rows: memory does, and so does a file.

What these answer belongs to the engine, which changes it in place. Those who keep it elsewhere write it there when the
engine has done what it was asked: they are told of every lease and row that changed, and know which counters a tenant's
path has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from planar.quotas._cells import Cell
from planar.quotas._limits import Path
from planar.quotas._measures import Costs, Hold
from planar.quotas._state import Record
from planar.types import LeaseId, LedgerEntry, Limit


class KeepsLimits(Protocol):
    """The limits of every scope, each with its counter."""

    def path(self, tenant: str) -> Path:
        """The counters on a tenant's path.

        Raises:
            UnknownTenantError: Not a tenant's name, or only known tenants are let in and this is none.
        """
        ...

    def cells(self, scope: str) -> tuple[Cell, ...]:
        """The counters of one scope, in the order in which its limits were given."""
        ...

    def replace(self, scope: str, limits: Sequence[Limit], *, now: int) -> tuple[Cell, ...]:
        """Set the limits of one scope, and return the counters that are new.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same dimension in the same window.
        """
        ...


class KeepsLeases(Protocol):
    """Every lease that is alive, and for a while those that were.

    Attributes:
        wake: Before this time there is nothing to end and nothing to forget.
    """

    wake: int

    def get(self, lease_id: LeaseId, now: int) -> Record | None:
        """The lease with this id, alive or remembered."""
        ...

    def add(self, record: Record) -> None:
        """Take up a new lease."""
        ...

    def prolong(self, record: Record) -> None:
        """Take note that a lease ends at another time now."""
        ...

    def changed(self, record: Record) -> None:
        """Take note that something else about a living lease is different."""
        ...

    def end(self, record: Record, *, now: int) -> None:
        """Take a lease from the living, and remember it for a quarter of an hour."""
        ...

    def remember(self, record: Record, *, now: int) -> None:
        """Take up a lease that has ended already, and remember it as long."""
        ...

    def next_due(self, now: int) -> Record | None:
        """Take the next lease whose time is over, of those of one time the first by its id. The caller ends it."""
        ...

    def forget(self, now: int) -> None:
        """Drop a few of those that were remembered long enough, and see when there is something to do again."""
        ...

    def within(self, scope: str) -> Iterable[Record]:
        """The living leases of a scope and its children."""
        ...

    def holds(self, scope: str, index: int, *, besides: Record | None) -> Sequence[Hold]:
        """What leases of a scope hold of one dimension, first to expire first; of very many the oldest."""
        ...


class Counted(Protocol):
    """What counters know of a lease that was charged."""

    @property
    def costs(self) -> Costs:
        """What it was charged, corrections and refunds included."""
        ...

    @property
    def reserved_at(self) -> int:
        """It says in which calendar windows that counts."""
        ...

    @property
    def booked_at(self) -> int:
        """It says in which rolling windows that counts."""
        ...


class KeepsLedger(Protocol):
    """The append-only book."""

    def open(self, record: Record, entry: LedgerEntry) -> None:
        """Write the first row of a lease."""
        ...

    def write(self, record: Record, entry: LedgerEntry) -> None:
        """Append a row about a lease that has one."""
        ...

    def account(self, lease_id: LeaseId) -> Record | None:
        """The lease that was charged; `None` if none was."""
        ...

    def accounts(self, scope: str) -> Iterable[Counted]:
        """The leases of a scope and its children that were charged."""
        ...
