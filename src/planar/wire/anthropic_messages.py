"""Anthropic's Messages, as Anthropic and the servers that copy it serve them.

Source: the types of the `anthropic` package 2.12.0 and platform.claude.com, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.types import (
    JSON,
    Capability,
    ChatRequest,
    Effort,
    ModelInfo,
    OutputSchema,
    ResponseInfo,
    Secret,
    Tool,
    ToolChoice,
)
from planar.wire._anthropic_answer import MessagesAnswer, failure_of, words_of_error
from planar.wire._anthropic_messages import (
    MAX_BREAKPOINTS,
    WIRE,
    encode_turns,
    limit_breakpoints,
)
from planar.wire._anthropic_models import Habits, budget_of, habits_of
from planar.wire._base import WireRequest
from planar.wire._body import merge_extra, written
from planar.wire._errors import Upstream, error_of
from planar.wire._framing import StreamFraming, WholeFraming
from planar.wire._json import as_dict, as_list, as_text, loads
from planar.wire._left_out import LeftOut
from planar.wire._openai_decode import document_of
from planar.wire._schema_subset import ANTHROPIC, fitted

__all__ = [
    "VERSION",
    "WIRE",
    "ChatDecoder",
    "WholeDecoder",
    "decode_count",
    "decode_models",
    "encode_chat",
    "encode_count",
    "encode_models",
    "error_from",
]

VERSION = "2026-10-21"
"""The version of the API that is asked for. From this one on it takes no sampling parameters."""
_JSON = "application/json"
_COUNTED = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
)
"""The fields of a request that its count of tokens is asked with."""
_LEAST_BUDGET = 1024
_TIERS: Mapping[str, str] = {
    "auto": "auto",
    "priority": "auto",
    "default": "standard_only",
    "standard": "standard_only",
}


class ChatDecoder(StreamFraming):
    """Turns the streamed answer of `/v1/messages`, cut anywhere, into events. Does no I/O.

    The answer has ended with `message_stop`, or with the body where a reason to stop was given; otherwise `close()`
    raises.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        answer = MessagesAnswer(response, provider)
        super().__init__(answer, response, provider, reader=answer)


class WholeDecoder(WholeFraming):
    """Turns the whole answer of `/v1/messages` into the events that its streamed form would have given."""

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        super().__init__(MessagesAnswer(response, provider), response, provider)


def encode_chat(
    request: ChatRequest,
    *,
    model: str,
    provider: str = "anthropic",
    version: str = VERSION,
    strict: bool = False,
) -> WireRequest:
    """The request for one answer.

    Args:
        request: What is asked for. Without `max_tokens`, which the wire demands, the model's own limit is sent.
        model: The vendor's name of the model; it decides how reasoning is asked for, and what cannot be.
        provider: Named in notices and errors, and the key into `request.extra_body`.
        version: Sent as `anthropic-version`.
        strict: Refuse where otherwise something would be left out with a `Notice`.

    Raises:
        UnsupportedError: Something that the answer depends on has no place on this wire.
        InvalidRequestError: Something in the request contradicts itself or cannot be written as JSON.
    """
    left = LeftOut(provider, strict=strict)
    body = _fields(request, model=model, provider=provider, version=version, left=left)
    return WireRequest(
        path="/v1/messages",
        body=written(body),
        headers=_headers(version, "text/event-stream" if request.streamed else _JSON),
        notices=tuple(left.notices),
    )


def _headers(version: str, accept: str) -> dict[str, str]:
    return {"content-type": _JSON, "accept": accept, "anthropic-version": version}


def _fields(request: ChatRequest, *, model: str, provider: str, version: str, left: LeftOut) -> dict[str, Any]:
    habits = habits_of(model)
    system, turns = encode_turns(request.messages, left, system_inside=habits.system_inside)
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens or habits.max_tokens, "messages": turns}
    if system:
        body["system"] = system
    _tools(request, body, left)
    _reasoning(request.reasoning, habits, request.max_tokens, body, left)
    if habits.claude and version >= VERSION:
        habits = replace(habits, sampling=False)
    _sampling(request, model, habits, body, left)
    if request.output is not None:
        body.setdefault("output_config", {})["format"] = _format(request.output)
    _options(request, body, left)
    _breakpoints(request, body, left)
    body["stream"] = request.streamed
    merge_extra(request.extra_body, provider, body)
    return body


