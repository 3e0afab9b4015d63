"""Tool calls and vectors from a real llama.cpp server on loopback."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator

import pytest
from calls import a_call, calls_in, events_of, finish_of, usage_in

from planar.events import Finish, ToolCallDelta, ToolCallEnd, ToolCallStart, UsageReported
from planar.providers.openai_compatible import OpenAICompatible
from planar.types import ChatRequest, EmbedRequest, Message, Tool, ToolCall, ToolChoice, ToolResult

pytestmark = pytest.mark.anyio

WEATHER = Tool(
    name="get_weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
# The server's grammar begins with the call, so a model this small is shown one first.
SHOWN = (
    Message("user", "Weather in Rome?"),
    Message("assistant", (ToolCall(id="call_1", name="get_weather", arguments='{"city": "Rome"}'),)),
    Message("tool", (ToolResult(tool_call_id="call_1", content="18 C"),)),
    Message("assistant", "It is 18 C."),
)


@pytest.fixture
async def provider(equipped_llama_server: str) -> AsyncIterator[OpenAICompatible]:
    # As in the tests of the plain server, each call gets its own connection.
    provider = OpenAICompatible(
        base_url=f"{equipped_llama_server}/v1", dialect="llamacpp", name="local", headers={"connection": "close"}
    )
    yield provider
    await provider.aclose()


def a_request(*, streamed: bool = True) -> ChatRequest:
    return ChatRequest(
        messages=(*SHOWN, Message("user", "Weather in Paris?")),
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="required", parallel=False),
        max_tokens=64,
        temperature=0.0,
        streamed=streamed,
        extra_body={"local": {"cache_prompt": False}},
    )


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_a_required_call_comes_with_arguments_that_parse(provider: OpenAICompatible, streamed: bool) -> None:
    events = await events_of(provider, a_request(streamed=streamed), model="smollm2")

    [call] = calls_in(events)
    assert (call.name, call.incomplete) == ("get_weather", False)
    assert call.id
    assert isinstance(json.loads(call.arguments)["city"], str)
    assert finish_of(events).reason == "tool_calls"
    assert usage_in(events).output_tokens


async def test_a_call_begins_goes_on_and_ends_before_the_finish(provider: OpenAICompatible) -> None:
    events = await events_of(provider, a_request(), model="smollm2")

    [start, *deltas, end, usage, finish] = events
    assert isinstance(start, ToolCallStart)
    assert isinstance(end, ToolCallEnd)
    assert isinstance(usage, UsageReported)
    assert isinstance(finish, Finish)
    assert len(deltas) > 1
    pieces = [event.arguments for event in deltas if isinstance(event, ToolCallDelta)]
    assert len(pieces) == len(deltas)
    assert "".join(pieces) == end.arguments
    assert (start.index, start.id, start.name) == (end.index, end.id, end.name)


async def test_the_call_goes_back_with_its_result(provider: OpenAICompatible) -> None:
    request = a_request()
    [asked] = calls_in(await events_of(provider, request, model="smollm2"))
    call = ToolCall(id=asked.id, name=asked.name, arguments=asked.arguments)
    answered = ChatRequest(
        messages=(
            *request.messages,
            Message("assistant", (call,)),
            Message("tool", (ToolResult(tool_call_id=asked.id, content="21 C"),)),
        ),
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="none"),
        max_tokens=16,
        temperature=0.0,
    )

    events = await events_of(provider, answered, model="smollm2")

    assert calls_in(events) == []
    assert finish_of(events).reason in ("stop", "length")


async def test_texts_become_vectors_in_their_order(provider: OpenAICompatible) -> None:
    texts = ("A river runs through the town.", "The invoice is due.", "A stream flows through the village.")

    embeddings = await provider.embed(EmbedRequest(inputs=texts), model="smollm2", call=a_call())
    alone = await provider.embed(EmbedRequest(inputs=texts[:1]), model="smollm2", call=a_call())

    river, invoice, stream = embeddings.vectors
    assert len(river) == len(invoice) == len(stream) == 576
    assert _cosine(river, stream) > _cosine(river, invoice)
    assert _cosine(river, alone.vectors[0]) == pytest.approx(1, abs=1e-3)
    assert embeddings.usage is not None
    assert embeddings.usage.input_tokens


def _cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
