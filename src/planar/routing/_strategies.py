"""By what those that passed the filters are put in order. Pure functions of what was estimated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, Protocol, TypeAlias, cast

from planar.errors import ConfigurationError
from planar.routing._estimates import Estimates
from planar.types import JSON, NANO, RouteRequest
from planar.types._route_pages import name_of, plain
from planar.types._routes import Reason
from planar.types._words import no_entries

Column: TypeAlias = Sequence[float | None] | Callable[[], Sequence[float | None]]

_LAST = math.inf
_INSTANT = 1e-3
"""Seconds below which one time is as good as another."""


@dataclass(slots=True, kw_only=True)
class Ranking:
    """An order of rows of `Estimates`.

    Attributes:
        order: Rows, first choice first. Those that are not among them are dropped, for `why_not`.
        why: What the order is by, in a few words.
        terms: What the order follows from, by name: a column, or what makes it when somebody reads it.
        notes: What there is to say of a row besides.
    """

    order: Sequence[int]
    why: str
    terms: Mapping[str, Column] = field(default_factory=no_entries)
    why_not: str = "not chosen"
    notes: Mapping[int, Reason] = field(default_factory=no_entries)


class Strategy(Protocol):
    """Puts candidates in order. The same input gives the same order: chance comes from `request.seed`."""

    @property
    def name(self) -> str:
        """What the route calls it."""
        ...

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """The order of the rows, and what it follows from."""
        ...


StrategyLike: TypeAlias = "str | Strategy"


class _Recorded:
    """Can be written down, and made again of what was written."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What the route calls it."""
        return type(self).__name__.lower()

    def to_data(self) -> JSON:
        """The name, and what differs from the defaults."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        return {"name": name_of(self), **{name: data_of(value) for name, value in own.items()}}


@dataclass(frozen=True, slots=True)
class Ordered(_Recorded):
    """The operator's order."""

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """As they are listed."""
        return Ranking(order=range(len(these)), why="in the listed order")


@dataclass(frozen=True, slots=True)
class Pinned(_Recorded):
    """The first in the operator's order and nobody else: nothing falls back."""

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """The first row alone."""
        return Ranking(order=range(min(1, len(these))), why="pinned", why_not="pinned to the first")


@dataclass(frozen=True, slots=True)
class Cheapest(_Recorded):
    """By expected money. Whose price is unknown comes after everybody whose price is known."""

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """Least money first; at the same price the operator's order."""
        keys = [_LAST if cost is None else cost for cost in these.costs()]
        return Ranking(order=_ascending(keys), why="by money")


@dataclass(frozen=True, slots=True)
class Fastest(_Recorded):
    """By expected time to the first token, or to the end.

    Args:
        whole: The end is what counts, not the first token.
    """

    whole: bool = False

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """Least time first. Who was never measured is tried soon, but not by everybody at once."""
        times = these.times() if self.whole else these.waits()
        return Ranking(order=_ascending(times), why="by time")


