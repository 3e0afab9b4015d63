"""Who might answer, how each is doing, and the order in which they are tried, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeAlias, cast

from planar.types._models import ModelInfo
from planar.types._quick import quick
from planar.types._requests import Constraints
from planar.types._words import JSON, BreakerState, Capability, no_entries


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a deployment is doing, as last seen. Times are seconds; what was not measured is `None`, never a guess.

    Attributes:
        ok: It may be asked now, and its key was accepted when it was last looked at.
        message: Why not, or the class of the last failure; empty after a success.
        state: Of its circuit breaker: in use, left alone, or waiting for one probe to find it back.
        error_rate: Failures among the calls that ended lately, 0 to 1. What a caller or a tenant did wrong, and what
            was cancelled, is not among them.
        in_flight: Calls that are running there.
        waiting: Those of them whose streamed answer has not begun yet.
        waited: How long half of these have waited at least: where answers have stopped coming, this is seen first.
        ttft: To the first token, of the last call that had one.
        ttft_p50, ttft_p95: To the first token, of half and of 95 % of the recent calls that had one.
        latency_p95: To the end, of 95 % of the recent calls that succeeded.
        tokens_per_second: Of half of the recent answers, at least so many after their first token.
        auth_failed: Since its last success the provider refused the key, what the key may do, or the account. That
            is for the operator to mend and no outage: `state` does not know of it.
        retry_at: When it may be asked again, on the monotonic clock; `None` if it may be asked now.
        age: Since the last report of a call; `None` if there never was one.
    """

    ok: bool = True
    message: str = ""
    state: BreakerState = "closed"
    error_rate: float | None = None
    in_flight: int = 0
    waiting: int = 0
    waited: float | None = None
    ttft: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    latency_p95: float | None = None
    tokens_per_second: float | None = None
    auth_failed: bool = False
    retry_at: float | None = None
    age: float | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A deployment that might answer, with what it would cost and how it is doing.

    Attributes:
        deployment: `provider:model`.
        input_tokens_bound, output_tokens_bound: Most tokens of prompt and answer.
        cost_bound: Most that the call can cost there, in nano-USD; `None` where the price is unknown.
        input_estimated: The prompt was not counted by the model's own tokenizer.
        input_tokens_likely: What the prompt will probably count.
        output_tokens_likely: What the answer will probably count, going by answers to calls like this one.
        cached_tokens_likely: How much of the prompt its cache probably still has.
        served_last: It gave this conversation's last answer.
        quality: 0 to 100, for this prompt; `None` where nothing is known but what `info` says of all.
    """

    deployment: str
    provider: str
    model: str
    info: ModelInfo
    input_tokens_bound: int = 0
    output_tokens_bound: int | None = None
    cost_bound: int | None = None
    input_estimated: bool = True
    input_tokens_likely: int = 0
    output_tokens_likely: int = 0
    cached_tokens_likely: int = 0
    served_last: bool = False
    quality: float | None = None
    health: Health = Health()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """What the router may know of a request: never its text.

    Attributes:
        strategy: What the caller asked for, else the tenant's, else the platform's; `None` leaves it to the router.
        policies: What the platform and each scope of the tenant's path allow, by name; all of it holds beside
            `constraints`.
        parameters: Which of its parameters no model may leave out: those of a call with `strict=True`.
        prefer: The vendor (a provider's `name`) that comes first among those that pass.
        service_tier: The vendor's word for how urgently to serve.
        length_seen: Answers to calls like this one were seen; otherwise their length is assumed.
        headroom: What the tenant could still spend when the store was last asked, in nano-USD; `None` if it has no
            limit on money, or was never seen.
        headroom_age: Seconds since then.
        seed: What chance is drawn from.
    """

    model: str
    tenant: str
    strategy: object | None = None
    constraints: Constraints = field(default_factory=Constraints)
    policies: tuple[tuple[str, Constraints], ...] = ()
    prefer: str | None = None
    needs: frozenset[Capability] = frozenset()
    parameters: frozenset[str] = frozenset()
    max_tokens: int | None = None
    service_tier: str | None = None
    length_seen: bool = False
    headroom: int | None = None
    headroom_age: float | None = None
    seed: int = 0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why one candidate stands where it stands.

    Attributes:
        position: Its place in the order, from 0; `None` if it was dropped.
        dropped_by: The filter that removed it, with the reason in `detail`.
        score: What was estimated of it and what its place follows from, by name; what is unknown is not there.
    """

    candidate: Candidate
    position: int | None
    dropped_by: str | None = None
    detail: str = ""
    score: Mapping[str, float] = field(default_factory=no_entries)


Reason: TypeAlias = tuple[Any, ...]
"""A text with places, as `str.format` fills them, and what belongs there. Most are never read, so they wait."""


class Route:
    """The order in which deployments are tried, and the reasons, for every candidate.

    Made by a router: of verdicts, or, where a microsecond counts, of light rows (`ranked`) that become verdicts when
    somebody reads them. Nothing changes it.

    Attributes:
        request: What was asked.
        router: Who decided: the router's name.
        settings: With what, as JSON: what `planar.replay` makes the same router of.
        strategy: What put them in order, where the router has several: what the request named, or the default.
        order: The candidates that remain, first choice first.
    """

    __slots__ = (
        "_candidates",
        "_dropped",
        "_notes",
        "_passed",
        "_ranking",
        "_terms",
        "_verdicts",
        "_why",
        "order",
        "request",
        "router",
        "settings",
        "strategy",
    )

    request: RouteRequest
    router: str
    settings: JSON
    strategy: object | None
    order: tuple[Candidate, ...]

    def __init__(
        self, *, request: RouteRequest, router: str, verdicts: Sequence[Verdict], settings: JSON | None = None
    ) -> None:
        kept = [verdict for verdict in verdicts if verdict.position is not None]
        kept.sort(key=lambda verdict: verdict.position or 0)
        self.request = request
        self.router = router
        self.settings = {} if settings is None else settings
        self.strategy = request.strategy
        self.order = tuple([verdict.candidate for verdict in kept])
        self._candidates = tuple([verdict.candidate for verdict in verdicts])
        self._verdicts: tuple[Verdict, ...] | None = tuple(verdicts)
        self._ranking: Sequence[int] = ()
        self._dropped: Mapping[int, tuple[str, Reason]] = {}
        self._why = ""
        self._notes: Mapping[int, Reason] = {}
        self._passed: Sequence[int] = ()
        self._terms: Callable[[], Mapping[str, Sequence[float | None]]] = dict

    @classmethod
    def ranked(
        cls,
        *,
        request: RouteRequest,
        router: str,
        settings: JSON,
        strategy: object | None,
        candidates: Sequence[Candidate],
        ranking: Sequence[int],
        dropped: Mapping[int, tuple[str, Reason]],
        why: str,
        notes: Mapping[int, Reason],
        passed: Sequence[int],
        terms: Callable[[], Mapping[str, Sequence[float | None]]],
    ) -> Route:
        """A route of light rows. A candidate is named by its index.

        Args:
            ranking: Those that remain, first choice first.
            dropped: The filter that removed one, and why.
            why: What the order is by, in a few words.
            notes: Why one stands where it does instead.
            passed: Those for which there are `terms`.
            terms: Gives what was estimated of each of `passed`, by name. What is `None` or infinite is unknown.
        """
        route = cls.__new__(cls)
        route.request = request
        route.router = router
        route.settings = settings
        route.strategy = strategy
        route.order = tuple([candidates[index] for index in ranking])
        route._candidates = candidates if isinstance(candidates, tuple) else tuple(candidates)
        route._verdicts = None
        route._ranking = ranking
        route._dropped = dropped
        route._why = why
        route._notes = notes
        route._passed = passed
        route._terms = terms
        return route

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that were looked at, in the operator's order."""
        return self._candidates

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each candidate."""
        if self._verdicts is None:
            self._verdicts = self._judged()
        return self._verdicts

    def _judged(self) -> tuple[Verdict, ...]:
        places = {index: place for place, index in enumerate(self._ranking)}
        rows = {index: row for row, index in enumerate(self._passed)}
        columns = self._terms()
        verdicts: list[Verdict] = []
        for index, candidate in enumerate(self._candidates):
            name, reason = self._dropped.get(index, (None, self._notes.get(index, (self._why,))))
            row = rows.get(index)
            score: dict[str, float] = {}
            if row is not None:
                known = {term: column[row] for term, column in columns.items()}
                score = {term: value for term, value in known.items() if value is not None and value != inf}
            verdicts.append(
                Verdict(
                    candidate=candidate,
                    position=places.get(index),
                    dropped_by=name,
                    detail=_said(reason),
                    score=score,
                )
            )
        return tuple(verdicts)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Route)
            and (self.request, self.router, self.settings) == (other.request, other.router, other.settings)
            and self.verdicts == other.verdicts
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # A strategy may hold what cannot be pickled, such as a check: its name has to do.
        name = None if self.strategy is None else getattr(self.strategy, "name", self.strategy)
        return _of_verdicts, (self.request, self.router, self.verdicts, self.settings, name)

    def __repr__(self) -> str:
        names = ", ".join(candidate.deployment for candidate in self.order)
        return f"Route({self.request.model!r} by {self.router}: {names or 'nobody'})"

    def explain(self) -> str:
        """A table for a person: every candidate, its place or why it was dropped, and what was reckoned with."""
        from planar.types._route_pages import table

        return table(self)

    def to_json(self) -> str:
        """Everything that went into the decision, and what came out. `planar.replay` decides the same again."""
        from planar.types._route_pages import to_json

        return to_json(self)


def _of_verdicts(
    request: RouteRequest, router: str, verdicts: tuple[Verdict, ...], settings: JSON, strategy: object | None
) -> Route:
    route = Route(request=request, router=router, verdicts=verdicts, settings=settings)
    route.strategy = strategy
    return route


def _said(reason: Reason) -> str:
    text: str = reason[0]
    return text.format(*map(_listed, reason[1:]))


def _listed(value: Any) -> Any:
    return ", ".join(sorted(cast("frozenset[str]", value))) if isinstance(value, frozenset) else value
