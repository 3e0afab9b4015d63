"""What a prompt may look like, and where exactly it is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from planar.errors import InvalidRequestError
from planar.types import Audio, File, Image, Message, Reasoning, Refusal, Text, Tool, ToolCall, ToolResult
from planar.wire.openai_chat import messages_from, tool_from

PNG = base64.b64encode(b"png").decode()
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def user(*parts: object) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("hi", [Message("user", "hi")]),
        (Message("user", "hi"), [Message("user", "hi")]),
        (({"role": "system", "content": "s"}, Message("user", "hi")), [Message("system", "s"), Message("user", "hi")]),
        ([user({"type": "text", "text": "a"})], [Message("user", (Text("a"),))]),
        ([{"role": "user", "content": "a", "name": "ann"}], [Message("user", "a", name="ann")]),
        (
            [user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}})],
            [Message("user", (Image(data=b"png", media_type="image/png", detail="low"),))],
        ),
        (
            [user({"type": "image_url", "image_url": {"url": "https://e.org/a.png"}})],
            [Message("user", (Image(url="https://e.org/a.png"),))],
        ),
        (
            [user({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}})],
            [Message("user", (Audio(data=b"png", format="wav"),))],
        ),
        (
            [user({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"}})],
            [Message("user", (File(data=b"png", media_type="application/pdf", filename="a.pdf"),))],
        ),
        ([user({"type": "file", "file": {"file_id": "f"}})], [Message("user", (File(file_id="f"),))]),
        (
            [{"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []}],
            [Message("assistant", (ToolCall(id="a", name="f", arguments="{}"),))],
        ),
        (
            [{"role": "assistant", "content": "x", "reasoning_content": "hm", "refusal": "no"}],
            [Message("assistant", (Reasoning(text="hm"), Text("x"), Refusal("no")))],
        ),
        ([{"role": "assistant", "content": ""}], [Message("assistant", "")]),
        (
            [{"role": "tool", "tool_call_id": "a", "content": "r"}],
            [Message("tool", (ToolResult(tool_call_id="a", content="r"),))],
        ),
        (
            [{"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}]}],
            [Message("tool", (ToolResult(tool_call_id="a", content=(Text("r"),)),))],
        ),
        ([Message("user", [Text("a")])], [Message("user", (Text("a"),))]),  # type: ignore[arg-type]
    ],
)
def test_a_prompt_is_converted(prompt: Any, messages: list[Message]) -> None:
    assert list(messages_from(prompt)) == messages


@pytest.mark.parametrize(
    ("prompt", "place"),
    [
        ("", "messages"),
        ("  \n", "messages"),
        ([], "messages"),
        (None, "messages"),
        (7, "messages"),
        (b"hi", "messages"),
        ({"role": "user", "content": "a"}, "messages"),
        ([7], "messages[0]"),
        ([{"content": "a"}], "messages[0].role"),
        ([{"role": "wizard", "content": "a"}], "messages[0].role"),
        ([{"role": ["user"], "content": "a"}], "messages[0].role"),
        ([{"role": "function", "content": "a", "name": "f"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": "a", "colour": "red"}], "messages[0].colour"),
        ([{"role": "user", "content": "a", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{"role": "user", "content": "a", "name": 7}], "messages[0].name"),
        (["a", "b"], "messages[0]"),
        ([user("a")], "messages[0].content[0]"),
        ([user({"text": "a"})], "messages[0].content[0].type"),
        ([user({"type": "video", "video": {}})], "messages[0].content[0].type"),
        ([user({"type": {}, "text": "a"})], "messages[0].content[0].type"),
        ([{"role": "system", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([user({"type": "text", "text": 7})], "messages[0].content[0].text"),
        ([user({"type": "text", "text": "a", "bold": True})], "messages[0].content[0].bold"),
        ([user({"type": "image_url", "image_url": "x"})], "messages[0].content[0].image_url"),
        ([user({"type": "image_url", "image_url": {}})], "messages[0].content[0].image_url.url"),
        ([user({"type": "image_url", "image_url": {"url": "file:///a"}})], "messages[0].content[0].image_url.url"),
        (
            [user({"type": "image_url", "image_url": {"url": "data:a;base64,!"}})],
            "messages[0].content[0].image_url.url",
        ),
        (
            [user({"type": "image_url", "image_url": {"url": "https://e.org", "detail": "huge"}})],
            "messages[0].content[0].image_url.detail",
        ),
        ([user({"type": "file", "file": {}})], "messages[0].content[0].file"),
        ([user({"type": "file", "file": {"file_data": "x"}})], "messages[0].content[0].file.file_data"),
        ([user({"type": "input_audio", "input_audio": {"data": "%", "format": "wav"}})], "input_audio.data"),
        (["x", {"role": "assistant"}][1:], "messages[0].content"),
        ([{"role": "assistant", "content": "a", "function_call": {"name": "f"}}], "messages[0].function_call"),
        ([{"role": "assistant", "content": "a", "audio": {"id": "a"}}], "messages[0].audio"),
        ([{"role": "assistant", "tool_calls": {}, "content": "a"}, 7], "messages[1]"),
        ([{"role": "assistant", "tool_calls": "f"}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages[0].tool_calls[0].function"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}],
            "messages[0].tool_calls[0].custom",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        ([{"role": "tool", "content": "a"}], "messages[0].tool_call_id"),
        ([Message("wizard", "a")], "messages[0].role"),  # type: ignore[arg-type]
        ([Message("user", 7)], "messages[0].content"),  # type: ignore[arg-type]
        ([Message("user", ("a",))], "messages[0].content[0]"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_represented_is_refused_at_its_place(prompt: Any, place: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        messages_from(prompt)

    assert caught.value.param is not None
    assert caught.value.param.endswith(place)
    assert place in caught.value.message


def test_a_tool_is_converted() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}

    tool = tool_from({"type": "function", "function": function}, 0)

    assert tool == Tool(name="f", description="d", parameters={"type": "object"}, strict=True)


@pytest.mark.parametrize(
    ("tool", "place"),
    [
        (7, "tools[3]"),
        ({"type": "custom", "custom": {}}, "tools[3].type"),
        ({"type": "function"}, "tools[3].function"),
        ({"type": "function", "function": {}}, "tools[3].function.name"),
        ({"type": "function", "function": {"name": "f", "parameters": []}}, "tools[3].function.parameters"),
        ({"type": "function", "function": {"name": "f", "parameters": {"x": {1}}}}, "tools[3].function.parameters"),
        ({"type": "function", "function": {"name": "f", "strict": "yes"}}, "tools[3].function.strict"),
        ({"type": "function", "function": {"name": "f", "returns": {}}}, "tools[3].function.returns"),
        ({"type": "function", "function": {"name": "f"}, "cache": 1}, "tools[3].cache"),
    ],
)
def test_a_tool_that_cannot_be_represented_is_refused_at_its_place(tool: Any, place: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        tool_from(tool, 3)

    assert caught.value.param == place