@dataclass(frozen=True, slots=True)
class Quality(_Recorded):
    """By quality; of the same quality the cheaper first. Whose quality is unknown comes last."""

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """Best first."""
        qualities = these.qualities()
        keys = [
            (_LAST if good is None else -good, _LAST if cost is None else cost)
            for good, cost in zip(qualities, these.costs(), strict=True)
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Ranking(order=order, why="by quality", terms={"quality": qualities})


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced(_Recorded):
    """Money, time and quality in one unit: what the call costs in USD, with what its time and its faults are worth.

    Unless you say what they are worth, the candidates do: as much money as the cheapest takes is worth as much time as
    the fastest takes, and a fault of the whole scale. So twice the time weighs like twice the money.

    Whose price is unknown comes after everybody whose price is known. Where nobody's quality is known it does not
    count; where some are, whose is not counts as the worst of them.

    Args:
        usd_per_second: What a second less is worth. A person who waits earns about 0.01 USD a second.
        usd_per_point: What a point of quality more (of 100) is worth on one call.
    """

    usd_per_second: Decimal | None = None
    usd_per_point: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("usd_per_second", "usd_per_point"):
            worth: object = getattr(self, name)
            if worth is not None and not (isinstance(worth, Decimal) and worth.is_finite() and worth >= 0):
                raise ConfigurationError(
                    f"{name} must be a Decimal of at least 0, not {worth!r}: write Decimal('0.001')"
                )

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """Least of the sum first."""
        costs, times, qualities = these.costs(), these.times(), these.qualities()
        second, point = self._worth(costs, times)
        known = [good for good in qualities if good is not None]
        best, worst = (max(known), min(known)) if known else (0.0, 0.0)
        scores = [
            _LAST
            if cost is None
            else cost / NANO + second * seconds + point * (best - (worst if good is None else good))
            for cost, seconds, good in zip(costs, times, qualities, strict=True)
        ]
        return Ranking(order=_ascending(scores), why="by money, time and quality", terms={"worth_usd": scores})

    def _worth(self, costs: Sequence[int | None], times: Sequence[float]) -> tuple[float, float]:
        """A second, and a point of quality, in USD."""
        second, point = self.usd_per_second, self.usd_per_point
        if second is not None and point is not None:
            return float(second), float(point)
        # What is free says nothing about the worth of money; where all are free any worth gives the same order.
        least = min([cost for cost in costs if cost], default=NANO) / NANO
        return (
            least / max(min(times, default=1.0), _INSTANT) if second is None else float(second),
            least / 100 if point is None else float(point),
        )


@dataclass(frozen=True, slots=True)
class Weighted(_Recorded):
    """By chance, in proportion to weights; the fallbacks, too. Who has no weight is a fallback after all the others.

    Args:
        weights: By deployment (`provider:model`), each above 0.

    Raises:
        ConfigurationError: No weight, or one that is not a number above 0.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        weights: object = self.weights
        if not isinstance(weights, Mapping) or not weights:
            raise ConfigurationError("Weighted needs weights by deployment, such as {'openai:gpt-6-luna': 3}")
        object.__setattr__(self, "weights", dict(self.weights))
        for deployment, weight in self.weights.items():
            given: object = weight
            good = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given) and given > 0
            if not good:
                raise ConfigurationError(f"the weight of {deployment!r} must be a number above 0, not {weight!r}")

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.weights.items())))

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """Drawn one after the other from `request.seed`; the probability of being first is recorded."""
        weights = [self.weights.get(one.deployment, 0.0) for one in these.candidates]
        total = math.fsum(weights)
        draw = Random(request.seed).random  # noqa: S311 - chance that can be repeated is what is wanted
        # The least of exponential times comes first in proportion to its rate: one draw each orders them all.
        keys = [-math.log(1.0 - draw()) / weight if weight else _LAST for weight in weights]
        shares = [weight / total if total else None for weight in weights]
        return Ranking(order=_ascending(keys), why="by chance", terms={"probability": shares})


@dataclass(frozen=True, slots=True)
class Sticky(_Recorded):
    """Stays with the deployment that gave a conversation's last answer, unless leaving costs less.

    Whoever answers anew reads the whole conversation at the full rate: that is the price of leaving, and it is in the
    money that is compared. A new conversation begins where the inner strategy says.

    Args:
        otherwise: The strategy for who begins, and for the fallbacks: a name or an object.
    """

    otherwise: StrategyLike = "balanced"

    def __post_init__(self) -> None:
        strategy_of(self.otherwise)

    @property
    def check(self) -> Callable[..., Any] | None:
        """What the inner strategy checks answers with, if it does."""
        return getattr(strategy_of(self.otherwise), "check", None)

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """The inner order, with the last deployment in front if staying is not dearer than leaving."""
        inner = strategy_of(self.otherwise).rank(request, these)
        order = list(inner.order)
        stays = next((row for row in order if these.candidates[row].served_last), None)
        notes = dict(inner.notes)
        if stays is not None and order[0] != stays and not _dearer(these.cost(stays), these.cost(order[0])):
            order.remove(stays)
            order.insert(0, stays)
        if stays is not None and order[0] == stays:
            notes[stays] = ("it has the conversation",)
        return Ranking(
            order=order,
            why=inner.why,
            terms={**inner.terms, "cache_usd": partial(_discounts, these)},
            why_not=inner.why_not,
            notes=notes,
        )


@dataclass(frozen=True, slots=True)
class Cascade(_Recorded):
    """Cheap first; a check decides whether the answer will do, or a better deployment is asked.

    Until then the caller has none of its words. The last that can be asked is not checked: its answer is given as it
    is, and streams. What was rejected is in the ledger and in `completion.attempts`, and costs what it cost. Whoever is
    known to be no better than one whose answer was rejected is not asked.

    Args:
        check: Called with the `Completion`; says whether it will do. It may be async. What it raises ends the call.
        otherwise: The strategy by which they are asked: a name or an object.
    """

    check: Callable[..., Any]
    otherwise: StrategyLike = "cheapest"

    def __post_init__(self) -> None:
        strategy_of(self.otherwise)
        if not callable(self.check):
            raise ConfigurationError(f"Cascade needs a check to call with the completion, not {self.check!r}")

    def rank(self, request: RouteRequest, these: Estimates) -> Ranking:
        """The inner order. Who is known to be no better than one before is asked only where that one fails."""
        inner = strategy_of(self.otherwise).rank(request, these)
        qualities = these.qualities()
        notes = dict(inner.notes)
        best = -_LAST
        for row in inner.order:
            good = qualities[row]
            if good is not None and good <= best:
                notes[row] = ("no better than one before it: asked only where that fails",)
            best = best if good is None else max(best, good)
        terms = {**inner.terms, "quality": qualities}
        return Ranking(order=inner.order, why=inner.why, terms=terms, why_not=inner.why_not, notes=notes)

    def to_data(self) -> JSON:
        """Without the check: it decides after the route."""
        return {"name": self.name, "otherwise": data_of(self.otherwise)}


_PLAIN: tuple[Strategy, ...] = (Ordered(), Pinned(), Cheapest(), Fastest(), Quality(), Balanced())
_NAMED = {each.name: each for each in _PLAIN}
"""Those that need nothing said."""


def names() -> tuple[str, ...]:
    """What a strategy can be called."""
    return tuple(_NAMED)


def strategy_of(given: object) -> Strategy:
    """The strategy of a name, or the object itself.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(given, str):
        known = _NAMED.get(given)
        if known is not None:
            return known
    elif callable(getattr(given, "rank", None)) and isinstance(getattr(given, "name", None), str):
        # As the protocol says, in a twentieth of the time that `isinstance` takes for one.
        return cast("Strategy", given)
    raise ConfigurationError(f"{given!r} is no strategy: write one of {', '.join(_NAMED)}, or give a strategy object")


def data_of(value: object) -> object:
    """A strategy, or what it was made with, as JSON."""
    return plain(value)


def _discounts(these: Estimates) -> list[float | None]:
    """What the cache of each is expected to save, in USD."""
    saved: list[float | None] = []
    for one in these.candidates:
        price = one.info.price
        if price is None:
            saved.append(None)
        else:
            price = price.applied(input_tokens=one.input_tokens_likely, tier=these.tier) or price
            rate = price.input if price.cached_input is None else price.cached_input
            saved.append(one.cached_tokens_likely * (price.input - rate) / 1000 / NANO)
    return saved


def _dearer(one: int | None, other: int | None) -> bool:
    return other is not None and (one is None or one > other)


def _ascending(keys: Sequence[float]) -> list[int]:
    """Rows by their key, least first; the same key leaves the operator's order."""
    return sorted(range(len(keys)), key=keys.__getitem__)
