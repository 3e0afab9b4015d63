"""What goes on the wire, dialect by dialect: every byte of it is one that the vendor lists."""

from __future__ import annotations

import json
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
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from planar.wire.dialects import DIALECTS, Dialect
from planar.wire.openai_chat import encode_chat, encode_embeddings, messages_from

TOOL = Tool(name="f", parameters={"type": "object"}, description="d")
SHAPE = OutputSchema(name="o", schema={"type": "object"})
EVERYTHING = ChatRequest(
    messages=(Message("developer", "be brief"), Message("user", "hi", name="ann")),
    max_tokens=9,
    temperature=0.5,
    top_p=0.9,
    stop=("x",),
    seed=7,
    reasoning="high",
    tools=(TOOL,),
    tool_choice=ToolChoice(mode="auto", parallel=False),
    logprobs=2,
    service_tier="flex",
    cache="key",
)
ALWAYS = {"model", "messages", "stream", "stream_options", "tools", "reasoning", "thinking"}


def body_of(request: ChatRequest, dialect: str = "openai", **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(request, model="m", dialect=DIALECTS[dialect], **options).body)


def ask(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (Message("user", "hi"),), **fields)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_no_field_is_sent_that_the_dialect_does_not_list(dialect: Dialect) -> None:
    wire = encode_chat(EVERYTHING, model="m", dialect=dialect)

    sent = json.loads(wire.body)
    allowed = ALWAYS | {dialect.renamed.get(field, field) for field in dialect.fields}
    assert set(sent) <= allowed
    assert ("stream_options" in sent) == dialect.usage_option
    assert ("name" in sent["messages"][1]) == dialect.names
    assert sent["messages"][0]["role"] == ("developer" if dialect.developer else "system")
    assert sent[dialect.renamed.get("max_tokens", "max_tokens")] == 9


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_what_is_left_out_is_told_or_refused(dialect: Dialect) -> None:
    wire = encode_chat(EVERYTHING, model="m", dialect=dialect)

    sent = json.loads(wire.body)
    wanted = {"temperature", "top_p", "stop", "seed", "logprobs", "top_logprobs", "service_tier", "prompt_cache_key"}
    missing = {field for field in wanted if dialect.renamed.get(field, field) not in sent}
    told = {notice.data["field"] for notice in wire.notices}
    assert missing <= told
    assert all(notice.code == "parameter_dropped" for notice in wire.notices)
    if told:
        with pytest.raises(UnsupportedError):
            encode_chat(EVERYTHING, model="m", dialect=dialect, strict=True)


def test_everything_goes_to_openai_as_it_is() -> None:
    wire = encode_chat(EVERYTHING, model="m")

    assert json.loads(wire.body) == {
        "model": "m",
        "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi", "name": "ann"}],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "service_tier": "flex",
        "prompt_cache_key": "key",
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "description": "d"}}
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "high",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert wire.notices == ()
    assert wire.path == "/chat/completions"


def test_the_whole_form_asks_for_no_stream() -> None:
    body = body_of(ask(streamed=False))

    assert body["stream"] is False
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("dialect", "effort", "fields"),
    [
        ("openai", "xhigh", {"reasoning_effort": "xhigh"}),
        ("deepseek", "medium", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("deepseek", "none", {"thinking": {"type": "disabled"}}),
        ("openrouter", "low", {"reasoning": {"effort": "low"}}),
        ("openrouter", 1000, {"reasoning": {"max_tokens": 1000}}),
        ("groq", "max", {}),
        ("openai", 1000, {}),
        ("compatible", "low", {}),
    ],
)
def test_reasoning_is_asked_for_in_the_vendors_words(dialect: str, effort: Any, fields: dict[str, Any]) -> None:
    body = body_of(ask(reasoning=effort), dialect)

    assert {key: body[key] for key in ("reasoning", "reasoning_effort", "thinking") if key in body} == fields


@pytest.mark.parametrize(
    ("dialect", "choice", "wanted"),
    [
        ("openai", ToolChoice(mode="required"), "required"),
        ("mistral", ToolChoice(mode="required"), "any"),
        ("openai", ToolChoice(mode="none"), "none"),
        ("openai", ToolChoice(mode="tool", name="f"), {"type": "function", "function": {"name": "f"}}),
        ("ollama", ToolChoice(mode="auto"), None),
    ],
)
def test_a_tool_choice_is_said_in_the_vendors_words(dialect: str, choice: ToolChoice, wanted: object) -> None:
    assert body_of(ask(tools=(TOOL,), tool_choice=choice), dialect).get("tool_choice") == wanted


def test_where_no_choice_can_be_said_none_means_no_tools() -> None:
    assert "tools" not in body_of(ask(tools=(TOOL,), tool_choice=ToolChoice(mode="none")), "ollama")


@pytest.mark.parametrize(
    ("dialect", "request_"),
    [
        ("ollama", ask(tools=(TOOL,), tool_choice=ToolChoice(mode="required"))),
        ("deepseek", ask(output=SHAPE)),
        ("deepseek", ask(Message("user", (Image(url="https://e.org"),)))),
        ("groq", ask(Message("user", (Audio(data=b"a", format="wav"),)))),
        ("openai", ask(Message("user", (File(url="https://e.org/a.pdf"),)))),
        ("openai", ask(Message("assistant", (Image(url="https://e.org"),)))),
        ("openai", ask(Message("user", (Opaque(wire="x", data={}),)))),
        (
            "openai",
            ask(Message("tool", (ToolResult(tool_call_id="a", content=(Image(url="https://e.org"),)),))),
        ),
    ],
)
def test_what_the_answer_depends_on_is_refused_where_it_cannot_be_said(dialect: str, request_: ChatRequest) -> None:
    with pytest.raises(UnsupportedError) as caught:
        body_of(request_, dialect, provider="mine")

    assert caught.value.provider == "mine"
    assert caught.value.param


