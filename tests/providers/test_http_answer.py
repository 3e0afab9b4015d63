"""The provider over HTTP, against a loopback server that says exactly what a test wants said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest
from calls import a_call, calls_in, events_of, finish_of, text_in, thought_in, usage_in
from loopback import CHUNKED, END, Connection, chunk, saying, upstream, whole

from planar.errors import (
    ConfigurationError,
    ProviderAuthError,
    ProviderProtocolError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Event, Notice, TextDelta
from planar.providers.openai import OpenAI
from planar.providers.openai_compatible import OpenAICompatible
from planar.testing import FakeClock, Fault, FaultServer
from planar.testing.faults import stall_at
from planar.types import ChatRequest, EmbedRequest, Message, ModelInfo, Price, Secret, Timeouts
from planar.wire.dialects import DIALECTS
from shared import shared

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(Message("user", "hi"),))
KEY = "sk-hunter2hunter2"


def said(text: str | None = None, reason: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    return sse({"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def sse(document: object) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
USAGE = sse({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})


def provider_at(url: str, **options: Any) -> OpenAICompatible:
    return OpenAICompatible(base_url=f"{url}/v1", api_key=KEY, name="p", **options)


async def test_an_answer_arrives_batch_by_batch_with_its_key_in_the_header() -> None:
    answer = saying(CHUNKED, chunk(said("a")), chunk(said("b", "stop") + USAGE + DONE), END)
    call = a_call()
    async with upstream(answer) as server:
        provider = provider_at(f"{server.url}", headers={"X-Team": "red"})
        events = await events_of(provider, ASK, call=call)
        await provider.aclose()

    (arrived,) = server.requests
    assert (arrived.method, arrived.target) == ("POST", "/v1/chat/completions")
    assert (arrived.headers["authorization"], arrived.headers["x-team"]) == (f"Bearer {KEY}", "red")
    assert text_in(events) == "ab"
    assert (usage_in(events).total_tokens, finish_of(events).reason) == (5, "stop")
    assert (call.response.response_id, call.response.model) == ("x", "m")


async def test_a_finished_answer_leaves_its_connection_for_the_next() -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(said("a", "stop") + DONE))
        await connection.send(END)

    async with upstream(answer) as server:
        provider = provider_at(server.url)
        for _ in range(3):
            await events_of(provider, ASK)
        await provider.aclose()

    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_finish_is_not_held_back_by_a_body_that_does_not_end() -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(said("a", "stop") + DONE))
        await connection.until_gone()

    async with upstream(answer) as server:
        provider = provider_at(server.url)
        with anyio.fail_after(5):
            events = await events_of(provider, ASK)
        await provider.aclose()

    assert finish_of(events).reason == "stop"


async def test_what_was_left_out_is_told_first() -> None:
    async with upstream(saying(CHUNKED, chunk(said("a", "stop") + DONE), END)) as server:
        provider = provider_at(server.url, dialect="groq")
        events = await events_of(provider, ChatRequest(messages=ASK.messages, logprobs=0))
        await provider.aclose()

    assert isinstance(events[0], Notice)
    assert events[0].data == {"field": "logprobs"}


async def test_leaving_early_closes_the_connection_and_knows_what_was_used() -> None:
    gone = anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(said("a") + USAGE))
        await connection.until_gone()
        gone.set()

    call = a_call()
    async with upstream(answer) as server:
        provider = provider_at(server.url)
        async with provider.stream(ASK, model="m", call=call) as batches:
            await anext(aiter(batches))
        with anyio.fail_after(5):
            await gone.wait()
        await provider.aclose()

    assert call.response.usage is not None
    assert call.response.usage.total_tokens == 5


async def test_being_cancelled_in_the_middle_closes_the_connection() -> None:
    reading, gone = anyio.Event(), anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(said("a")))
        await connection.until_gone()
        gone.set()

    async def read() -> None:
        async with provider.stream(ASK, model="m", call=a_call()) as batches:
            async for _ in batches:
                reading.set()

    async with upstream(answer) as server:
        provider = provider_at(server.url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await reading.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await gone.wait()
        await provider.aclose()


async def test_a_block_may_be_left_by_another_task_than_the_one_that_read() -> None:
    async with upstream(saying(CHUNKED, chunk(said("a")))) as server:
        provider = provider_at(server.url)
        answer = provider.stream(ASK, model="m", call=a_call())
        read: list[Sequence[Event]] = []

        async def reader() -> None:
            read.append(await anext(aiter(await answer.__aenter__())))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
        await answer.__aexit__(None, None, None)
        await provider.aclose()

    assert read == [[TextDelta("a")]]


@pytest.mark.parametrize(("said_before", "phase"), [(b": ping\n\n", "first_token"), (said("a"), "stall")])
async def test_silence_has_its_own_clock_before_and_after_the_first_token(said_before: bytes, phase: str) -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(said_before))
        await connection.until_gone()

    long_enough = {"first_token": 60.0, "stall": 60.0, phase: 0.05}
    async with upstream(answer) as server:
        provider = provider_at(server.url)
        with anyio.fail_after(10), pytest.raises(ProviderTimeoutError) as caught:
            await events_of(provider, ASK, call=a_call(timeouts=Timeouts(**long_enough)))
        await provider.aclose()

    assert caught.value.phase == phase
    assert caught.value.deployment == "p:m"


@pytest.mark.parametrize(("said_before", "phase"), [(b"", "first_token"), (said("a"), "stall")])
async def test_keep_alives_are_no_content(said_before: bytes, phase: str) -> None:
    clock = FakeClock()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + (chunk(said_before) if said_before else b""))
        while True:
            await connection.send(chunk(b": ping\n\n"))
            await anyio.wait_all_tasks_blocked()

    async with upstream(answer) as server:
        provider = provider_at(server.url)
        with anyio.fail_after(10), pytest.raises(ProviderTimeoutError) as caught:
            async with provider.stream(ASK, model="m", call=a_call(clock=clock)) as batches:
                async for batch in batches:
                    clock.advance(0 if batch else 100)
        await provider.aclose()

    assert caught.value.phase == phase


@pytest.mark.parametrize("streamed", [True, False])
async def test_headers_that_never_end_are_not_kept_alive_by_their_bytes(streamed: bool) -> None:
    timeouts = Timeouts(connect=0.05, first_token=0.1)
    with FaultServer(wire="openai_chat") as server:
        server.say(Fault.SLOW_HEADERS)
        provider = provider_at(server.url)
        with anyio.fail_after(10), pytest.raises(ProviderTimeoutError, match="headers") as caught:
            request = ChatRequest(messages=ASK.messages, streamed=streamed)
            await events_of(provider, request, call=a_call(timeouts=timeouts))
        await provider.aclose()

        assert server.wait_closed()
    assert (caught.value.phase, caught.value.deployment) == ("first_token", "p:m")


async def test_an_encoding_that_nobody_asked_for_names_who_sent_it() -> None:
    with FaultServer(wire="openai_chat") as server:
        server.say(Fault.GZIP_BOMB)
        provider = provider_at(server.url)
        with pytest.raises(ProviderProtocolError, match="gzip") as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert (caught.value.provider, caught.value.deployment) == ("p", "p:m")


@pytest.mark.parametrize(("piece", "phase"), [(0, "first_token"), (2, "stall")])
async def test_white_space_is_no_progress_of_a_document(piece: int, phase: str) -> None:
    long_enough = {"first_token": 60.0, "stall": 60.0, phase: 0.1}
    with FaultServer(wire="openai_chat") as server:
        server.say(stall_at(piece, pings=True))
        provider = provider_at(server.url)
        with anyio.fail_after(10), pytest.raises(ProviderTimeoutError) as caught:
            request = ChatRequest(messages=ASK.messages, streamed=False)
            await events_of(provider, request, call=a_call(timeouts=Timeouts(**long_enough)))
        await provider.aclose()

    assert caught.value.phase == phase


async def test_the_callers_own_time_is_not_the_providers_silence() -> None:
    clock = FakeClock()
    async with upstream(saying(CHUNKED, chunk(said("a")), chunk(said("b", "stop") + DONE), END)) as server:
        provider = provider_at(server.url)
        async with provider.stream(ASK, model="m", call=a_call(clock=clock)) as batches:
            seen = []
            async for batch in batches:
                seen.extend(batch)
                clock.advance(1_000)
        await provider.aclose()

    assert text_in(seen) == "ab"


async def test_an_error_is_raised_after_what_came_before_it() -> None:
    failing = sse({"error": {"message": "broke", "type": "server_error"}})
    seen: list[Event] = []
    async with upstream(saying(CHUNKED, chunk(said("a") + failing), END)) as server:
        provider = provider_at(server.url)
        with pytest.raises(ProviderServerError) as caught:
            async with provider.stream(ASK, model="m", call=a_call()) as batches:
                async for batch in batches:
                    seen.extend(batch)
        await provider.aclose()

    assert seen == [TextDelta("a")]
    assert (caught.value.provider, caught.value.deployment, caught.value.message) == ("p", "p:m", "broke")


async def test_a_body_that_just_ends_was_truncated_and_says_what_was_used() -> None:
    async with upstream(saying(CHUNKED, chunk(USAGE + said("a")), END)) as server:
        provider = provider_at(server.url)
        with pytest.raises(TruncatedStreamError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert caught.value.usage is not None
    assert caught.value.retryable


async def test_a_broken_connection_in_the_answer_says_who_and_what_was_used() -> None:
    async with upstream(saying(CHUNKED, chunk(USAGE + said("a")), b"9\r\nab", close=True)) as server:
        provider = provider_at(server.url)
        with pytest.raises(TruncatedStreamError) as caught:
            await events_of(provider, ASK)
        await provider.aclose()

    assert caught.value.deployment == "p:m"
    assert caught.value.usage is not None


async def test_a_refusal_names_who_refused_and_hides_the_key() -> None:
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": "invalid_api_key"}}).encode()
    refusing = saying(whole(body, status="401 Unauthorized", headers="x-request-id: r7\r\n"))
    async with upstream(refusing) as server:
        provider = provider_at(server.url)
        with pytest.raises(ProviderAuthError) as caught:
            await events_of(provider, ASK)
        health = await provider.check()
        await provider.aclose()

    error = caught.value
    assert (error.provider, error.deployment, error.request_id, error.status) == ("p", "p:m", "r7", 401)
    assert KEY not in f"{error!r} {vars(error)} {provider!r} {health!r}"
    assert not health.ok


async def test_a_hint_to_wait_comes_through() -> None:
    refusing = saying(whole(b"", status="429 Too Many", headers="retry-after: Thu, 01 Jan 1970 00:00:30 GMT\r\n"))
    clock = FakeClock()
    async with upstream(refusing) as server:
        provider = provider_at(server.url)
        with pytest.raises(RateLimitedError) as caught:
            await events_of(provider, ASK, call=a_call(clock=clock))
        await provider.aclose()

    assert caught.value.retry_after == max(0.0, 30 - clock.time())


async def test_a_redirect_is_refused() -> None:
    redirecting = saying(whole(b"", status="307 Temporary", headers="location: http://127.0.0.1:1/\r\n"))
    async with upstream(redirecting) as server:
        provider = provider_at(server.url)
        with pytest.raises(ProviderProtocolError):
            await events_of(provider, ASK)
        await provider.aclose()

    assert len(server.requests) == 1


def recorded(name: str) -> bytes:
    path = shared("wire") / "openai_compatible" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["response"]["body_raw"].encode()


async def test_a_recorded_tool_stream_comes_through_whole() -> None:
    body = recorded("co.llamacpp.tool-streaming.df9ea674")
    async with upstream(saying(CHUNKED, chunk(body), END)) as server:
        provider = provider_at(server.url, dialect="llamacpp")
        events = await events_of(provider, ASK)
        await provider.aclose()

    (made,) = calls_in(events)
    assert json.loads(made.arguments)
    assert thought_in(events)
    assert finish_of(events).reason == "tool_calls"


async def test_vectors_and_models_come_through() -> None:
    async def answer(connection: Connection) -> None:
        listing = server.requests[-1].method == "GET"
        vectors = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}], "model": "e"}
        document = {"data": [{"id": "m", "max_model_len": 9}]} if listing else vectors
        await connection.send(whole(json.dumps(document).encode(), headers="x-request-id: r\r\n"))

    async with upstream(answer) as server:
        provider = provider_at(server.url)
        vectors = await provider.embed(EmbedRequest(inputs=("a", "b")), model="e", call=a_call())
        models = await provider.models()
        health = await provider.check()
        await provider.aclose()

    assert (vectors.vectors, vectors.request_id, vectors.provider) == (((1.0,), (2.0,)), "r", "p")
    assert [(model.id, model.context_window) for model in models] == [("m", 9)]
    assert health.ok
    assert [arrived.target for arrived in server.requests] == ["/v1/embeddings", "/v1/models", "/v1/models"]


async def test_a_vector_too_few_is_a_protocol_error() -> None:
    async with upstream(saying(whole(b'{"data": [{"index": 0, "embedding": [1.0]}]}'))) as server:
        provider = provider_at(server.url)
        with pytest.raises(ProviderProtocolError) as caught:
            await provider.embed(EmbedRequest(inputs=("a", "b")), model="e", call=a_call())
        await provider.aclose()

    assert caught.value.provider == "p"


@pytest.mark.parametrize(("dialect", "sent"), [("openai", True), ("groq", False)])
async def test_our_id_goes_only_where_it_is_taken(dialect: str, sent: bool) -> None:
    async with upstream(saying(CHUNKED, chunk(said("a", "stop") + DONE), END)) as server:
        provider = provider_at(server.url, dialect=dialect)
        await events_of(provider, ASK, call=a_call(idempotency_key="id-1"))
        await provider.aclose()

    (arrived,) = server.requests
    assert ("x-client-request-id" in arrived.headers) is sent


async def test_a_query_in_the_address_stays_behind_the_path() -> None:
    async with upstream(saying(CHUNKED, chunk(said("a", "stop") + DONE), END)) as server:
        provider = OpenAICompatible(base_url=f"{server.url}/d?api-version=1", api_key=KEY, dialect="azure")
        await events_of(provider, ASK)
        await provider.aclose()

    (arrived,) = server.requests
    assert arrived.target == "/d/chat/completions?api-version=1"
    assert arrived.headers["api-key"] == KEY
    assert "authorization" not in arrived.headers


async def test_a_callers_client_is_used() -> None:
    async with upstream(saying(CHUNKED, chunk(said("a", "stop") + DONE), END)) as server:
        async with httpx.AsyncClient() as client:
            provider = provider_at(server.url, http_client=client)
            await events_of(provider, ASK)
            await provider.aclose()
            assert not client.is_closed


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"base_url": "ftp://e.org"},
        {"base_url": "e.org"},
        {"base_url": "http://"},
        {"base_url": "http://e.org:99999"},
        {"base_url": "https://user:hunter2@e.org"},
        {"base_url": "https://e.org", "api_key": ""},
        {"base_url": "https://e.org", "api_key": "hunter2\n"},
        {"base_url": "https://e.org", "api_key": Secret("hunter2 x")},
        {"base_url": "https://e.org", "api_key": "hunter2ключ"},
        {"base_url": "https://e.org", "headers": {"x": "hunter2\r\ny: z"}},
        {"base_url": "https://e.org", "dialect": "klingon"},
        {"base_url": "https://e.org", "name": "a:b"},
        {"dialect": "groq"},
        {"dialect": "azure", "api_key": "k"},
    ],
)
def test_a_provider_that_cannot_work_is_not_made(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenAICompatible(**options)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "dialect"),
    [
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("http://localhost:9999/v1", "compatible"),
    ],
)
def test_a_dialect_is_told_by_the_address(base_url: str, dialect: str) -> None:
    assert OpenAICompatible(base_url=base_url).name == dialect


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.base_url is not None])
def test_every_vendor_with_an_address_needs_only_a_key(name: str) -> None:
    assert OpenAICompatible(dialect=name, api_key="k").name == name


def test_openai_is_the_same_with_its_own_address() -> None:
    provider = OpenAI(api_key=KEY, organization="o", models={"m": ModelInfo(id="m")}, prices={"m": Price.FREE})

    assert "api.openai.com" in repr(provider)
    assert KEY not in repr(provider)
    described = provider.describe("m")
    assert described is not None
    assert described.price == Price.FREE
    with pytest.raises(ConfigurationError):
        OpenAI()
