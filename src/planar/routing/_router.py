"""The router: filter, estimate, pick, and the fallbacks in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from planar.errors import ConfigurationError, InvalidRequestError
from planar.routing._estimates import Estimates, is_silent
from planar.routing._filters import sieve
from planar.routing._strategies import (
    Balanced,
    Cascade,
    Ranking,
    Sticky,
    Strategy,
    StrategyLike,
    data_of,
    names,
    strategy_of,
)
from planar.types import JSON, Candidate, Health, Route, RouteRequest
from planar.types._routes import Reason

AUTH_SECONDS = 30.0
"""For so long a deployment whose key was refused is asked after the others; then it is tried again."""
AUTO = "auto"


class CostRouter:
    """Drops what a policy, a constraint or the request itself excludes, estimates the rest, and puts them in order.

    Those of the preferred vendor come first; those that are left alone for now, after failures, because they asked for
    it or because answers seem to have stopped coming, and those that the prompt may not fit, come last: a deployment
    that fails is better than none.

    Args:
        strategy: For calls that name none. Without one the alias's order holds, and `"balanced"` for `model="auto"`.
        balanced: What a second and a point of quality are worth where the strategy is `"balanced"`, or the one within
            `Sticky` or `Cascade` is.

    Raises:
        ConfigurationError: The strategy does not exist.
    """

    name: ClassVar[str] = "CostRouter"

    def __init__(self, strategy: StrategyLike | None = None, *, balanced: Balanced | None = None) -> None:
        self._balanced = balanced or Balanced()
        self._strategy = None if strategy is None else self._of(strategy)
        self._settings: JSON = {
            "strategy": data_of(self._strategy),
            **({} if self._balanced == Balanced() else {"balanced": data_of(self._balanced)}),
        }

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        """Filter, estimate and order.

        Raises:
            InvalidRequestError: The strategy is not one that this router knows.
        """
        strategy = self._chosen(request)
        dropped = sieve(request, candidates)
        passed: Sequence[int] = range(len(candidates))
        these = Estimates(candidates, tier=request.service_tier)
        if dropped:
            passed = [index for index in passed if index not in dropped]
            these = Estimates([candidates[index] for index in passed], tier=request.service_tier)
        found = strategy.rank(request, these)
        ranking = [passed[row] for row in found.order]
        notes = {passed[row]: reason for row, reason in found.notes.items()} if found.notes else {}
        if request.prefer is not None:
            ranking = _preferred(ranking, request.prefer, candidates)
        ranking = _asked_last(ranking, candidates, request, notes)
        if len(ranking) < len(passed):
            kept = set(ranking)
            dropped.update({index: ("strategy", (found.why_not,)) for index in passed if index not in kept})
        return Route.ranked(
            request=request,
            router=self.name,
            settings=self._settings,
            strategy=strategy,
            candidates=candidates,
            ranking=ranking,
            dropped=dropped,
            why=found.why,
            notes=notes,
            passed=passed,
            terms=partial(_terms, these, found),
        )

    def _chosen(self, request: RouteRequest) -> Strategy:
        given = request.strategy
        if given is None:
            return self._strategy or (self._balanced if request.model == AUTO else strategy_of("ordered"))
        try:
            return self._of(given)
        except ConfigurationError:
            raise InvalidRequestError(
                f"CostRouter knows no strategy {given!r}: write one of {', '.join(names())}, give an object such as"
                " planar.Weighted({...}), or leave it out",
                param="strategy",
            ) from None

    def _of(self, given: object) -> Strategy:
        if given == "balanced":
            return self._balanced
        strategy = strategy_of(given)
        if isinstance(strategy, Sticky | Cascade):
            inner = self._of(strategy.otherwise)
            return strategy if inner == strategy_of(strategy.otherwise) else replace(strategy, otherwise=inner)
        return strategy


def _terms(these: Estimates, found: Ranking) -> Mapping[str, Sequence[float | None]]:
    return {**these.terms(), **{name: made() if callable(made) else made for name, made in found.terms.items()}}


def _preferred(ranking: list[int], vendor: str, candidates: Sequence[Candidate]) -> list[int]:
    return sorted(ranking, key=lambda index: candidates[index].provider != vendor)


def _asked_last(
    ranking: list[int], candidates: Sequence[Candidate], request: RouteRequest, notes: dict[int, Reason]
) -> list[int]:
    """Those that may be asked now and fit, in their order, and then the others, soonest to be allowed first."""
    late: dict[int, tuple[bool, float]] = {}
    room = 1 if request.max_tokens is None else request.max_tokens
    for index in ranking:
        one = candidates[index]
        health, window = one.health, one.info.context_window
        if health.retry_at is not None:
            late[index] = (True, health.retry_at)
        elif (health.auth_failed and health.age is not None and health.age < AUTH_SECONDS) or (
            health.waiting > 1 and is_silent(health)
        ):
            late[index] = (True, 0.0)
        elif window is not None and one.input_tokens_likely + room > window:
            late[index] = (False, 0.0)
    if not late:
        return ranking
    for index, (waits, _) in late.items():
        notes[index] = _left_alone(candidates[index].health) if waits else ("the prompt may not fit it",)
    last = sorted([index for index in ranking if index in late], key=late.__getitem__)
    return [*[index for index in ranking if index not in late], *last]


def _left_alone(health: Health) -> Reason:
    if health.retry_at is None and is_silent(health):
        return "left alone for now: {} calls wait for a first token, {:.2g} s", health.waiting, health.waited
    return "left alone for now: {}", health.message or health.state
