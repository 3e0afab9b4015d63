"""OpenAI's Responses, as OpenAI, Azure, xAI, OpenRouter and llama.cpp serve them.

It is spoken without state: `store` is false unless the caller says otherwise, and what must travel back (reasoning,
items of tools that the provider runs) travels in the messages. Embeddings and the list of models are those of
`planar.wire.openai_chat`.

Source: the types of the `openai` package 3.54.0 and its vendor's documentation, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.types import JSON, ChatRequest, OutputSchema, Tool, ToolChoice
from planar.wire._base import WireRequest
from planar.wire._body import merge_extra, written
from planar.wire._left_out import LeftOut
from planar.wire._openai_decode import document_of, refuse_failure
from planar.wire._openai_schema import NotStrictError, strict_schema
from planar.wire._responses_decode import ChatDecoder, WholeDecoder
from planar.wire._responses_items import WIRE, Habits, encode_items
from planar.wire.openai_chat import error_from

__all__ = ["WIRE", "ChatDecoder", "WholeDecoder", "decode_count", "encode_chat", "encode_count", "error_from"]

_JSON = "application/json"
_STREAMED = {"content-type": _JSON, "accept": "text/event-stream"}
_WHOLE = {"content-type": _JSON, "accept": _JSON}
_ENCRYPTED = "reasoning.encrypted_content"
_COUNTED = (
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
    "previous_response_id",
    "conversation",
)
"""The fields of a request that its count of tokens is asked with."""

# What OpenAI's models take, by their names. A vendor's prefix and `ft:` stand before some.
_BEFORE = r"(?:[a-z-]+/)?(?:ft:)?"
_REASONS = re.compile(_BEFORE + r"(?:o\d|gpt-(?:[5-9]|[1-9]\d)(?!.*-chat)|gpt-oss|codex|grok-)")
_NEVER_REASONS = re.compile(_BEFORE + r"(?:gpt-[34]|chatgpt-|gpt-[5-9].*-chat)")
_FIXED_SAMPLING = re.compile(_BEFORE + r"(?:o\d|gpt-5(?![.\d])(?!.*-chat)|codex)")
_BREAKPOINTS = re.compile(_BEFORE + r"gpt-(?:5\.(?:[6-9]|[1-9]\d)|[6-9]|[1-9]\d)")


def encode_chat(request: ChatRequest, *, model: str, provider: str = "openai", strict: bool = False) -> WireRequest:
    """The request for one answer.

    Args:
        request: What is asked for.
        model: The vendor's name of the model; it decides which sampling parameters can be sent.
        provider: Named in notices and errors, and the key into `request.extra_body`.
        strict: Refuse where otherwise something would be left out with a `Notice`.

    Raises:
        UnsupportedError: Something that the answer depends on has no place on this wire.
        InvalidRequestError: Something in the request contradicts itself or cannot be written as JSON.
    """
    left = LeftOut(provider, strict=strict)
    body = _fields(request, model=model, provider=provider, left=left)
    return WireRequest(
        path="/responses",
        body=written(body),
        headers=_STREAMED if request.streamed else _WHOLE,
        notices=tuple(left.notices),
    )


def _fields(request: ChatRequest, *, model: str, provider: str, left: LeftOut) -> dict[str, Any]:
    own = request.extra_body.get(provider)
    stored = isinstance(own, Mapping) and bool(own.get("store"))
    habits = Habits(breakpoints=_BREAKPOINTS.match(model) is not None, stored=stored)
    body: dict[str, Any] = {"model": model, "input": encode_items(request.messages, habits, left), "store": False}
    _sampling(request, model, body, left)
    _reasoning(request.reasoning, model, body, left)
    if request.tools:
        _tools(request.tools, request.tool_choice, body, left)
    elif request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
        raise InvalidRequestError("tool_choice asks for a tool, and there are no tools", param="tool_choice")
    if request.output is not None:
        body["text"] = {"format": _format(request.output, left)}
    body["stream"] = request.streamed
    merge_extra(request.extra_body, provider, body)
    return body


def _sampling(request: ChatRequest, model: str, body: dict[str, Any], left: LeftOut) -> None:
    plain = {
        "max_output_tokens": request.max_tokens,
        "service_tier": request.service_tier,
        "prompt_cache_key": request.cache,
    }
    body.update({field: value for field, value in plain.items() if value is not None})
    if request.stop:
        left.refuse("stop", "this API has no stop sequences; chat completions do: planar.OpenAI(api='chat')")
    if request.seed is not None:
        left.drop("seed", "this API has none")
    thinking = request.reasoning not in (None, "none") and _REASONS.match(model) is not None
    fixed = thinking or _FIXED_SAMPLING.match(model) is not None
    for field, number in (("temperature", request.temperature), ("top_p", request.top_p)):
        if number is not None and fixed:
            left.drop(field, f"{model} accepts only its default while it reasons")
        elif number is not None:
            body[field] = number
    if request.logprobs is not None and fixed:
        left.drop("logprobs", f"{model} has none while it reasons")
    elif request.logprobs is not None:
        body["include"] = ["message.output_text.logprobs"]
        body["top_logprobs"] = request.logprobs


def _reasoning(asked: str | int | None, model: str, body: dict[str, Any], left: LeftOut) -> None:
    if _NEVER_REASONS.match(model):
        if asked not in (None, "none"):
            left.drop("reasoning", f"{model} does not reason")
        return
    if isinstance(asked, int):
        left.drop("reasoning", "this wire has efforts, not budgets in tokens")
    elif asked is not None:
        body["reasoning"] = {"effort": asked}
    # Models that do not reason refuse to be asked for it: a name that says nothing needs the caller's word.
    if _REASONS.match(model) or asked not in (None, "none"):
        body["include"] = [*body.get("include", ()), _ENCRYPTED]


def _tools(tools: tuple[Tool, ...], choice: ToolChoice | None, body: dict[str, Any], left: LeftOut) -> None:
    body["tools"] = [_tool(tool, left) for tool in tools]
    if choice is None:
        return
    if choice.mode == "tool":
        if choice.name not in {tool.name for tool in tools}:
            raise InvalidRequestError(f"tool_choice: there is no tool {choice.name!r}", param="tool_choice")
        body["tool_choice"] = {"type": "function", "name": choice.name}
    else:
        body["tool_choice"] = choice.mode
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _tool(tool: Tool, left: LeftOut) -> JSON:
    parameters, strict = _strictly(tool.parameters, bool(tool.strict), f"tools[{tool.name!r}].strict", left)
    fields: dict[str, Any] = {"type": "function", "name": tool.name, "parameters": parameters, "strict": strict}
    return {**fields, "description": tool.description} if tool.description else fields


def _format(output: OutputSchema, left: LeftOut) -> JSON:
    schema, strict = _strictly(output.schema, output.strict, "output.strict", left)
    return {"type": "json_schema", "name": output.name, "schema": schema, "strict": strict}


def _strictly(schema: JSON, strict: bool, place: str, left: LeftOut) -> tuple[JSON, bool]:
    """The schema as strict mode takes it; as it is, where it was not asked for or has no words for the schema."""
    if not strict:
        return schema, False
    try:
        return strict_schema(schema), True
    except NotStrictError as error:
        left.drop(place, str(error))
        return schema, False


def encode_count(request: ChatRequest, *, model: str, provider: str = "openai", strict: bool = False) -> WireRequest:
    """The request for the number of tokens that the prompt of `request` has.

    Raises:
        UnsupportedError, InvalidRequestError: As by `encode_chat`.
    """
    body = _fields(request, model=model, provider=provider, left=LeftOut(provider, strict=strict))
    counted = {field: body[field] for field in _COUNTED if field in body}
    return WireRequest(path="/responses/input_tokens", body=written(counted), headers=_WHOLE)


def decode_count(body: bytes, *, provider: str) -> int:
    """How many tokens the prompt has.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It holds no count.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = document_of(body, provider)
    refuse_failure(document, provider)
    count = document.get("input_tokens")
    if type(count) is not int or count < 0:
        raise ProviderProtocolError("the provider sent no count of tokens", provider=provider)
    return count
