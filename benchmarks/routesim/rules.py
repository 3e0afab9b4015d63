"""The rules by which other routers choose, as they define them, each as a `planar.protocols.Router`.

The filters are ours, the same for all. Where a rule's home is unkind to it, this is kinder: everybody falls back to
every endpoint in the rule's own order, has four attempts, and knows `Retry-After`.

Sources, read 2026-11-25:
LiteLLM https://github.com/BerriAI/litellm (router_strategy/*.py, router_utils/cooldown_handlers.py, constants.py);
OpenRouter https://openrouter.ai/docs/guides/routing/provider-selection; Finagle https://github.com/twitter/finagle
(finagle-core loadbalancer/PeakEwma.scala, P2C.scala, liveness/FailureAccrualFactory.scala);
Bifrost https://docs.getbifrost.ai/enterprise/adaptive-load-balancing.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

from planar.errors import PlanarError, ProviderTimeoutError
from planar.routing._filters import sieve
from planar.types import BreakerPolicy, Candidate, Route, RouteRequest, Verdict

NEVER = 10**9
LITELLM = BreakerPolicy(window=60, min_volume=5, error_rate=0.5, consecutive=NEVER, ejection=5, max_ejection=5)
"""Five seconds of cooldown when at least five calls ended within a minute and half of them failed, or for as long as a
429 says (DEFAULT_COOLDOWN_TIME_SECONDS, DEFAULT_FAILURE_THRESHOLD_PERCENT, ..._MINIMUM_REQUESTS). Kinder than home:
connection errors count too, and after a cooldown one probe goes ahead."""
OPENROUTER = BreakerPolicy(window=30, min_volume=5, error_rate=0.5, consecutive=5, ejection=30, max_ejection=30)
"""Whoever had a significant outage within 30 s comes last. What is significant is not published: this is our guess."""
FINAGLE = BreakerPolicy(consecutive=5, ejection=5, max_ejection=300)
"""Failure accrual: five failures in a row, then 5 s, doubling up to 300 s. These are Planar's own figures."""


class Rule:
    """Orders by `scores`, smallest first. Whoever its home leaves alone for now comes last."""

    home: ClassVar[BreakerPolicy] = LITELLM

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        self.random = Random(f"{type(self).__name__} {seed}")
        self.now = now

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        dropped = sieve(request, candidates)
        passed = [each for index, each in enumerate(candidates) if index not in dropped]
        score = dict(zip([each.deployment for each in passed], self.scores(passed), strict=True))
        passed.sort(key=lambda each: (each.health.retry_at or 0.0, score[each.deployment]))
        places = {each.deployment: place for place, each in enumerate(passed)}
        verdicts = [
            Verdict(
                candidate=each,
                position=places.get(each.deployment),
                dropped_by=dropped[index][0] if index in dropped else None,
            )
            for index, each in enumerate(candidates)
        ]
        return Route(request=request, router=type(self).__name__, verdicts=verdicts)

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        raise NotImplementedError

    def began(self, name: str, now: float) -> None:
        """A call is sent there."""

    def spoke(self, name: str, now: float, seconds: float) -> None:
        """The first token came."""

    def ended(self, name: str, now: float, seconds: float, error: PlanarError | None) -> None:
        """It is over. Without an error it was answered, or the caller left."""


def price_of(candidate: Candidate) -> float:
    """List price, input and output added, as LiteLLM's lowest_cost.py does."""
    assert candidate.info.price is not None
    return candidate.info.price.input + candidate.info.price.output


class RandomShuffle(Rule):
    """LiteLLM's default, `simple-shuffle`, without weights."""

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        return [self.random.random() for _ in candidates]


class LowestPrice(Rule):
    """LiteLLM's `cost-based-routing`: the lowest list price."""

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        return [price_of(each) for each in candidates]


class LeastBusy(Rule):
    """LiteLLM's `least-busy`: fewest requests in flight, from sending to the end of the answer. Ties by lot."""

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        return [each.health.in_flight + 0.5 * self.random.random() for each in candidates]


