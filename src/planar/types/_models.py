"""What is known of models, what they cost, and the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import ClassVar

from planar.errors import ConfigurationError
from planar.types._quick import quick
from planar.types._requests import Constraints
from planar.types._words import JSON, BreakerState, Capability, no_entries, usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in whole pico-USD per token (1 USD per million tokens is 1,000,000).

    A kind of token without a rate of its own (`None`) is charged as the kind it is part of.

    Attributes:
        cache_write_1h: For prompts kept an hour.
        call: Per request, in nano-USD.
        source: Where the figures were read, and `as_of` when.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    call: int = 0
    source: str = ""
    as_of: str = ""

    FREE: ClassVar[Price]

    @classmethod
    def per_million(
        cls,
        *,
        input: Decimal | str | int,
        output: Decimal | str | int,
        cached_input: Decimal | str | int | None = None,
        cache_write: Decimal | str | int | None = None,
        source: str = "",
        as_of: str = "",
    ) -> Price:
        """A price from USD per million tokens, as vendors list it.

        Raises:
            ConfigurationError: A rate is negative, not a number, or finer than a pico-USD per token.
        """
        return cls(
            input=_pico(input),
            output=_pico(output),
            cached_input=None if cached_input is None else _pico(cached_input),
            cache_write=None if cache_write is None else _pico(cache_write),
            source=source,
            as_of=as_of,
        )


def _pico(usd_per_million: Decimal | str | int) -> int:
    given: object = usd_per_million
    try:
        # A float is refused: 0.1 is not the tenth that was meant.
        known = isinstance(given, Decimal | str | int) and not isinstance(given, bool)
        pico = Decimal(usd_per_million) * 1_000_000 if known else Decimal(-1)
        exact = pico.is_finite() and pico >= 0 and pico == pico.to_integral_value()
    except ArithmeticError:
        pico, exact = Decimal(0), False
    if not exact:
        raise ConfigurationError(
            f"a price of {usd_per_million!r} USD per million tokens is not a whole number of pico-USD per token:"
            " write a Decimal, a str or an int of at least 0"
        )
    return int(pico)


Price.FREE = Price(input=0, output=0, source="computed in this process; set a price to charge for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known of one model at one provider. What is not known is `None`, never a guess.

    Attributes:
        context_window: Tokens of prompt and answer together.
        capabilities: `None` where nobody has listed them; then no capability excludes the model.
        local: It runs in this process.
        quality: 0 to 100, with its source in the catalog.
    """

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    price: Price | None = None
    local: bool = False
    region: str | None = None
    quality: float | None = None
    raw: JSON | None = None


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
        ttft: To the first token, of the last call that had one.
        ttft_p50, ttft_p95: To the first token, of half and of 95 % of the recent calls that had one.
        latency_p95: To the end, of 95 % of the recent calls that succeeded.
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
    ttft: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    latency_p95: float | None = None
    auth_failed: bool = False
    retry_at: float | None = None
    age: float | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A deployment that might answer, with what it would cost and how it is doing.

    Attributes:
        deployment: `provider:model`.
        cost_bound: Most that the call can cost there, in nano-USD; `None` where the price is unknown.
        input_estimated: The prompt was not counted by the model's own tokenizer.
    """

    deployment: str
    provider: str
    model: str
    info: ModelInfo
    input_tokens_bound: int = 0
    output_tokens_bound: int | None = None
    cost_bound: int | None = None
    input_estimated: bool = True
    health: Health = Health()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """What the router may know of a request: never its text."""

    model: str
    tenant: str
    strategy: object | None = None
    constraints: Constraints = field(default_factory=Constraints)
    needs: frozenset[Capability] = frozenset()
    max_tokens: int | None = None
    seed: int = 0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why one candidate stands where it stands.

    Attributes:
        position: Its place in the order, from 0; `None` if it was dropped.
        dropped_by: The filter that removed it, with the reason in `detail`.
        score: The terms that were added up, by name.
    """

    candidate: Candidate
    position: int | None
    dropped_by: str | None = None
    detail: str = ""
    score: Mapping[str, float] = field(default_factory=no_entries)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The order in which deployments are tried, and the reasons, for every candidate."""

    request: RouteRequest
    router: str
    verdicts: tuple[Verdict, ...]

    @property
    def order(self) -> tuple[Candidate, ...]:
        """The candidates that remain, first choice first."""
        kept = [verdict for verdict in self.verdicts if verdict.position is not None]
        return tuple([verdict.candidate for verdict in sorted(kept, key=_place)])

    def explain(self) -> str:
        """A table for a person: every candidate, its place or why it was dropped, and its bound in USD."""
        rows = [("", "deployment", "at most USD", "why")]
        for verdict in sorted(self.verdicts, key=lambda v: (v.position is None, v.position or 0)):
            bound = verdict.candidate.cost_bound
            place = "-" if verdict.position is None else str(verdict.position + 1)
            why = verdict.detail if verdict.dropped_by is None else f"{verdict.dropped_by}: {verdict.detail}"
            rows.append((place, verdict.candidate.deployment, "unknown" if bound is None else f"{usd(bound):f}", why))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        head = f"{self.request.model} for {self.request.tenant}, by {self.router}"
        body = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        ]
        return "\n".join([head, *(line.rstrip() for line in body)])


_place = attrgetter("position")
