"""What a server saw when it said no, as the engine's own counters: so that every store words a refusal alike.

A store whose counters live elsewhere decides there, in one round trip. Only where the answer is no are they rebuilt
here, from plain numbers, and asked why and until when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from planar.quotas._cells import Cell, Part, seen_by
from planar.quotas._limits import lay_out, within
from planar.quotas._measures import Costs, Hold, Refusal
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._refusals import refuse
from planar.quotas._windows import ChildCell, ChildSpan, Span, WindowCell
from planar.types import Limit, TenantPath

_NOTHING: Costs = (0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLease:
    """What one living lease holds, as a server tells it to explain a refusal."""

    tenant: TenantPath
    expires: int
    reserved_at: int
    dispatched: bool
    costs: Costs


def window_cell(
    scope: str,
    limit: Limit,
    *,
    start: int,
    end: int,
    used: int,
    held: int,
    alerted: int = 0,
    children: Mapping[str, int] | None = None,
) -> WindowCell:
    """A budget per calendar period or for ever, or concurrency, that stands in the window from `start` to `end`.

    Args:
        start, end: `-FOREVER` and `FOREVER` for a window that never ends.
        alerted: The highest percentage that was told.
        children: What each child of the scope holds, where the limit has a share.
    """
    cell = WindowCell(scope, limit, max(0, start))
    span = cell.span = Span(cell, start, end)
    span.used, span.held, span.alerted = used, held, alerted
    span.children.update(children or {})
    span.watch()
    return cell


def rolling_cell(
    scope: str, limit: Limit, *, used: int, held: int, newest: int, buckets: Mapping[int, int]
) -> RollingCell:
    """A budget over the last so many seconds, with what was used by the number of its bucket."""
    cell = RollingCell(scope, limit, 0)
    cell.restore(used=used, held=held, newest=newest, buckets=buckets)
    return cell


def rate_cell(scope: str, limit: Limit, *, level: int, at: int) -> RateCell:
    """A bucket that was at this level at that time."""
    cell = RateCell(scope, limit, at)
    cell.level = level
    return cell


def refuse_reservation(
    tenant: TenantPath, cells: Sequence[Cell], costs: Costs, *, holds: Sequence[LiveLease], now: int
) -> NoReturn:
    """Say why there is no room for `costs`.

    Args:
        cells: Those that have none, or all on the path, in the order root first; their windows contain `now`.
        holds: The living leases of the scopes that are in the way, first to expire first.

    Raises:
        QuotaExceededError: Always.
    """
    table = lay_out(tenant, cells).table
    parts = [_part_of(tenant, seen.cell if isinstance(seen, ChildCell) else seen) for seen, _ in table]
    short = [(cell, part) for cell, part in parts if part.room(now) < costs[cell.index]]
    refuse(_refusals(short, costs, _NOTHING, holds, now))


def refuse_extension(
    tenant: TenantPath, cells: Sequence[Cell], delta: Costs, *, own: Costs, holds: Sequence[LiveLease], now: int
) -> NoReturn:
    """Say why there is no room for `delta` beside the `own` hold of a lease.

    Args:
        cells: Those that have none, in the order of the lease's parts, each in the window that the lease counts in.
        holds: Those of others.

    Raises:
        QuotaExceededError: Always.
    """
    parts = [_part_of(tenant, cell) for cell in cells if delta[cell.index]]
    short = [(cell, part) for cell, part in parts if part.room(now) < delta[cell.index]]
    refuse(_refusals(short, delta, own, holds, now))


def _part_of(tenant: TenantPath, cell: Cell) -> tuple[Cell, Part]:
    if not isinstance(cell, WindowCell):
        return cell, cell
    # Not asked for its room: an old window, in which an old lease counts, would be closed by that.
    seen = seen_by(tenant, cell)
    return cell, ChildSpan(cell.span, seen.child) if isinstance(seen, ChildCell) else cell.span


def _refusals(
    short: Sequence[tuple[Cell, Part]], costs: Costs, own: Costs, holds: Sequence[LiveLease], now: int
) -> list[tuple[Cell, int, Refusal]]:
    refusals: list[tuple[Cell, int, Refusal]] = []
    for cell, part in short:
        index = cell.index
        held = partial(_holds_within, holds, index)
        refusals.append((cell, costs[index], part.refusal(costs[index], own[index], now, held)))
    return refusals


def _holds_within(leases: Sequence[LiveLease], index: int, scope: str) -> list[Hold]:
    inside = (each for each in leases if within(each.tenant, scope))
    return [Hold(each.expires, each.reserved_at, each.costs[index], each.dispatched) for each in inside]
