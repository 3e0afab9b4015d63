"""Google's Gemini, as its developer API and Vertex serve it: the stateless `generateContent`.

Source: the types of the `google-genai` package 3.4.0 and ai.google.dev, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import quote

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.types import (
    JSON,
    ChatRequest,
    Embeddings,
    EmbedRequest,
    ModelInfo,
    ResponseInfo,
    Secret,
    Tool,
    ToolChoice,
    Usage,
)
from planar.wire._base import MAX_EVENT, WireRequest
from planar.wire._body import merge_extra, vector, written
from planar.wire._errors import Upstream, error_of
from planar.wire._framing import StreamFraming, WholeFraming
from planar.wire._gemini_answer import GenerateAnswer, failure_of
from planar.wire._gemini_contents import WIRE, encode_contents
from planar.wire._gemini_errors import words_of_error
from planar.wire._gemini_thinking import thinking_config
from planar.wire._json import as_dict, as_list, as_text, loads
from planar.wire._left_out import LeftOut
from planar.wire._openai_decode import document_of
from planar.wire._openai_usage import Counter
from planar.wire._schema_subset import GEMINI, fitted

__all__ = [
    "WIRE",
    "ChatDecoder",
    "WholeDecoder",
    "decode_count",
    "decode_embeddings",
    "decode_models",
    "encode_chat",
    "encode_count",
    "encode_embeddings",
    "encode_models",
    "error_from",
]

MAX_CHUNK = 32 * MAX_EVENT
"""Largest chunk, in bytes: pictures and sound come whole in one."""
_JSON = "application/json"
_WHOLE = {"content-type": _JSON, "accept": _JSON}
_STREAMED = {"content-type": _JSON, "accept": "text/event-stream"}
_MOST_STOPS = 5
_TIERS: Mapping[str, str | None] = {
    "auto": None,
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}


class ChatDecoder(StreamFraming):
    """Turns the streamed answer of `:streamGenerateContent`, cut anywhere, into events. Does no I/O.

    No event says that the answer is whole: it has ended with the body, if a finish reason came (or the prompt was
    blocked) and nothing is left over; otherwise `close()` raises.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        answer = GenerateAnswer(response, provider)
        super().__init__(answer, response, provider, max_event=MAX_CHUNK, ends_with_body=True)


