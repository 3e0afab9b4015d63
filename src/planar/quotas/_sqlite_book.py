"""What is read of the book in a file: pages of it, and sums."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from typing import Any, Final, NamedTuple

from planar.quotas._sqlite_cells import below
from planar.quotas._sqlite_leases import ROW, entry_of
from planar.quotas._usage import UsageFold
from planar.types import LedgerEntry, TenantPath

_PAGE: Final = 500
_FOLDED: Final = 5_000


class Sums(NamedTuple):
    """What a scope used."""

    requests: int
    input_tokens: int
    output_tokens: int
    nano_usd: int
    unpriced: int


class _Counted(NamedTuple):
    kind: str
    tenant: str
    deployment: str
    input_tokens: int
    output_tokens: int
    nano_usd: int | None
    time: float


def numbers(connection: sqlite3.Connection, *, since: float | None, until: float | None) -> tuple[int, int]:
    """The numbers of the first row between two times, the end excluded, and of the last one."""
    [newest] = connection.execute("SELECT max(number) FROM ledger").fetchone()
    rows = range(1, (newest or 0) + 1)

    def time_of(number: int) -> Any:
        return connection.execute("SELECT time FROM ledger WHERE number = ?", (number,)).fetchone()[0]

    first = 0 if since is None else bisect_left(rows, since, key=time_of)
    after = len(rows) if until is None else bisect_left(rows, until, key=time_of)
    return first + 1, after


def page(
    connection: sqlite3.Connection, *, scope: TenantPath | None, first: int, last: int
) -> tuple[list[LedgerEntry], int]:
    """The next rows of a scope, or of everybody, and the number from which to go on."""
    condition, values = _where(scope, first, last)
    query = f"SELECT number, {ROW} FROM ledger WHERE {condition} ORDER BY number LIMIT {_PAGE}"
    rows = connection.execute(query, values).fetchall()
    return [entry_of(row[1:]) for row in rows], rows[-1][0] + 1 if rows else last + 1


def sums(connection: sqlite3.Connection, *, scope: TenantPath, first: int, last: int) -> Sums:
    """What the rows of a scope with these numbers add up to."""
    condition, values = _where(scope, first, last)
    query = (
        "SELECT count(*) FILTER (WHERE kind IN ('settled', 'expired')), ifnull(sum(input), 0), ifnull(sum(output), 0),"
        f" ifnull(sum(nano), 0), count(*) FILTER (WHERE nano IS NULL) FROM ledger WHERE {condition}"
    )
    return Sums(*connection.execute(query, values).fetchone())


def fold(connection: sqlite3.Connection, *, into: UsageFold, first: int, last: int) -> int | None:
    """Add the next few thousand rows; the number from which to go on, or `None` when all are added."""
    condition, values = _where(into.scope, first, last)
    query = (
        "SELECT number, kind, tenant, deployment, input, output, nano, time FROM ledger"
        f" WHERE {condition} ORDER BY number LIMIT {_FOLDED}"
    )
    rows = connection.execute(query, values).fetchall()
    for row in rows:
        into.add(_Counted(*row[1:]))
    return rows[-1][0] + 1 if len(rows) == _FOLDED else None


def _where(scope: TenantPath | None, first: int, last: int) -> tuple[str, tuple[Any, ...]]:
    if scope is None:
        return "number BETWEEN ? AND ?", (first, last)
    inside = "root = ? AND (tenant = ? OR (tenant > ? AND tenant < ?)) AND number BETWEEN ? AND ?"
    return inside, (scope.partition("/")[0], str(scope), *below(scope), first, last)
