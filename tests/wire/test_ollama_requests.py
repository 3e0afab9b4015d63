"""Requests on Ollama's wire, each accepted by the types of its own client."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

from planar.errors import InvalidRequestError, UnsupportedError
from planar.types import (
    Audio,
    CacheHint,
    ChatRequest,
    EmbedRequest,
    File,
    Image,
    Message,
    Opaque,
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
from planar.wire.ollama_chat import encode_chat, encode_embeddings

USER = Message("user", "Three rivers in Spain?")
WEATHER = Tool(
    name="weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
NOW = Tool(name="now", parameters={"type": "object", "properties": {}})
RIVERS = OutputSchema(
    name="rivers",
    schema={"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}},
)
CALLED = (
    ToolCall(id="call_1", name="weather", arguments='{"city": "Ávila"}'),
    ToolCall(id="call_2", name="weather", arguments='{"city":"Toledo"}'),
)
RESULTS = Message(
    "tool",
    (
        ToolResult(tool_call_id="call_1", content="21 C"),
        ToolResult(tool_call_id="call_2", content="25 C", name="other"),
    ),
)


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


def user(*parts: Part) -> ChatRequest:
    return asked(Message("user", parts))


def loop(*parts: Part) -> ChatRequest:
    return asked(USER, Message("assistant", parts), Message("user", "Go on."))


REQUESTS: dict[str, ChatRequest] = {
    "plain": asked(),
    "whole": asked(streamed=False),
    "system": asked(Message("system", "Be brief."), USER),
    "developer": asked(Message("developer", "Be brief."), USER),
    "system in parts": asked(Message("system", (Text("Be "), Text("brief."))), USER),
    "two turns": asked(USER, Message("assistant", "Ebro."), Message("user", "And one more?")),
    "several texts": user(Text("a"), Text("b")),
    "an empty answer": loop(),
    "image": user(Text("What is this?"), Image(data=b"\x89PNG", media_type="image/png")),
    "image without a type": user(Image(data=b"\x89PNG")),
    "two images": user(Image(data=b"a"), Text("and"), Image(data=b"b")),
    "image alone": user(Image(data=b"a")),
    "image with detail": user(Image(data=b"a", detail="low")),
    "max tokens": asked(max_tokens=100),
    "temperature": asked(temperature=0.5),
    "top p": asked(top_p=0.9),
    "stop": asked(stop=("a", "b")),
    "seed": asked(seed=7),
    "all sampling": asked(max_tokens=1, temperature=0.0, top_p=1.0, stop=("x",), seed=0),
    "logprobs": asked(logprobs=3),
    "only the chosen one's logprobs": asked(logprobs=0),
    "service tier": asked(service_tier="flex"),
    "prompt cache key": asked(cache="acme"),
    "cache hint": user(Text("a long text", cache=CacheHint()), Text("Well?")),
    "tools": asked(tools=(WEATHER,)),
    "several tools": asked(tools=(WEATHER, NOW)),
    "a strict tool": asked(tools=(Tool(name="now", parameters=NOW.parameters, strict=True),)),
    "tool choice auto": asked(tools=(WEATHER,), tool_choice=ToolChoice()),
    "tool choice none": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")),
    "one call at a time": asked(tools=(WEATHER,), tool_choice=ToolChoice(parallel=False)),
    "a tool loop": asked(USER, Message("assistant", CALLED), RESULTS, tools=(WEATHER,)),
    "a tool loop with text": asked(USER, Message("assistant", (Text("Let me look."), *CALLED)), RESULTS),
    "a result in a user message": asked(
        USER, Message("assistant", CALLED), Message("user", (*RESULTS.parts, Text("Well?")))
    ),
    "only results in a user message": asked(USER, Message("assistant", CALLED), Message("user", RESULTS.content)),
    "a result in parts": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message("tool", (ToolResult(tool_call_id="call_1", content=(Text("21"), Text(" C"))),)),
    ),
    "a failed tool": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message("tool", (ToolResult(tool_call_id="call_1", content="no", is_error=True),)),
    ),
    "a call without arguments": loop(ToolCall(id="call_1", name="now", arguments="")),
    "structured output": asked(output=RIVERS),
    "structured output with tools": asked(output=RIVERS, tools=(WEATHER,)),
    "reasoning": asked(reasoning="high"),
    "no reasoning": asked(reasoning="none"),
    "reasoning with a budget": asked(reasoning=1000),
    "reasoning that goes back": loop(Reasoning(text="Hm."), Text("Ebro.")),
    "another vendor's reasoning": loop(Reasoning(text="Hm.", signature="x", details=({"a": 1},)), *CALLED),
    "a refusal": loop(Refusal("I cannot help with that.")),
    "a name": asked(Message("user", "Hi", name="ann")),
    "extra fields": asked(extra_body={"ollama": {"options": {"num_gpu": 0}, "keep_alive": -1}}),
}


def body_of(request: ChatRequest, model: str = "qwen3:4b", **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(request, model=model, **options).body)


def dropped(request: ChatRequest, model: str = "qwen3:4b") -> list[str]:
    return [notice.data["field"] for notice in encode_chat(request, model=model).notices]


@pytest.fixture(scope="module")
def sdk() -> Any:
    try:
        import ollama._types as types
    except ModuleNotFoundError:
        line = "the development package ollama is not installed: use nox, which installs it"
        pytest.fail(line, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(line)
    return types


@pytest.mark.parametrize("model", ["qwen3:4b", "gpt-oss:20b"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_by_the_clients_own_types(name: str, model: str, sdk: Any) -> None:
    body = body_of(REQUESTS[name], model, num_ctx=8192, keep_alive="10m")

    read = sdk.ChatRequest.model_validate(body)

    # The client's types know no `truncate` and no ids, which the server's do.
    assert set(body) - {"truncate"} <= set(sdk.ChatRequest.model_fields)
    for message in body["messages"]:
        # The client takes pictures in a type of its own and writes them as the text that ours are.
        pictures = [{"value": image} for image in message.get("images", [])]
        own = sdk.Message.model_validate({**message, "images": pictures})
        assert own.model_dump()["images"] == message.get("images", [])
        assert set(message) - {"tool_call_id"} <= set(sdk.Message.model_fields)
    assert set(body.get("options", {})) <= set(sdk.Options.model_fields)
    assert len(read.messages) == len(body["messages"])
    assert not body.keys() & {"tool_choice", "max_tokens", "temperature", "seed", "stop", "response_format"}


def test_where_the_request_goes_and_which_form_it_asks_for() -> None:
    streamed, whole = (encode_chat(asked(streamed=form), model="m") for form in (True, False))

    assert (streamed.path, streamed.headers["accept"]) == ("/api/chat", "application/x-ndjson")
    assert (json.loads(streamed.body)["stream"], json.loads(whole.body)["stream"]) == (True, False)


def test_options_are_put_together_and_left_out_where_nothing_was_asked() -> None:
    assert body_of(REQUESTS["all sampling"], num_ctx=4096)["options"] == {
        "num_ctx": 4096,
        "num_predict": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "stop": ["x"],
    }
    assert "options" not in body_of(asked())


@pytest.mark.parametrize(
    ("model", "asked_for", "sent"),
    [
        ("qwen3:4b", "none", False),
        ("qwen3:4b", "high", True),
        ("qwen3:4b", 500, True),
        ("gpt-oss:20b", "minimal", "low"),
        ("gpt-oss:20b", "medium", "medium"),
        ("me/gpt-oss", "max", "high"),
    ],
)
def test_a_level_of_thinking_goes_only_to_models_that_have_levels(model: str, asked_for: Any, sent: Any) -> None:
    assert body_of(asked(reasoning=asked_for), model)["think"] == sent
    assert bool(dropped(asked(reasoning=asked_for), model)) is (sent is True)


def test_a_tool_loop_goes_back_as_it_came() -> None:
    thought = Reasoning(text="Hm.")

    messages = body_of(asked(USER, Message("assistant", (thought, *CALLED)), RESULTS))["messages"]

    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Ávila"}}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": {"city": "Toledo"}}},
            ],
        },
        {"role": "tool", "content": "21 C", "tool_call_id": "call_1", "tool_name": "weather"},
        {"role": "tool", "content": "25 C", "tool_call_id": "call_2", "tool_name": "other"},
    ]


def test_pictures_stand_beside_the_text() -> None:
    message = body_of(REQUESTS["two images"])["messages"][0]

    assert message["content"] == "and"
    assert [base64.b64decode(image) for image in message["images"]] == [b"a", b"b"]


def test_tools_are_left_out_where_none_may_be_called() -> None:
    assert "tools" not in body_of(REQUESTS["tool choice none"])


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("service tier", "service_tier"),
        ("prompt cache key", "prompt_cache_key"),
        ("cache hint", "cache hints"),
        ("one call at a time", "parallel_tool_calls"),
        ("a strict tool", "tools.strict"),
        ("image with detail", "detail"),
        ("a failed tool", "is_error"),
        ("a name", "messages[0].name"),
        ("reasoning", "reasoning"),
        ("reasoning with a budget", "reasoning"),
    ],
)
def test_what_the_wire_has_no_place_for_is_told_and_refused_by_the_strict(name: str, field: str) -> None:
    assert dropped(REQUESTS[name]) == [field]
    with pytest.raises(UnsupportedError) as caught:
        encode_chat(REQUESTS[name], model="qwen3:4b", strict=True)
    assert caught.value.param == field


@pytest.mark.parametrize(
    "request_",
    [
        asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="required")),
        asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="weather")),
        user(Image(url="https://example.com/a.png")),
        user(File(data=b"%PDF")),
        user(Audio(data=b"RIFF", format="wav")),
        asked(Message("system", (Image(data=b"x"),))),
        asked(USER, Message("assistant", (Opaque(wire="gemini", data={}),))),
    ],
)
def test_what_the_answer_depends_on_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(UnsupportedError):
        encode_chat(request_, model="qwen3:4b")


@pytest.mark.parametrize(
    "request_",
    [
        asked(tool_choice=ToolChoice(mode="required")),
        asked(Message("tool", "x")),
        asked(Message("user", (Reasoning(text="x"),))),
        asked(USER, Message("assistant", (ToolResult(tool_call_id="a", content="x"),))),
        user(Image()),
        loop(ToolCall(id="a", name="f", arguments='{"cut')),
        loop(ToolCall(id="a", name="f", arguments="[]")),
        asked(extra_body={"ollama": []}),  # type: ignore[dict-item]
    ],
)
def test_what_contradicts_itself_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(request_, model="qwen3:4b")


def test_embeddings_are_asked_for_by_the_clients_own_types(sdk: Any) -> None:
    wire = encode_embeddings(EmbedRequest(inputs=("a", "b"), dimensions=8), model="all-minilm", keep_alive=60)
    body = json.loads(wire.body)

    read = sdk.EmbedRequest.model_validate(body)

    assert wire.path == "/api/embed"
    assert (read.input, read.dimensions, read.truncate, read.keep_alive) == (["a", "b"], 8, False, 60)
    with pytest.raises(InvalidRequestError):
        encode_embeddings(EmbedRequest(inputs=()), model="m")
