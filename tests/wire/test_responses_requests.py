"""Requests on the Responses wire, each accepted by the types of OpenAI's own SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from planar.errors import InvalidRequestError, UnsupportedError
from planar.types import (
    Audio,
    CacheHint,
    ChatRequest,
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
from planar.wire.openai_responses import WIRE, encode_chat, encode_count

USER = Message("user", "Three rivers in Spain?")
WEATHER = Tool(
    name="weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
NOTHING = Tool(name="now", parameters={"type": "object", "properties": {}}, strict=True)
RIVERS = OutputSchema(
    name="rivers",
    schema={
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"$ref": "#/$defs/River"}}, "note": {"type": "string"}},
        "required": ["names"],
        "$defs": {"River": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}}},
    },
)
LOOSE = OutputSchema(name="any", schema={"type": "object", "additionalProperties": {"type": "string"}})
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "gAAAAB+/=",
}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "rivers", "queries": ["rivers"]},
}


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


def user(*parts: Part) -> ChatRequest:
    return asked(Message("user", parts))


def loop(*parts: Part) -> ChatRequest:
    """A question, an answer of these parts, and a following question."""
    return asked(USER, Message("assistant", parts), Message("user", "Go on."))


CALLED = (
    ToolCall(id="call_1", name="weather", arguments='{"city": "Ávila"}'),
    ToolCall(id="call_2", name="weather", arguments='{"city":"Toledo"}'),
)
RESULTS = Message(
    "tool", (ToolResult(tool_call_id="call_1", content="21 C"), ToolResult(tool_call_id="call_2", content="25 C"))
)

REQUESTS: dict[str, ChatRequest] = {
    "plain": asked(),
    "whole": asked(streamed=False),
    "system": asked(Message("system", "Be brief."), USER),
    "developer": asked(Message("developer", "Be brief."), USER),
    "system in parts": asked(Message("system", (Text("Be "), Text("brief."))), USER),
    "two turns": asked(USER, Message("assistant", "Ebro, Tajo, Duero."), Message("user", "And one more?")),
    "several texts": user(Text("a"), Text("b")),
    "an empty answer": loop(),
    "image by address": user(Text("What is this?"), Image(url="https://example.com/a.png")),
    "image by bytes": user(Image(data=b"\x89PNG", media_type="image/png")),
    "image with detail": user(Image(url="https://example.com/a.png", detail="original")),
    "file by bytes": user(File(data=b"%PDF", filename="a.pdf")),
    "file by id": user(File(file_id="file-1")),
    "file by address": user(File(url="https://example.com/a.pdf")),
    "max tokens": asked(max_tokens=100),
    "temperature": asked(temperature=0.5),
    "top p": asked(top_p=0.9),
    "logprobs": asked(logprobs=3),
    "only the chosen one's logprobs": asked(logprobs=0),
    "service tier": asked(service_tier="flex"),
    "prompt cache key": asked(cache="acme"),
    "tools": asked(tools=(WEATHER,)),
    "a strict tool": asked(tools=(NOTHING,)),
    "several tools": asked(tools=(WEATHER, NOTHING)),
    "tool choice auto": asked(tools=(WEATHER,), tool_choice=ToolChoice()),
    "tool choice none": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")),
    "tool choice required": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="required")),
    "tool choice by name": asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="weather")),
    "one call at a time": asked(tools=(WEATHER,), tool_choice=ToolChoice(parallel=False)),
    "parallel calls": asked(tools=(WEATHER,), tool_choice=ToolChoice(parallel=True)),
    "a tool loop": asked(USER, Message("assistant", CALLED), RESULTS, tools=(WEATHER,)),
    "a result in a user message": asked(
        USER, Message("assistant", CALLED), Message("user", (*RESULTS.parts, Text("Well?")))
    ),
    "a result with an image": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message(
            "tool",
            (ToolResult(tool_call_id="call_1", content=(Text("see"), Image(url="https://example.com/a.png"))),),
        ),
    ),
    "a call without arguments": loop(ToolCall(id="call_1", name="now", arguments="")),
    "structured output": asked(output=RIVERS),
    "structured output, loosely": asked(output=replace(RIVERS, strict=False)),
    "structured output that cannot be strict": asked(output=LOOSE),
    "reasoning": asked(reasoning="high"),
    "no reasoning": asked(reasoning="none"),
    "reasoning that comes back": loop(Reasoning(id="rs_1", details=(THOUGHT,), encrypted="gAAAAB+/="), Text("Ebro.")),
    "reasoning put together": loop(Reasoning(text="Hm.", id="rs_1", encrypted="gAAAAB+/="), *CALLED),
    "a hosted tool's item": loop(Reasoning(id="ws_1", details=(SEARCH,)), Text("Ebro.")),
    "a phase": loop(Reasoning(details=({"type": "message", "phase": "commentary"},)), Text("Let me look."), *CALLED),
    "a refusal": loop(Refusal("I cannot help with that.")),
    "an opaque item": asked(USER, Message("assistant", (Opaque(wire=WIRE, data=SEARCH), Text("Ebro.")))),
    "an opaque item of the user": asked(
        Message("user", (Text("Go."), Opaque(wire=WIRE, data={"type": "item_reference", "id": "msg_1"})))
    ),
    "cache hint": user(Text("a long text", cache=CacheHint()), Text("Well?")),
    "cache hint for hours": user(File(file_id="file-1", cache=CacheHint(ttl=7200))),
    "cache hint on a result": asked(
        USER, Message("assistant", CALLED[:1]), Message("tool", (replace(RESULTS.parts[0], cache=CacheHint()),))
    ),
    "extra fields": asked(extra_body={"openai": {"metadata": {"a": "b"}, "store": True, "truncation": "auto"}}),
}
MODELS = ("gpt-4.1", "gpt-5-mini", "gpt-5.6-luna")


def body_of(request: ChatRequest, model: str = "gpt-5.6-luna", **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(request, model=model, **options).body)


def dropped(request: ChatRequest, model: str) -> list[str]:
    return [notice.data["field"] for notice in encode_chat(request, model=model).notices]


def plain(value: Any) -> Any:
    """What pydantic made of it: iterables are validated only while they are read."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if hasattr(value, "__iter__") and not isinstance(value, str) else value


