"""Quotas in a file, shared by the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar

from planar.errors import ClosedError, ConfigurationError
from planar.protocols import Clock
from planar.quotas import _sqlite_book
from planar.quotas._engine import QuotaEngine
from planar.quotas._limits import LimitTable
from planar.quotas._sqlite_file import FileOptions, QuotaFile, Reading, Work
from planar.quotas._usage import UsageFold
from planar.quotas._worker import Worker
from planar.types import (
    Amount,
    Charge,
    GroupBy,
    Lease,
    LeaseId,
    LeasePart,
    LedgerEntry,
    Limit,
    LimitCount,
    Receipt,
    TenantPath,
    UsageReport,
)

T = TypeVar("T")
_of_parents: list[Worker[Work]] = []
"""Those that were open at a fork. Never closed here: SQLite's files must not be closed by a child."""


class SQLiteQuotaStore:
    """Keeps quotas in a file that any number of processes on one machine may use at once. It survives their end.

    What was answered survives the kill of any process. A power cut may take what was written in the last moments before
    it, never more, and damages nothing; `sync="full"` keeps that too, for two waits for the disk per request.

    It may be used from several event loops and threads, on asyncio and trio, and goes on after a fork. The file is
    opened by the first call, in a thread of the store's own, in which all work on it is done. Verbs that come together
    are written together.

    Time is the wall clock. It never runs backwards for quotas, even over a restart: a clock that was set back is waited
    for.

    Args:
        path: The file, which is created where there is none, or its URL (`sqlite:///planar.db`,
            `sqlite:////var/lib/planar.db`). Beside it lie `-wal`, `-shm` and `-queue`. Never on a network share.
        limits: By scope (`"acme"`, `"acme/search"`), as `set_limits` would set them; set whenever the file is opened.
        known_tenants_only: Refuse tenants whose root was never given limits. An empty list of them will do.
        sync: `"normal"`, or `"full"` to wait for the disk in every verb.
        patience: Seconds that a verb waits for its turn.
        clock: Where time comes from; default is the machine's.

    Raises:
        ConfigurationError: A limit makes no sense, or the path is no file's.
        UnknownTenantError: A scope in `limits` is not a tenant's name.

    Example:
        >>> store = SQLiteQuotaStore("planar.db", limits={"acme": [Limit.usd("50"), Limit.concurrency(8)]})
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        known_tenants_only: bool = False,
        sync: Literal["normal", "full"] = "normal",
        patience: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if sync not in ("normal", "full"):
            raise ConfigurationError(f"sync is 'normal' or 'full', not {sync!r}")
        if not patience > 0:
            raise ConfigurationError(f"patience is a positive number of seconds, not {patience!r}")
        table = LimitTable()
        for scope, bounds in (limits or {}).items():
            table.replace(scope, bounds, now=0)
        self._options = FileOptions(
            path=_path_of(path),
            limits={scope: tuple(bounds) for scope, bounds in (limits or {}).items()},
            known_tenants_only=known_tenants_only,
            sync=sync,
            patience=patience,
            clock=clock,
        )
        self._worker: Worker[Work] | None = None
        self._process = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"SQLiteQuotaStore({self._options.path!r})"

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        An id that is known is answered with its lease as it is now, even if that has ended.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere, and no request was counted.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or not one that was set up where only those are let in.
            InvalidRequestError: The id was used for another request, or `ttl` is not a positive number.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(
            lambda engine, now: engine.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment, now=now)
        )

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.extend(lease, more=more, ttl=ttl, now=now))

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked: from here on expiry charges instead of releasing.

        Raises:
            InvalidRequestError: The lease was released or has expired: do not ask.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.dispatched(lease, now=now))

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step.

        After an expiry that charged, the difference becomes a `correction` row, and so it does after a settle that was
        flagged `estimated`, once, if this one is not. Settling twice changes nothing otherwise, and is answered with
        the first row. A charge above the hold is booked all the same: it was spent.

        Raises:
            InvalidRequestError: The lease was released, or is not known here.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.settle(lease, charge=charge, now=now))

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        """Settle parts of what a lease holds, each under an id of its own, as `planar.protocols.SplitsLeases` says.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.split(lease, parts=parts, keep=keep, now=now))

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked. A lease that has ended is left as it is.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.release(lease, now=now))

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row with negative numbers, once per lease.

        Budgets get it back while the window in which the lease counts is open.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.refund(lease_id, amount=amount, reason=reason, now=now))

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What a scope used between two times (seconds since the epoch, end excluded), children included.

        `by` tells it apart by tenant, deployment and day, in any combination; days are those of the time zone `tz`.

        Raises:
            UnknownTenantError: Not a tenant's name. A name that was never used has used nothing.
            InvalidRequestError: `by` names something else.
            ConfigurationError: This machine does not know the time zone.
            StoreError: The file cannot be read or written now.
        """
        fold = UsageFold(tenant, by=by, tz=tz)
        held, concurrent = await self._ask(lambda engine, now: engine.held(fold.scope, now=now))
        first, last = await self._read(partial(_sqlite_book.numbers, since=since, until=until))
        if not by:
            sums = await self._read(partial(_sqlite_book.sums, scope=fold.scope, first=first, last=last))
            return UsageReport(tenant=fold.scope, held=held, concurrent=concurrent, **sums._asdict())
        rest: int | None = first
        while rest is not None:
            rest = await self._read(partial(_sqlite_book.fold, into=fold, first=rest, last=last))
        return fold.report(held=held, concurrent=concurrent)

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children (default: of everybody), oldest first, as they stand at the first step.

        They are read in pages, so that a long book does not fill the memory.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        return _Rows(self, None if tenant is None else TenantPath(tenant), since, until)

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched.

        A budget counts what its current window has already used, even if it is set in the middle of it.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.set_limits(tenant, limits, now=now))

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'.

        Raises:
            UnknownTenantError: Not a tenant's name.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.limits(tenant))

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands now, in the order of `limits`.

        Raises:
            UnknownTenantError: Not a tenant's name.
            StoreError: The file cannot be read or written now.
        """
        return await self._ask(lambda engine, now: engine.counts(tenant, now=now))

    async def aclose(self) -> None:
        """Close the file. What was begun is done first."""
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None and self._process == os.getpid():
            await worker.aclose(patience=self._options.patience)

    async def _ask(self, verb: Callable[[QuotaEngine, int], T]) -> T:
        return await self._own_worker().do(verb, patience=self._options.patience)  # type: ignore[no-any-return]

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        return await self._own_worker().do(Reading(read), patience=self._options.patience)  # type: ignore[no-any-return]

    def _own_worker(self) -> Worker[Work]:
        if self._closed:
            raise ClosedError(f"{self!r} was closed; make a new one")
        worker = self._worker
        if worker is not None and self._process == os.getpid():
            return worker
        if worker is not None:
            _of_parents.append(worker)
        file = QuotaFile(self._options)
        self._process = os.getpid()
        self._worker = worker = Worker(
            prepare=file.prepare, run=file.run, rest=file.rest, end=file.close, name="planar-quotas"
        )
        return worker


