"""The closed union of things that a stream says, in the order in which it says them.

Routing and attempts first, then deltas, at most one `UsageReported`, and exactly one `Finish` last on
success; an error is raised after everything that arrived was delivered. An event is never changed after it
was made. Match on the class:

    match event:
        case TextDelta(text=text): ...
        case Finish(reason=reason): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from planar.errors import PlanarError
    from planar.types import JSON, CitedSource, FinishReason, Route, TokenLogprob, Usage


@dataclass(slots=True)
class RouteSelected:
    """The router has decided. `route.explain()` says why."""

    route: Route


@dataclass(slots=True)
class AttemptStarted:
    """A deployment is being asked. `number` counts from 1 over the whole call."""

    number: int
    deployment: str


@dataclass(slots=True)
class AttemptFailed:
    """A deployment failed before it said anything; the next one follows unless this was the last."""

    number: int
    deployment: str
    error: PlanarError


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text, never empty unless it carries only log-probabilities."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    signature: str | None = None


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the model's thinking, or (with empty text) what must travel back with it.

    Attributes:
        signature, encrypted, id, details: As in `planar.Reasoning`; they belong to the block that is open.
        final: The block ends here.
    """

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    details: tuple[JSON, ...] = ()
    final: bool = False


@dataclass(slots=True)
class ToolCallStart:
    """The model begins to ask for a tool. `index` tells parallel calls apart."""

    index: int
    id: str
    name: str


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of the arguments' JSON text, exactly as sent."""

    index: int
    arguments: str


@dataclass(slots=True)
class ToolCallEnd:
    """The call is whole.

    Attributes:
        incomplete: The arguments were cut, by a token limit for instance, and are not JSON.
    """

    index: int
    id: str
    name: str
    arguments: str
    incomplete: bool = False
    signature: str | None = None


@dataclass(slots=True)
class RefusalDelta:
    """A piece of the model's refusal."""

    text: str


@dataclass(slots=True)
class Citation:
    """A source of what was just said."""

    source: CitedSource


@dataclass(slots=True)
class Notice:
    """Something the caller may want to know and nothing depends on.

    Attributes:
        code: A stable word to branch on, such as `price_unknown` or `parameter_dropped`.
    """

    code: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Resumed:
    """The answer broke off and goes on from another attempt; `restart` means from the beginning."""

    number: int
    deployment: str
    mode: Literal["continue", "restart"]


@dataclass(slots=True)
class UsageReported:
    """The counts of this completion: the provider's, or ours with `usage.estimated`."""

    usage: Usage


@dataclass(slots=True)
class Finish:
    """The answer is whole. `reason` is ours, `raw_reason` the provider's word."""

    reason: FinishReason
    raw_reason: str | None = None


Event: TypeAlias = (
    RouteSelected
    | AttemptStarted
    | AttemptFailed
    | TextDelta
    | ReasoningDelta
    | ToolCallStart
    | ToolCallDelta
    | ToolCallEnd
    | RefusalDelta
    | Citation
    | Notice
    | Resumed
    | UsageReported
    | Finish
)

Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallStart | ToolCallDelta | ToolCallEnd | RefusalDelta | Citation
DELTAS: tuple[type, ...] = (
    TextDelta,
    ReasoningDelta,
    ToolCallStart,
    ToolCallDelta,
    ToolCallEnd,
    RefusalDelta,
    Citation,
)
"""What commits a call to its attempt: once one of these has reached the caller, there is no unseen fallback."""