@pytest.fixture(scope="module")
def sdk() -> Callable[[str, Any], Any]:
    try:
        from openai.types.responses import input_token_count_params, response_create_params
    except ModuleNotFoundError:
        line = "the development package openai is not installed: use nox, which installs it"
        pytest.fail(line, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(line)
    from pydantic import TypeAdapter

    types = {
        "streamed": TypeAdapter(response_create_params.ResponseCreateParamsStreaming),
        "whole": TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming),
        "count": TypeAdapter(input_token_count_params.InputTokenCountParams),
    }
    return lambda form, body: plain(types[form].validate_python(body))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_by_the_sdks_own_types(name: str, model: str, sdk: Callable[[str, Any], Any]) -> None:
    request = REQUESTS[name]

    body = body_of(request, model)

    assert sdk("streamed" if request.streamed else "whole", body) == body


@pytest.mark.parametrize("name", REQUESTS)
def test_a_count_is_asked_for_by_the_sdks_own_types(name: str, sdk: Callable[[str, Any], Any]) -> None:
    wire = encode_count(REQUESTS[name], model="gpt-5.6-luna")
    body = json.loads(wire.body)

    assert wire.path == "/responses/input_tokens"
    assert sdk("count", body) == body


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_is_stored_and_nobody_is_named_unless_the_caller_says_so(name: str) -> None:
    body = body_of(REQUESTS[name])

    assert body["store"] is (name == "extra fields")
    assert not body.keys() & {"user", "safety_identifier", "seed", "stop", "messages", "max_tokens"}


def test_where_the_request_goes_and_which_form_it_asks_for() -> None:
    streamed, whole = (encode_chat(asked(streamed=form), model="m") for form in (True, False))

    assert (streamed.path, streamed.method, streamed.headers["accept"]) == ("/responses", "POST", "text/event-stream")
    assert whole.headers["accept"] == "application/json"
    assert (json.loads(streamed.body)["stream"], json.loads(whole.body)["stream"]) == (True, False)


@pytest.mark.parametrize(
    ("model", "reasoning", "gone"),
    [
        ("o3", None, ["temperature", "top_p", "logprobs"]),
        ("openai/o4-mini", None, ["temperature", "top_p", "logprobs"]),
        ("gpt-5", None, ["temperature", "top_p", "logprobs"]),
        ("gpt-5-mini-2025-08-07", None, ["temperature", "top_p", "logprobs"]),
        ("gpt-5.6-luna", "low", ["temperature", "top_p", "logprobs"]),
        ("gpt-6-astra", "low", ["temperature", "top_p", "logprobs"]),
        ("gpt-5.6-luna", "none", []),
        ("gpt-5.4", None, []),
        ("gpt-5-chat-latest", None, []),
        ("gpt-4.1", None, []),
        ("my-deployment", None, []),
    ],
)
def test_sampling_that_a_model_no_longer_takes_is_left_out_with_a_notice(
    model: str, reasoning: Any, gone: list[str]
) -> None:
    request = asked(temperature=1.0, top_p=0.5, logprobs=2, reasoning=reasoning)

    body = body_of(request, model)

    assert dropped(request, model) == gone
    assert ("temperature" in body, "top_p" in body, "top_logprobs" in body) == ((not gone,) * 3)
    with_nothing_gone = encode_chat(asked(reasoning=reasoning), model=model, strict=True)
    assert with_nothing_gone.notices == ()
    if gone:
        with pytest.raises(UnsupportedError, match="temperature"):
            encode_chat(request, model=model, strict=True)


