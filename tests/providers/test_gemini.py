"""Gemini against a loopback server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from calls import a_call, calls_in, events_of, finish_of, text_in, usage_in
from loopback import CHUNKED, END, chunk, saying, upstream, whole

from planar.errors import (
    ConfigurationError,
    InvalidRequestError,
    OverloadedError,
    ProviderAuthError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Notice, TextDelta
from planar.protocols import CountsTokens, KnowsModels
from planar.providers.gemini import Gemini
from planar.types import ChatRequest, EmbedRequest, Message

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(Message("user", "hi"),))
KEY = "AIzahunter2hunter2hunter2"
USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4}


def saying_parts(*parts: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    finish = {} if reason is None else {"finishReason": reason}
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **finish}], **fields}


def sse(*chunks: dict[str, Any]) -> bytes:
    return "".join(f"data: {json.dumps(item)}\r\n\r\n" for item in chunks).encode()


def in_turn(*answers: Any) -> Any:
    """An answer for each request, in their order."""
    left = iter(answers)

    async def answer(connection: Any) -> None:
        await next(left)(connection)

    return answer


def streaming(*pieces: bytes) -> Any:
    return saying(CHUNKED, *(chunk(piece) for piece in pieces), END)


LAST = saying_parts({"text": "b"}, reason="STOP", usageMetadata=USAGE, modelVersion="m-1", responseId="r-1")


async def test_a_stream_is_asked_for_with_the_key_in_its_header_and_nowhere_else() -> None:
    call = a_call()
    async with upstream(streaming(sse(saying_parts({"text": "a"})), sse(LAST))) as server:
        provider = Gemini(base_url=f"{server.url}/v1beta?x=1", api_key=KEY, headers={"x-team": "a"})
        events = await events_of(provider, ASK, model="gemini-3.5-pro", call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert arrived.target == "/v1beta/models/gemini-3.5-pro:streamGenerateContent?alt=sse&x=1"
    assert (arrived.headers["x-goog-api-key"], arrived.headers["x-team"]) == (KEY, "a")
    assert "authorization" not in arrived.headers
    assert KEY not in arrived.target + arrived.body.decode() + repr(provider)
    assert (text_in(events), usage_in(events).total_tokens, finish_of(events).reason) == ("ab", 9, "stop")
    assert (call.response.response_id, call.response.model) == ("r-1", "m-1")


async def test_the_whole_form_on_vertex_goes_with_a_bearer() -> None:
    document = saying_parts({"functionCall": {"name": "f", "args": {"x": 1}}}, reason="STOP")
    call = a_call()
    async with upstream(saying(whole(json.dumps(document).encode()))) as server:
        place = "/v1beta1/projects/p/locations/eu/publishers/google"
        provider = Gemini(base_url=server.url + place, auth_token=KEY, name="vertex")
        request = ChatRequest(messages=ASK.messages, streamed=False)
        events = await events_of(provider, request, model="gemini-2.5-flash", call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert arrived.target == f"{place}/models/gemini-2.5-flash:generateContent"
    assert arrived.headers["authorization"] == f"Bearer {KEY}"
    assert [(end.name, end.arguments) for end in calls_in(events)] == [("f", '{"x":1}')]
    assert finish_of(events).reason == "tool_calls"
    assert call.response.raw == document


async def test_what_is_left_out_is_told_before_the_answer() -> None:
    async with upstream(streaming(sse(LAST))) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        events = await events_of(provider, ChatRequest(messages=ASK.messages, cache="acme"))
        await provider.aclose()

    assert isinstance(events[0], Notice)
    assert events[0].data == {"field": "cache"}


async def test_a_failure_in_the_stream_comes_after_what_was_said() -> None:
    said: list[Any] = []
    failure = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
    body = sse(saying_parts({"text": "ab"})) + json.dumps(failure, indent=1).encode() + b"\n\n"
    async with upstream(streaming(body)) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        with pytest.raises(OverloadedError) as caught:
            async with provider.stream(ASK, model="m", call=a_call()) as batches:
                async for batch in batches:
                    said.extend(batch)
        await provider.aclose()

    assert said == [TextDelta("ab")]
    assert (caught.value.provider, caught.value.deployment) == ("gemini", "gemini:m")


async def test_a_stream_without_a_reason_is_truncated_and_says_what_was_used() -> None:
    async with upstream(streaming(sse(saying_parts({"text": "a"}, usageMetadata=USAGE)))) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        with pytest.raises(TruncatedStreamError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 6


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        ("400 Bad Request", {"details": [{"reason": "API_KEY_INVALID"}], "message": KEY}, ProviderAuthError),
        ("429 Too Many Requests", {"details": [{"retryDelay": "1.5s"}], "message": "Slow."}, RateLimitedError),
    ],
)
async def test_a_refusal_is_told_apart_by_its_words_and_hides_the_key(
    status: str, error: dict[str, Any], expected: type[Exception]
) -> None:
    body = json.dumps({"error": error}).encode()
    async with upstream(saying(whole(body, status=status))) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        with pytest.raises(expected) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert KEY not in str(caught.value) + str(getattr(caught.value, "body", ""))
    assert getattr(caught.value, "retry_after", None) == (1.5 if "429" in status else None)


async def test_a_model_that_would_lead_elsewhere_is_refused_before_anything_is_sent() -> None:
    async with upstream(in_turn()) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        with pytest.raises(InvalidRequestError):
            await events_of(provider, ASK, model="../../secrets")
        await provider.aclose()

    assert server.requests == []


async def test_embeddings_counts_and_pages_of_models_are_read() -> None:
    answers = [
        {"embeddings": [{"values": [1.0]}, {"values": [2.0]}]},
        {"totalTokens": 9},
        {"models": [{"name": "models/a"}], "nextPageToken": "t"},
        {"models": [{"name": "models/b"}]},
    ]
    async with upstream(in_turn(*(saying(whole(json.dumps(answer).encode())) for answer in answers))) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        embeddings = await provider.embed(EmbedRequest(inputs=("a", "b")), model="e", call=a_call())
        count = await provider.count_tokens(ASK, model="m")
        models = await provider.models()
        await provider.aclose()

    assert (embeddings.vectors, embeddings.model, embeddings.provider) == (((1.0,), (2.0,)), "e", "gemini")
    assert (count, [model.id for model in models]) == (9, ["a", "b"])
    assert [arrived.target for arrived in server.requests] == [
        "/models/e:batchEmbedContents",
        "/models/m:countTokens",
        "/models?pageSize=1000",
        "/models?pageSize=1000&pageToken=t",
    ]
    assert isinstance(provider, CountsTokens)


async def test_a_check_never_raises() -> None:
    refused = b'{"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}'
    async with upstream(in_turn(saying(whole(b"{}")), saying(whole(refused, status="403 Forbidden")))) as server:
        provider = Gemini(base_url=server.url, api_key=KEY)
        good, bad = await provider.check(), await provider.check()
        await provider.aclose()

    assert (good.ok, bad.ok, bad.message) == (True, False, "no")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"api_key": ""}, {"api_key": "a", "auth_token": "b"}, {"api_key": "a", "base_url": "http://u:p@x"}],
)
async def test_an_argument_that_cannot_work_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Gemini(**arguments)


async def test_only_a_provider_that_was_told_its_models_describes_them() -> None:
    told, untold = Gemini(api_key=KEY, models=["gemini-3.5-pro"], region="eu"), Gemini(api_key=KEY)

    assert isinstance(told, KnowsModels)
    assert not isinstance(untold, KnowsModels)
