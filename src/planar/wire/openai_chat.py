"""OpenAI's chat completions, embeddings and model list, in every dialect of `planar.wire.dialects`.

Source: the types of the `openai` package 3.54.0 and the documentation of the compatible servers, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.types import ChatRequest, Embeddings, EmbedRequest, ModelInfo, OutputSchema, Secret, Tool, ToolChoice
from planar.wire._base import WireRequest
from planar.wire._body import merge_extra, vector, written
from planar.wire._errors import Upstream, error_of, words_of
from planar.wire._json import as_dict, as_list, as_text, loads
from planar.wire._left_out import LeftOut
from planar.wire._openai_decode import ChatDecoder, WholeDecoder, document_of, refuse_failure
from planar.wire._openai_messages import encode_messages
from planar.wire._openai_prompt import Prompt, messages_from, tool_from
from planar.wire._openai_usage import usage_of
from planar.wire.dialects import OPENAI, Dialect

__all__ = [
    "ChatDecoder",
    "Prompt",
    "WholeDecoder",
    "decode_embeddings",
    "decode_models",
    "encode_chat",
    "encode_embeddings",
    "error_from",
    "messages_from",
    "tool_from",
]

_JSON = "application/json"
_STREAMED = {"content-type": _JSON, "accept": "text/event-stream"}
_WHOLE = {"content-type": _JSON, "accept": _JSON}


def encode_chat(
    request: ChatRequest,
    *,
    model: str,
    dialect: Dialect = OPENAI,
    provider: str | None = None,
    strict: bool = False,
) -> WireRequest:
    """The request for one answer. A field that the dialect does not list is not sent.

    Args:
        request: What is asked for.
        model: The vendor's name of the model.
        dialect: What the server accepts.
        provider: Named in notices and errors, and the key into `request.extra_body`; else the dialect's name.
        strict: Refuse where otherwise something would be left out with a `Notice`.

    Raises:
        UnsupportedError: Something that the answer depends on has no place in this dialect.
        InvalidRequestError: Something in the request contradicts itself or cannot be written as JSON.
    """
    name = provider or dialect.name
    left = LeftOut(name, strict=strict)
    body: dict[str, Any] = {"model": model, "messages": encode_messages(request.messages, dialect, left)}
    if request.continues:
        _continue(body, dialect, left)
    _scalars(request, body, dialect, left)
    if request.tools:
        _tools(request.tools, request.tool_choice, body, dialect, left)
    elif request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
        raise InvalidRequestError("tool_choice asks for a tool, and there are no tools", param="tool_choice")
    if request.output is not None:
        body["response_format"] = _output(request.output, dialect, left)
    if request.reasoning is not None:
        _reasoning(request.reasoning, body, dialect, left)
    body["stream"] = request.streamed
    if request.streamed and dialect.usage_option:
        body["stream_options"] = {"include_usage": True}
    merge_extra(request.extra_body, name, body)
    return WireRequest(
        path="/chat/completions",
        body=written(body),
        headers=_STREAMED if request.streamed else _WHOLE,
        notices=tuple(left.notices),
    )


def _continue(body: dict[str, Any], dialect: Dialect, left: LeftOut) -> None:
    form = dialect.continuation
    if form is None:
        left.refuse("resume", f"the dialect {dialect.name} cannot go on with an answer")
    body.update(form.body)
    body["messages"][-1].update(form.message)


def _scalars(request: ChatRequest, body: dict[str, Any], dialect: Dialect, left: LeftOut) -> None:
    values: dict[str, object] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "logprobs": None if request.logprobs is None else True,
        "top_logprobs": request.logprobs or None,
        "service_tier": request.service_tier,
        "prompt_cache_key": request.cache,
    }
    for field, value in values.items():
        if value is None:
            continue
        if field in dialect.fields:
            body[dialect.renamed.get(field, field)] = value
        else:
            left.drop(field, f"the dialect {dialect.name} does not take it")


def _tools(
    tools: tuple[Tool, ...], choice: ToolChoice | None, body: dict[str, Any], dialect: Dialect, left: LeftOut
) -> None:
    if "tools" not in dialect.fields:
        left.refuse("tools", f"the dialect {dialect.name} takes none")
    body["tools"] = [_tool(tool) for tool in tools]
    if choice is None:
        return
    if choice.mode == "tool" and choice.name not in {tool.name for tool in tools}:
        raise InvalidRequestError(f"tool_choice: there is no tool {choice.name!r}", param="tool_choice")
    if "tool_choice" in dialect.fields:
        body["tool_choice"] = _choice(choice, dialect)
    elif choice.mode == "none":
        del body["tools"]
    elif choice.mode != "auto":
        left.refuse("tool_choice", f"the dialect {dialect.name} cannot force a tool")
    if choice.parallel is not None and "tools" in body:
        if "parallel_tool_calls" in dialect.fields:
            body["parallel_tool_calls"] = choice.parallel
        else:
            left.drop("parallel_tool_calls", f"the dialect {dialect.name} does not take it")


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice, dialect: Dialect) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return dialect.required if choice.mode == "required" else choice.mode


def _output(output: OutputSchema, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    if "response_format" not in dialect.fields:
        left.refuse("output", f"the dialect {dialect.name} takes no schema for the answer")
    if dialect.output == "json_object":
        return {"type": "json_object", "schema": output.schema}
    return {
        "type": "json_schema",
        "json_schema": {"name": output.name, "schema": output.schema, "strict": output.strict},
    }


def _reasoning(asked: str | int, body: dict[str, Any], dialect: Dialect, left: LeftOut) -> None:
    if isinstance(asked, int):
        if dialect.reasoning_in == "object":
            body["reasoning"] = {"max_tokens": asked}
        else:
            left.drop("reasoning", "this wire has efforts, not budgets in tokens")
        return
    word = dialect.efforts.get(cast("Any", asked)) if "reasoning_effort" in dialect.fields else None
    if word is None:
        known = ", ".join(dialect.efforts) or "none"
        left.drop("reasoning", f"the dialect {dialect.name} has no effort {asked!r} (it has {known})")
    elif dialect.reasoning_in == "object":
        body["reasoning"] = {"effort": word}
    elif dialect.reasoning_in == "effort":
        body["reasoning_effort"] = word
    elif word == "disabled":
        body["thinking"] = {"type": "disabled"}
    else:
        body["thinking"] = {"type": "enabled"}
        body["reasoning_effort"] = word


def encode_embeddings(
    request: EmbedRequest, *, model: str, dialect: Dialect = OPENAI, provider: str | None = None
) -> WireRequest:
    """The request for one vector per input. Base64 is asked for where it is understood: a third of the bytes.

    Raises:
        UnsupportedError: `dimensions` was asked for and the dialect cannot shorten vectors.
        InvalidRequestError: There are no inputs, or they cannot be written as JSON.
    """
    name = provider or dialect.name
    if not request.inputs:
        raise InvalidRequestError("there is nothing to embed", param="inputs")
    body: dict[str, Any] = {"model": model, "input": list(request.inputs)}
    if "encoding_format" in dialect.fields:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        if "dimensions" not in dialect.fields:
            LeftOut(name).refuse("dimensions", f"the dialect {dialect.name} cannot shorten vectors")
        body[dialect.renamed.get("dimensions", "dimensions")] = request.dimensions
    merge_extra(request.extra_body, name, body)
    return WireRequest(path="/embeddings", body=written(body), headers=_WHOLE)


def decode_embeddings(body: bytes, *, provider: str, model: str, count: int | None = None) -> Embeddings:
    """The vectors, in the order of their inputs.

    Args:
        body: As it came.
        provider: Named in errors.
        model: What was asked for, where the answer does not name its model.
        count: How many there must be.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It holds no vectors, or not one for every input.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = document_of(body, provider)
    refuse_failure(document, provider)
    items = [as_dict(item) for item in as_list(document.get("data"))]
    if not items or (count is not None and len(items) != count):
        wanted = "vectors" if count is None else f"{count} vectors"
        raise ProviderProtocolError(f"the provider sent {len(items)} of {wanted}", provider=provider)
    places = [item.get("index") for item in items]
    if sorted(place for place in places if isinstance(place, int)) == list(range(len(items))):
        items.sort(key=lambda item: int(item["index"]))
    usage = as_dict(document.get("usage"))
    return Embeddings(
        vectors=tuple(vector(item.get("embedding"), provider) for item in items),
        model=as_text(document.get("model")) or model,
        provider=provider,
        usage=usage_of(usage) if usage else None,
    )


