"""Reading the books in Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace
from math import floor, inf

from planar.quotas._calendar import SECOND
from planar.quotas._limits import within
from planar.quotas._redis_rows import entry_of
from planar.quotas._redis_scripts import packed
from planar.quotas._redis_trees import PAGE, Trees
from planar.types import LedgerEntry, TenantPath


class Rows:
    """The books of some trees as one, page by page. It holds nothing that would have to be given back."""

    def __init__(
        self,
        trees: Trees,
        scope: TenantPath | None,
        since: float | None,
        until: float | None,
        last: Mapping[str, bytes] | None = None,
    ) -> None:
        self._trees = trees
        self._scope = scope
        self._since = -inf if since is None else since
        self._until = inf if until is None else until
        self._last = last
        self._books: list[tuple[float, str, deque[LedgerEntry]]] | None = None
        self._next: dict[str, bytes] = {}

    def __aiter__(self) -> Rows:
        return self

    async def __anext__(self) -> LedgerEntry:
        if self._books is None:
            self._last = self._last or await self._last_rows()
            self._books = [book for root in self._last if (book := await self._book(root))]
            heapify(self._books)
        if not self._books:
            raise StopAsyncIteration
        _, root, rows = self._books[0]
        entry = rows.popleft()
        if rows:
            heapreplace(self._books, (rows[0].time, root, rows))
        elif book := await self._book(root):
            heapreplace(self._books, book)
        else:
            heappop(self._books)
        return entry

    async def _book(self, root: str) -> tuple[float, str, deque[LedgerEntry]] | None:
        """The next rows of a tree that are asked for; `None` at its end."""
        last = (self._last or {})[root]
        # Times are floats outside: a microsecond more at both ends, and the rows themselves are compared.
        start = b"-" if self._since == -inf else b"%d" % max(0, floor(self._since * SECOND) - 1)
        first = self._next.get(root, start)
        while last and first:
            book = self._trees.keys_of(root)[4]
            [page] = await self._trees.ask(packed(b"XRANGE", book, first, last, b"COUNT", b"%d" % PAGE))
            entries = [entry_of(row, fields) for row, fields in page]
            more = len(page) == PAGE and entries[-1].time < self._until
            self._next[root] = first = b"(" + page[-1][0] if more else b""
            rows = deque(entry for entry in entries if self._is_asked_for(entry))
            if rows:
                return rows[0].time, root, rows
        return None

    def _is_asked_for(self, entry: LedgerEntry) -> bool:
        inside = self._scope is None or within(entry.tenant, self._scope)
        return inside and self._since <= entry.time < self._until

    async def _last_rows(self) -> dict[str, bytes]:
        """The last row of each tree, after all that had to end has ended."""
        roots = await self._trees.roots() if self._scope is None else [self._scope.partition("/")[0]]
        return {root: (await self._trees.run("look", root, root.encode(), b"rows"))[1] for root in roots}
