"""A conversation as OpenAI's chat wire writes it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, assert_never

from planar.errors import InvalidRequestError
from planar.types import (
    JSON,
    Audio,
    CacheHint,
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
from planar.wire.dialects import Dialect


def encode_messages(messages: Sequence[Message], dialect: Dialect, left: LeftOut) -> list[dict[str, Any]]:
    """The `messages` of a request.

    Raises:
        UnsupportedError: A part cannot be said on this wire.
        InvalidRequestError: A part makes no sense where it stands.
    """
    turn = _turn(messages) if dialect.echo_turn else -1
    written: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.role == "assistant":
            written.append(_assistant(message, place, dialect, left, echo=number > turn))
            continue
        if message.role == "tool" or not isinstance(message.content, str):
            written.extend(_tool_results(message, place, dialect, left))
        if message.role != "tool":
            written.extend(_spoken(message, place, dialect, left))
    return written


def _turn(messages: Sequence[Message]) -> int:
    """Where the turn in progress begins; -1 for before the first message."""
    return max((number for number, message in enumerate(messages) if message.role == "user"), default=-1)


def _named(message: Message, place: str, role: str, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": role}
    if message.name is not None:
        if dialect.names:
            fields["name"] = message.name
        else:
            left.drop(f"{place}.name", "this vendor takes no names")
    return fields


def _spoken(message: Message, place: str, dialect: Dialect, left: LeftOut) -> list[dict[str, Any]]:
    """A system, developer or user message; nothing if it held only tool results."""
    role = "system" if message.role == "developer" and not dialect.developer else message.role
    fields = _named(message, place, role, dialect, left)
    if isinstance(message.content, str):
        fields["content"] = message.content
        return [fields]
    parts = [part for part in message.content if not isinstance(part, ToolResult)]
    if not parts and message.content:
        return []
    content = [
        _part(part, f"{place}.content[{number}]", message.role, dialect, left) for number, part in enumerate(parts)
    ]
    return [{**fields, "content": _plain(content)}]


def _plain(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone goes as one string: some servers of this wire know no lists."""
    if all(part.keys() == {"type", "text"} for part in content):
        return "".join(part["text"] for part in content)
    return content


def _part(part: Part, place: str, role: str, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text} | _cached(part.cache, place, dialect, left)
        case Image() | File() | Audio():
            if role != "user":
                left.refuse(place, f"this wire has no {type(part).__name__.lower()} in a {role} message")
            return _media(part, place, dialect, left)
        case Opaque():
            left.refuse(place, f"an item of the wire {part.wire} cannot be said on this one")
        case ToolCall() | ToolResult() | Reasoning() | Refusal():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: {type(part).__name__} has no place in a {role} message", param=place)


def _cached(hint: CacheHint | None, place: str, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    if hint is None:
        return {}
    if not dialect.cache_hints:
        left.drop("cache hints", "this vendor decides by itself what to remember")
        return {}
    # Anthropic's two lifetimes, which are what routers behind this field pass on.
    ttl: dict[str, str] = {} if hint.ttl is None else {"ttl": "1h" if hint.ttl > 300 else "5m"}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def _media(part: Image | File | Audio, place: str, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    kind = type(part).__name__.lower()
    if kind not in dialect.parts:
        left.refuse(place, f"the dialect {dialect.name} takes no {kind}")
    match part:
        case Image():
            address: dict[str, Any] = {"url": part.url or _data_url(part.data, part.media_type, place)}
            if part.detail is not None:
                address["detail"] = part.detail
            written: dict[str, Any] = {"type": "image_url", "image_url": address}
            return written | _cached(part.cache, place, dialect, left)
        case File():
            written = {"type": "file", "file": _file(part, place, dialect, left)}
            return written | _cached(part.cache, place, dialect, left)
        case Audio():
            data = base64.b64encode(part.data).decode()
            return {"type": "input_audio", "input_audio": {"data": data, "format": part.format}}


def _file(part: File, place: str, dialect: Dialect, left: LeftOut) -> dict[str, str]:
    if part.file_id is not None:
        return {"file_id": part.file_id}
    if part.url is not None:
        if dialect.name != "openrouter":
            left.refuse(place, "this wire takes a file by its bytes or its id, not by an address")
        return {"file_data": part.url, "filename": part.filename or "file"}
    return {
        "file_data": _data_url(part.data, part.media_type or "application/pdf", place),
        "filename": part.filename or "file.pdf",
    }


def _data_url(data: bytes | None, media_type: str | None, place: str) -> str:
    if data is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    if media_type is None:
        raise InvalidRequestError(f"{place}.media_type: needed beside data", param=f"{place}.media_type")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _tool_results(message: Message, place: str, dialect: Dialect, left: LeftOut) -> list[dict[str, Any]]:
    """One `tool` message per result: this wire knows no other place for them."""
    written: list[dict[str, Any]] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        if isinstance(part, ToolResult):
            written.append(_tool_result(part, here, dialect, left))
        elif message.role == "tool":
            raise InvalidRequestError(f"{here}: a tool message holds ToolResult parts only", param=here)
    return written


def _tool_result(result: ToolResult, place: str, dialect: Dialect, left: LeftOut) -> dict[str, Any]:
    if result.is_error:
        left.drop("is_error", "this wire has no mark for a tool that failed; its text is sent")
    content: str | list[dict[str, Any]] = ""
    if isinstance(result.content, str):
        content = result.content
    else:
        inner = enumerate(result.content)
        content = _plain([_part(part, f"{place}.content[{number}]", "tool", dialect, left) for number, part in inner])
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": content}


def _assistant(message: Message, place: str, dialect: Dialect, left: LeftOut, *, echo: bool) -> dict[str, Any]:
    fields = _named(message, place, "assistant", dialect, left)
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[Reasoning] = []
    refusal: list[str] = []
    for number, part in enumerate(message.parts):
        match part:
            case ToolCall():
                calls.append(_tool_call(part, dialect))
            case Reasoning():
                thoughts.append(part)
            case Refusal():
                refusal.append(part.text)
            case _:
                content.append(_part(part, f"{place}.content[{number}]", "assistant", dialect, left))
    said = _plain(content)
    fields["content"] = said if said or not (calls or refusal) else None
    if refusal:
        fields["refusal"] = "".join(refusal)
    if calls:
        fields["tool_calls"] = calls
    if thoughts and echo:
        _echo(thoughts, fields, dialect, left)
    return fields


def _tool_call(call: ToolCall, dialect: Dialect) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.signature is not None and dialect.signatures:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written


def _echo(thoughts: list[Reasoning], fields: dict[str, Any], dialect: Dialect, left: LeftOut) -> None:
    """Give earlier reasoning back in the form that this vendor wants it in."""
    text = "".join(thought.text for thought in thoughts)
    # Other wires leave items of their own there; those of this one are `reasoning.text` and the like.
    details = [dict(item) for thought in thoughts for item in thought.details if _is_ours(item)]
    if not text and not details:
        return
    match dialect.reasoning_echo:
        case None:
            left.drop("reasoning of earlier turns", "this vendor does not take it back")
        case "reasoning_details":
            fields.update({"reasoning_details": details} if details else {"reasoning": text})
        case "thinking":
            said = fields["content"]
            shown = [{"type": "text", "text": said}] if isinstance(said, str) and said else said or []
            fields["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, *shown]
        case "reasoning_content" | "reasoning":
            fields[dialect.reasoning_echo] = text


def _is_ours(item: JSON) -> bool:
    return str(item.get("type", "reasoning.")).startswith("reasoning.")
