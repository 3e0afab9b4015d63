"""A conversation as Gemini writes it: `systemInstruction`, and contents made of parts."""

from __future__ import annotations

import base64
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
from planar.wire._gemini_answer import KEPT, NO_ID, THOUGHT
from planar.wire._left_out import LeftOut
from planar.wire._tool_calls import arguments_of

WIRE = "gemini"
"""The name of this wire in `planar.Opaque`."""
_FILES = "https://generativelanguage.googleapis.com/v1beta/"
_SYSTEM = ("system", "developer")


def encode_contents(messages: Sequence[Message], left: LeftOut) -> tuple[list[JSON], list[JSON]]:
    """The parts of `systemInstruction`, and the `contents`. Neighbours of one role become one content.

    Raises:
        UnsupportedError: A part cannot be said on this wire.
        InvalidRequestError: A part makes no sense where it stands, or nobody says anything.
    """
    system: list[JSON] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.name is not None:
            left.drop(f"{place}.name", "this wire has no names")
        names.update({part.id: part.name for part in message.parts if isinstance(part, ToolCall)})
        parts = _parts(message, place, names, left)
        if message.role in _SYSTEM:
            if contents:
                left.drop("order of system messages", "this vendor takes them only before the conversation")
            system.extend(parts)
        elif parts:
            _join(contents, "model" if message.role == "assistant" else "user", parts)
    if not contents:
        raise InvalidRequestError("messages: there is nothing to answer", param="messages")
    return system, cast("list[JSON]", contents)


def _join(contents: list[dict[str, Any]], role: str, parts: list[JSON]) -> None:
    """All results of a turn's calls stand in one content, and first in it."""
    if not contents or contents[-1]["role"] != role:
        contents.append({"role": role, "parts": []})
    contents[-1]["parts"] = sorted([*contents[-1]["parts"], *parts], key=lambda part: "functionResponse" not in part)


def _parts(message: Message, place: str, names: dict[str, str], left: LeftOut) -> list[JSON]:
    parts: list[JSON] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        if message.role == "assistant":
            parts.extend(_said(part, here, left))
        elif isinstance(part, ToolResult) and message.role in ("user", "tool"):
            parts.append(_tool_result(part, here, names, left))
        elif message.role == "tool":
            raise InvalidRequestError(f"{here}: a tool message holds ToolResult parts only", param=here)
        else:
            parts.extend(_asked(part, here, message.role, left))
    return parts


def _asked(part: Part, place: str, role: str, left: LeftOut) -> list[JSON]:
    """A part of a system, developer or user message."""
    match part:
        case Text():
            _no_cache(part.cache, left)
            return [{"text": part.text}] if part.text else []
        case Image() | File() | Audio():
            if role != "user":
                left.refuse(place, f"this wire has no {type(part).__name__.lower()} in a {role} message")
            return [_media(part, place, left)]
        case Opaque() if role == "user":
            return [_opaque(part, place, left)]
        case ToolCall() | ToolResult() | Reasoning() | Refusal() | Opaque():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: {type(part).__name__} has no place in a {role} message", param=place)


def _said(part: Part, place: str, left: LeftOut) -> list[JSON]:
    """A part of an assistant message."""
    match part:
        case Text():
            _no_cache(part.cache, left)
            return [{"text": part.text} | _signed(part.signature)] if part.text or part.signature else []
        case Refusal():
            return [{"text": part.text}] if part.text else []
        case Reasoning():
            return _thought(part, left)
        case ToolCall():
            return [_tool_call(part, place)]
        case Opaque():
            return [_opaque(part, place, left)]
        case Image() | File() | Audio():
            return [_media(part, place, left)]
        case ToolResult():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: ToolResult has no place in an assistant message", param=place)


def _signed(signature: str | None) -> dict[str, str]:
    return {} if signature is None else {"thoughtSignature": signature}


def _no_cache(hint: CacheHint | None, left: LeftOut) -> None:
    if hint is not None:
        left.drop(
            "cache hints", "this vendor decides by itself what to remember, or is given cache='cachedContents/...'"
        )


def _thought(part: Reasoning, left: LeftOut) -> list[JSON]:
    """An earlier thought, as it came. Those of other vendors prove nothing here."""
    kept = [cast("JSON", item["part"]) for item in part.details if item.get("type") == KEPT]
    if any(item.get("type") == THOUGHT for item in part.details):
        return [{"text": part.text, "thought": True} | _signed(part.signature), *kept]
    if part.text and not kept:
        left.drop("reasoning of earlier turns", "it is not this vendor's, which takes back only its own")
    return kept


def _tool_call(call: ToolCall, place: str) -> JSON:
    called = _identified(call.id) | {"name": call.name, "args": arguments_of(call, place)}
    return {"functionCall": called} | _signed(call.signature)


def _identified(call_id: str) -> dict[str, Any]:
    """The id of a call, unless it was made here because the vendor had given none: it matches by name and order."""
    return {} if call_id.startswith(NO_ID) else {"id": call_id}


def _tool_result(result: ToolResult, place: str, names: dict[str, str], left: LeftOut) -> JSON:
    _no_cache(result.cache, left)
    name = result.name or names.get(result.tool_call_id)
    if name is None:
        raise InvalidRequestError(
            f"{place}: no call {result.tool_call_id!r} came before, and its tool's name is needed", param=place
        )
    media: list[JSON] = []
    if isinstance(result.content, str):
        text = result.content
    else:
        text = "".join(part.text for part in result.content if isinstance(part, Text))
        seen = [part for part in result.content if not isinstance(part, Text)]
        media = [_media(part, f"{place}.content", left) for part in seen]
    response = {"error" if result.is_error else "output": text}
    fields = _identified(result.tool_call_id) | {"name": name, "response": response}
    return {"functionResponse": fields | ({"parts": media} if media else {})}


def _opaque(part: Opaque, place: str, left: LeftOut) -> JSON:
    if part.wire != WIRE:
        left.refuse(place, f"an item of the wire {part.wire} cannot be said on this one")
    return part.data


def _media(part: Image | File | Audio, place: str, left: LeftOut) -> JSON:
    if isinstance(part, Audio):
        return _inline(part.data, f"audio/{part.format}", place)
    _no_cache(part.cache, left)
    if isinstance(part, Image) and part.detail not in (None, "auto"):
        left.drop(f"{place}.detail", "this wire has levels of detail only for a whole request")
    address = part.url
    if isinstance(part, File) and part.file_id is not None:
        address = _FILES + part.file_id if part.file_id.startswith("files/") else part.file_id
    if address is not None:
        kind = {} if part.media_type is None else {"mimeType": part.media_type}
        return {"fileData": {"fileUri": address} | kind}
    kind_of = part.media_type or ("application/pdf" if isinstance(part, File) else None)
    return _inline(part.data, kind_of, place)


def _inline(data: bytes | None, media_type: str | None, place: str) -> JSON:
    if data is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    if media_type is None:
        raise InvalidRequestError(f"{place}.media_type: needed beside data", param=f"{place}.media_type")
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}
