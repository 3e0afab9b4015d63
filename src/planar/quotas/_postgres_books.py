"""Reading the book in PostgreSQL: sums are made there, and rows are read a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from planar.quotas._calendar import SECOND
from planar.quotas._measures import FOREVER
from planar.quotas._postgres_pool import Connections, Row
from planar.quotas._postgres_rows import entry_of
from planar.quotas._postgres_schema import Schema
from planar.quotas._usage import UsageFold
from planar.types import Amount, GroupBy, LedgerEntry, TenantPath, UsageReport

PAGE = 500
"""Rows that are read at a time."""

_EXPIRE = "SELECT planar.expire_all($1, $2)"
_DUE = "SELECT root FROM planar.due($1) AS root"
_NEWEST = "SELECT coalesce(max(number), 0) FROM planar.ledger"
_ROWS = """
SELECT l.* FROM planar.ledger l
WHERE (l.time, l.number) > ($1, $2) AND l.time < $3 AND l.number <= $4
ORDER BY l.time, l.number LIMIT {page}
"""
_ROWS_OF_SCOPE = """
SELECT l.* FROM planar.ledger l
WHERE l.root = split_part($5, '/', 1) AND (l.tenant = $5 OR starts_with(l.tenant, $5 || '/'))
    AND (l.time, l.number) > ($1, $2) AND l.time < $3 AND l.number <= $4
ORDER BY l.time, l.number LIMIT {page}
"""
_USAGE = """
SELECT false AS held, CASE WHEN $4 THEN l.tenant ELSE $1 END AS tenant,
    CASE WHEN $5 THEN l.deployment ELSE '' END AS deployment,
    CASE WHEN $6 THEN l.time / 900000000 ELSE 0 END AS quarter,
    count(*) FILTER (WHERE l.kind IN ('settled', 'expired')) AS requests,
    sum(l.input_tokens) AS input_tokens, sum(l.output_tokens) AS output_tokens,
    coalesce(sum(l.nano_usd), 0) AS nano_usd, count(*) FILTER (WHERE l.nano_usd IS NULL) AS unpriced
FROM planar.ledger l
WHERE l.root = split_part($1, '/', 1) AND (l.tenant = $1 OR starts_with(l.tenant, $1 || '/'))
    AND l.time >= $2 AND l.time < $3
GROUP BY 2, 3, 4
UNION ALL
SELECT true, $1, '', 0, count(*), coalesce(sum(l.input_tokens), 0), coalesce(sum(l.output_tokens), 0),
    coalesce(sum(l.nano_usd), 0), 0
FROM planar.lease l
WHERE l.root = split_part($1, '/', 1) AND (l.tenant = $1 OR starts_with(l.tenant, $1 || '/')) AND l.state = 'active'
"""
"""In one statement what was used and what is held: a lease that is settled meanwhile is in one of them. Days begin at
quarters of an hour everywhere, so that these can be put together to the days of any time zone."""


class Book:
    """What a store reads of its ledger."""

    def __init__(self, connections: Connections, schema: Schema) -> None:
        self._connections = connections
        self._sql = schema.sql

    async def usage(
        self, fold: UsageFold, since: float | None, until: float | None, by: Sequence[GroupBy], *, now: int | None
    ) -> UsageReport:
        """The report of the scope of `fold`."""
        await self.expire(fold.scope, now=now)
        rows = await self._connections.rows(
            self._sql(_USAGE),
            fold.scope,
            _first(since, -FOREVER),
            _first(until, FOREVER),
            "tenant" in by,
            "deployment" in by,
            "day" in by,
        )
        held, concurrent = Amount(), 0
        for row in rows:
            sums = _Sums(row)
            if row["held"]:
                held = Amount(input_tokens=sums.input_tokens, output_tokens=sums.output_tokens, nano_usd=sums.nano_usd)
                concurrent = row["requests"]
            else:
                fold.add_sums(sums, requests=row["requests"], unpriced=row["unpriced"])
        return fold.report(held=held, concurrent=concurrent)

    def pages(
        self, scope: TenantPath | None, since: float | None, until: float | None, *, now: Callable[[], int | None]
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope, or of everybody, that there are when the first is asked for."""
        return _Pages(self, scope, _first(since, -FOREVER), _first(until, FOREVER), now)

    async def expire(self, scope: TenantPath | None, *, now: int | None) -> None:
        """End the leases whose time is over."""
        if scope is not None:
            roots = [scope.scopes[0]]
        else:
            roots = [row["root"] for row in await self._connections.rows(self._sql(_DUE), now)]
        for root in roots:
            await self._connections.row(self._sql(_EXPIRE), root, now)

    async def newest(self) -> int:
        """The number of the row that was written last."""
        row = await self._connections.row(self._sql(_NEWEST))
        return int(row[0])

    async def page(self, scope: TenantPath | None, after: tuple[int, int], until: int, newest: int) -> Sequence[Row]:
        """The next rows after a time and number."""
        # The size is in the text: were it an argument, the plan would be one for many more rows, and sort them all.
        query = self._sql((_ROWS if scope is None else _ROWS_OF_SCOPE).format(page=PAGE))
        return await self._connections.rows(query, *after, until, newest, *([] if scope is None else [scope]))


class _Sums:
    """The sums of several rows, for the fold."""

    __slots__ = ("deployment", "input_tokens", "kind", "nano_usd", "output_tokens", "tenant", "time")

    def __init__(self, row: Row) -> None:
        self.kind = "settled"
        self.tenant: str = row["tenant"]
        self.deployment: str = row["deployment"]
        self.input_tokens = int(row["input_tokens"])
        self.output_tokens = int(row["output_tokens"])
        self.nano_usd: int = int(row["nano_usd"])
        self.time: float = row["quarter"] * 900.0


class _Pages:
    """A class, not an async generator: one that is dropped half-way has nothing to clean up."""

    def __init__(
        self, book: Book, scope: TenantPath | None, since: int, until: int, now: Callable[[], int | None]
    ) -> None:
        self._book = book
        self._scope = scope
        self._after = (since, -1)
        self._until = until
        self._now = now
        self._newest: int | None = None
        self._rows: list[Row] = []
        self._ended = False

    def __aiter__(self) -> _Pages:
        return self

    async def __anext__(self) -> LedgerEntry:
        if self._newest is None:
            await self._book.expire(self._scope, now=self._now())
            self._newest = await self._book.newest()
        if not self._rows and not self._ended:
            page = await self._book.page(self._scope, self._after, self._until, self._newest)
            self._rows = list(reversed(page))
            self._ended = len(page) < PAGE
        if not self._rows:
            raise StopAsyncIteration
        row = self._rows.pop()
        self._after = row["time"], row["number"]
        return entry_of(row)


def _first(seconds: float | None, default: int) -> int:
    """The first microsecond that is not before a time, as rows tell theirs: in seconds, rounded to a float."""
    if seconds is None:
        return default
    at = round(max(-9e9, min(9e9, seconds)) * SECOND)
    while (at - 1) / SECOND >= seconds:
        at -= 1
    while at / SECOND < seconds < 9e9:
        at += 1
    return at
