"""Whose turn it is to write a file: processes wait in line, in the kernel, which forgets those that are killed."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import Final

if sys.platform != "win32":
    import fcntl

_TURN: Final = 0.005
"""Seconds. Others wait meanwhile: each of eight may have to wait for the turns of seven."""
_LINGER: Final = 0.001


class Queue:
    """A file that one process has locked at a time. On Windows nobody queues, and SQLite's own waiting is left.

    SQLite waits by asking again and again, by which the unlucky wait for seconds. Here they are woken. But being woken
    takes longer than a verb: so a turn is more than one, if the next one comes at once.
    """

    def __init__(self, path: str) -> None:
        self._file = -1
        if sys.platform != "win32":
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._entered: float | None = None
        self._left = 0.0
        self._pays = True  # to linger

    def enter(self) -> None:
        """Wait until it is our turn, unless it still is."""
        if self._entered is not None:
            return
        asked = monotonic()
        self._pays = self._pays or asked - self._left < _LINGER
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._entered = monotonic()

    def linger(self) -> float:
        """For how long to stay and wait for something to do. If not at all, it is the turn of others now."""
        if self._entered is None:
            return 0.0
        if self._pays and monotonic() - self._entered < _TURN:
            return _LINGER
        self.leave(waited=False)
        return 0.0

    def leave(self, *, waited: bool) -> None:
        """It is the turn of others.

        Args:
            waited: In vain, for something to do.
        """
        if self._entered is None:
            return
        self._entered = None
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_UN)
        if waited:
            self._pays = False
        else:
            self._left = monotonic()

    def close(self) -> None:
        """Leave, and do not come back."""
        if self._file != -1:
            os.close(self._file)
            self._file = -1
        self._entered = None
