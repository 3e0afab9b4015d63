"""What a call will probably cost and take at each deployment, and how good its answer will be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from planar.catalog import expected_cost
from planar.types import NANO, Candidate

FIRST_TOKEN = 1.0
"""Seconds to the first token that are assumed while no candidate was ever measured."""
SPEED = 50.0
"""Tokens per second that are assumed while no candidate was ever measured."""


class Estimates:
    """Figures for the candidates that passed the filters: a column each, made when a strategy asks for it.

    What is unknown is `None`. In `waits` and `times` it is what the middle of the others takes: so who was never asked
    comes before the slower half of them, and gets measured.

    Attributes:
        candidates: Whom they are of, in the operator's order.
    """

    __slots__ = ("candidates",)

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates

    def __len__(self) -> int:
        return len(self.candidates)

    def costs(self) -> list[int | None]:
        """Likely nano-USD of the call, what the cache is expected to have at its own rate."""
        return [_cost(one) for one in self.candidates]

    def cost(self, row: int) -> int | None:
        """One of `costs`."""
        return _cost(self.candidates[row])

    def qualities(self) -> list[float | None]:
        """0 to 100: for this prompt, where somebody has said, or in general."""
        return [one.info.quality if one.quality is None else one.quality for one in self.candidates]

    def waits(self) -> list[float]:
        """Expected seconds to the first token."""
        return _filled([one.health.ttft_p50 for one in self.candidates], FIRST_TOKEN)

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


def _cost(one: Candidate) -> int | None:
    price = one.info.price
    if price is None:
        return None
    return expected_cost(
        price,
        input_tokens=one.input_tokens_likely,
        cached_tokens=one.cached_tokens_likely,
        output_tokens=one.output_tokens_likely,
    )


def _filled(measured: Sequence[float | None], fallback: float) -> list[float]:
    known = [value for value in measured if value is not None]
    if len(known) == len(measured):
        return known
    typical = median_low(known) if known else fallback
    return [typical if value is None else value for value in measured]
