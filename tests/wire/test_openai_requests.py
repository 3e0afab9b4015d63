"""Requests on the chat wire as OpenAI takes them, each accepted by the types of OpenAI's own SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from planar.types import (
    Audio,
    CacheHint,
    ChatRequest,
    EmbedRequest,
    File,
    Image,
    Message,
    OutputSchema,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from planar.wire.dialects import DIALECTS
from planar.wire.openai_chat import encode_chat, encode_embeddings

USER = Message("user", "Three rivers in Spain?")
WEATHER = Tool(
    name="weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
NOW = Tool(name="now", parameters={"type": "object", "properties": {}}, strict=True)
RIVERS = OutputSchema(
    name="rivers",
    schema={
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        "required": ["names"],
        "additionalProperties": False,
    },
)
CALLED = (
    ToolCall(id="call_1", name="weather", arguments='{"city": "Ávila"}'),
    ToolCall(id="call_2", name="weather", arguments='{"city":"Toledo"}'),
)
RESULTS = (ToolResult(tool_call_id="call_1", content="21 C"), ToolResult(tool_call_id="call_2", content="25 C"))


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


def user(*parts: Part) -> ChatRequest:
    return asked(Message("user", parts))


def loop(*parts: Part) -> ChatRequest:
    """A question, an answer of these parts, and a following question."""
    return asked(USER, Message("assistant", parts), Message("user", "Go on."))


REQUESTS: dict[str, ChatRequest] = {
    "plain": asked(),
    "whole": asked(streamed=False),
    "system": asked(Message("system", "Be brief."), USER),
    "developer": asked(Message("developer", "Be brief."), USER),
    "system in parts": asked(Message("system", (Text("Be "), Text("brief."))), USER),
    "a name": asked(Message("user", "hi", name="ann")),
    "two turns": asked(USER, Message("assistant", "Ebro, Tajo, Duero."), Message("user", "And one more?")),
    "several texts": user(Text("a"), Text("b")),
    "image by address": user(Text("What is this?"), Image(url="https://example.com/a.png")),
    "image by bytes": user(Image(data=b"\x89PNG", media_type="image/png")),
    "image with detail": user(Image(url="https://example.com/a.png", detail="high")),
    "file by bytes": user(File(data=b"%PDF", filename="a.pdf", media_type="application/pdf")),
    "file by id": user(File(file_id="file-1")),
    "sound": user(Text("Who speaks?"), Audio(data=b"RIFF", format="wav")),
    "max tokens": asked(max_tokens=100),
    "temperature": asked(temperature=0.5),
    "top p": asked(top_p=0.9),
    "a stop": asked(stop=("END",)),
    "four stops": asked(stop=("a", "b", "c", "d")),
    "seed": asked(seed=7),
    "logprobs": asked(logprobs=3),
    "only the chosen one's logprobs": asked(logprobs=0),
    "service tier": asked(service_tier="flex"),
    "prompt cache key": asked(cache="acme"),
    "tools": asked(tools=(WEATHER,)),
    "a strict tool": asked(tools=(NOW,)),
    "several tools": asked(tools=(WEATHER, NOW)),
    "tool choice auto": asked(tools=(WEATHER,), tool_choice=ToolChoice()),
    "tool choice none": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")),
    "tool choice required": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="required")),
    "tool choice by name": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="weather")),
    "one call at a time": asked(tools=(WEATHER,), tool_choice=ToolChoice(parallel=False)),
    "parallel calls": asked(tools=(WEATHER,), tool_choice=ToolChoice(parallel=True)),
    "a tool loop": asked(USER, Message("assistant", CALLED), Message("tool", RESULTS), tools=(WEATHER,)),
    "a result each": asked(USER, Message("assistant", CALLED), *(Message("tool", (result,)) for result in RESULTS)),
    "a result in a user message": asked(USER, Message("assistant", CALLED), Message("user", (*RESULTS, Text("Well?")))),
    "a result in parts": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message("tool", (ToolResult(tool_call_id="call_1", content=(Text("21 "), Text("C"))),)),
    ),
    "a result that is an error": asked(
        USER, Message("assistant", CALLED[:1]), Message("tool", (replace(RESULTS[0], is_error=True),))
    ),
    "a call without arguments": loop(ToolCall(id="call_1", name="now", arguments="")),
    "words before a call": asked(USER, Message("assistant", (Text("Let me look."), *CALLED)), Message("tool", RESULTS)),
    "structured output": asked(output=RIVERS),
    "structured output, loosely": asked(output=replace(RIVERS, strict=False)),
    "no reasoning": asked(reasoning="none"),
    "little reasoning": asked(reasoning="low"),
    "the most reasoning": asked(reasoning="xhigh"),
    "reasoning in tokens": asked(reasoning=1000),
    "reasoning that stays here": loop(Reasoning(text="Hm."), Text("Ebro.")),
    "a refusal": loop(Refusal("I cannot help with that.")),
    "cache hint": user(Text("a long text", cache=CacheHint()), Text("Well?")),
    "extra fields": asked(extra_body={"openai": {"metadata": {"a": "b"}, "store": True, "verbosity": "low"}}),
    "everything": asked(
        Message("developer", "Be brief."),
        USER,
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("x",),
        seed=7,
        reasoning="high",
        tools=(WEATHER, NOW),
        tool_choice=ToolChoice(mode="required", parallel=False),
        output=RIVERS,
        logprobs=2,
        service_tier="priority",
        cache="acme",
    ),
}


def body_of(request: ChatRequest, dialect: str = "openai") -> dict[str, Any]:
    return json.loads(encode_chat(request, model="gpt-6-luna", dialect=DIALECTS[dialect]).body)


def plain(value: Any) -> Any:
    """What pydantic made of it: iterables are validated only while they are read."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if hasattr(value, "__iter__") and not isinstance(value, str) else value


