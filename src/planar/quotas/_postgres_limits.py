"""Setting the limits of a scope in PostgreSQL: several statements in one transaction, behind the lock of the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from planar.quotas._calendar import SECOND
from planar.quotas._cells import Cell, make_cell
from planar.quotas._limits import LimitTable, costs_of, key_of
from planar.quotas._measures import BUCKETS, FOREVER, MONEY, OUTPUT, REQUESTS, TOKENS, bound_of
from planar.quotas._postgres_pool import Connection, Row
from planar.quotas._postgres_rows import cell_of, limit_json, limit_of
from planar.quotas._postgres_schema import Schema
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._windows import Span, WindowCell
from planar.types import Amount, Limit, TenantPath

_CELLS = """
SELECT c.id, c.scope, c.limit_json, k.id AS counter, k.start, k.until, k.used, k.held, k.alerted, k.level, k.at,
    NULL AS children, NULL AS buckets, 0 AS newest
FROM planar.cell c JOIN planar.counter k ON k.id = c.counter
WHERE c.scope = $1 ORDER BY c.place
"""
_UPDATE_CELL = """
UPDATE planar.cell SET scope = $2, place = $3, lead = $4, kind = $5, gate = $6, dimension = $7, amount = $8,
    bound = $9, unit = $10, capacity = $11, share = $12, pays = $13, alerts = $14, period = $15, notable = $16,
    limit_json = $17
WHERE id = $1
"""
_INSERT_CELL = """
INSERT INTO planar.cell (scope, place, lead, kind, gate, dimension, amount, bound, unit, capacity, share, pays, alerts,
    period, notable, limit_json, counter)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0) RETURNING id
