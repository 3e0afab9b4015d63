"""Ids that sort by the time they were made."""

from __future__ import annotations

import os
import time

_AT_ONCE = 64


class _Tails:
    """The random part of ids, prepared for several at once: asking the system takes longer than all the rest."""

    __slots__ = ("_forks", "ready")

    def __init__(self) -> None:
        self.ready: list[str] = []
        self._forks = False

    def prepare(self) -> None:
        """Make some ready. Who pops one has it alone, in any thread or process."""
        if not self._forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.ready.clear)  # those are the parent's
            self._forks = True
        digits = os.urandom(10 * _AT_ONCE).hex()
        self.ready.extend([_tail(digits[start : start + 20]) for start in range(0, len(digits), 20)])


def _tail(digits: str) -> str:
    variant = "89ab"[int(digits[19], 16) & 3]  # the last digit is for these two bits alone
    return f"7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}"


_tails = _Tails()


def new_id() -> str:
    """A version 7 UUID (RFC 9562, section 5.7): milliseconds since the epoch, then 74 random bits."""
    milliseconds = f"{time.time_ns() // 1_000_000:012x}"
    while True:
        try:
            return f"{milliseconds[:8]}-{milliseconds[8:]}-{_tails.ready.pop()}"
        except IndexError:
            _tails.prepare()
