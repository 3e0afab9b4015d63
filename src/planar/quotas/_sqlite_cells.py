"""The counters of a file: read when a verb comes upon them, written back where they have changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from planar.quotas._cells import Cell, make_cell
from planar.quotas._codec import from_json, limit_from_dict, limit_to_dict, to_json
from planar.quotas._limits import LimitTable, Path
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._windows import Span, WindowCell
from planar.types import Limit, TenantPath

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode
_KEPT = 10_000
_DEPTH = 4
_READ = "SELECT scope, state FROM cells WHERE scope IN (?, ?, ?, ?)"


class ScopeCells:
    """The counters of one scope, and the windows that are over but in which living leases still count.

    Attributes:
        text: Their state as it stands in the file.
    """

    __slots__ = ("_current", "_over", "_windows", "cells", "text")

    def __init__(self, cells: Sequence[Cell], before: ScopeCells | None = None) -> None:
        self.cells = tuple(cells)
        self.text = ""
        self._windows = [cell for cell in self.cells if isinstance(cell, WindowCell)]
        self._current: dict[WindowCell, Span] = {}
        self._over: dict[WindowCell, list[Span]] = {}
        if before is not None:
            before._look()
            self._over = {cell: spans for cell, spans in before._over.items() if cell in self.cells}
        self._look()

    def span_at(self, cell: WindowCell, at: int) -> Span | None:
        """The window that contains this time, if anything counts in it."""
        if at >= cell.span.start:
            return cell.span
        self._look()
        return next((span for span in self._over.get(cell, ()) if span.start <= at < span.end), None)

    def encoded(self, oldest: Callable[[], int]) -> str:
        """The state of all counters.

        Args:
            oldest: When the oldest living lease was reserved.
        """
        self._look()
        if self._over:
            before = oldest()
            over = {cell: [span for span in spans if span.end > before] for cell, spans in self._over.items()}
            self._over = {cell: spans for cell, spans in over.items() if spans}
        # Written out: a general encoder would take as long as all else.
        return "[" + ",".join([self._standing(cell) for cell in self.cells]) + "]"

    def restore(self, text: str) -> None:
        """Stand where `encoded` says."""
        self._current, self._over = {}, {}
        for cell, state in zip(self.cells, _decode(text), strict=True):
            if isinstance(cell, RateCell):
                cell.level, cell.at = state
            elif isinstance(cell, RollingCell):
                used, held, newest, buckets = state
                cell.restore(used=used, held=held, newest=newest, buckets={int(key): buckets[key] for key in buckets})
            else:
                current, *over = state
                cell.span = _span_of(cell, *current)
                if over:
                    self._over[cell] = [_span_of(cell, *each) for each in over]
        self.text = text
        self._look()

    def _look(self) -> None:
        """Notice which windows have given way to the next."""
        for cell in self._windows:
            last = self._current.get(cell)
            if last is not cell.span:
                if last is not None:
                    self._over.setdefault(cell, []).append(last)
                self._current[cell] = cell.span

    def _standing(self, cell: Cell) -> str:
        if isinstance(cell, RateCell):
            return f"[{cell.level},{cell.at}]"
        if isinstance(cell, RollingCell):
            return _encode(cell.standing())
        current = _span_text(cell.span)
        over = self._over.get(cell) if self._over else None
        return f"[{current}]" if over is None else f"[{','.join([current, *map(_span_text, over)])}]"


def standing_of(span: Span) -> tuple[Any, ...]:
    """A window as plain data."""
    return span.start, span.end, span.used, span.held, span.alerted, span.children


def _span_text(span: Span) -> str:
    children = _encode(span.children) if span.children else "{}"
    return f"[{span.start},{span.end},{span.used},{span.held},{span.alerted},{children}]"


def span_of(cell: WindowCell, standing: Sequence[Any]) -> Span:
    """The window that `standing_of` was given."""
    return _span_of(cell, *standing)


def _span_of(cell: WindowCell, start: int, end: int, used: int, held: int, alerted: int, children: Any) -> Span:
    span = cell.span
    if span.start != start or span.end != end:
        span = Span(cell, start, end)
    span.used = used
    span.held = held
    span.children = children
    if span.alerted != alerted:
        span.alerted = alerted
        span.watch()
    return span


class FiledLimits:
    """The limits of every scope in a file, each with its counter. Implements what the engine needs of them.

    Attributes:
        edition: Grows whenever any limits are set, by whomever.
    """

    def __init__(self, connection: sqlite3.Connection, *, known_only: bool) -> None:
        self._connection = connection
        self._known_only = known_only
        self.edition = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._table = LimitTable(known_only=self._known_only)
        self._scopes: dict[str, ScopeCells | None] = {}  # none: it was never given limits
        self._of_tenant: dict[str, tuple[str, ...]] = {}
        self._fresh: set[str] = set()
        self._touched: set[str] = set()
        self._replaced: set[str] = set()

    def begin(self, *, edition: int, foreign: bool) -> bool:
        """A transaction begins. Whether the counters that were given out before are still the right ones.

        Args:
            edition: That of the file.
            foreign: Somebody else has written since the last one.
        """
        self._touched.clear()
        if edition != self.edition or len(self._scopes) + len(self._of_tenant) > _KEPT:
            self.edition = edition
            self._begin_anew()
            return False
        if foreign:
            self._fresh.clear()
        return not foreign

    def path(self, tenant: str) -> Path:
        """The counters on a tenant's path.

        Raises:
            UnknownTenantError: Not a tenant's name, or only known tenants are let in and this is none.
        """
        self.touch(tenant)
        return self._table.path(tenant)

    def touch(self, tenant: str) -> None:
        """The counters on a tenant's path are going to be read or changed."""
        scopes = self._of_tenant.get(tenant)
        if scopes is None:
            scopes = self._of_tenant[tenant] = TenantPath(tenant).scopes
            if self._known_only and self._is_known(scopes[0]):
                self._table.admit(scopes[0])
        if not self._fresh.issuperset(scopes):
            self._load(scopes)
        self._touched.update(scopes)

    def scope(self, scope: str) -> ScopeCells | None:
        """The counters of one scope with the windows that are over; `None` if it was never given limits."""
        if scope not in self._fresh:
            self._load((scope,))
        self._touched.add(scope)
        return self._scopes.get(scope)

    def cells(self, scope: str) -> tuple[Cell, ...]:
        """The counters of one scope, in the order in which its limits were given."""
        kept = self.scope(TenantPath(scope))
        return () if kept is None else kept.cells

    def replace(self, scope: str, limits: Sequence[Limit], *, now: int) -> tuple[Cell, ...]:
        """Set the limits of one scope, and return the counters that are new.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same dimension in the same window.
        """
        before = self.scope(TenantPath(scope))
        fresh = self._table.replace(scope, limits, now=now)
        self._scopes[scope] = ScopeCells(self._table.cells(scope), before)
        self._replaced.add(scope)
        self._of_tenant.clear()
        return fresh

    @property
    def replaced(self) -> bool:
        """Limits were set in this transaction."""
        return bool(self._replaced)

    def flush(self, oldest: Callable[[str], int]) -> None:
        """Write what has changed.

        Args:
            oldest: When the oldest living lease of a root was reserved.
        """
        for scope in self._replaced:
            limits = to_json({"limits": [limit_to_dict(cell.limit) for cell in self.cells(scope)]})
            self._connection.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, '')", (scope, limits))
        written: list[tuple[str, str]] = []
        for scope in self._touched:
            kept = self._scopes.get(scope)
            if kept is None:
                continue
            text = kept.encoded(partial(oldest, scope.partition("/")[0]))
            if text != kept.text or scope in self._replaced:
                kept.text = text
                written.append((text, scope))
        for text_and_scope in written:
            self._connection.execute("UPDATE cells SET state = ? WHERE scope = ?", text_and_scope)
        if self._replaced:
            self.edition += 1
            self._replaced.clear()

    def _load(self, scopes: Iterable[str]) -> None:
        wanted: list[str] = []
        for scope in scopes:
            if scope in self._fresh:
                continue
            self._fresh.add(scope)
            if scope not in self._scopes:
                self._load_limits(scope)
            elif self._scopes[scope] is not None:
                wanted.append(scope)
        if not wanted:
            return
        padded = (*wanted, *(wanted[:1] * (_DEPTH - len(wanted))))
        for scope, text in self._connection.execute(_READ, padded):
            kept = self._scopes[scope]
            if kept is not None and text != kept.text:
                kept.restore(text)

    def _load_limits(self, scope: str) -> None:
        row = self._connection.execute("SELECT limits, state FROM cells WHERE scope = ?", (scope,)).fetchone()
        if row is None:
            self._scopes[scope] = None
            return
        limits = [limit_from_dict(each) for each in from_json(row[0])["limits"]]
        kept = self._scopes[scope] = ScopeCells([make_cell(scope, limit, 0) for limit in limits])
        kept.restore(row[1])
        self._table.put(scope, kept.cells)

    def _is_known(self, root: str) -> bool:
        query = "SELECT 1 FROM cells WHERE scope = ? OR (scope > ? AND scope < ?) LIMIT 1"
        return self._connection.execute(query, (root, *below(root))).fetchone() is not None


def below(scope: str) -> tuple[str, str]:
    """Between what two texts the names of a scope's children sort."""
    return scope + "/", scope + "0"