class WindowedLatency(Rule):
    """LiteLLM's `latency-based-routing` for streams: lowest mean time to first token of the last ten.

    One that was never asked counts as 0, so that everybody is tried. A timeout counts as 1000 s. Kinder than home:
    there the time is divided by the tokens of the answer, and a stream's mean does not see the 1000 s.
    """

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        super().__init__(seed, now)
        self._last: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=10))

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        lasts = [self._last[each.provider] for each in candidates]
        return [sum(last) / len(last) if last else -self.random.random() for last in lasts]

    def spoke(self, name: str, now: float, seconds: float) -> None:
        self._last[name].append(seconds)

    def ended(self, name: str, now: float, seconds: float, error: PlanarError | None) -> None:
        if isinstance(error, ProviderTimeoutError):
            self._last[name].append(1000.0)


class AverageLatency(Rule):
    """Lowest exponential average of the time to first token, a tenth for the newest; a failure counts as it lasted."""

    alpha = 0.1

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        super().__init__(seed, now)
        self._average: dict[str, float] = {}

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        return [self._average.get(each.provider, -self.random.random()) for each in candidates]

    def spoke(self, name: str, now: float, seconds: float) -> None:
        before = self._average.get(name, seconds)
        self._average[name] = before + self.alpha * (seconds - before)

    def ended(self, name: str, now: float, seconds: float, error: PlanarError | None) -> None:
        if isinstance(error, ProviderTimeoutError):
            self.spoke(name, now, seconds)


class InverseSquare(Rule):
    """OpenRouter's default: drawn with weights of one over the price squared; the others follow by price."""

    home = OPENROUTER

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        if not candidates:
            return []
        well = [each for each in candidates if each.health.retry_at is None] or list(candidates)
        (first,) = self.random.choices(well, [price_of(each) ** -2 for each in well])
        return [-1.0 if each is first else price_of(each) for each in candidates]


class WeightedScore(Rule):
    """Gateways that add up: half for errors, 0.3 for latency, 0.2 for price, each as a share of the worst one's.

    The idea is Bifrost's (errors weigh most, then latency); the weights are ours.
    """

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        slowest = max((each.health.ttft_p50 or 0.0 for each in candidates), default=0.0) or 1.0
        dearest = max((price_of(each) for each in candidates), default=0.0) or 1.0
        return [
            0.5 * (each.health.error_rate or 0.0)
            + 0.3 * (each.health.ttft_p50 or 0.0) / slowest
            + 0.2 * price_of(each) / dearest
            + 1e-6 * self.random.random()
            for each in candidates
        ]


class PeakEwma(Rule):
    """Finagle's P2C with peak EWMA: of two at random the one with the lower cost, latency times pending and one.

    Latency is the time to first token or to the failure; a higher one counts at once, a lower one as time passes
    (10 s). One without a history that has a call pending is taken last.
    """

    home = FINAGLE
    decay = 10.0

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        super().__init__(seed, now)
        self._cost: dict[str, float] = defaultdict(float)
        self._stamp: dict[str, float] = defaultdict(float)
        self._pending: dict[str, int] = defaultdict(int)

    def scores(self, candidates: Sequence[Candidate]) -> list[float]:
        ready = [i for i, each in enumerate(candidates) if each.health.retry_at is None]
        pair = self.random.sample(ready, min(2, len(ready)))
        loads = [self._load(each.provider) for each in candidates]
        return [load - (1e12 if i in pair else 0.0) for i, load in enumerate(loads)]

    def _load(self, name: str) -> float:
        self._observe(name, self.now(), 0.0)
        cost, pending = self._cost[name], self._pending[name]
        return 1e9 + pending if not cost and pending else cost * (pending + 1)

    def _observe(self, name: str, now: float, seconds: float) -> None:
        cost, weight = self._cost[name], math.exp(-max(0.0, now - self._stamp[name]) / self.decay)
        self._cost[name] = seconds if seconds > cost else cost * weight + seconds * (1 - weight)
        self._stamp[name] = now

    def began(self, name: str, now: float) -> None:
        self._pending[name] += 1

    def spoke(self, name: str, now: float, seconds: float) -> None:
        self._observe(name, now, seconds)

    def ended(self, name: str, now: float, seconds: float, error: PlanarError | None) -> None:
        self._pending[name] -= 1
        if error is not None:
            self._observe(name, now, seconds)


OTHERS: dict[str, type[Rule]] = {
    "random shuffle": RandomShuffle,
    "lowest latency, exponential": AverageLatency,
    "lowest latency, last ten": WindowedLatency,
    "lowest list price": LowestPrice,
    "least busy": LeastBusy,
    "inverse square of price": InverseSquare,
    "weighted score": WeightedScore,
    "P2C peak EWMA": PeakEwma,
}
