"""Ollama's own chat, its embeddings and its list of models.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and the types of the `ollama` package 0.6.3, both read in
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.types import JSON, ChatRequest, Embeddings, EmbedRequest, ModelInfo, Secret, Tool, ToolChoice
from planar.wire._base import WireRequest
from planar.wire._body import merge_extra, vector, written
from planar.wire._errors import Upstream, Words, error_of
from planar.wire._json import as_dict, as_list, as_text, loads
from planar.wire._left_out import LeftOut
from planar.wire._ollama_decode import ChatDecoder, WholeDecoder, failure_of, ollama_words, usage_of
from planar.wire._ollama_messages import encode_messages
from planar.wire._openai_decode import document_of

__all__ = [
    "LIST_MODELS",
    "ChatDecoder",
    "WholeDecoder",
    "decode_embeddings",
    "decode_models",
    "encode_chat",
    "encode_embeddings",
    "error_from",
]

_JSON = "application/json"
_WHOLE = {"content-type": _JSON, "accept": _JSON}
_STREAMED = {"content-type": _JSON, "accept": "application/x-ndjson"}
LIST_MODELS = WireRequest(path="/api/tags", body=b"", method="GET", headers={"accept": _JSON})
"""The request for the models that the server has."""

_LEVELS: Mapping[str, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
# The server refuses a level for every other model: it thinks, or it does not.
_HAS_LEVELS = re.compile(r"(?:[^/]+/)*gpt-oss")


def encode_chat(
    request: ChatRequest,
    *,
    model: str,
    provider: str = "ollama",
    num_ctx: int | None = None,
    keep_alive: float | str | None = None,
    strict: bool = False,
) -> WireRequest:
    """The request for one answer.

    A prompt that is longer than the context is refused by the server instead of cut without a word (`truncate`), as
    far as its version knows that field.

    Args:
        request: What is asked for.
        model: Ollama's name of the model.
        provider: Named in notices and errors, and the key into `request.extra_body`.
        num_ctx: Size of the context, in tokens; the server's own where it is `None`.
        keep_alive: How long the model stays in memory, in seconds or as a duration such as `"10m"`; 0 unloads it at
            once, a negative number keeps it for ever.
        strict: Refuse where otherwise something would be left out with a `Notice`.

    Raises:
        UnsupportedError: Something that the answer depends on has no place on this wire.
        InvalidRequestError: Something in the request contradicts itself or cannot be written as JSON.
    """
    left = LeftOut(provider, strict=strict)
    body: dict[str, Any] = {"model": model, "messages": encode_messages(request.messages, left), "truncate": False}
    if options := _options(request, num_ctx):
        body["options"] = options
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    _tools(request.tools, request.tool_choice, body, left)
    if request.output is not None:
        body["format"] = request.output.schema
    if request.reasoning is not None:
        body["think"] = _think(request.reasoning, model, left)
    if request.logprobs is not None:
        body["logprobs"] = True
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    if request.service_tier is not None:
        left.drop("service_tier", "Ollama has none")
    if request.cache is not None:
        left.drop("prompt_cache_key", "Ollama decides by itself what to remember")
    body["stream"] = request.streamed
    merge_extra(request.extra_body, provider, body)
    return WireRequest(
        path="/api/chat",
        body=written(body),
        headers=_STREAMED if request.streamed else _WHOLE,
        notices=tuple(left.notices),
    )


def _options(request: ChatRequest, num_ctx: int | None) -> dict[str, Any]:
    values: dict[str, object] = {
        "num_ctx": num_ctx,
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _think(asked: str | int, model: str, left: LeftOut) -> bool | str:
    if isinstance(asked, int):
        left.drop("reasoning", "this wire has no budget in tokens: the model thinks as long as it likes")
        return True
    if asked == "none":
        return False
    if _HAS_LEVELS.match(model):
        return _LEVELS[asked]
    left.drop("reasoning", f"{model} thinks or does not: it has no effort {asked!r}")
    return True


def _tools(tools: tuple[Tool, ...], choice: ToolChoice | None, body: dict[str, Any], left: LeftOut) -> None:
    """There is no `tool_choice`: none is said by leaving the tools out, and none can be forced."""
    mode = "auto" if choice is None else choice.mode
    if mode in ("required", "tool"):
        if not tools:
            raise InvalidRequestError("tool_choice asks for a tool, and there are no tools", param="tool_choice")
        left.refuse("tool_choice", "Ollama cannot force a tool")
    if not tools or mode == "none":
        return
    body["tools"] = [_tool(tool, left) for tool in tools]
    if choice is not None and choice.parallel is not None:
        left.drop("parallel_tool_calls", "the model decides how many calls it makes")


def _tool(tool: Tool, left: LeftOut) -> JSON:
    if tool.strict:
        left.drop("tools.strict", "Ollama does not hold the model to the schema of a tool")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def encode_embeddings(
    request: EmbedRequest, *, model: str, provider: str = "ollama", keep_alive: float | str | None = None
) -> WireRequest:
    """The request for one vector per input. A text that is too long is refused by the server, not cut.

    Raises:
        InvalidRequestError: There are no inputs, or they cannot be written as JSON.
    """
    if not request.inputs:
        raise InvalidRequestError("there is nothing to embed", param="inputs")
    body: dict[str, Any] = {"model": model, "input": list(request.inputs), "truncate": False}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    merge_extra(request.extra_body, provider, body)
    return WireRequest(path="/api/embed", body=written(body), headers=_WHOLE)


def decode_embeddings(body: bytes, *, provider: str, model: str, count: int | None = None) -> Embeddings:
    """The vectors, in the order of their inputs; of `/api/embed`, or the one of the older `/api/embeddings`.

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
    if "error" in document:
        raise failure_of(document, provider)
    vectors = as_list(document.get("embeddings")) or [document[name] for name in ("embedding",) if name in document]
    if not vectors or (count is not None and len(vectors) != count):
        wanted = "vectors" if count is None else f"{count} vectors"
        raise ProviderProtocolError(f"the provider sent {len(vectors)} of {wanted}", provider=provider)
    return Embeddings(
        vectors=tuple(vector(each, provider) for each in vectors),
        model=as_text(document.get("model")) or model,
        provider=provider,
        usage=usage_of(document),
    )


def decode_models(body: bytes, *, provider: str) -> tuple[ModelInfo, ...]:
    """The models of `GET /api/tags`, in the server's order. It does not tell what they can do.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It is no list of models.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = document_of(body, provider)
    if "error" in document:
        raise failure_of(document, provider)
    if not isinstance(document.get("models"), list):
        raise ProviderProtocolError("the provider sent no list of models", provider=provider)
    named = (as_dict(item) for item in as_list(document["models"]))
    return tuple(
        ModelInfo(id=name, raw=item)
        for item in named
        if (name := as_text(item.get("model")) or as_text(item.get("name"))) is not None
    )


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
    """The error to raise for a refusal. See `planar.wire._errors.error_of`."""
    try:
        words = ollama_words(loads(body))
    except ValueError:
        words = Words()
    return error_of(
        words,
        status=status,
        headers=headers,
        body=body,
        now=now,
        provider=provider,
        deployment=deployment,
        secrets=secrets,
    )
