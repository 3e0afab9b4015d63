"""What is asked for, how long it may take, and what it may never do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

from planar.errors import InvalidRequestError
from planar.types._messages import Message, OutputSchema, Tool, ToolChoice
from planar.types._quick import quick
from planar.types._words import JSON, Capability, Effort, no_entries


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A checked request for one answer, in words that every provider's codec understands.

    Attributes:
        max_tokens: What goes on the wire; `None` leaves it out where the vendor allows.
        temperature: 0 to 2.
        reasoning: An effort, or a budget in tokens.
        logprobs: How many alternatives to report per token (0: only the chosen one); `None`: no logprobs.
        streamed: Which of the two forms of the answer to ask for.
        continues: The last message is the beginning of the answer, and what is asked for is the rest of it. Only a
            provider that says so (`planar.protocols.ContinuesAnswers`) is asked this.
        extra_body: Fields that Planar does not know, by provider name, sent untouched.
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning: Effort | int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: OutputSchema | None = None
    logprobs: int | None = None
    service_tier: str | None = None
    cache: str | None = None
    extra_body: Mapping[str, JSON] = field(default_factory=no_entries)
    streamed: bool = True
    continues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Texts to turn into vectors. `dimensions` shortens them where the model can."""

    inputs: tuple[str, ...]
    dimensions: int | None = None
    extra_body: Mapping[str, JSON] = field(default_factory=no_entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of one attempt may take, in seconds. `None` means without end.

    Attributes:
        connect: Until the connection stands.
        first_token: From sending the request to the first delta.
        stall: Between two events that carry content; keep-alives do not count.
        total: The whole call, retries, pauses and fallbacks included.
        min_rate: Tokens per second that an answer must keep up once it has begun, taken over 5 seconds of waiting (or
            over the time of two tokens, if that is longer); `None` means as slow as it likes.
    """

    connect: float | None = 10.0
    first_token: float | None = 300.0
    stall: float | None = 120.0
    total: float | None = None
    min_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a route may never violate, by fallback, hedge or resumption either.

    Attributes:
        vendors: Only these providers (their `name`).
        models: Only deployments that one of these patterns names, such as `openai:gpt-6-luna` or `anthropic:*`.
        excluded_models: No deployment that one of these patterns names.
        regions: Only deployments known to be in one of these.
        max_cost_usd: Upper bound of one call; a deployment whose price is unknown does not pass.
        min_quality: Lowest quality score, on the catalog's scale of 0 to 100.
        local_only: Only models that run in this process.
        needs: Capabilities the deployment must have.
    """

    vendors: frozenset[str] | None = None
    excluded_vendors: frozenset[str] = frozenset()
    models: frozenset[str] | None = None
    excluded_models: frozenset[str] = frozenset()
    regions: frozenset[str] | None = None
    max_cost_usd: Decimal | None = None
    min_quality: float | None = None
    local_only: bool = False
    needs: frozenset[Capability] = frozenset()

    def __post_init__(self) -> None:
        for name in _SETS:
            value: object = getattr(self, name)
            if type(value) is frozenset or (value is None and name in _OPEN):
                continue
            # A text would do for a collection of its parts, and let pass what was not meant.
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InvalidRequestError(f"{name} must be a set of texts, not {value!r}", param=name)
            object.__setattr__(self, name, frozenset(cast("Iterable[str]", value)))
        most: object = self.max_cost_usd
        if most is not None and not (isinstance(most, Decimal) and most.is_finite() and most >= 0):
            raise InvalidRequestError(
                f"max_cost_usd must be a Decimal of at least 0, such as Decimal('0.01'), not {most!r}",
                param="max_cost_usd",
            )


_OPEN = ("vendors", "models", "regions")
_SETS = (*_OPEN, "excluded_vendors", "excluded_models", "needs")