@pytest.mark.parametrize(
    ("model", "reasoning", "included"),
    [
        ("gpt-5", None, True),
        ("o3", None, True),
        ("grok-4.3", None, True),
        ("gpt-6-luna", "none", True),
        ("gpt-4.1", None, False),
        ("gpt-4.1", "high", False),
        ("chatgpt-4o-latest", None, False),
        ("my-deployment", None, False),
        ("my-deployment", "low", True),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_have_it(model: str, reasoning: Any, included: bool) -> None:
    body = body_of(asked(reasoning=reasoning), model)

    assert ("reasoning.encrypted_content" in body.get("include", [])) is included


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asked(seed=1), "seed"),
        (asked(reasoning=1000), "reasoning"),
        (asked(Message("user", "Hi", name="ann")), "messages[0].name"),
        (asked(Message("tool", (ToolResult(tool_call_id="a", content="x", is_error=True),))), "is_error"),
        (loop(Reasoning(text="Hm.", signature="anthropic's")), "reasoning of earlier turns"),
        (loop(Reasoning(id="rs_1", details=({**THOUGHT, "encrypted_content": None},))), "reasoning of earlier turns"),
        (asked(output=LOOSE), "output.strict"),
        (asked(tools=(replace(WEATHER, parameters=LOOSE.schema, strict=True),)), "tools['weather'].strict"),
        (loop(Text("a", cache=CacheHint())), "cache hints"),
    ],
)
def test_what_the_wire_has_no_place_for_is_told_and_refused_by_the_strict(request_: ChatRequest, field: str) -> None:
    assert dropped(request_, "gpt-5.6-luna") == [field]
    with pytest.raises(UnsupportedError) as caught:
        encode_chat(request_, model="gpt-5.6-luna", strict=True)
    assert caught.value.param == field


@pytest.mark.parametrize(
    "request_",
    [
        asked(stop=("x",)),
        user(Audio(data=b"RIFF", format="wav")),
        asked(Message("system", (Image(url="https://example.com/a.png"),))),
        asked(USER, Message("assistant", (Image(url="https://example.com/a.png"),))),
        asked(USER, Message("assistant", (Opaque(wire="gemini", data={}),))),
    ],
)
def test_what_the_answer_depends_on_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(UnsupportedError):
        encode_chat(request_, model="gpt-5.6-luna")


@pytest.mark.parametrize(
    "request_",
    [
        asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="other")),
        asked(tool_choice=ToolChoice(mode="required")),
        asked(Message("tool", "x")),
        asked(Message("user", (Reasoning(text="x"),))),
        asked(USER, Message("assistant", (ToolResult(tool_call_id="a", content="x"),))),
        user(Image(data=b"x")),
        user(Image()),
        asked(extra_body={"openai": {"metadata": object()}}),
        asked(extra_body={"openai": []}),  # type: ignore[dict-item]
    ],
)
def test_what_contradicts_itself_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(request_, model="gpt-5.6-luna")


def test_a_schema_is_sent_as_strict_mode_takes_it() -> None:
    form = body_of(asked(output=RIVERS))["text"]["format"]

    assert form["strict"] is True
    assert form["schema"]["required"] == ["names", "note"]
    assert form["schema"]["additionalProperties"] is False
    assert form["schema"]["$defs"]["River"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "additionalProperties": False,
        "required": ["name"],
    }


def test_an_answer_goes_back_in_the_order_and_the_bytes_in_which_it_came() -> None:
    streamed = (
        Reasoning(text="Hm.", id="rs_1"),
        Reasoning(details=({"type": "message", "role": "assistant", "id": "m", "phase": "commentary"},)),
        Text("Let me "),
        Text("look."),
        *CALLED,
        Reasoning(id="rs_1", encrypted="gAAAAB+/=", details=(THOUGHT,)),
    )

    items = body_of(asked(USER, Message("assistant", streamed), RESULTS))["input"]

    assert items == [
        {"role": "user", "content": "Three rivers in Spain?"},
        THOUGHT,
        {"type": "message", "role": "assistant", "content": "Let me look.", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Ávila"}'},
        {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": '{"city":"Toledo"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "21 C"},
        {"type": "function_call_output", "call_id": "call_2", "output": "25 C"},
    ]


def test_reasoning_that_the_provider_stored_goes_back_by_its_id() -> None:
    bare = {**THOUGHT, "encrypted_content": None}
    request = loop(Reasoning(id="rs_1", details=(bare,)), Text("Ebro."))

    items = body_of(replace(request, extra_body={"openai": {"store": True}}))["input"]

    assert items[1] == bare


def test_details_of_another_wire_are_not_sent() -> None:
    request = loop(Reasoning(text="Hm.", details=({"type": "reasoning.text", "text": "Hm."},)), Text("Ebro."))

    items = body_of(request)["input"]

    assert [item["role"] for item in items] == ["user", "assistant", "user"]


def test_the_callers_own_fields_come_last() -> None:
    body = body_of(asked(extra_body={"mine": {"reasoning": {"summary": "auto"}}}, reasoning="low"), provider="mine")

    assert body["reasoning"] == {"summary": "auto"}