"""
_INSERT_COUNTER = """
INSERT INTO planar.counter (cell, start, until, used, held, alerted, notable, level, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
"""
_COUNTED = """
FROM planar.ledger l
WHERE l.root = split_part($1, '/', 1) AND (l.tenant = $1 OR starts_with(l.tenant, $1 || '/'))
"""
_COST = """(ARRAY[(l.kind IN ('settled', 'expired'))::integer, l.input_tokens, l.output_tokens,
    l.input_tokens + l.output_tokens, l.counted_usd, 0])[$2::integer + 1]"""
_USED_SINCE = f"""
SELECT least(2305843009213693952, coalesce(sum({_COST}), 0))::bigint
{_COUNTED} AND l.time >= $3 AND l.reserved_at >= $3
"""
_USED_BY_BUCKET = f"""
SELECT planar.bucket_of(l.booked_at, $3) AS number, least(2305843009213693952, sum({_COST}))::bigint AS used
{_COUNTED} AND planar.bucket_of(l.booked_at, $3) >= planar.bucket_of($4, $3) - {BUCKETS}
    AND l.time >= $4 - $3 - $3 / {BUCKETS} - 1
GROUP BY 1 HAVING sum({_COST}) <> 0
"""  # nosec: no part of it comes from outside
_LIVING = """
SELECT id, tenant, input_tokens, output_tokens, nano_usd, reserved_at, parts FROM planar.lease l
WHERE l.root = split_part($1, '/', 1) AND (l.tenant = $1 OR starts_with(l.tenant, $1 || '/')) AND l.state = 'active'
ORDER BY l.reserved_at, l.id
"""


@dataclass(slots=True)
class _Fresh:
    """A counter that is new, and what the leases that live already hold of it."""

    cell: WindowCell | RollingCell
    id: int
    counter: int
    held: int = 0
    children: Counter[tuple[int, str]] = field(default_factory=Counter[tuple[int, str]])


class LimitWriter:
    """Replaces the limits of one scope as the engine does: no lease is touched, and what was counted stays counted."""

    def __init__(self, connection: Connection, schema: Schema, scope: TenantPath, *, now: int | None) -> None:
        self._connection = connection
        self._schema = schema
        self._scope = scope
        self._given_now = now
        self._now = 0

    async def replace(self, limits: Sequence[Limit]) -> None:
        """Set these limits, all or none.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing.
        """
        check_limits(self._scope, limits)
        async with self._connection.transaction():
            await self._enter()
            before = {key_of(limit_of(row["limit_json"])): row for row in await self._rows(_CELLS, self._scope)}
            keep = {key_of(limit) for limit in limits}
            removed = [row for key, row in before.items() if key not in keep]
            fresh: list[_Fresh] = []
            for place, limit in enumerate(limits):
                row = before.get(key_of(limit))
                if row is not None:
                    await self._change(row, place, limit)
                elif made := await self._make(place, limit):
                    fresh.append(made)
            if fresh or removed:
                await self._rewrite_leases(fresh, await self._drop(removed))

    async def _enter(self) -> None:
        root = self._scope.scopes[0]
        [row] = await self._rows("SELECT planar.enter($1, $2, true, false) AS at", root, self._given_now)
        self._now = row["at"]
        await self._do("UPDATE planar.tree SET known = true WHERE root = $1 AND NOT known", root)
        await self._do("SELECT planar.sweep($1, $2, NULL)", root, self._now)

    async def _change(self, row: Row, place: int, limit: Limit) -> None:
        cell = cell_of(row, limit_of(row["limit_json"]))
        cell.change(limit, self._now)
        await self._do(_UPDATE_CELL, row["id"], *_columns(cell, place))
        _, _, alerted, notable, level, at = _state(cell)
        await self._do(
            "UPDATE planar.counter SET alerted = $2, notable = $3, level = $4, at = $5 WHERE id = $1",
            row["counter"],
            alerted,
            notable,
            level,
            max(at, row["at"]),
        )
        # Windows that are over and in which a lease still counts are judged by the new limit.
        await self._do(
            "UPDATE planar.counter k SET notable = planar.notable(c.amount, c.alerts, k.alerted, c.pays)"
            " FROM planar.cell c WHERE k.cell = $1 AND c.id = k.cell AND k.id <> c.counter",
            row["id"],
        )

    async def _make(self, place: int, limit: Limit) -> _Fresh | None:
        cell = make_cell(self._scope, limit, self._now)
        columns = _columns(cell, place)  # of an empty window
        used = 0
        if isinstance(cell, WindowCell):
            [row] = await self._rows(_USED_SINCE, self._scope, cell.index, cell.span.start)
            used = cell.span.used = row[0]
            cell.change(limit, self._now)
        [made] = await self._rows(_INSERT_CELL, *columns)
        start, until, alerted, notable, level, at = _state(cell)
        [counter] = await self._rows(
            _INSERT_COUNTER, made["id"], start, until, used, 0, alerted, notable, level, max(at, self._now)
        )
        await self._do("UPDATE planar.cell SET counter = $2 WHERE id = $1", made["id"], counter["id"])
        if isinstance(cell, RollingCell):
            await self._fill(counter["id"], cell)
        return None if isinstance(cell, RateCell) else _Fresh(cell, made["id"], counter["id"])

    async def _fill(self, counter: int, cell: RollingCell) -> None:
        rows = await self._rows(_USED_BY_BUCKET, self._scope, cell.index, _unit(cell), self._now)
        await self._connection.executemany(
            self._schema.sql("INSERT INTO planar.bucket (counter, number, used) VALUES ($1, $2, $3)"),
            [(counter, row["number"], row["used"]) for row in rows],
        )

    async def _drop(self, removed: Sequence[Row]) -> frozenset[int]:
        cells = [row["id"] for row in removed]
        rows = await self._rows("SELECT id FROM planar.counter WHERE cell = ANY ($1::bigint[])", cells)
        counters = [row["id"] for row in rows]
        await self._do("SELECT planar.drop_counters($1::bigint[])", counters)
        await self._do("DELETE FROM planar.cell WHERE id = ANY ($1::bigint[])", cells)
        return frozenset(counters)

    async def _rewrite_leases(self, fresh: Sequence[_Fresh], dropped: frozenset[int]) -> None:
        changes: list[tuple[str, list[int]]] = []
        for row in await self._rows(_LIVING, self._scope):
            parts = [part for part in row["parts"] if part not in dropped]
            parts += [await self._adopt(each, row) for each in fresh]
            changes.append((row["id"], parts))
        await self._connection.executemany(
            self._schema.sql("UPDATE planar.lease SET parts = $2 WHERE id = $1"), changes
        )
        for each in fresh:
            await self._do("UPDATE planar.counter SET held = $2 WHERE id = $1", each.counter, each.held)
            await self._connection.executemany(
                self._schema.sql("INSERT INTO planar.child (counter, name, held) VALUES ($1, $2, $3)"),
                [(counter, name, held) for (counter, name), held in each.children.items() if held],
            )

    async def _adopt(self, fresh: _Fresh, row: Row) -> int:
        """Let a lease that is older than a limit hold something of it. Returns the counter in which it does."""
        cell, counter = fresh.cell, fresh.counter
        hold = Amount(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], nano_usd=row["nano_usd"])
        cost = costs_of(hold)[cell.index]
        if isinstance(cell, WindowCell) and row["reserved_at"] < cell.span.start:
            # In an earlier window, about which nothing else is known.
            span = Span(cell, row["reserved_at"], cell.span.start)
            [made] = await self._rows(
                _INSERT_COUNTER, fresh.id, span.start, span.end, 0, cost, 0, span.notable, 0, self._now
            )
            counter = made["id"]
        else:
            fresh.held += cost
        if cell.limit.share is not None and row["tenant"] != self._scope:
            child = TenantPath(row["tenant"]).scopes[len(self._scope.scopes)]
            fresh.children[counter, child] += cost
        return counter

    async def _rows(self, query: str, *args: object) -> Sequence[Row]:
        return await self._connection.fetch(self._schema.sql(query), *args)

    async def _do(self, query: str, *args: object) -> None:
        await self._connection.execute(self._schema.sql(query), *args)


def check_limits(scope: TenantPath, limits: Sequence[Limit]) -> None:
    """See that limits make sense, as the engine does.

    Raises:
        ConfigurationError: One makes none, or two bound the same thing.
    """
    LimitTable(known_only=False).replace(scope, limits, now=0)


def _columns(cell: Cell, place: int) -> tuple[object, ...]:
    limit = cell.limit
    stops = limit.overage == "stop"
    rate = isinstance(cell, RateCell)
    return (
        cell.scope,
        place,
        0 if stops and cell.index in (OUTPUT, TOKENS) else 1 if stops and cell.index == MONEY else 2,
        "rate" if rate else "rolling" if isinstance(cell, RollingCell) else "window",
        rate and cell.index == REQUESTS,
        cell.index,
        limit.amount,
        bound_of(limit),
        _unit(cell),
        limit.burst * _unit(cell) if rate else 0,
        limit.share,
        limit.overage == "pay",
        list(limit.alerts),
        limit.window,
        Span(cell, 0, 0).notable if isinstance(cell, WindowCell) else FOREVER,
        limit_json(limit),
    )


def _state(cell: Cell) -> tuple[int, int, int, int, int, int]:
    """Start and end of the window, the percentage that was told, from where on there is more to tell, level, time."""
    if isinstance(cell, WindowCell):
        span = cell.span
        return span.start, span.end, span.alerted, span.notable, 0, 0
    if isinstance(cell, RateCell):
        return -FOREVER, FOREVER, 0, FOREVER, cell.level, cell.at
    return -FOREVER, FOREVER, 0, FOREVER, 0, 0


def _unit(cell: Cell) -> int:
    return max(1, cell.limit.seconds) * SECOND
