"""A call that has been checked and can no longer be wrong: what is asked, by whom, on which terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from planar.client._memory import kind_of, topic_of
from planar.client._options import CallOptions
from planar.client._output import output_schema
from planar.errors import InvalidRequestError, OutputInvalidError
from planar.events import Notice
from planar.routing import Kind, Topic
from planar.types import (
    JSON,
    Audio,
    Capability,
    ChatRequest,
    Constraints,
    File,
    Image,
    Message,
    ModelInfo,
    OnLowBudget,
    OutputSchema,
    TenantPath,
    Timeouts,
    Tool,
    ToolChoice,
    Wire,
)
from planar.wire._openai_prompt import messages_from, tool_from

Prompt: TypeAlias = str | Message | Sequence[Message | JSON]

_PARAMETERS = ("temperature", "top_p", "stop", "seed", "logprobs")
_NO_TIMEOUTS = Timeouts()
_NO_CONSTRAINTS = Constraints()


@dataclass(slots=True, kw_only=True)
class Order:
    """What a call asks for. Everything in it was captured when the call was made, and nothing changes it.

    Not frozen: that would double what making one costs, and one is made for every call.

    Attributes:
        kind: The calls whose answers say how long this one's will be.
        topic: What its prompt may have in common with those of earlier calls.
    """

    request: ChatRequest
    model: str
    tenant: TenantPath
    needs: frozenset[Capability]
    kind: Kind
    topic: Topic
    strategy: object | None = None
    constraints: Constraints = _NO_CONSTRAINTS
    timeouts: Timeouts = _NO_TIMEOUTS
    deadline: float | None = None
    strict: bool = False
    wire: Wire | None = None
    on_low_budget: OnLowBudget = "clamp"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    idempotency_key: str | None = None
    repairs: int = 0
    resume: Literal["continue", "restart"] | None = None
    hedge: bool = False


def order(prompt: Prompt, options: CallOptions, *, wire: Wire | None) -> Order:
    """Turn what the caller wrote into an order.

    Args:
        prompt: A text, a message, or a list of messages or OpenAI-shaped dicts.
        options: Already checked one by one.
        wire: The form to ask for where the caller did not say.

    Raises:
        InvalidRequestError: The prompt is empty or says something that we cannot represent.
        UnknownTenantError: The tenant is not a path.
    """
    form = options.get("wire") or wire
    request = _request(prompt, options, streamed=form != "whole")
    model = options.get("model") or "auto"
    tenant = TenantPath(options.get("tenant") or "default")
    return Order(
        request=request,
        model=model,
        tenant=tenant,
        needs=_needs(request),
        kind=kind_of(request, tenant, model),
        topic=topic_of(request, tenant, options.get("conversation")),
        strategy=options.get("strategy"),
        constraints=options.get("constraints") or _NO_CONSTRAINTS,
        timeouts=options.get("timeouts") or _NO_TIMEOUTS,
        deadline=options.get("deadline"),
        strict=bool(options.get("strict")),
        wire=form,
        on_low_budget=options.get("on_low_budget") or "clamp",
        metadata=dict(options.get("metadata") or {}),
        idempotency_key=options.get("idempotency_key"),
        repairs=options.get("repairs") or 0,
        resume=options.get("resume"),
        hedge=bool(options.get("hedge")),
    )


def _request(prompt: Prompt, options: CallOptions, *, streamed: bool) -> ChatRequest:
    stop = options.get("stop") or ()
    given = enumerate(options.get("tools") or ())
    tools = tuple([tool if isinstance(tool, Tool) else tool_from(tool, index) for index, tool in given])
    return ChatRequest(
        messages=messages_from(prompt),
        max_tokens=options.get("max_tokens"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=options.get("seed"),
        reasoning=options.get("reasoning"),
        tools=tools,
        tool_choice=_tool_choice(options, tools),
        output=_shape(options),
        logprobs=options.get("logprobs"),
        service_tier=options.get("service_tier"),
        cache=options.get("cache"),
        extra_body=dict(options.get("extra_body") or {}),
        streamed=streamed,
    )


def _tool_choice(options: CallOptions, tools: tuple[Tool, ...]) -> ToolChoice | None:
    given = options.get("tool_choice")
    if given is None:
        return None
    choice = given if isinstance(given, ToolChoice) else ToolChoice(mode=given)
    names = [tool.name for tool in tools]
    if not tools and choice.mode != "none":
        raise InvalidRequestError("tool_choice needs tools", param="tool_choice")
    if choice.mode == "tool" and choice.name not in names:
        raise InvalidRequestError(
            f"tool_choice names {choice.name!r}, but the tools are {', '.join(names)}", param="tool_choice"
        )
    return choice


def _shape(options: CallOptions) -> OutputSchema | None:
    output = options.get("output")
    return None if output is None else output_schema(output)


def _needs(request: ChatRequest) -> frozenset[Capability]:
    needs: set[Capability] = set()
    if request.tools:
        needs.add("tools")
    if request.output is not None:
        needs.add("json_schema")
    if request.logprobs is not None:
        needs.add("logprobs")
    for message in request.messages:
        if isinstance(message.content, str):
            continue
        for part in message.content:
            match part:
                case Image():
                    needs.add("image")
                case File():
                    needs.add("file")
                case Audio():
                    needs.add("audio")
                case _:
                    pass
    return frozenset(needs)


def sent_back(asked: Order, error: OutputInvalidError) -> Order:
    """The same order with the answer that did not fit, and what is wrong with it, at the end of the conversation."""
    wrong = "\n".join(f"- {problem}" for problem in error.problems)
    turns = (
        Message("assistant", error.text or "(nothing)"),
        Message("user", f"That does not fit the JSON schema:\n{wrong}\nAnswer again with the whole JSON, corrected."),
    )
    return replace(asked, request=replace(asked.request, messages=(*asked.request.messages, *turns)))


def refused(request: ChatRequest, info: ModelInfo) -> frozenset[str]:
    """The parameters of a request that a model is known to answer with an error."""
    return frozenset() if info.refuses is None else info.refuses & parameters(request)


def parameters(request: ChatRequest) -> frozenset[str]:
    """What the request says of how to choose tokens, and an answer could be given without."""
    return frozenset([name for name in _PARAMETERS if getattr(request, name) not in (None, ())])


def without(request: ChatRequest, names: frozenset[str], deployment: str) -> tuple[ChatRequest, list[Notice]]:
    """The request without parameters, and what there is to say of each."""
    left = {name: () if name == "stop" else None for name in names}
    why = "its model is known to refuse it"
    notices = [
        Notice("parameter_dropped", f"{deployment}: {name} was left out: {why}", {"field": name})
        for name in sorted(names)
    ]
    changed: dict[str, Any] = left
    return replace(request, **changed), notices
