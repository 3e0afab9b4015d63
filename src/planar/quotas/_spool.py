"""What could not be written in the store, on this machine's disk until it can be.

A folder has a file for each process that had something to keep. Its owner holds the file locked for as long as it
lives; the kernel lets go of the lock however the process ends, and whoever finds a file unlocked takes it over. Two
processes therefore never write the same file, and none is left behind.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

from planar.errors import StoreError
from planar.quotas._spool_rows import Row, decode, encode
from planar.types import Charge, Lease, LeaseId

_logger = logging.getLogger("planar.quotas")


class Pending:
    """The verbs of one lease that wait for the store.

    Attributes:
        rows: How many there are: who replays them sees by it whether more came meanwhile.
        failures: How often the store failed when it was asked for these.
        not_before: When they may be tried again, on the monotonic clock.
        durable: All of them are on the disk.
    """

    __slots__ = ("charges", "dispatched", "durable", "failures", "lease", "not_before", "released", "rows")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.dispatched = False
        self.released = False
        self.charges: list[Charge] = []
        self.rows = 0
        self.failures = 0
        self.not_before = 0.0
        self.durable = True

    def take(self, row: Row) -> None:
        """Add one more verb."""
        self.rows += 1
        self.dispatched = self.dispatched or row.kind == "dispatched"
        self.released = self.released or row.kind == "release"
        if row.charge is not None and row.charge not in self.charges:
            self.charges.append(row.charge)

    def lines(self) -> list[bytes]:
        """What stands for it in the file."""
        rows = [Row(kind="dispatched", lease=self.lease)] if self.dispatched else []
        rows += [Row(kind="settle", lease=self.lease, charge=charge) for charge in self.charges]
        rows += [Row(kind="release", lease=self.lease)] if self.released else []
        return [encode(row) for row in rows]


class Spool:
    """An append-only file, and what of it is not done yet. Its methods block: they wait for the disk.

    Callable from any thread; `get`, `pending` and `len()` never wait.

    Args:
        folder: Where the files are; made when it is first needed, for this user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._pending: dict[LeaseId, Pending] = {}
        self._name = uuid4().hex
        self._file: int | None = None
        self._process = os.getpid()
        self.rejected = 0

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, lease_id: LeaseId) -> Pending | None:
        """What waits of a lease."""
        return self._pending.get(lease_id)

    def pending(self) -> list[Pending]:
        """What waits, oldest first."""
        return list(self._pending.values())

    def add(self, row: Row) -> Pending:
        """Keep a row: when this returns, it survives the loss of power.

        Raises:
            OSError: The disk did not take it. It is kept in memory all the same.
        """
        with self._lock:
            self._check_process()
            durable = False
            try:
                self._write([encode(row)], sync=True)
                durable = True
            finally:
                pending = self._fold(self._pending, row)
                pending.durable = pending.durable and durable
            return pending

    def done(self, pending: Pending, *, rows: int) -> bool:
        """Forget what was written in the store, unless more than those `rows` wait by now or it was forgotten before.

        Raises:
            OSError: The disk did not take the note. At worst a later process does it again, to no effect.
        """
        with self._lock:
            if pending.rows != rows or self._pending.get(pending.lease.id) is not pending:
                return False
            del self._pending[pending.lease.id]
            if self._file is not None and self._pending:
                self._write([encode(Row(kind="done", lease=pending.lease))], sync=False)
            elif self._file is not None:
                self._remove()
            return True

    def reject(self, pending: Pending, reason: str) -> None:
        """Put what the store will never take aside, in a file for a person.

        Raises:
            OSError: The disk did not take it; it waits on.
        """
        rows = pending.rows
        with self._lock:
            self._put_aside(pending.lines(), reason)
        self.done(pending, rows=rows)

    def adopt(self) -> int:
        """Take over the files of processes that are dead, and return how many leases wait in them.

        A file that cannot be taken over is left where it is, with a warning.

        Raises:
            OSError: The folder cannot be made, read or written.
        """
        with self._lock:
            self._check_process()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(f"{self._folder} is not this user's")
            found = 0
            for path in sorted(self._folder.glob("*.jsonl")):
                try:
                    found += self._adopt(path) if path.stem != self._name else 0
                except OSError as error:
                    _logger.warning("%s cannot be taken over, and is left where it is: %s", path, error)
            return found

    def close(self) -> None:
        """Let go of the file: what waits in it is for the next process."""
        with self._lock:
            self._check_process()
            if self._file is not None:
                file, self._file = self._file, None
                os.close(file)
            self._pending.clear()
            self._name = uuid4().hex

    # -- files ---------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._process == os.getpid():
            return
        # A fork: file and rows are the parent's, who writes them itself.
        self._process = os.getpid()
        self._pending = {}
        self._name = uuid4().hex
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _fold(self, into: dict[LeaseId, Pending], row: Row) -> Pending:
        pending = into.get(row.lease.id)
        if pending is None:
            pending = into[row.lease.id] = Pending(row.lease)
        pending.take(row)
        return pending

    def _write(self, lines: Iterable[bytes], *, sync: bool) -> None:
        if self._file is None:
            self._file = self._create()
        file, size = self._file, os.fstat(self._file).st_size
        try:
            data = memoryview(b"".join(lines))
            while data:
                data = data[os.write(file, data) :]
            if sync:
                os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)  # half a line must not be the beginning of the next one
            raise

    def _create(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = self._path()
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            # Between these two lines a process that adopts may have found it, empty and without an owner.
            if _locks(file) and _is_at(file, path):
                self._sync_folder()
                return file
            os.close(file)
            self._name = uuid4().hex

    def _path(self) -> Path:
        return self._folder / f"{self._name}.jsonl"

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self) -> None:
        assert self._file is not None
        file, self._file = self._file, None
        try:
            self._path().unlink(missing_ok=True)
        finally:
            os.close(file)

    def _put_aside(self, lines: Iterable[bytes], reason: str) -> None:
        path = self._folder / f"{self._name}.rejected"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for line in lines:
                text = line.decode(errors="backslashreplace").rstrip("\n")
                note = json.dumps({"time": time.time(), "reason": reason, "row": text})
                os.write(file, note.encode() + b"\n")
                self.rejected += 1
            os.fsync(file)
        finally:
            os.close(file)
        self._sync_folder()

    def _adopt(self, path: Path) -> int:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        try:
            if not _locks(file) or not _is_at(file, path):
                return 0  # its owner lives, or somebody else has just taken it over
            found = self._read(path)
            lines = [line for pending in found.values() for line in pending.lines()]
            if lines:
                self._write(lines, sync=True)
            for lease_id, pending in found.items():
                mine = self._pending.get(lease_id)
                self._pending[lease_id] = pending if mine is None else _merged(mine, pending)
            path.unlink()
            return len(found)
        finally:
            os.close(file)

    def _read(self, path: Path) -> dict[LeaseId, Pending]:
        found: dict[LeaseId, Pending] = {}
        *lines, rest = path.read_bytes().split(b"\n")
        if rest:
            _logger.warning("%s ends in half a row, as after a loss of power: it was never confirmed to anybody", path)
        for line in lines:
            try:
                row = decode(line)
            except StoreError as error:
                self._put_aside([line], str(error))
                _logger.warning("%s has a line that cannot be read: it was put aside (%s)", path, error)
                continue
            if row.kind == "done":
                found.pop(row.lease.id, None)
            else:
                self._fold(found, row)
        return found


def _merged(mine: Pending, other: Pending) -> Pending:
    both = Pending(mine.lease)
    both.dispatched = mine.dispatched or other.dispatched
    both.released = mine.released or other.released
    both.charges = [*other.charges, *(charge for charge in mine.charges if charge not in other.charges)]
    both.rows = mine.rows + other.rows
    return both


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