def decode_models(body: bytes, *, provider: str) -> tuple[ModelInfo, ...]:
    """The models of `GET /models`, in the vendor's order. What it does not tell is `None`.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It is no list of models.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    try:
        listed = as_list(loads(body))  # Together sends the bare list
    except ValueError:
        listed = []
    if not listed:
        document = document_of(body, provider)
        refuse_failure(document, provider)
        if not isinstance(document.get("data"), list):
            raise ProviderProtocolError("the provider sent no list of models", provider=provider)
        listed = as_list(document["data"])
    named = (as_dict(item) for item in listed)
    return tuple(_model(item) for item in named if as_text(item.get("id")))


def _model(item: dict[str, Any]) -> ModelInfo:
    top = as_dict(item.get("top_provider"))
    return ModelInfo(
        id=item["id"],
        context_window=_size(item, "context_window", "context_length", "max_context_length", "max_model_len")
        or _size(as_dict(item.get("meta")), "n_ctx"),
        max_output_tokens=_size(item, "max_completion_tokens", "max_output_tokens")
        or _size(top, "max_completion_tokens"),
        raw=item,
    )


def _size(fields: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


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
    """The error to raise for a refusal in OpenAI's form, or in none. See `planar.wire._errors.error_of`."""
    return error_of(
        words_of(body, status=status),
        status=status,
        headers=headers,
        body=body,
        now=now,
        provider=provider,
        deployment=deployment,
        secrets=secrets,
    )
