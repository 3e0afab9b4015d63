"""What a call has come to: the attempts that have ended, what they used and cost, and when things happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planar.client._attempt import OpenAttempt
from planar.types import Attempt, Timings, Usage

_COUNTS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "cached_audio_input_tokens",
    "image_output_tokens",
    "server_tool_calls",
    "compute_ms",
)


class Account:
    """Kept while a call runs, read when it is folded up. Times are on its loop's clock.

    Attributes:
        attempts: Those that have ended, in the order of their ends.
        cost: Of all of them, in nano-USD; `None` once a price was unknown.
        queued: Seconds spent in queues.
        first: When the caller got the first delta.
        began: When the one who gave it did; earlier, if the answer was withheld.
        ended: When the call was over.
    """

    __slots__ = ("_usages", "attempts", "began", "cost", "ended", "first", "queued", "started")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.cost: int | None = 0
        self.queued = 0.0
        self.started = 0.0
        self.first: float | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self._usages: list[Usage] = []

    def add(self, record: Attempt, attempt: OpenAttempt, *, answers: bool) -> None:
        """Note an attempt that has ended; `answers` if its words are in the answer."""
        self.attempts.append(record)
        self.cost = None if self.cost is None or attempt.cost is None else self.cost + attempt.cost
        if answers and attempt.usage is not None and (record.error is None or attempt.spoke):
            self._usages.append(attempt.usage)

    def begin_anew(self) -> None:
        """The words that were said so far are not in the answer any more."""
        self._usages.clear()

    @property
    def usage(self) -> Usage | None:
        """What the attempts whose words are in the answer used; `None` where nothing was."""
        usages = self._usages
        return usages[0] if len(usages) == 1 else _added(usages)

    def timings(self, usage: Usage | None, *, now: float) -> Timings:
        """Until the end, or until now."""
        end = now if self.ended is None else self.ended
        first, began, produced = self.first, self.began, None if usage is None else usage.output_tokens
        speed = None
        if began is not None and produced is not None and produced > 1 and end > began:
            speed = (produced - 1) / (end - began)
        return Timings(
            queued=self.queued,
            ttft=None if first is None else first - self.started,
            total=end - self.started,
            tokens_per_second=speed,
        )


def _added(usages: Sequence[Usage]) -> Usage | None:
    """What the attempts whose words are in an answer used together."""
    if not usages:
        return None
    sums: dict[str, Any] = {}
    for name in _COUNTS:
        known = [value for usage in usages if (value := getattr(usage, name)) is not None]
        sums[name] = sum(known) if known else None
    return Usage(
        **sums,
        estimated=any(usage.estimated for usage in usages),
        suspect=any(usage.suspect for usage in usages),
    )
