"""A conversation as Anthropic's Messages writes it: `system`, and turns of content blocks."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, assert_never, cast

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
from planar.wire._anthropic_answer import KEPT
from planar.wire._left_out import LeftOut
from planar.wire._tool_calls import arguments_of

WIRE = "anthropic_messages"
"""The name of this wire in `planar.Opaque`."""
MAX_BREAKPOINTS = 4
"""Most cache hints that the API takes in one request."""
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")


def encode_turns(
    messages: Sequence[Message], left: LeftOut, *, system_inside: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The `system` and the `messages` of a request. Neighbours of one role become one turn, as the API reads them.

    Args:
        messages: The conversation.
        left: What could not be said.
        system_inside: A system message after the first turn stays where it stands; otherwise it joins `system`.

    Raises:
        UnsupportedError: A part cannot be said on this wire.
        InvalidRequestError: A part makes no sense where it stands, or nobody says anything.
    """
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.name is not None:
            left.drop(f"{place}.name", "this wire has no names")
        role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
        blocks = _blocks(message, place, left)
        if role == "system" and turns and not system_inside:
            left.drop("order of system messages", "this model takes them only before the conversation")
        if role == "system" and not (turns and system_inside):
            system.extend(blocks)
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] = _joined(turns[-1]["content"], blocks)
        elif blocks:
            turns.append({"role": role, "content": _joined([], blocks)})
    if not turns:
        raise InvalidRequestError("messages: there is nothing to answer", param="messages")
    return system, turns


def limit_breakpoints(blocks: Sequence[dict[str, Any]], left: LeftOut, *, most: int = MAX_BREAKPOINTS) -> None:
    """Keep the last cache hints where there are more than the API takes: they cover the longest prompts."""
    hinted = [block for block in blocks if "cache_control" in block]
    for block in hinted[: max(0, len(hinted) - most)]:
        left.drop("cache hints", f"only the last {most} are kept, because the API takes no more")
        del block["cache_control"]