class _Rows:
    """A class, not an async generator: one that is dropped half-way has nothing to clean up."""

    def __init__(
        self, store: SQLiteQuotaStore, scope: TenantPath | None, since: float | None, until: float | None
    ) -> None:
        self._store = store
        self._scope = scope
        self._between = since, until
        self._page: list[LedgerEntry] = []
        self._numbers: tuple[int, int] | None = None

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> LedgerEntry:
        if not self._page:
            await self._turn_over()
        if not self._page:
            raise StopAsyncIteration
        return self._page.pop()

    async def _turn_over(self) -> None:
        store = self._store
        if self._numbers is None:
            await store._ask(lambda engine, now: engine.expire(now=now))
            since, until = self._between
            self._numbers = await store._read(partial(_sqlite_book.numbers, since=since, until=until))
        first, last = self._numbers
        self._page, first = await store._read(partial(_sqlite_book.page, scope=self._scope, first=first, last=last))
        self._numbers = first, last
        self._page.reverse()


def _path_of(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if text.startswith("sqlite:"):
        if not text.startswith("sqlite:///"):
            raise ConfigurationError(
                f"{text!r} is no file's URL: write sqlite:///planar.db or sqlite:////var/planar.db"
            )
        text = text.removeprefix("sqlite:///")
    if not text or text == ":memory:":
        raise ConfigurationError("a file is needed; MemoryQuotaStore keeps quotas in memory")
    return text