@pytest.fixture(scope="module")
def sdk() -> Callable[[str, Any], Any]:
    try:
        from openai.types import embedding_create_params
        from openai.types.chat import completion_create_params
    except ModuleNotFoundError:
        line = "the development package openai is not installed: use nox, which installs it"
        pytest.fail(line, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(line)
    from pydantic import TypeAdapter

    types = {
        "streamed": TypeAdapter(completion_create_params.CompletionCreateParamsStreaming),
        "whole": TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming),
        "vectors": TypeAdapter(embedding_create_params.EmbeddingCreateParams),
    }
    return lambda form, body: plain(types[form].validate_python(body))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_by_the_sdks_own_types(name: str, streamed: bool, sdk: Callable[[str, Any], Any]) -> None:
    body = body_of(replace(REQUESTS[name], streamed=streamed))

    assert sdk("streamed" if streamed else "whole", body) == body


@pytest.mark.parametrize(
    "request_",
    [
        EmbedRequest(inputs=("a",)),
        EmbedRequest(inputs=("a", "b"), dimensions=256),
        EmbedRequest(inputs=("a",), extra_body={"openai": {"user": "ann"}}),
    ],
    ids=["one", "shorter", "extra fields"],
)
def test_vectors_are_asked_for_by_the_sdks_own_types(request_: EmbedRequest, sdk: Callable[[str, Any], Any]) -> None:
    body = json.loads(encode_embeddings(request_, model="text-embedding-3-small").body)

    assert sdk("vectors", body) == body


def test_the_types_refuse_what_is_no_request(sdk: Callable[[str, Any], Any]) -> None:
    from pydantic import ValidationError

    body = body_of(asked())

    for broken in ({**body, "messages": [{"role": "robot", "content": "hi"}]}, {**body, "reasoning_effort": "a lot"}):
        with pytest.raises(ValidationError):
            sdk("streamed", broken)


def test_there_are_at_least_forty() -> None:
    bodies = {json.dumps(body_of(request), sort_keys=True) for request in REQUESTS.values()}

    assert len(bodies) >= 40