def _joined(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of one turn: the API wants every result of a tool before anything else."""
    blocks = [*before, *after]
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _blocks(message: Message, place: str, left: LeftOut) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        if message.role == "assistant":
            blocks.extend(_said(part, here, left))
        else:
            blocks.extend(_asked(part, here, message.role, left))
    return blocks


def _asked(part: Part, place: str, role: str, left: LeftOut) -> list[dict[str, Any]]:
    """A part of a system, developer, user or tool message."""
    if role == "tool" and not isinstance(part, ToolResult):
        raise InvalidRequestError(f"{place}: a tool message holds ToolResult parts only", param=place)
    match part:
        case Text():
            return _text(part.text, part.cache)
        case ToolResult() if role in ("user", "tool"):
            return [_tool_result(part, place, left)]
        case Opaque() if role == "user":
            return [_opaque(part, place, left)]
        case Image() | File():
            if role != "user":
                left.refuse(place, f"this wire has no {type(part).__name__.lower()} in a {role} message")
            return [_picture(part, place, left) if isinstance(part, Image) else _document(part, place, left)]
        case Audio():
            left.refuse(place, "this vendor takes no audio")
        case ToolCall() | ToolResult() | Reasoning() | Refusal() | Opaque():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: {type(part).__name__} has no place in a {role} message", param=place)


def _said(part: Part, place: str, left: LeftOut) -> list[dict[str, Any]]:
    """A part of an assistant message."""
    match part:
        case Text():
            return _text(part.text, part.cache)
        case Refusal():
            return _text(part.text, None)
        case Reasoning():
            return _thought(part, left)
        case ToolCall():
            return [_tool_call(part, place)]
        case Opaque():
            return [_opaque(part, place, left)]
        case Image() | File() | Audio():
            left.refuse(place, f"this wire has no {type(part).__name__.lower()} in an assistant message")
        case ToolResult():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: ToolResult has no place in an assistant message", param=place)


def _text(text: str, cache: CacheHint | None) -> list[dict[str, Any]]:
    """The API refuses a text that is empty: there is nothing to say then."""
    return [{"type": "text", "text": text} | cache_control(cache)] if text else []


def cache_control(hint: CacheHint | None) -> dict[str, Any]:
    """The mark on a block up to which the prompt is remembered. The API knows five minutes and an hour."""
    if hint is None:
        return {}
    ttl: dict[str, str] = {} if hint.ttl is None else {"ttl": "1h" if hint.ttl > 300 else "5m"}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def _thought(part: Reasoning, left: LeftOut) -> list[dict[str, Any]]:
    """An earlier thought, as it came. Those of other vendors prove nothing here, and the API would refuse them."""
    kept = [dict(cast("JSON", item["block"])) for item in part.details if item.get("type") == KEPT]
    if kept:
        return kept
    foreign = part.id is not None or bool(part.details)
    if part.encrypted is not None and not foreign:
        return [{"type": "redacted_thinking", "data": part.encrypted}]
    if part.signature is not None and not foreign:
        return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
    if part.text:
        left.drop("reasoning of earlier turns", "it has no signature of this vendor, which takes back only its own")
    return []


def tool_id(given: str) -> str:
    """The id of a call as this API takes one; those that other vendors make may have more characters."""
    return _NO_ID.sub("_", given)


def _tool_call(call: ToolCall, place: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_id(call.id), "name": call.name, "input": arguments_of(call, place)}


def _tool_result(result: ToolResult, place: str, left: LeftOut) -> dict[str, Any]:
    content: str | list[dict[str, Any]] = ""
    if isinstance(result.content, str):
        content = result.content
    else:
        content = []
        for number, part in enumerate(result.content):
            content.extend(_asked(part, f"{place}.content[{number}]", "user", left))
    fields = {"type": "tool_result", "tool_use_id": tool_id(result.tool_call_id), "content": content}
    return fields | ({"is_error": True} if result.is_error else {}) | cache_control(result.cache)


def _opaque(part: Opaque, place: str, left: LeftOut) -> dict[str, Any]:
    if part.wire != WIRE:
        left.refuse(place, f"an item of the wire {part.wire} cannot be said on this one")
    if not isinstance(part.data.get("type"), str):
        raise InvalidRequestError(f"{place}: a block of this wire has a type", param=place)
    return dict(part.data)


def _picture(part: Image, place: str, left: LeftOut) -> dict[str, Any]:
    if part.detail not in (None, "auto"):
        left.drop(f"{place}.detail", "this wire has no levels of detail")
    if part.url is not None:
        source: dict[str, Any] = {"type": "url", "url": part.url}
    else:
        source = _base64(part.data, part.media_type, place)
        if part.media_type not in _IMAGES:
            left.refuse(f"{place}.media_type", f"this vendor takes {', '.join(sorted(_IMAGES))}, not {part.media_type}")
    return {"type": "image", "source": source} | cache_control(part.cache)


def _document(part: File, place: str, left: LeftOut) -> dict[str, Any]:
    kind = part.media_type or "application/pdf"
    if part.file_id is not None:
        source: dict[str, Any] = {"type": "file", "file_id": part.file_id}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    elif kind in _IMAGES or kind == "application/pdf":
        source = _base64(part.data, kind, place)
    elif kind.startswith("text/") or kind == "application/json":
        source = {"type": "text", "media_type": "text/plain", "data": _plain_text(part.data, place)}
    else:
        left.refuse(f"{place}.media_type", f"this vendor takes PDF and text, not {kind}")
    if kind in _IMAGES:
        return {"type": "image", "source": source} | cache_control(part.cache)
    title = {} if part.filename is None else {"title": part.filename}
    return {"type": "document", "source": source} | title | cache_control(part.cache)


def _base64(data: bytes | None, media_type: str | None, place: str) -> dict[str, Any]:
    if data is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    if media_type is None:
        raise InvalidRequestError(f"{place}.media_type: needed beside data", param=f"{place}.media_type")
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def _plain_text(data: bytes | None, place: str) -> str:
    if data is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{place}: a text file must be UTF-8", param=place) from None