def _sampling(request: ChatRequest, model: str, habits: Habits, body: dict[str, Any], left: LeftOut) -> None:
    given = {"temperature": request.temperature, "top_p": request.top_p}
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for field, number in given.items():
        if number is None:
            continue
        if not habits.sampling:
            left.drop(field, f"{model} takes no sampling parameters in this version of the API")
        elif thinks:
            left.drop(field, f"{model} accepts only its default while it thinks")
        elif field == "temperature" and number > 1:
            left.drop(field, "this vendor's ends at 1")
        elif field == "top_p" and "temperature" in body and habits.one_of_sampling:
            left.drop(field, f"{model} takes temperature or top_p, not both")
        else:
            body[field] = number


def _reasoning(
    asked: Effort | int | None, habits: Habits, max_tokens: int | None, body: dict[str, Any], left: LeftOut
) -> None:
    if asked is None:
        return
    if asked in ("none", 0):
        if habits.thinking != "none":
            body["thinking"] = {"type": "disabled"}
        return
    if habits.thinking == "none":
        left.drop("reasoning", "this model does not think")
    elif isinstance(asked, int) and habits.budgets:
        _budget(asked, max_tokens, body)
    elif habits.thinking == "budget":
        _budget_for(cast("Effort", asked), max_tokens, body, left)
    else:
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if isinstance(asked, int):
            left.drop("reasoning", "this model takes no budget in tokens and decides itself how much to think")
        else:
            body["output_config"] = {"effort": habits.efforts[asked]}


def _budget(tokens: int, max_tokens: int | None, body: dict[str, Any]) -> None:
    if tokens < _LEAST_BUDGET:
        raise InvalidRequestError(f"reasoning: a budget has at least {_LEAST_BUDGET} tokens", param="reasoning")
    if max_tokens is None:
        body["max_tokens"] = max(body["max_tokens"], tokens + _LEAST_BUDGET)
    elif tokens >= max_tokens:
        raise InvalidRequestError("reasoning: the budget must be smaller than max_tokens", param="reasoning")
    body["thinking"] = {"type": "enabled", "budget_tokens": tokens}


def _budget_for(effort: Effort, max_tokens: int | None, body: dict[str, Any], left: LeftOut) -> None:
    """An effort, for a model that takes budgets: what it is worth, as far as the answer leaves room for it."""
    tokens = min(budget_of(effort), body["max_tokens"] - 1)
    if tokens < _LEAST_BUDGET:
        left.drop("reasoning", f"max_tokens leaves no room for the least budget of {_LEAST_BUDGET} tokens")
    else:
        _budget(tokens, max_tokens, body)


def _tools(request: ChatRequest, body: dict[str, Any], left: LeftOut) -> None:
    choice = request.tool_choice
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if choice is not None and (written := _choice(choice, request.tools)) is not None:
            body["tool_choice"] = written
    elif choice is not None and choice.mode in ("required", "tool"):
        raise InvalidRequestError("tool_choice asks for a tool, and there are no tools", param="tool_choice")


def _tool(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name, "input_schema": dict(tool.parameters)}
    fields["input_schema"].setdefault("type", "object")
    if tool.description:
        fields["description"] = tool.description
    if tool.strict is not None:
        fields["strict"] = tool.strict
    if tool.strict:
        fields["input_schema"] = fitted(fields["input_schema"], ANTHROPIC)
    return fields


def _choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> dict[str, Any] | None:
    match choice.mode:
        case "tool":
            if choice.name not in {tool.name for tool in tools}:
                raise InvalidRequestError(f"tool_choice: there is no tool {choice.name!r}", param="tool_choice")
            fields: dict[str, Any] = {"type": "tool", "name": choice.name}
        case "none":
            return {"type": "none"}
        case "required":
            fields = {"type": "any"}
        case "auto":
            fields = {"type": "auto"}
    if choice.parallel is not None:
        fields["disable_parallel_tool_use"] = not choice.parallel
    return fields


def _format(output: OutputSchema) -> JSON:
    return {"type": "json_schema", "schema": fitted(output.schema, ANTHROPIC)}


