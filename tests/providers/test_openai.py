"""OpenAI over its Responses: against a loopback server, and against the real llama.cpp server that speaks it too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from calls import a_call, calls_in, events_of, finish_of, text_in, usage_in
from loopback import CHUNKED, END, chunk, saying, upstream, whole

from planar.client._fold import Fold
from planar.errors import (
    ConfigurationError,
    OverloadedError,
    ProviderQuotaError,
    TruncatedStreamError,
    UnsupportedError,
)
from planar.events import Notice, TextDelta
from planar.protocols import CountsTokens
from planar.providers.openai import OpenAI
from planar.types import ChatRequest, Message, Reasoning, Text, Tool, ToolCall, ToolResult

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(Message("user", "hi"),))
KEY = "sk-hunter2hunter2"
WEATHER = Tool(
    name="get_weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def text(said: str, place: int = 0) -> bytes:
    return sse({"type": "response.output_text.delta", "output_index": place, "content_index": 0, "delta": said})


def completed(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    response = {"id": "resp_1", "model": "m-1", "status": "completed", "output": list(output), "usage": usage}
    return {"type": "response.completed", "response": {**response, **fields}}


def streaming(*pieces: bytes) -> Any:
    return saying(CHUNKED, *(chunk(piece) for piece in pieces), END)


async def test_responses_is_what_it_speaks_unless_told_otherwise() -> None:
    answer = streaming(text("a"), text("b") + sse(completed(service_tier="flex")))
    call = a_call(idempotency_key="once")
    async with upstream(answer) as server:
        provider = OpenAI(base_url=f"{server.url}/v1", api_key=KEY, organization="org", project="proj")
        events = await events_of(provider, ASK, call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert (arrived.method, arrived.target) == ("POST", "/v1/responses")
    assert arrived.headers["authorization"] == f"Bearer {KEY}"
    assert (arrived.headers["openai-organization"], arrived.headers["openai-project"]) == ("org", "proj")
    assert arrived.headers["x-client-request-id"] == "once"
    assert json.loads(arrived.body)["store"] is False
    assert (text_in(events), usage_in(events).total_tokens, finish_of(events).reason) == ("ab", 5, "stop")
    assert (call.response.response_id, call.response.model, call.response.service_tier) == ("resp_1", "m-1", "flex")


async def test_chat_completions_stay_a_word_away() -> None:
    answer = streaming(
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    async with upstream(answer) as server:
        provider = OpenAI(base_url=f"{server.url}/v1", api="chat")
        events = await events_of(provider, ChatRequest(messages=ASK.messages, stop=("x",)))
        await provider.aclose()

    assert server.requests[0].target == "/v1/chat/completions"
    assert text_in(events) == "a"


async def test_a_whole_answer_carries_its_document_its_id_and_its_limits() -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    body = json.dumps(completed(item)["response"]).encode()
    call = a_call()
    async with upstream(
        saying(whole(body, headers="x-request-id: req_1\r\nx-ratelimit-remaining-tokens: 9\r\n"))
    ) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        events = await events_of(provider, ChatRequest(messages=ASK.messages, streamed=False), call=call)
        await provider.aclose()

    assert text_in(events) == "hi"
    assert call.response.request_id == "req_1"
    assert call.response.rate_limits == {"x-ratelimit-remaining-tokens": "9"}
    assert call.response.raw == json.loads(body)


async def test_what_was_left_out_is_told_before_anything_else() -> None:
    async with upstream(streaming(text("a") + sse(completed()))) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        events = await events_of(provider, ChatRequest(messages=ASK.messages, seed=1))
        await provider.aclose()

    assert isinstance(events[0], Notice)
    assert events[0].code == "parameter_dropped"


async def test_the_strict_are_refused_before_anything_is_sent() -> None:
    async with upstream(streaming()) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        with pytest.raises(UnsupportedError, match="seed"):
            await events_of(provider, ChatRequest(messages=ASK.messages, seed=1), call=a_call(strict=True))
        await provider.aclose()

    assert server.requests == []


async def test_no_money_is_told_apart_from_too_fast_and_hides_the_key() -> None:
    body = json.dumps({"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": KEY}}).encode()
    async with upstream(
        saying(whole(body, status="429 Too Many Requests", headers="x-request-id: req_1\r\n"))
    ) as server:
        provider = OpenAI(base_url=f"{server.url}/v1", api_key=KEY)
        with pytest.raises(ProviderQuotaError) as caught:
            await events_of(provider, ASK, model="gpt-6-luna")
        await provider.aclose()

    error = caught.value
    assert (error.status, error.request_id, error.deployment) == (429, "req_1", "openai:gpt-6-luna")
    assert KEY not in f"{error} {error.body} {provider!r}"


async def test_an_error_in_the_stream_is_raised_after_the_deltas_of_the_same_read() -> None:
    failure = {"type": "error", "error": {"code": "server_is_overloaded", "message": "No."}}
    got: list[Any] = []
    async with upstream(streaming(text("a") + sse(failure))) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        with pytest.raises(OverloadedError) as caught:
            async with provider.stream(ASK, model="m", call=a_call()) as batches:
                async for batch in batches:
                    got.extend(batch)
        await provider.aclose()

    assert got == [TextDelta("a")]
    assert caught.value.deployment == "openai:m"


async def test_a_stream_without_its_terminal_event_was_cut() -> None:
    async with upstream(streaming(text("a"))) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        with pytest.raises(TruncatedStreamError):
            await events_of(provider, ASK)
        await provider.aclose()


async def test_a_tool_loop_sends_reasoning_and_calls_back_as_they_came() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA+/="}
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{n}",
            "call_id": f"call_{n}",
            "name": "get_weather",
            "arguments": f'{{"n": {n}}}',
        }
        for n in (1, 2)
    ]
    done = [
        {"type": "response.output_item.done", "output_index": place, "item": item}
        for place, item in enumerate([{**thought, "encrypted_content": "early"}, *calls])
    ]
    async with upstream(streaming(sse(*done, completed(thought, *calls)))) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        folded = Fold()
        for event in await events_of(provider, ASK, model="gpt-6-luna"):
            folded.add(event)
        results = tuple(ToolResult(tool_call_id=call.id, content="21 C") for call in folded.tool_calls)
        turns = (*ASK.messages, folded.message(), Message("tool", results))
        await events_of(provider, ChatRequest(messages=turns, tools=(WEATHER,)), model="gpt-6-luna")
        await provider.aclose()

    sent = json.loads(server.requests[1].body)
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert sent["input"][1:] == [
        thought,
        *({field: call[field] for field in ("type", "call_id", "name", "arguments")} for call in calls),
        *({"type": "function_call_output", "call_id": f"call_{n}", "output": "21 C"} for n in (1, 2)),
    ]


async def test_tokens_are_counted_when_asked_for_and_never_behind_the_back() -> None:
    async with upstream(saying(whole(b'{"object":"response.input_tokens","input_tokens":11}'))) as server:
        provider = OpenAI(base_url=f"{server.url}/v1")
        count = await provider.count_input(ASK, model="m")
        await provider.aclose()

    assert count == 11
    assert server.requests[0].target == "/v1/responses/input_tokens"
    assert not isinstance(provider, CountsTokens)


def test_an_api_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="responses, chat"):
        OpenAI(api_key=KEY, api="completions")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="api_key is needed"):
        OpenAI()


# --- A real server ----------------------------------------------------------------------------


@pytest.fixture
async def local(llama_server: str) -> AsyncIterator[OpenAI]:
    provider = OpenAI(base_url=f"{llama_server}/v1", name="local")
    yield provider
    await provider.aclose()


def briefly(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (Message("user", "Say hello."),), max_tokens=12, temperature=0.0, **fields)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_real_server_answers(local: OpenAI, streamed: bool) -> None:
    call = a_call()

    events = await events_of(local, briefly(streamed=streamed), model="smollm2", call=call)

    assert text_in(events)
    assert finish_of(events).raw_reason == "completed"
    assert 0 < (usage_in(events).output_tokens or 0) <= 12
    assert call.response.response_id is not None


async def test_a_real_server_takes_a_conversation_with_tools_back(local: OpenAI) -> None:
    asked = Message("user", "How is the weather in Toledo?")
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = Message(
        "assistant",
        (
            Reasoning(id="rs_1", details=(thought,)),
            Text("Let me look."),
            ToolCall(id="call_1", name="get_weather", arguments='{"city":"Toledo"}'),
        ),
    )
    result = Message("tool", (ToolResult(tool_call_id="call_1", content="21 C"),))

    events = await events_of(local, briefly(asked, said, result, tools=(WEATHER,)), model="smollm2")

    assert text_in(events) or calls_in(events)


async def test_a_real_server_counts(local: OpenAI) -> None:
    assert await local.count_input(briefly(), model="smollm2") > 0
