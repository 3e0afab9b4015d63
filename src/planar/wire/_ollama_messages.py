"""A conversation as Ollama's chat wire writes it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, assert_never

from planar.errors import InvalidRequestError
from planar.types import (
    JSON,
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from planar.wire._left_out import LeftOut


def encode_messages(messages: Sequence[Message], left: LeftOut) -> list[JSON]:
    """The `messages` of a request.

    Raises:
        UnsupportedError: A part cannot be said on this wire.
        InvalidRequestError: A part makes no sense where it stands.
    """
    written: list[JSON] = []
    names: dict[str, str] = {}  # results name the tool; what we know of it may be its call alone
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.name is not None:
            left.drop(f"{place}.name", "this wire has no names")
        if message.role == "assistant":
            names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
            written.append(_assistant(message, place, left))
        else:
            written.extend(_results(message, place, names, left))
            if message.role != "tool":
                written.extend(_spoken(message, place, left))
    return written


def _spoken(message: Message, place: str, left: LeftOut) -> list[JSON]:
    """A system, developer or user message; nothing if it held only tool results."""
    role = "system" if message.role == "developer" else message.role
    text: list[str] = []
    images: list[str] = []
    spoken = False
    for number, part in enumerate(message.parts):
        if isinstance(part, ToolResult):
            continue
        here, spoken = f"{place}.content[{number}]", True
        if isinstance(part, Image) and message.role == "user":
            images.append(_image(part, here, left))
        else:
            text.append(_text(part, here, message.role, left))
    if not spoken and message.content:
        return []
    fields: dict[str, Any] = {"role": role, "content": "".join(text)}
    return [{**fields, "images": images} if images else fields]


def _text(part: Part, place: str, role: str, left: LeftOut) -> str:
    match part:
        case Text():
            if part.cache is not None:
                left.drop("cache hints", "Ollama decides by itself what to remember")
            return part.text
        case Image() | File() | Audio():
            left.refuse(place, f"this wire has no {type(part).__name__.lower()} in a {role} message")
        case Opaque():
            left.refuse(place, f"an item of the wire {part.wire} cannot be said on this one")
        case ToolCall() | ToolResult() | Reasoning() | Refusal():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: {type(part).__name__} has no place in a {role} message", param=place)


def _image(part: Image, place: str, left: LeftOut) -> str:
    if part.cache is not None:
        left.drop("cache hints", "Ollama decides by itself what to remember")
    if part.detail is not None:
        left.drop("detail", "this wire has no levels of detail")
    if part.data is None and part.url is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    if part.data is None:
        left.refuse(place, "Ollama fetches no pictures: give its bytes")
    return base64.b64encode(part.data).decode()


def _results(message: Message, place: str, names: dict[str, str], left: LeftOut) -> list[JSON]:
    """One `tool` message per result."""
    written: list[JSON] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        if isinstance(part, ToolResult):
            written.append(_result(part, here, names, left))
        elif message.role == "tool":
            raise InvalidRequestError(f"{here}: a tool message holds ToolResult parts only", param=here)
    return written


def _result(result: ToolResult, place: str, names: dict[str, str], left: LeftOut) -> JSON:
    if result.is_error:
        left.drop("is_error", "this wire has no mark for a tool that failed; its text is sent")
    if result.cache is not None:
        left.drop("cache hints", "Ollama decides by itself what to remember")
    content = result.content
    if not isinstance(content, str):
        inner = enumerate(content)
        content = "".join(_text(part, f"{place}.content[{number}]", "tool", left) for number, part in inner)
    fields: dict[str, Any] = {"role": "tool", "content": content, "tool_call_id": result.tool_call_id}
    name = result.name or names.get(result.tool_call_id)
    return fields if name is None else {**fields, "tool_name": name}


def _assistant(message: Message, place: str, left: LeftOut) -> JSON:
    text: list[str] = []
    thoughts: list[str] = []
    calls: list[JSON] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        match part:
            case ToolCall():
                calls.append(_call(part, here))
            case Reasoning():
                thoughts.append(part.text)
            case Refusal():
                text.append(part.text)  # this wire has no other way to say it
            case _:
                text.append(_text(part, here, "assistant", left))
    fields: dict[str, Any] = {"role": "assistant", "content": "".join(text)}
    if thought := "".join(thoughts):
        fields["thinking"] = thought
    if calls:
        fields["tool_calls"] = calls
    return fields


def _call(call: ToolCall, place: str) -> JSON:
    """A call of an earlier turn, whose arguments this wire wants as an object."""
    try:
        arguments = call.parsed()
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"{place}.arguments: this wire takes only a JSON object", param=f"{place}.arguments")
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
