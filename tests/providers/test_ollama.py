"""Ollama against a loopback server that says exactly what a test wants said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from calls import a_call, calls_in, events_of, finish_of, text_in, thought_in, usage_in
from loopback import CHUNKED, END, chunk, saying, upstream, whole

from planar.client._fold import Fold
from planar.errors import (
    ConfigurationError,
    ModelNotFoundError,
    ProviderServerError,
    TruncatedStreamError,
    UnsupportedError,
)
from planar.events import Notice, TextDelta
from planar.protocols import KnowsModels
from planar.providers.ollama import Ollama
from planar.types import ChatRequest, EmbedRequest, Message, ModelInfo, Tool, ToolChoice, ToolResult

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(Message("user", "hi"),))
LAST = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
NOW = Tool(name="now", parameters={"type": "object", "properties": {}})


def lines(*documents: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def said(**message: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", **message}, "done": False}


def streaming(*pieces: bytes) -> Any:
    return saying(CHUNKED, *(chunk(piece) for piece in pieces), END)


async def test_an_answer_arrives_batch_by_batch() -> None:
    call = a_call()
    async with upstream(streaming(lines(said(thinking="Hm.")), lines(said(content="a"), LAST))) as server:
        provider = Ollama(base_url=server.url, num_ctx=8192, keep_alive="10m")
        events = await events_of(provider, ASK, call=call)
        await provider.aclose()

    (arrived,) = server.requests
    sent = json.loads(arrived.body)
    assert (arrived.method, arrived.target, "authorization" in arrived.headers) == ("POST", "/api/chat", False)
    assert (sent["stream"], sent["options"], sent["keep_alive"]) == (True, {"num_ctx": 8192}, "10m")
    assert (thought_in(events), text_in(events)) == ("Hm.", "a")
    assert (usage_in(events).total_tokens, finish_of(events).reason) == (5, "stop")
    assert call.response.model == "m"


async def test_a_key_travels_in_the_header_and_is_not_shown() -> None:
    body = json.dumps({"error": "model 'm' not found for ollama-key-123456"}).encode()
    async with upstream(saying(whole(body, status="404 Not Found"))) as server:
        provider = Ollama(base_url=server.url, api_key="ollama-key-123456")
        with pytest.raises(ModelNotFoundError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert server.requests[0].headers["authorization"] == "Bearer ollama-key-123456"
    assert "ollama-key" not in f"{caught.value} {caught.value.body} {provider!r}"
    assert caught.value.deployment == "ollama:m"


async def test_the_whole_form_is_asked_for_and_read() -> None:
    call = a_call()
    async with upstream(saying(whole(json.dumps({**said(content="a"), **LAST}).encode()))) as server:
        provider = Ollama(base_url=server.url)
        events = await events_of(provider, ChatRequest(messages=ASK.messages, streamed=False), call=call)
        await provider.aclose()

    assert json.loads(server.requests[0].body)["stream"] is False
    assert text_in(events) == "a"
    assert call.response.raw is not None


async def test_an_error_in_the_stream_is_raised_after_the_deltas_of_the_same_read() -> None:
    got: list[Any] = []
    async with upstream(streaming(lines(said(content="a"), {"error": "the runner died"}))) as server:
        provider = Ollama(base_url=server.url)
        with pytest.raises(ProviderServerError, match="the runner died"):
            async with provider.stream(ASK, model="m", call=a_call()) as batches:
                async for batch in batches:
                    got.extend(batch)
        await provider.aclose()

    assert got == [TextDelta("a")]


async def test_a_stream_without_its_last_line_was_cut() -> None:
    async with upstream(streaming(lines(said(content="a")))) as server:
        provider = Ollama(base_url=server.url)
        with pytest.raises(TruncatedStreamError):
            await events_of(provider, ASK)
        await provider.aclose()


async def test_what_was_left_out_is_told_and_what_cannot_be_is_refused() -> None:
    forced = ChatRequest(messages=ASK.messages, tools=(NOW,), tool_choice=ToolChoice(mode="required"))
    async with upstream(streaming(lines(said(content="a"), LAST))) as server:
        provider = Ollama(base_url=server.url)
        events = await events_of(provider, ChatRequest(messages=ASK.messages, service_tier="flex"))
        with pytest.raises(UnsupportedError, match="cannot force a tool"):
            await events_of(provider, forced)
        await provider.aclose()

    assert isinstance(events[0], Notice)
    assert len(server.requests) == 1


async def test_a_tool_loop_of_two_parallel_calls_goes_back_as_it_came() -> None:
    calls = [{"function": {"name": "now", "arguments": {"n": n}}} for n in (1, 2)]
    async with upstream(streaming(lines(said(thinking="Hm.", tool_calls=calls), LAST))) as server:
        provider = Ollama(base_url=server.url)
        folded = Fold()
        for event in await events_of(provider, ASK):
            folded.add(event)
        results = tuple(ToolResult(tool_call_id=call.id, content="12:00") for call in folded.tool_calls)
        turns = (*ASK.messages, folded.message(), Message("tool", results))
        again = await events_of(provider, ChatRequest(messages=turns, tools=(NOW,)))
        await provider.aclose()

    sent = json.loads(server.requests[1].body)["messages"]
    assert sent[1]["thinking"] == "Hm."
    assert [call["function"] for call in sent[1]["tool_calls"]] == [call["function"] for call in calls]
    assert [(result["tool_call_id"], result["tool_name"]) for result in sent[2:]] == [
        ("call_0", "now"),
        ("call_1", "now"),
    ]
    assert len(calls_in(again)) == 2


async def test_vectors_and_models_are_read() -> None:
    body = b'{"model":"all-minilm","embeddings":[[0.5,1]],"prompt_eval_count":2}'
    async with upstream(saying(whole(body))) as server:
        provider = Ollama(base_url=server.url)
        found = await provider.embed(EmbedRequest(inputs=("a",)), model="all-minilm", call=a_call())
        await provider.aclose()
    async with upstream(saying(whole(b'{"models":[{"model":"qwen3:4b"}]}'))) as listing:
        provider = Ollama(base_url=listing.url)
        listed, health = await provider.models(), await provider.check()
        await provider.aclose()

    assert (found.vectors, server.requests[0].target) == (((0.5, 1.0),), "/api/embed")
    assert ([model.id for model in listed], listing.requests[0].target) == (["qwen3:4b"], "/api/tags")
    assert health.ok


async def test_a_server_that_is_not_there_is_not_healthy() -> None:
    provider = Ollama(base_url="http://127.0.0.1:9")

    health = await provider.check()
    await provider.aclose()

    assert not health.ok
    assert health.message


def test_what_it_serves_is_known_only_where_it_was_said() -> None:
    open_provider, listed = Ollama(), Ollama(models=["qwen3:4b"], region="eu")

    assert not isinstance(open_provider, KnowsModels)
    assert isinstance(listed, KnowsModels)
    assert listed.describe("qwen3:4b") == ModelInfo(id="qwen3:4b", region="eu")
    assert listed.describe("other") is None


@pytest.mark.parametrize(
    "options", [{"num_ctx": 0}, {"name": "a:b"}, {"base_url": "localhost:11434"}, {"api_key": "a key"}]
)
def test_an_argument_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Ollama(**options)
