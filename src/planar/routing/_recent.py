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
    """

    __slots__ = ("_count", "_seconds", "_sorted", "_times", "_values", "last")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times: list[float] = []
        self._values: list[float] = []
        self._count = 0
        self._sorted: tuple[int, float, list[float]] = (0, -math.inf, [])  # up to which, when, and the values
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
        until, at, values = self._sorted
        if (self._count - until) * _STEP >= max(1, len(values)) or (now - at) * _STEP >= self._seconds:
            oldest = now - self._seconds
            until = self._count
            values = self._values.copy()
            times = self._times
            if min(times, default=now) < oldest:
                values = [value for when, value in zip(times, values, strict=False) if when >= oldest]
            values.sort()
            self._sorted = (until, now, values)
        return values

    def same_until(self, now: float) -> float:
        """When `quantiles` may say something else, though nothing is added until then; never, if there is nothing."""
        return self._sorted[1] + self._seconds / _STEP if self._times else math.inf

    def quantiles(self, now: float, *shares: float) -> list[float | None]:
        """For each share (above 0, at most 1) the smallest measurement that so many do not exceed, if there is any."""
        values = self.ascending(now)
        size = len(values)
        return [values[math.ceil(share * size) - 1] if size else None for share in shares]