class WholeDecoder(WholeFraming):
    """Turns the whole answer of `:generateContent` into the events that its streamed form would have given.

    The list of chunks that a stream without `alt=sse` is, is read as well.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        super().__init__(GenerateAnswer(response, provider), response, provider)


def encode_chat(request: ChatRequest, *, model: str, provider: str = "gemini", strict: bool = False) -> WireRequest:
    """The request for one answer.

    Args:
        request: What is asked for.
        model: The vendor's name of the model, with or without `models/`; it decides how reasoning is asked for.
        provider: Named in notices and errors, and the key into `request.extra_body`.
        strict: Refuse where otherwise something would be left out with a `Notice`.

    Raises:
        UnsupportedError: Something that the answer depends on has no place on this wire.
        InvalidRequestError: Something in the request contradicts itself or cannot be written as JSON.
    """
    left = LeftOut(provider, strict=strict)
    body = _fields(request, model=model, provider=provider, left=left)
    verb = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
    return WireRequest(
        path=f"/{_resource(model)}:{verb}",
        body=written(body),
        headers=_STREAMED if request.streamed else _WHOLE,
        notices=tuple(left.notices),
    )


def _resource(model: str) -> str:
    """Where a model is, below the address of the vendor and nowhere else."""
    place = model if "/" in model else f"models/{model}"
    if any(step in ("", ".", "..") for step in place.split("/")):
        raise InvalidRequestError(f"{model!r} is no name of a model", param="model")
    return quote(place, safe="/-._~@")


def _fields(request: ChatRequest, *, model: str, provider: str, left: LeftOut) -> dict[str, Any]:
    system, contents = encode_contents(request.messages, left)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    _tools(request.tools, request.tool_choice, body, left)
    config = _sampling(request, left)
    if request.output is not None:
        config |= {"responseMimeType": _JSON, "responseJsonSchema": fitted(request.output.schema, GEMINI)}
    if request.reasoning is not None:
        thinking = thinking_config(request.reasoning, model, left)
        config |= {} if thinking is None else {"thinkingConfig": thinking}
    if config:
        body["generationConfig"] = config
    _options(request, body, left)
    merge_extra(request.extra_body, provider, body)
    return body


def _sampling(request: ChatRequest, left: LeftOut) -> dict[str, Any]:
    if len(request.stop) > _MOST_STOPS:
        left.refuse("stop", f"this vendor takes at most {_MOST_STOPS}")
    values: dict[str, object] = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "seed": request.seed,
        "stopSequences": list(request.stop) or None,
        "responseLogprobs": None if request.logprobs is None else True,
        "logprobs": request.logprobs or None,
    }
    return {field: value for field, value in values.items() if value is not None}


def _tools(tools: tuple[Tool, ...], choice: ToolChoice | None, body: dict[str, Any], left: LeftOut) -> None:
    if not tools:
        if choice is not None and choice.mode in ("required", "tool"):
            raise InvalidRequestError("tool_choice asks for a tool, and there are no tools", param="tool_choice")
        return
    body["tools"] = [{"functionDeclarations": [_declared(tool) for tool in tools]}]
    mode = "auto" if choice is None else choice.mode
    if choice is not None and choice.parallel is False:
        left.drop("parallel_tool_calls", "this vendor cannot be kept from several calls in one turn")
    if mode == "tool":
        if choice is None or choice.name not in {tool.name for tool in tools}:
            raise InvalidRequestError("tool_choice: there is no such tool", param="tool_choice")
        config: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    elif mode == "auto" and any(tool.strict for tool in tools):
        config = {"mode": "VALIDATED"}
    elif choice is None:
        return
    else:
        config = {"mode": {"auto": "AUTO", "none": "NONE", "required": "ANY"}[mode]}
    body["toolConfig"] = {"functionCallingConfig": config}


def _declared(tool: Tool) -> JSON:
    fields: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": fitted(tool.parameters, GEMINI)}
    return {**fields, "description": tool.description} if tool.description else fields


def _options(request: ChatRequest, body: dict[str, Any], left: LeftOut) -> None:
    if request.service_tier is not None:
        tier = _TIERS.get(request.service_tier, "")
        if tier == "":
            left.drop("service_tier", f"this vendor has flex, standard and priority, not {request.service_tier}")
        elif tier is not None:
            body["serviceTier"] = tier
    if request.cache is not None:
        if request.cache.startswith(("cachedContents/", "projects/")):
            body["cachedContent"] = request.cache
        else:
            left.drop("cache", "this vendor takes the name of a content that it holds: cachedContents/...")


def encode_count(
    request: ChatRequest, *, model: str, provider: str = "gemini", vertex: bool = False, strict: bool = False
) -> WireRequest:
    """The request for the number of tokens that the prompt of `request` has.

    Args:
        request: What would be asked for.
        model: The vendor's name of the model.
        provider: As for `encode_chat`.
        vertex: Vertex takes the fields as they are, the developer API takes a whole request.
        strict: As for `encode_chat`.

    Raises:
        UnsupportedError, InvalidRequestError: As by `encode_chat`.
    """
    left = LeftOut(provider, strict=strict)
    body = _fields(request, model=model, provider=provider, left=left)
    counted: dict[str, Any] = {"generateContentRequest": {"model": _resource(model), **body}}
    if vertex:
        counted = {name: body[name] for name in ("contents", "systemInstruction", "tools") if name in body}
    return WireRequest(path=f"/{_resource(model)}:countTokens", body=written(counted), headers=_WHOLE)


def decode_count(body: bytes, *, provider: str) -> int:
    """How many tokens the prompt has.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It holds no count.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    count = _document_of(body, provider).get("totalTokens")
    if type(count) is not int or count < 0:
        raise ProviderProtocolError("the provider sent no count of tokens", provider=provider)
    return count


