"""Anthropic: against a loopback server, and against the real llama.cpp server that speaks its Messages too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from calls import a_call, events_of, finish_of, text_in, usage_in
from loopback import CHUNKED, END, chunk, saying, upstream, whole

from planar.errors import (
    ConfigurationError,
    OverloadedError,
    ProviderQuotaError,
    TruncatedStreamError,
    UnsupportedError,
)
from planar.events import Notice, TextDelta
from planar.protocols import CountsTokens, KnowsModels
from planar.providers.anthropic import Anthropic
from planar.types import ChatRequest, EmbedRequest, Message, Secret, Tool, ToolChoice

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(Message("user", "hi"),))
KEY = "sk-ant-hunter2hunter2"
LIMITS = "request-id: req_1\r\nanthropic-ratelimit-requests-remaining: 7\r\n"


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


BEGIN = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m-1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
}
TEXT = (
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ab"}},
)
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
FAILURE = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def in_turn(*answers: Any) -> Any:
    """An answer for each request, in their order."""
    left = iter(answers)

    async def answer(connection: Any) -> None:
        await next(left)(connection)

    return answer


def streaming(*pieces: bytes, headers: str = "") -> Any:
    head = CHUNKED.replace(b"\r\n\r\n", f"\r\n{headers}\r\n".encode())
    return saying(head, *(chunk(piece) for piece in pieces), END)


async def test_a_stream_is_asked_for_with_the_key_in_its_header_and_nowhere_else() -> None:
    answer = streaming(sse(BEGIN, *TEXT), sse(ENDED, {"type": "message_stop"}), headers=LIMITS)
    call = a_call()
    async with upstream(answer) as server:
        provider = Anthropic(base_url=f"{server.url}/?beta=true", api_key=KEY, headers={"anthropic-beta": "a,b"})
        events = await events_of(provider, ASK, call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert (arrived.method, arrived.target) == ("POST", "/v1/messages?beta=true")
    assert (arrived.headers["x-api-key"], arrived.headers["anthropic-beta"]) == (KEY, "a,b")
    assert arrived.headers["anthropic-version"] == "2026-10-21"
    assert "authorization" not in arrived.headers
    assert KEY not in arrived.target + arrived.body.decode() + repr(provider)
    assert (text_in(events), usage_in(events).total_tokens, finish_of(events).reason) == ("ab", 5, "stop")
    info = call.response
    assert (info.request_id, info.response_id, info.model) == ("req_1", "msg_1", "m-1")
    assert info.rate_limits == {"anthropic-ratelimit-requests-remaining": "7"}


async def test_a_token_goes_as_a_bearer_and_a_version_can_be_chosen() -> None:
    message = {"id": "msg_1", "content": [{"type": "text", "text": "ab"}], "stop_reason": "max_tokens"}
    call = a_call()
    async with upstream(saying(whole(json.dumps(message).encode()))) as server:
        provider = Anthropic(base_url=server.url, auth_token=Secret(KEY), version="2023-06-01", name="mine")
        request = ChatRequest(messages=ASK.messages, temperature=0.5, streamed=False)
        events = await events_of(provider, request, model="claude-haiku-4-5", call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert (arrived.headers["authorization"], arrived.headers["anthropic-version"]) == (f"Bearer {KEY}", "2023-06-01")
    assert "x-api-key" not in arrived.headers
    assert json.loads(arrived.body)["temperature"] == 0.5
    assert (text_in(events), finish_of(events).reason) == ("ab", "length")
    assert call.response.raw == message


async def test_what_is_left_out_is_told_before_the_answer_and_refused_by_the_strict() -> None:
    async with upstream(streaming(sse(BEGIN, *TEXT, ENDED))) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        request = ChatRequest(messages=ASK.messages, temperature=0.5)
        events = await events_of(provider, request, model="claude-opus-5-5")
        with pytest.raises(UnsupportedError):
            await events_of(provider, request, model="claude-opus-5-5", call=a_call(strict=True))
        await provider.aclose()

    assert len(server.requests) == 1
    assert isinstance(events[0], Notice)
    assert events[0].data == {"field": "temperature"}


async def test_a_failure_in_the_stream_comes_after_what_was_said() -> None:
    said: list[Any] = []
    async with upstream(streaming(sse(BEGIN, *TEXT, FAILURE), headers=LIMITS)) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        with pytest.raises(OverloadedError) as caught:
            async with provider.stream(ASK, model="m", call=a_call()) as batches:
                async for batch in batches:
                    said.extend(batch)
        await provider.aclose()

    assert said == [TextDelta("ab")]
    assert (caught.value.provider, caught.value.deployment) == ("anthropic", "anthropic:m")
    assert caught.value.request_id == "req_1"


async def test_a_stream_that_is_cut_says_what_was_used() -> None:
    async with upstream(streaming(sse(BEGIN, *TEXT))) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        with pytest.raises(TruncatedStreamError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert caught.value.usage is not None
    assert caught.value.usage.input_tokens == 3


async def test_a_refusal_is_told_apart_by_its_words_and_hides_the_key() -> None:
    error = {"type": "rate_limit_error", "message": KEY, "details": {"error_code": "contract_spend_limit_reached"}}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_9"}).encode()
    async with upstream(saying(whole(body, status="429 Too Many Requests"))) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        with pytest.raises(ProviderQuotaError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert caught.value.request_id == "req_9"
    assert KEY not in str(caught.value) + str(caught.value.body)


async def test_every_page_of_models_is_read() -> None:
    pages = [{"data": [{"id": "a"}], "has_more": True, "last_id": "a"}, {"data": [{"id": "b"}], "has_more": False}]
    async with upstream(in_turn(*(saying(whole(json.dumps(page).encode())) for page in pages))) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        models = await provider.models()
        await provider.aclose()

    assert [model.id for model in models] == ["a", "b"]
    assert [arrived.target for arrived in server.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=a",
    ]


async def test_tokens_are_counted_by_the_vendor_and_embeddings_are_not_its_business() -> None:
    async with upstream(saying(whole(b'{"input_tokens": 9}'))) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        count = await provider.count_tokens(ASK, model="m")
        with pytest.raises(UnsupportedError):
            await provider.embed(EmbedRequest(inputs=("a",)), model="m", call=a_call())
        await provider.aclose()

    assert isinstance(provider, CountsTokens)
    assert count == 9
    assert server.requests[0].target == "/v1/messages/count_tokens"


async def test_a_check_never_raises() -> None:
    refused = b'{"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}'
    answers = (saying(whole(b'{"data": []}')), saying(whole(refused, status="401 Unauthorized")))
    async with upstream(in_turn(*answers)) as server:
        provider = Anthropic(base_url=server.url, api_key=KEY)
        good, bad = await provider.check(), await provider.check()
        await provider.aclose()

    assert (good.ok, bad.ok, bad.message) == (True, False, "invalid x-api-key")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"api_key": ""},
        {"api_key": "a", "auth_token": "b"},
        {"api_key": "a b"},
        {"api_key": "a", "name": "a:b"},
        {"api_key": "a", "base_url": "ftp://x"},
        {"api_key": "a", "version": "a\nb"},
    ],
)
async def test_an_argument_that_cannot_work_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Anthropic(**arguments)


async def test_only_a_provider_that_was_told_its_models_describes_them() -> None:
    told, untold = Anthropic(api_key=KEY, models=["claude-opus-5-5"], region="eu"), Anthropic(api_key=KEY)

    assert isinstance(told, KnowsModels)
    assert not isinstance(untold, KnowsModels)
    assert told.default_models() == ("claude-opus-5-5",)


# --- The real llama.cpp server ----------------------------------------------------------------


@pytest.fixture
async def live(llama_server: str) -> AsyncIterator[Anthropic]:
    # This server promises to keep a connection and closes it after every stream: a second request can meet that.
    provider = Anthropic(base_url=llama_server, name="local", headers={"connection": "close"})
    yield provider
    await provider.aclose()


def live_request(**fields: Any) -> ChatRequest:
    messages = (Message("system", "Be brief."), Message("user", "Say hello."))
    untouched = {"local": {"cache_prompt": False, "seed": 1}}
    return ChatRequest(messages=messages, **{"max_tokens": 12, "temperature": 0.0, "extra_body": untouched, **fields})


async def test_a_real_server_streams_an_answer_with_usage(live: Anthropic) -> None:
    call = a_call()

    events = await events_of(live, live_request(), model="smollm2", call=call)

    assert text_in(events)
    assert finish_of(events).reason in ("stop", "length")
    assert 0 < (usage_in(events).output_tokens or 0) <= 12
    assert call.response.usage == usage_in(events)


async def test_a_real_server_says_the_same_in_both_forms(live: Anthropic) -> None:
    streamed = await events_of(live, live_request(), model="smollm2")
    whole_form = await events_of(live, live_request(streamed=False), model="smollm2")

    assert text_in(whole_form) == text_in(streamed)
    assert finish_of(whole_form) == finish_of(streamed)


async def test_a_real_server_takes_tools_and_counts_tokens(live: Anthropic) -> None:
    tool = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})

    events = await events_of(live, live_request(tools=(tool,), tool_choice=ToolChoice()), model="smollm2")
    count = await live.count_tokens(live_request(), model="smollm2")

    assert finish_of(events).reason in ("stop", "length", "tool_calls")
    assert count > 0