def _options(request: ChatRequest, body: dict[str, Any], left: LeftOut) -> None:
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    for field, value in (("seed", request.seed), ("logprobs", request.logprobs)):
        if value is not None:
            left.drop(field, "this vendor has none")
    if request.service_tier is not None:
        tier = _TIERS.get(request.service_tier, request.service_tier)
        if tier in ("auto", "standard_only"):
            body["service_tier"] = tier
        else:
            left.drop("service_tier", f"this vendor has auto and standard_only, not {tier}")
    if request.cache is not None:
        # The key itself has no place here: what is remembered is told apart by its content.
        body["cache_control"] = {"type": "ephemeral"}


def _breakpoints(request: ChatRequest, body: dict[str, Any], left: LeftOut) -> None:
    blocks: list[dict[str, Any]] = list(body.get("system", ()))
    for turn in body["messages"]:
        blocks.extend(turn["content"])
        for block in turn["content"]:
            inner = block.get("content")
            if block["type"] == "tool_result" and isinstance(inner, list):
                blocks.extend(cast("list[dict[str, Any]]", inner))
    limit_breakpoints(blocks, left, most=MAX_BREAKPOINTS - (request.cache is not None))


def encode_count(
    request: ChatRequest,
    *,
    model: str,
    provider: str = "anthropic",
    version: str = VERSION,
    strict: bool = False,
) -> WireRequest:
    """The request for the number of tokens that the prompt of `request` has.

    Raises:
        UnsupportedError, InvalidRequestError: As by `encode_chat`.
    """
    left = LeftOut(provider, strict=strict)
    body = _fields(request, model=model, provider=provider, version=version, left=left)
    counted = {field: body[field] for field in _COUNTED if field in body}
    return WireRequest(path="/v1/messages/count_tokens", body=written(counted), headers=_headers(version, _JSON))


def decode_count(body: bytes, *, provider: str) -> int:
    """How many tokens the prompt has.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It holds no count.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = _document_of(body, provider)
    count = document.get("input_tokens")
    if type(count) is not int or count < 0:
        raise ProviderProtocolError("the provider sent no count of tokens", provider=provider)
    return count


def encode_models(*, version: str = VERSION, after: str | None = None) -> WireRequest:
    """The request for one page of the list of models; `after` is the last id of the page before."""
    page = "" if after is None else f"&after_id={quote(after, safe='')}"
    headers = {"accept": _JSON, "anthropic-version": version}
    return WireRequest(path=f"/v1/models?limit=1000{page}", body=b"", method="GET", headers=headers)


def decode_models(body: bytes, *, provider: str) -> tuple[tuple[ModelInfo, ...], str | None]:
    """One page of the models, and the id after which the next page begins; `None` for the last page.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It is no list of models.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = _document_of(body, provider)
    if not isinstance(document.get("data"), list):
        raise ProviderProtocolError("the provider sent no list of models", provider=provider)
    named = (as_dict(item) for item in as_list(document["data"]))
    models = tuple(_model(item) for item in named if as_text(item.get("id")))
    return models, as_text(document.get("last_id")) if document.get("has_more") is True else None


def _model(item: dict[str, Any]) -> ModelInfo:
    told = as_dict(item.get("capabilities"))
    capabilities: set[Capability] = {"tools", "parallel_tools"}
    capabilities |= {ours for name, ours in _CAPABILITIES.items() if as_dict(told.get(name)).get("supported")}
    return ModelInfo(
        id=item["id"],
        context_window=_size(item.get("max_input_tokens")),
        max_output_tokens=_size(item.get("max_tokens")),
        capabilities=frozenset(capabilities) if told else None,
        raw=item,
    )


_CAPABILITIES: Mapping[str, Capability] = {
    "structured_outputs": "json_schema",
    "thinking": "reasoning",
    "image_input": "image",
    "pdf_input": "file",
}


def _size(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _document_of(body: bytes, provider: str) -> dict[str, Any]:
    document = document_of(body, provider)
    if document.get("error"):
        raise failure_of(document, provider)
    return document


def error_from(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    provider: str | None = None,
    deployment: str | None = None,
    secrets: Iterable[Secret] = (),
) -> Upstream:
    """The error to raise for a refusal in Anthropic's form, or in none. See `planar.wire._errors.error_of`."""
    try:
        document: object = loads(body)
    except ValueError:
        document = None
    words, request_id = words_of_error(document, status=status)
    error = error_of(
        words,
        status=status,
        headers=headers,
        body=body,
        now=now,
        provider=provider,
        deployment=deployment,
        secrets=secrets,
    )
    error.request_id = error.request_id or request_id
    return error
