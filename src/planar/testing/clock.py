"""A clock that tests set: time passes only when they say so."""

from __future__ import annotations

_NANOSECONDS = 1_000_000_000


class FakeClock:
    """Implements `planar.protocols.Clock`. Begins at midnight UTC of 1 January 2026, a Thursday.

    Kept in whole nanoseconds, so that many small steps add up exactly.

    Example:
        >>> clock = FakeClock()
        >>> clock.advance(0.1)
        >>> clock.time()
        1767225600.1
    """

    __slots__ = ("_monotonic", "_time")

    def __init__(self, *, time: float = 1_767_225_600, monotonic: float = 1_000) -> None:
        self._time = round(time * _NANOSECONDS)
        self._monotonic = round(monotonic * _NANOSECONDS)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return self._monotonic / _NANOSECONDS

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._time / _NANOSECONDS

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both scales.

        Raises:
            ValueError: Less than 0.
        """
        step = round(seconds * _NANOSECONDS)
        if step < 0:
            raise ValueError(f"time does not run backwards: {seconds!r}")
        self._monotonic += step
        self._time += step

    def set_time(self, seconds: float) -> None:
        """Set the wall clock, forwards or backwards, as an administrator or NTP does. `monotonic` does not notice."""
        self._time = round(seconds * _NANOSECONDS)

    def set_monotonic(self, seconds: float) -> None:
        """Set the monotonic clock alone.

        Raises:
            ValueError: It would run backwards.
        """
        value = round(seconds * _NANOSECONDS)
        if value < self._monotonic:
            raise ValueError(f"a monotonic clock does not run backwards: {seconds!r}")
        self._monotonic = value
