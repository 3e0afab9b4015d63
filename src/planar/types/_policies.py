"""What the operator decides once: how persistent a client is, who waits for whom, and what tenants may use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from planar.errors import ConfigurationError
from planar.types._requests import Constraints
from planar.types._tenants import is_root
from planar.types._words import nano, no_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a call is tried, how long it waits in between, and how much of the traffic may be retries.

    Attributes:
        attempts: Most attempts of one call: retries, fallbacks, hedges and resumption together. 1 tries once.
        base: Seconds that the first wait may last at most; each further one may last twice as long.
        cap: Seconds that no wait exceeds, but for a `Retry-After` and its jitter.
        max_wait: Seconds that a `Retry-After` may ask for; where it asks for more, the call ends with that error.
        budget_ratio: Retries of a deployment per call to it, in the long run.
        budget_cap: Retries that a deployment may have saved up. It begins with all of them.
        budget_floor: Retries per second that it may save up without any calls, so that a quiet client can retry.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    max_wait: float = 60.0
    budget_ratio: float = 0.1
    budget_cap: float = 10.0
    budget_floor: float = 0.1

    def __post_init__(self) -> None:
        _whole("attempts", self.attempts, least=1)
        _number("base", self.base, least=0.0)
        _number("cap", self.cap, least=self.base, why="as base")
        _number("max_wait", self.max_wait, least=0.0)
        _number("budget_ratio", self.budget_ratio, least=0.0, most=1.0)
        _number("budget_cap", self.budget_cap, least=1.0)
        _number("budget_floor", self.budget_floor, least=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortPolicy:
    """What follows at one provider when a caller leaves an answer early.

    By default the connection is closed at once, and what the vendor has not counted by then is estimated.

    Attributes:
        drain_seconds: Above 0: the answer is read on for at most so long after the caller has left, because this vendor
            bills what it has begun anyway and tells the count at the end. What was estimated is corrected then.
        drain_tokens: Of the answer, and for no more than so many.
        bills_all: The vendor bills the whole answer whatever is closed: where it does not tell the count, all that was
            held for the answer is booked.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    drain_seconds: float = 0.0
    drain_tokens: int = 4096
    bills_all: bool = False

    def __post_init__(self) -> None:
        _number("drain_seconds", self.drain_seconds, least=0.0)
        _whole("drain_tokens", self.drain_tokens, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a deployment is left alone after failures, and for how long.

    It is ejected after `consecutive` failures in a row, or when at least `min_volume` calls ended within `window`
    and `error_rate` of them failed. Then one probe at a time finds out whether it is back.

    Attributes:
        window: Seconds that a failure is remembered, in ten buckets: one is forgotten at a time.
        min_volume: Calls within the window below which their rate says nothing.
        error_rate: Above 0, at most 1.
        consecutive: Failures in a row, however long they took.
        ejection: Seconds of the first ejection; each further one lasts twice as long.
        max_ejection: Seconds that no ejection exceeds.
        healing: Seconds in use without an ejection that take one doubling back.
        probe_timeout: Seconds after which a probe that nobody reported on is taken for lost, and another is let
            through.
        max_hold: Seconds that a `Retry-After` is believed at most.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    window: float = 30.0
    min_volume: int = 20
    error_rate: float = 0.5
    consecutive: int = 5
    ejection: float = 5.0
    max_ejection: float = 300.0
    healing: float = 60.0
    probe_timeout: float = 60.0
    max_hold: float = 300.0

    def __post_init__(self) -> None:
        _number("window", self.window, above=0.0)
        _whole("min_volume", self.min_volume, least=1)
        _number("error_rate", self.error_rate, above=0.0, most=1.0)
        _whole("consecutive", self.consecutive, least=1)
        _number("ejection", self.ejection, above=0.0)
        _number("max_ejection", self.max_ejection, least=self.ejection, why="as ejection")
        _number("healing", self.healing, above=0.0)
        _number("probe_timeout", self.probe_timeout, above=0.0)
        _number("max_hold", self.max_hold, least=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePolicy:
    """When a second deployment is asked beside a slow first one, and what that may cost.

    Attributes:
        share: Hedges per call, in the long run: 0.05 is at most 5 % more calls.
        burst: Hedges that may have been saved up. It begins with none of them.
        money_share: Part of everything spent that may be spent on hedges.
        allowance_usd: Spent on hedges beyond that part, in all, so that a new client can hedge too.
        quantile: Of the recent times to first token of the deployment that is waited for: then the second is asked.
        min_samples: Recent answers below which that quantile says nothing, and nothing is hedged.
        min_delay: Seconds that are waited at least.
        max_delay: Seconds that are waited at most.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    share: float = 0.05
    burst: float = 5.0
    money_share: float = 0.05
    allowance_usd: Decimal = Decimal("0.01")
    quantile: float = 0.95
    min_samples: int = 20
    min_delay: float = 0.05
    max_delay: float = 10.0

    def __post_init__(self) -> None:
        _number("share", self.share, least=0.0, most=1.0)
        _number("burst", self.burst, least=1.0)
        _number("money_share", self.money_share, least=0.0, most=1.0)
        nano(self.allowance_usd)
        _number("quantile", self.quantile, above=0.0, most=1.0)
        _whole("min_samples", self.min_samples, least=1)
        _number("min_delay", self.min_delay, least=0.0)
        _number("max_delay", self.max_delay, least=self.min_delay, why="as min_delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How many requests a scarce deployment or provider is asked at a time, and who waits for a place there.

    Tenants take turns, by the first name of their paths: while two wait, one of weight 2 gets two turns for each of
    the other's with weight 1. Within one tenant, first come is first served.

    Attributes:
        concurrency: Most requests at a time; what an answer that is still being read takes up is a place.
        length: Most requests that may wait, of all tenants together.
        per_tenant: Most requests of one tenant that may wait.
        max_wait: Seconds that one may wait at most; with 0 none waits. A call's own deadline may end it earlier.
        weights: By the first name of a tenant's path, from 0.001 to 1,000; of all others it is 1.

    Raises:
        ConfigurationError: A value is out of its range, or a weight is for what is not the first name of a path.
    """

    concurrency: int = 1
    length: int = 100
    per_tenant: int = 20
    max_wait: float = 30.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        _whole("concurrency", self.concurrency, least=1)
        _whole("length", self.length, least=0)
        _whole("per_tenant", self.per_tenant, least=1)
        _number("max_wait", self.max_wait, least=0.0)
        for tenant, weight in self.weights.items():
            if not is_root(tenant):
                raise ConfigurationError(
                    f"weights are by the first name of a tenant's path, such as 'acme': {tenant!r}"
                )
            _number(f"the weight of {tenant}", weight, least=0.001, most=1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """What the platform, or one tenant, may use, and what it uses where a call does not say.

    For a call of `acme/search/alice` the policies of the platform, of `acme`, of `acme/search` and of the tenant itself
    hold, all of them, beside the call's own constraints: a policy can only narrow what a wider one allows.

    Attributes:
        constraints: What a deployment must meet. The cost ceiling is that of each single call.
        prefer: The vendor (a provider's `name`) that is asked first, among those that may be asked. The deepest policy
            that names one is followed; one that may not be asked at all changes nothing.
        strategy: For calls that name none. The deepest policy that has one is followed.
        models: Aliases, as in `planar.Planar(models=)`, for the calls of this scope; they come before those of wider
            scopes.

    Raises:
        ConfigurationError: A value is not of its kind.

    Example:
        >>> europe = RoutingPolicy(constraints=Constraints(regions=frozenset({"eu"})), prefer="mistral")
        >>> europe.prefer
        'mistral'
    """

    constraints: Constraints = field(default_factory=Constraints)
    prefer: str | None = None
    strategy: object | None = None
    models: Mapping[str, Sequence[str]] = field(default_factory=no_entries, hash=False)

    def __post_init__(self) -> None:
        given: tuple[object, object, object] = (self.constraints, self.prefer, self.models)
        constraints, prefer, models = given
        if not isinstance(constraints, Constraints):
            raise ConfigurationError(f"a policy's constraints are planar.Constraints(...), not {constraints!r}")
        if prefer is not None and not (isinstance(prefer, str) and prefer):
            raise ConfigurationError(f"a policy prefers a provider by its name, such as 'openai', not {prefer!r}")
        if not isinstance(models, Mapping):
            raise ConfigurationError(f"a policy's models are aliases, each for a list of deployments, not {models!r}")
        # A copy, so that nobody can widen it later by changing what it was made of.
        frozen = {alias: names if isinstance(names, str) else tuple(names) for alias, names in self.models.items()}
        object.__setattr__(self, "models", frozen)


def _whole(name: str, value: object, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    why: str = "",
) -> None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if known and value >= least and value > above and value <= most:  # type: ignore[operator]
        return
    low = f"above {above:g}" if above > -math.inf else f"of at least {least:g}{' ' + why if why else ''}"
    high = f" and at most {most:g}" if most < math.inf else ""
    raise ConfigurationError(f"{name} must be a number {low}{high}, not {value!r}")