@pytest.mark.parametrize(
    "request_",
    [
        ask(tool_choice=ToolChoice(mode="required")),
        ask(tools=(TOOL,), tool_choice=ToolChoice(mode="tool", name="g")),
        ask(Message("user", (Image(data=b"x"),))),
        ask(Message("user", (Image(),))),
        ask(Message("user", (Reasoning(text="x"),))),
        ask(Message("tool", "text")),
        ask(Message("user", "\ud800")),
        ask(extra_body={"openai": {"x": float("nan")}}),
        ask(extra_body={"openai": 7}),
    ],
)
def test_a_request_that_contradicts_itself_is_the_callers_to_mend(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        body_of(request_)


def test_a_schema_goes_as_the_response_format() -> None:
    assert body_of(ask(output=SHAPE))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "o", "schema": {"type": "object"}, "strict": True},
    }


def test_extra_fields_of_this_provider_come_last_and_win() -> None:
    extra = {"mine": {"top_k": 4, "temperature": 1}, "other": {"x": 1}}

    body = body_of(ask(temperature=0.1, extra_body=extra), provider="mine")

    assert (body["top_k"], body["temperature"], "x" in body) == (4, 1, False)


def test_a_media_message_goes_as_parts() -> None:
    message = Message(
        "user",
        (
            Text("look"),
            Image(data=b"png", media_type="image/png", detail="high"),
            File(data=b"pdf", filename="a.pdf"),
            File(file_id="f"),
            Audio(data=b"wav", format="wav"),
        ),
    )

    assert body_of(ask(message))["messages"][0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n", "detail": "high"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,cGRm", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
    ]


def test_a_cache_hint_is_kept_where_there_is_a_place_for_it() -> None:
    message = Message("user", (Text("a", cache=CacheHint(ttl=3600)),))

    kept = body_of(ask(message), "openrouter")["messages"][0]["content"]
    left = encode_chat(ask(message), model="m")

    assert kept == [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert [notice.data["field"] for notice in left.notices] == ["cache hints"]


THOUGHT = Reasoning(text="hm", details=({"type": "reasoning.text", "text": "hm", "signature": "s"},))
FIRST, SECOND = ToolCall(id="a", name="f", arguments='{"x": 1}'), ToolCall(id="b", name="f", arguments="")
LOOP = (
    Message("user", "one"),
    Message("assistant", (Reasoning(text="old"), Text("done"))),
    Message("user", "two"),
    Message("assistant", (THOUGHT, FIRST, SECOND)),
    Message("tool", (ToolResult(tool_call_id="a", content="1"), ToolResult(tool_call_id="b", content=(Text("2"),)))),
)


def test_a_tool_loop_replays_calls_and_results_word_for_word() -> None:
    messages = body_of(ask(*LOOP))["messages"]

    assert messages[3:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]


@pytest.mark.parametrize(
    ("dialect", "old", "new"),
    [
        ("openai", {}, {}),
        ("deepseek", {}, {"reasoning_content": "hm"}),
        ("llamacpp", {"reasoning_content": "old"}, {"reasoning_content": "hm"}),
        ("vllm", {"reasoning": "old"}, {"reasoning": "hm"}),
        ("openrouter", {"reasoning": "old"}, {"reasoning_details": [dict(THOUGHT.details[0])]}),
    ],
)
def test_reasoning_travels_back_as_the_vendor_wants_it(dialect: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    messages = body_of(ask(*LOOP), dialect)["messages"]

    for message, wanted in ((messages[1], old), (messages[3], new)):
        assert {key: value for key, value in message.items() if key.startswith("reasoning")} == wanted


def test_mistral_takes_reasoning_back_as_a_thinking_chunk() -> None:
    messages = body_of(ask(*LOOP), "mistral")["messages"]

    assert messages[1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "old"}]},
        {"type": "text", "text": "done"},
    ]


def test_geminis_signature_travels_back_on_its_call() -> None:
    signed = Message("assistant", (ToolCall(id="a", name="f", arguments="{}", signature="s"),))

    (message,) = body_of(ask(signed), "gemini")["messages"]

    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}


def test_a_refusal_travels_back() -> None:
    (message,) = body_of(ask(Message("assistant", (Refusal("no"),))))["messages"]

    assert message == {"role": "assistant", "content": None, "refusal": "no"}


def test_an_openai_shaped_conversation_comes_out_as_it_went_in() -> None:
    conversation = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a"}}]},
        {
            "role": "assistant",
            "content": "c",
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{ }"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "r"},
        {"role": "assistant", "content": "end"},
    ]

    assert body_of(ask(*messages_from(conversation)))["messages"] == conversation


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("openai", {"encoding_format": "base64", "dimensions": 8}),
        ("mistral", {"output_dimension": 8}),
    ],
)
def test_embeddings_are_asked_for_in_the_vendors_words(dialect: str, fields: dict[str, Any]) -> None:
    wire = encode_embeddings(EmbedRequest(inputs=("a",), dimensions=8), model="m", dialect=DIALECTS[dialect])

    assert json.loads(wire.body) == {"model": "m", "input": ["a"], **fields}


def test_vectors_that_cannot_be_shortened_are_not_asked_for() -> None:
    with pytest.raises(UnsupportedError):
        encode_embeddings(EmbedRequest(inputs=("a",), dimensions=8), model="m", dialect=DIALECTS["llamacpp"])
    with pytest.raises(InvalidRequestError):
        encode_embeddings(EmbedRequest(inputs=()), model="m")
