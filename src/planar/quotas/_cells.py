"""The counters behind one limit. Whole numbers throughout; time is microseconds since the epoch.

Every cell does the same things: say how much `room` there is; `hold` some of it (after `room`, with the same `now`),
which gives the part of the cell in which the truth is put in place of the hold; and where there was no room, say when
there will be. Whoever puts the truth there is told whether there is something to tell of it: then `marks` says what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from planar.errors import ConfigurationError
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._windows import ChildCell, ChildSpan, Span, WindowCell
from planar.types import Alert, Limit, TenantPath

Cell: TypeAlias = WindowCell | RollingCell | RateCell
"""The counter of one limit."""

Seen: TypeAlias = Cell | ChildCell
"""A counter as a tenant sees it."""

Part: TypeAlias = Span | ChildSpan | RollingCell | RateCell
"""Where one lease has its hold of a cell: to be extended, and settled, where it was reserved."""


def cell_of(part: Part) -> Cell:
    """The cell that a part belongs to."""
    if isinstance(part, ChildSpan):
        return part.span.cell
    return part.cell if isinstance(part, Span) else part


def review(part: Part) -> None:
    """See anew what there is to tell of a part: the limit has changed, which a window that is over does not notice."""
    if isinstance(part, Span | ChildSpan):
        (part.span if isinstance(part, ChildSpan) else part).watch()


def seen_by(tenant: TenantPath, cell: Cell) -> Seen:
    """The cell as a tenant sees it: one that is below the cell's scope may have only a share of it."""
    if cell.limit.share is None or tenant == cell.scope or not isinstance(cell, WindowCell):
        return cell
    depth = cell.scope.count("/") + 1
    return ChildCell(cell, tenant.scopes[depth])


def marks_of(counted: Sequence[Seen | Part]) -> tuple[bool, tuple[Alert, ...]]:
    """What has to be told of those in which something was used: overdrawn at their tenant's cost, and alerts."""
    marks = [each.marks() for each in counted]
    return any(overdrawn for overdrawn, _ in marks), tuple(alert for _, alerts in marks for alert in alerts)


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