def encode_embeddings(request: EmbedRequest, *, model: str, provider: str = "gemini") -> WireRequest:
    """The request for one vector per input. The caller's own fields are part of every input's request.

    Raises:
        InvalidRequestError: There are no inputs, or they cannot be written as JSON.
    """
    if not request.inputs:
        raise InvalidRequestError("there is nothing to embed", param="inputs")
    common: dict[str, Any] = {"model": _resource(model)}
    if request.dimensions is not None:
        common["outputDimensionality"] = request.dimensions
    merge_extra(request.extra_body, provider, common)
    items = [{**common, "content": {"parts": [{"text": text}]}} for text in request.inputs]
    return WireRequest(
        path=f"/{_resource(model)}:batchEmbedContents", body=written({"requests": items}), headers=_WHOLE
    )


def decode_embeddings(body: bytes, *, provider: str, model: str, count: int | None = None) -> Embeddings:
    """The vectors, in the order of their inputs; of a batch, or of a single text.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It holds no vectors, or not one for every input.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = _document_of(body, provider)
    items = as_list(document.get("embeddings")) or [document[name] for name in ("embedding",) if name in document]
    if not items or (count is not None and len(items) != count):
        wanted = "vectors" if count is None else f"{count} vectors"
        raise ProviderProtocolError(f"the provider sent {len(items)} of {wanted}", provider=provider)
    usage = as_dict(document.get("usageMetadata"))
    return Embeddings(
        vectors=tuple(vector(as_dict(item).get("values"), provider) for item in items),
        model=model,
        provider=provider,
        usage=Usage(input_tokens=Counter().read(usage, "promptTokenCount"), raw=usage) if usage else None,
    )


def encode_models(*, page: str | None = None) -> WireRequest:
    """The request for one page of the list of models."""
    after = "" if page is None else f"&pageToken={quote(page, safe='')}"
    return WireRequest(path=f"/models?pageSize=1000{after}", body=b"", method="GET", headers={"accept": _JSON})


def decode_models(body: bytes, *, provider: str) -> tuple[tuple[ModelInfo, ...], str | None]:
    """One page of the models, and the token of the next page; `None` for the last one.

    Raises:
        TruncatedStreamError: The body has no end.
        ProviderProtocolError: It is no list of models.
        ProviderError, RequestError: It is a failure that came with a good status.
    """
    document = _document_of(body, provider)
    listed = document.get("models", document.get("publisherModels", [] if not document else None))
    if not isinstance(listed, list):
        raise ProviderProtocolError("the provider sent no list of models", provider=provider)
    named = (as_dict(item) for item in as_list(cast("object", listed)))
    models = tuple(_model(item) for item in named if as_text(item.get("name")))
    return models, as_text(document.get("nextPageToken"))


def _model(item: dict[str, Any]) -> ModelInfo:
    verbs = frozenset(verb for verb in as_list(item.get("supportedGenerationMethods")) if isinstance(verb, str))
    embeds = bool({"embedContent", "batchEmbedContents"} & verbs) and "generateContent" not in verbs
    return ModelInfo(
        id=str(item["name"]).rpartition("models/")[2],
        context_window=_size(item.get("inputTokenLimit")),
        max_output_tokens=_size(item.get("outputTokenLimit")),
        capabilities=frozenset({"embeddings"}) if embeds else None,
        raw=item,
    )


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
    """The error to raise for a refusal in Google's form, or in none. See `planar.wire._errors.error_of`."""
    try:
        document: object = loads(body)
    except ValueError:
        document = None
    words, judged = words_of_error(document, status=status)
    return judged(
        error_of(
            words,
            status=status,
            headers=headers,
            body=body,
            now=now,
            provider=provider,
            deployment=deployment,
            secrets=secrets,
        )
    )
