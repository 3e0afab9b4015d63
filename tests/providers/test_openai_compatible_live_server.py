"""The provider against a real llama.cpp server on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from calls import a_call, events_of, finish_of, text_in, usage_in

from planar.errors import ContextLengthError, ProviderConnectionError, UnsupportedError
from planar.protocols import KnowsModels
from planar.providers.openai_compatible import OpenAICompatible
from planar.types import ChatRequest, EmbedRequest, Message, OutputSchema, Tool, ToolChoice

pytestmark = pytest.mark.anyio

WEATHER = Tool(
    name="get_weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.fixture
async def provider(llama_server: str) -> AsyncIterator[OpenAICompatible]:
    # This server now and then drops a connection between two requests, whoever asks: each gets its own here.
    provider = OpenAICompatible(
        base_url=f"{llama_server}/v1", dialect="llamacpp", name="local", headers={"connection": "close"}
    )
    yield provider
    await provider.aclose()


def a_request(text: str = "Say hello.", *, max_tokens: int = 16, **fields: Any) -> ChatRequest:
    # Without its prompt cache the server gives the same answer twice.
    untouched = {"local": {"cache_prompt": False}}
    messages = (Message("user", text),)
    return ChatRequest(messages=messages, max_tokens=max_tokens, temperature=0.0, extra_body=untouched, **fields)


async def test_an_answer_streams_with_usage_and_one_finish(provider: OpenAICompatible) -> None:
    call = a_call()

    events = await events_of(provider, a_request(), model="smollm2", call=call)

    assert text_in(events)
    assert finish_of(events).reason in ("stop", "length")
    assert (usage_in(events).output_tokens or 0) <= 16
    assert usage_in(events).input_tokens
    assert call.response.response_id is not None
    assert call.response.usage == usage_in(events)


async def test_the_whole_form_says_what_the_streamed_form_says(provider: OpenAICompatible) -> None:
    call = a_call()

    streamed = await events_of(provider, a_request(seed=1), model="smollm2")
    whole = await events_of(provider, a_request(seed=1, streamed=False), model="smollm2", call=call)

    assert text_in(whole) == text_in(streamed)
    assert finish_of(whole) == finish_of(streamed)
    assert call.response.raw is not None


async def test_a_request_with_tools_is_one_that_the_server_takes(provider: OpenAICompatible) -> None:
    # This model's template knows no tools, so that the server cannot make it call one: recorded bodies show that.
    request = a_request(tools=(WEATHER,), tool_choice=ToolChoice(mode="required", parallel=False))

    events = await events_of(provider, request, model="smollm2")

    assert finish_of(events).reason in ("stop", "length", "tool_calls")


async def test_an_answer_has_the_shape_that_was_asked_for(provider: OpenAICompatible) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }

    events = await events_of(
        provider,
        a_request("Is water wet?", max_tokens=64, output=OutputSchema(name="verdict", schema=schema)),
        model="smollm2",
    )

    assert isinstance(json.loads(text_in(events))["yes"], bool)


async def test_logprobs_come_with_the_text(provider: OpenAICompatible) -> None:
    events = await events_of(provider, a_request(logprobs=2), model="smollm2")

    tokens = [token for event in events for token in getattr(event, "logprobs", ())]
    assert tokens
    assert all(token.logprob <= 0 and len(token.top) == 2 for token in tokens)


async def test_a_prompt_that_does_not_fit_is_the_callers_to_shorten(provider: OpenAICompatible) -> None:
    with pytest.raises(ContextLengthError) as caught:
        await events_of(provider, a_request("river " * 4000), model="smollm2")

    error = caught.value
    assert (error.provider, error.deployment, error.status) == ("local", "local:smollm2", 400)
    assert error.tokens is not None
    assert error.limit is not None
    assert error.tokens > error.limit
    assert error.retryable is False


async def test_models_are_listed_and_the_check_is_good(provider: OpenAICompatible) -> None:
    models = await provider.models()
    health = await provider.check()

    assert len(models) == 1
    assert health.ok


async def test_a_server_without_embeddings_says_so(provider: OpenAICompatible) -> None:
    with pytest.raises(UnsupportedError):
        await provider.embed(EmbedRequest(inputs=("a",)), model="smollm2", call=a_call())


async def test_leaving_early_leaves_a_server_that_answers_the_next_call(provider: OpenAICompatible) -> None:
    request = ChatRequest(messages=(Message("user", "Tell a long story."),), max_tokens=400)

    async with provider.stream(request, model="smollm2", call=a_call()) as batches:
        first = await anext(aiter(batches))
    events = await events_of(provider, a_request(), model="smollm2")

    assert isinstance(first, list)
    assert finish_of(events)


async def test_nobody_at_the_address_is_a_connection_error(free_tcp_port: int) -> None:
    provider = OpenAICompatible(base_url=f"http://127.0.0.1:{free_tcp_port}/v1")

    with pytest.raises(ProviderConnectionError) as caught:
        await events_of(provider, a_request(), model="m")
    health = await provider.check()
    await provider.aclose()

    assert caught.value.retryable
    assert caught.value.deployment == "compatible:m"
    assert not health.ok


async def test_only_a_provider_that_was_told_its_models_describes_them(llama_server: str) -> None:
    told = OpenAICompatible(base_url=llama_server, models=["smollm2"], region="eu")
    untold = OpenAICompatible(base_url=llama_server)

    assert isinstance(told, KnowsModels)
    assert not isinstance(untold, KnowsModels)
    assert told.default_models() == ("smollm2",)
    assert told.describe("other") is None
