"""What a call will probably cost and take at each deployment, and how good its answer will be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from planar.catalog import expected_costs
from planar.types import NANO, Candidate, Health

FIRST_TOKEN = 1.0
"""Seconds to the first token that are assumed while no candidate was ever measured."""
UNSEEN = 0.5
"""Of the best candidate's time, what is thought of one that was never measured."""
MOST_ERRORS = 0.9
"""Failures among the calls beyond which more make no difference; the breaker knows better by then."""
SPEED = 50.0
"""Tokens per second that are assumed while no candidate was ever measured."""


class Estimates:
    """Figures for the candidates that passed the filters: a column each, made when a strategy asks for it.

    What is unknown is `None`, but `waits` and `times` leave no gaps: who was never asked is thought to be fast, less so
    with each call that already finds out, and so gets measured.

    Attributes:
        candidates: Whom they are of, in the operator's order.
        tier: The service tier that the call asks for.
    """

    __slots__ = ("candidates", "tier")

    def __init__(self, candidates: Sequence[Candidate], *, tier: str | None = None) -> None:
        self.candidates = candidates
        self.tier = tier

    def __len__(self) -> int:
        return len(self.candidates)

    def costs(self) -> list[int | None]:
        """Likely nano-USD of the call, what the cache is expected to have at its own rate."""
        return expected_costs(self.candidates, tier=self.tier)

    def cost(self, row: int) -> int | None:
        """One of `costs`."""
        return expected_costs((self.candidates[row],), tier=self.tier)[0]

    def qualities(self) -> list[float | None]:
        """0 to 100: for this prompt, where somebody has said, or in general."""
        return [one.info.quality if one.quality is None else one.quality for one in self.candidates]

    def waits(self) -> list[float]:
        """Expected seconds until a first token comes, from somebody else where this one fails."""
        healths = [one.health for one in self.candidates]
        best = min([health.ttft_p50 for health in healths if health.ttft_p50 is not None], default=FIRST_TOKEN)
        return [
            seconds
            if (seconds := health.ttft_p50) is not None and health.waited is None and not health.error_rate
            else _wait(health, best)
            for health in healths
        ]

    def times(self) -> list[float]:
        """Expected seconds in all."""
        likely = self.candidates[0].output_tokens_likely if self.candidates else 0
        return [
            first + rest for first, rest in zip(self.waits(), _filled(self._writing(), likely / SPEED), strict=True)
        ]

    def _writing(self) -> list[float | None]:
        """Expected seconds from the first token to the last, as measured."""
        return [
            one.output_tokens_likely / speed if (speed := one.health.tokens_per_second) else None
            for one in self.candidates
        ]

    def terms(self) -> dict[str, Sequence[float | None]]:
        """What is known, by the names that `Verdict.score` has for it."""
        first = [one.health.ttft_p50 for one in self.candidates]
        rest = self._writing()
        return {
            "cost_usd": [None if nano is None else nano / NANO for nano in self.costs()],
            "ttft": first,
            "seconds": [None if a is None or b is None else a + b for a, b in zip(first, rest, strict=True)],
        }


def quality_of(one: Candidate) -> float | None:
    """0 to 100: for this prompt, where somebody has said, or in general."""
    return one.info.quality if one.quality is None else one.quality


def is_silent(health: Health) -> bool:
    """Whether so many calls wait there for so long that answers seem to have stopped coming."""
    usual = health.ttft_p95
    return health.waiting > 1 and usual is not None and health.waited is not None and health.waited > usual


def _wait(health: Health, best: float) -> float:
    """Expected seconds until a first token comes from here, or from the `best`, who is asked where this one fails."""
    seconds, waited, errors = health.ttft_p50, health.waited, health.error_rate
    if seconds is None:
        seconds = best * UNSEEN * (1 + health.in_flight)
    if waited is not None and 2 * waited > seconds:
        seconds = 2 * waited  # they are in the middle of their waits, if answers still come at all
    if errors:
        failing = min(errors, MOST_ERRORS)
        seconds = (seconds + failing * best) / (1 - failing)
    return seconds


def _filled(measured: Sequence[float | None], fallback: float) -> list[float]:
    known = [value for value in measured if value is not None]
    if len(known) == len(measured):
        return known
    typical = median_low(known) if known else fallback
    return [typical if value is None else value for value in measured]
