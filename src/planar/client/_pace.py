"""The slowest that an answer may come, once it has begun."""

from __future__ import annotations

from dataclasses import replace

from planar.errors import ProviderTimeoutError
from planar.types import Timeouts

_LEAST_WINDOW = 5.0


class Pace:
    """Counts tokens against the time that was spent waiting for them; what the caller takes between reads is not.

    Args:
        rate: Tokens per second, above 0.
    """

    __slots__ = ("_begun_at", "_rate", "_waited", "window")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._waited = 0.0
        self._begun_at = 0
        self.window = max(_LEAST_WINDOW, 2 / rate)
        """Seconds of waiting over which the rate is taken."""

    def bounded(self, timeouts: Timeouts) -> Timeouts:
        """The same timeouts, with a silence as long as the window ended: it is slower than any rate."""
        stall = self.window if timeouts.stall is None else min(timeouts.stall, self.window)
        return replace(timeouts, stall=stall)

    def begin(self, produced: int) -> None:
        """The answer has begun, with so many tokens: what it took for these is not its pace."""
        self._begun_at = produced

    def waited(self, seconds: float) -> None:
        """Take the time that a read took, once the answer has begun."""
        self._waited += seconds

    def check(self, produced: int) -> None:
        """Compare, before the next read, what has been `produced` so far.

        Raises:
            ProviderTimeoutError: The last window was slower than the rate.
        """
        if self._waited < self.window:
            return
        seen = (produced - self._begun_at) / self._waited
        if seen < self._rate:
            raise ProviderTimeoutError(
                f"the answer came at {seen:.3g} tokens/s, slower than min_rate={self._rate:g}", phase="rate"
            )
        self._waited, self._begun_at = 0.0, produced
