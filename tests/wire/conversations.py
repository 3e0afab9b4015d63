"""Requests in neutral words, one for each feature: every wire is asked to write them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from planar.types import (
    Audio,
    CacheHint,
    ChatRequest,
    File,
    Image,
    Message,
    OutputSchema,
    Part,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

USER = Message("user", "Three rivers in Spain?")
PNG = b"\x89PNG\r\n"
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
        "properties": {
            "names": {"type": "array", "items": {"$ref": "#/$defs/River"}, "minItems": 3},
            "length": {"type": "integer", "minimum": 1, "description": "In km."},
        },
        "required": ["names"],
        "$defs": {"River": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}}},
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


COMMON: dict[str, ChatRequest] = {
    "plain": asked(),
    "whole": asked(streamed=False),
    "system": asked(Message("system", "Be brief."), USER),
    "developer": asked(Message("developer", "Be brief."), USER),
    "system in parts": asked(Message("system", (Text("Be "), Text("brief."))), USER),
    "two system messages": asked(Message("system", "Be brief."), Message("developer", "Be kind."), USER),
    "a system message in the middle": asked(USER, Message("assistant", "Ebro."), Message("system", "Stop."), USER),
    "two turns": asked(USER, Message("assistant", "Ebro, Tajo, Duero."), Message("user", "And one more?")),
    "neighbours of one role": asked(USER, Message("user", "And in Portugal?")),
    "several texts": user(Text("a"), Text("b")),
    "an empty text": user(Text(""), Text("b")),
    "image by address": user(Text("What is this?"), Image(url="https://example.com/a.png", media_type="image/png")),
    "image by bytes": user(Image(data=PNG, media_type="image/png")),
    "image with detail": user(Image(data=PNG, media_type="image/png", detail="high")),
    "file by bytes": user(File(data=b"%PDF", filename="a.pdf")),
    "file by id": user(File(file_id="files/abc", media_type="application/pdf")),
    "file by address": user(File(url="https://example.com/a.pdf", media_type="application/pdf")),
    "a text file": user(File(data=b"Ebro", media_type="text/plain", filename="a.txt")),
    "a picture as a file": user(File(data=PNG, media_type="image/png")),
    "max tokens": asked(max_tokens=4000),
    "temperature": asked(temperature=0.5),
    "top p": asked(top_p=0.9),
    "both": asked(top_p=0.9, temperature=0.1),
    "stop": asked(stop=("END", "STOP")),
    "seed": asked(seed=7),
    "logprobs": asked(logprobs=3),
    "service tier": asked(service_tier="priority"),
    "a foreign service tier": asked(service_tier="scale"),
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
    "a result for each message": asked(
        USER, Message("assistant", CALLED), Message("tool", RESULTS[:1]), Message("tool", RESULTS[1:])
    ),
    "a result in a user message": asked(USER, Message("assistant", CALLED), Message("user", (Text("Well?"), *RESULTS))),
    "a result with an image": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message(
            "tool",
            (ToolResult(tool_call_id="call_1", content=(Text("see"), Image(data=PNG, media_type="image/png"))),),
        ),
    ),
    "a failed tool": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message("tool", (ToolResult(tool_call_id="call_1", content="no such city", is_error=True),)),
    ),
    "a call without arguments": loop(ToolCall(id="call_1", name="now", arguments="")),
    "structured output": asked(output=RIVERS),
    "structured output beside tools": asked(output=RIVERS, tools=(WEATHER,)),
    "reasoning": asked(reasoning="high"),
    "a little reasoning": asked(reasoning="minimal"),
    "most reasoning": asked(reasoning="max"),
    "a budget": asked(reasoning=2048),
    "no reasoning": asked(reasoning="none"),
    "no budget": asked(reasoning=0),
    "reasoning and structured output": asked(reasoning="low", output=RIVERS),
    "a refusal": loop(Refusal("I cannot help with that.")),
    "cache hint": user(Text("a long text", cache=CacheHint()), Text("Well?")),
    "cache hint for an hour": user(File(data=b"%PDF", cache=CacheHint(ttl=3600)), Text("Well?")),
    "many cache hints": user(*(Text(str(number), cache=CacheHint(ttl=60)) for number in range(6))),
    "cache hint on a result": asked(
        USER,
        Message("assistant", CALLED[:1]),
        Message("tool", (ToolResult(tool_call_id="call_1", content="x", cache=CacheHint()),)),
    ),
    "a cache key": asked(cache="acme"),
    "a name": asked(Message("user", "Hi", name="ann")),
}
AUDIO = user(Audio(data=b"RIFF", format="wav"), Text("What do you hear?"))


def plain(value: Any) -> Any:
    """What pydantic made of it: iterables are validated only while they are read."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if hasattr(value, "__iter__") and not isinstance(value, str) else value


def without_sdk(package: str) -> NoReturn:
    """Skip with a visible line; fail where everything must run."""
    line = f"the development package {package} is not installed: use nox, which installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)
