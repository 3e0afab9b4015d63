"""How long things took lately."""

from __future__ import annotations

import math

SAMPLES = 128
_STEP = 16


class Recent:
    """The last 128 measurements that are not too old, and any quantile of them.

    A report costs next to nothing. They are sorted when somebody asks, and not again before a sixteenth of them is
    new, or a sixteenth of the time has passed after which they are too old.

    Threads may share it: every step that changes it is one step under the GIL. Of two that report at once one may get
    lost, or count as if it came when the other did.

    Attributes:
        last: The newest, however old.
        stale_at: When those that were last sorted will be looked through for ones that have become too old.
    """

    __slots__ = ("_count", "_seconds", "_sorted", "_times", "_values", "last", "stale_at")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times: list[float] = []
        self._values: list[float] = []
        self._count = 0
        self._sorted: tuple[int, list[float]] = (0, [])  # up to which, and the values
        self.stale_at = -math.inf
        self.last: float | None = None

    def add(self, now: float, value: float) -> None:
        """Remember one measurement, in seconds."""
        self.last = value
        count = self._count
        if count < SAMPLES:
            self._times.append(now)
            self._values.append(value)
        else:
            self._times[count % SAMPLES] = now
            self._values[count % SAMPLES] = value
        self._count = count + 1

    def ascending(self, now: float) -> list[float]:
        """Those that are not too old, smallest first. Not to be changed."""
        until, values = self._sorted
        new = self._count - until
        if (new and new * _STEP >= len(values)) or now >= self.stale_at:
            oldest = now - self._seconds
            until = self._count
            values = self._values.copy()
            times = self._times
            if min(times, default=now) < oldest:
                values = [value for when, value in zip(times, values, strict=False) if when >= oldest]
            values.sort()
            self._sorted = (until, values)
            self.stale_at = now + self._seconds / _STEP
        return values


def share_of(ascending: list[float], share: float) -> float | None:
    """The smallest measurement that so many (above 0, at most 1) do not exceed, if there is any."""
    return ascending[math.ceil(share * len(ascending)) - 1] if ascending else None
