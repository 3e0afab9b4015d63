"""What comes back, and what was counted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from planar.types._messages import Message, ToolCall
from planar.types._quick import quick
from planar.types._routes import Route
from planar.types._words import JSON, FinishReason, LeaseId, no_entries

if TYPE_CHECKING:
    from planar.errors import PlanarError


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one completion. Every sub-count is part of its total.

    Attributes:
        input_tokens: The whole prompt, cache included.
        output_tokens: The whole answer, reasoning included.
        cached_audio_input_tokens: Those that are part of the cached ones and of the audio ones.
        raw: The provider's own object.
        estimated: Counted by Planar, because the provider did not say.
        suspect: The provider's figures were impossible and were replaced by an estimate.
        compute_ms: Milliseconds that the machine worked on this call, where it is ours.
    """

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    cached_audio_input_tokens: int | None = None
    image_output_tokens: int | None = None
    server_tool_calls: int | None = None
    raw: JSON | None = None
    estimated: bool = False
    suspect: bool = False
    compute_ms: int | None = None

    @property
    def total_tokens(self) -> int:
        """Input and output together; what nobody reported counts as nothing here."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """The log-probability of a token that was chosen, and of those that might have been."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds that a call took, on the client's clock.

    Attributes:
        queued: Waiting for places in front of scarce deployments (`QueuePolicy`), in all attempts together.
        ttft: From the call to the first delta; `None` if none came.
        total: From the call to the end.
        tokens_per_second: Output tokens over the time after the first one; `None` for fewer than two.
    """

    queued: float = 0.0
    ttft: float | None = None
    total: float = 0.0
    tokens_per_second: float | None = None


@dataclass(slots=True, kw_only=True)
class ResponseInfo:
    """What is known about the provider's response, filled in while it arrives.

    Attributes:
        request_id: The vendor's id for its support desk, from the headers.
        usage: What had been used when the answer was left early, where the provider can tell.
        raw: The whole-form answer as JSON, where that form was asked for.
    """

    response_id: str | None = None
    model: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    rate_limits: Mapping[str, str] = field(default_factory=no_entries)
    usage: Usage | None = None
    raw: JSON | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSource:
    """Where a statement of the answer comes from, as far as the provider says."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    raw: JSON | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try along the route, as it ended.

    Attributes:
        error: Why it failed; `None` for the one that answered.
        cost_usd: What it was booked at; `None` where the price is unknown.
    """

    number: int
    deployment: str
    lease_id: LeaseId
    error: PlanarError | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    seconds: float = 0.0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A stream folded up: the answer, what it cost, and how it came about.

    Attributes:
        output: The answer parsed by `output=`, or `None` where no shape was asked for.
        finish_reason: Ours; `raw_finish_reason` is the provider's word.
        usage: Of the attempts whose words are in the answer.
        cost_usd: Of all attempts together; `None` where a price is unknown, never a silent zero.
        message: The answer as a turn that can be sent back, signatures included.
    """

    text: str
    finish_reason: FinishReason
    raw_finish_reason: str | None
    usage: Usage | None
    cost_usd: Decimal | None
    provider: str
    model: str
    route: Route
    attempts: tuple[Attempt, ...]
    timings: Timings
    message: Message
    output: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    citations: tuple[CitedSource, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    notices: tuple[str, ...] = ()
    request_id: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    rate_limits: Mapping[str, str] = field(default_factory=no_entries)
    raw: JSON | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector per input, in the order of the inputs."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    provider: str = ""
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    request_id: str | None = None
