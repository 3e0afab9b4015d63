"""One file of quotas, opened by one thread: transactions in which the engine decides."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from planar.errors import PlanarError, StoreError
from planar.protocols import Clock
from planar.quotas._calendar import SECOND
from planar.quotas._engine import QuotaEngine
from planar.quotas._measures import FOREVER
from planar.quotas._sqlite_cells import FiledLimits
from planar.quotas._sqlite_leases import FiledLeases, FiledLedger
from planar.quotas._sqlite_queue import Queue
from planar.quotas._sqlite_schema import prepare
from planar.quotas._worker import Job
from planar.types import Limit

Verb: TypeAlias = Callable[[QuotaEngine, int], Any]
"""What the engine is asked, and the time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Something that only reads, beside what others write at the same time."""

    read: Callable[[sqlite3.Connection], Any]


Work: TypeAlias = Verb | Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How a file is opened; see `SQLiteQuotaStore`."""

    path: str
    limits: Mapping[str, Sequence[Limit]]
    known_tenants_only: bool
    sync: Literal["normal", "full"]
    patience: float
    clock: Clock | None


class QuotaFile:
    """Does jobs on a file, which it opens with the first. Everything happens in the thread that calls `run`."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        clock = options.clock
        self._time = time.time if clock is None else clock.time
        self._open: _Open | None = None

    def prepare(self, job: Job[Work]) -> None:
        """Wait for our turn, if the job is a verb."""
        if self._open is not None and not isinstance(job.work, Reading):
            with suppress(OSError):  # `run` comes upon it again, and tells those who asked
                self._open.queue.enter()

    def run(self, jobs: Sequence[Job[Work]]) -> float:
        """Do them: the verbs among them in one transaction, then what only reads.

        For how many seconds it is worth waiting for more: so long it stays our turn.
        """
        verbs = [job for job in jobs if not isinstance(job.work, Reading)]
        if verbs:
            self._run_verbs(verbs)
        for job in jobs:
            if isinstance(job.work, Reading):
                self._run_reading(job, job.work)
        return 0.0 if self._open is None else self._open.queue.linger()

    def rest(self) -> None:
        """Nothing came: it is the turn of others."""
        if self._open is not None:
            self._open.queue.leave(waited=True)

    def close(self) -> None:
        """Close the file, if it is open."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _run_verbs(self, jobs: Sequence[Job[Work]]) -> None:
        try:
            opened = self._opened()
            with opened.transaction() as engine:
                for job in jobs:
                    if not job.gone:  # who waited for the lock may have lost patience
                        self._attempt(job, engine)
        except Exception as failure:  # noqa: BLE001  (it is the callers'; the thread goes on)
            self.close()  # what is in memory may be ahead of the file, or half-way
            if len(jobs) > 1 and not isinstance(failure, sqlite3.Error | OSError):
                # One of them cannot be done at all. The others shall not suffer from it.
                for job in jobs:
                    job.error = None
                    self._run_verbs([job])
                return
            for job in jobs:
                job.error = self._translated(failure)

    def _attempt(self, job: Job[Work], engine: QuotaEngine) -> None:
        assert not isinstance(job.work, Reading)
        try:
            job.result = job.work(engine, self._now())
        except StoreError:
            raise
        except PlanarError as refusal:
            job.error = refusal  # a decision, by which nothing was changed

    def _run_reading(self, job: Job[Work], reading: Reading) -> None:
        try:
            job.result = reading.read(self._opened().connection)
        except Exception as failure:  # noqa: BLE001  (it is the caller's; the thread goes on)
            self.close()
            job.error = self._translated(failure)

    def _opened(self) -> _Open:
        if self._open is None:
            self._open = _Open(self._options)
            with self._open.transaction() as engine:
                for scope, limits in self._options.limits.items():
                    if not limits or engine.limits(scope) != limits:
                        engine.set_limits(scope, limits, now=self._now())
        return self._open

    def _now(self) -> int:
        return round(self._time() * SECOND)

    def _translated(self, failure: Exception) -> Exception:
        if not isinstance(failure, sqlite3.Error | OSError):
            return failure
        error = StoreError(f"{self._options.path}: {failure}")
        error.__cause__ = failure
        return error


class _Open:
    """An open file, with what was read of it."""

    def __init__(self, options: FileOptions) -> None:
        self.connection = sqlite3.connect(
            options.path, timeout=options.patience, isolation_level=None, cached_statements=64
        )
        try:
            self.queue = Queue(f"{options.path}-queue")
        except OSError:
            self.connection.close()
            raise
        try:
            self.queue.enter()
            prepare(self.connection, path=options.path, sync=options.sync)
        except BaseException:
            self.close()
            raise
        self._limits = FiledLimits(self.connection, known_only=options.known_tenants_only)
        self._leases = FiledLeases(self.connection, self._limits)
        ledger = FiledLedger(self.connection, self._leases)
        self._engine = QuotaEngine(limits=self._limits, leases=self._leases, ledger=ledger)
        self._version: int | None = None
        self._head: tuple[int, int, int] = (0, 0, FOREVER)

    def close(self) -> None:
        """Close what is open."""
        self.connection.close()
        self.queue.close()

    @contextmanager
    def transaction(self) -> Generator[QuotaEngine]:
        """The engine, on what stands in the file; when the block ends, what it changed is in the file.

        If the block or the writing fails, nothing is, and this object is not to be used again.
        """
        self.queue.enter()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            self._begin()
            yield self._engine
            if self._leases.dirty or self._limits.replaced:
                self._flush()
                self.connection.execute("COMMIT")
            else:
                # Time may have changed counters in memory. It will do so again.
                self.connection.execute("ROLLBACK")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _begin(self) -> None:
        [version] = self.connection.execute("PRAGMA data_version").fetchone()
        foreign = version != self._version
        if foreign:
            self._version = version
            row = self.connection.execute("SELECT state FROM cells WHERE scope = ''").fetchone()
            if row is not None:
                now, edition, wake = json.loads(row[0])
                self._head = (now, edition, wake)
        now, edition, wake = self._head
        self._engine.now = max(self._engine.now, now)
        current = self._limits.begin(edition=edition, foreign=foreign)
        self._leases.begin(wake=wake, current=current)

    def _flush(self) -> None:
        self._leases.flush()
        self._limits.flush(self._leases.oldest)
        self._head = now, edition, wake = self._engine.now, self._limits.edition, self._leases.wake
        self.connection.execute("INSERT OR REPLACE INTO cells VALUES ('', '', ?)", (f"[{now},{edition},{wake}]",))
