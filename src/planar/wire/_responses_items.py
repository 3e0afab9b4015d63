"""A conversation as the `input` of OpenAI's Responses: a list of items, in the order in which things were said."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
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

WIRE = "openai_responses"
"""The name of this wire in `planar.Opaque`."""
_LONG = 30 * 60
"""Seconds that the shorter of OpenAI's two cache lifetimes holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What may be written for one model.

    Attributes:
        breakpoints: It takes explicit prompt-cache breakpoints.
        stored: The provider remembers earlier answers, so that an item's id alone means something to it.
    """

    breakpoints: bool
    stored: bool


def encode_items(messages: Sequence[Message], habits: Habits, left: LeftOut) -> list[JSON]:
    """The `input` of a request.

    Raises:
        UnsupportedError: A part cannot be said on this wire.
        InvalidRequestError: A part makes no sense where it stands.
    """
    items: list[JSON] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.name is not None:
            left.drop(f"{place}.name", "this wire has no names")
        if message.role == "assistant":
            items.extend(_Said(message, number, habits, left).items())
        else:
            items.extend(_spoken(message, place, habits, left))
    return items


def _spoken(message: Message, place: str, habits: Habits, left: LeftOut) -> list[JSON]:
    """A system, developer, user or tool message; what stands between two items is one message."""
    if isinstance(message.content, str) and message.role != "tool":
        return [{"role": message.role, "content": message.content}]
    items: list[JSON] = []
    content: list[JSON] = []
    for number, part in enumerate(message.parts):
        here = f"{place}.content[{number}]"
        if message.role == "tool" and not isinstance(part, ToolResult):
            raise InvalidRequestError(f"{here}: a tool message holds ToolResult parts only", param=here)
        if isinstance(part, ToolResult | Opaque):
            if content:
                items.append({"role": message.role, "content": content})
                content = []
            items.append(
                _tool_result(part, here, habits, left) if isinstance(part, ToolResult) else _opaque(part, here, left)
            )
        else:
            content.append(_content(part, here, message.role, habits, left))
    if content:
        items.append({"role": message.role, "content": content})
    return items


def _content(part: Part, place: str, role: str, habits: Habits, left: LeftOut) -> JSON:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text} | _cached(part.cache, habits, left)
        case Image() | File():
            if role not in ("user", "tool"):
                left.refuse(place, f"this wire has no {type(part).__name__.lower()} in a {role} message")
            fields = _image(part, place) if isinstance(part, Image) else _file(part, place)
            return fields | _cached(part.cache, habits, left)
        case Audio():
            left.refuse(place, "this API takes no audio; OpenAI's chat completions do: planar.OpenAI(api='chat')")
        case ToolCall() | ToolResult() | Reasoning() | Refusal() | Opaque():
            pass
        case _:
            assert_never(part)
    raise InvalidRequestError(f"{place}: {type(part).__name__} has no place in a {role} message", param=place)


def _cached(hint: CacheHint | None, habits: Habits, left: LeftOut) -> dict[str, Any]:
    if hint is None:
        return {}
    if not habits.breakpoints:
        left.drop("cache hints", "this model decides by itself what to remember")
        return {}
    ttl: dict[str, str] = {} if hint.ttl is None else {"ttl": "12h" if hint.ttl > _LONG else "30m"}
    return {"prompt_cache_breakpoint": {"mode": "explicit", **ttl}}


def _image(part: Image, place: str) -> dict[str, Any]:
    address = part.url or _data_url(part.data, part.media_type, place)
    return {"type": "input_image", "detail": part.detail or "auto", "image_url": address}


def _file(part: File, place: str) -> dict[str, Any]:
    if part.file_id is not None:
        return {"type": "input_file", "file_id": part.file_id}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    return {
        "type": "input_file",
        "filename": part.filename or "file.pdf",
        "file_data": _data_url(part.data, part.media_type or "application/pdf", place),
    }


def _data_url(data: bytes | None, media_type: str | None, place: str) -> str:
    if data is None:
        raise InvalidRequestError(f"{place}: neither data nor an address is given", param=place)
    if media_type is None:
        raise InvalidRequestError(f"{place}.media_type: needed beside data", param=f"{place}.media_type")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _tool_result(result: ToolResult, place: str, habits: Habits, left: LeftOut) -> JSON:
    if result.is_error:
        left.drop("is_error", "this wire has no mark for a tool that failed; its text is sent")
    output: str | list[JSON] = ""
    if not isinstance(result.content, str):
        inner = enumerate(result.content)
        output = [_content(part, f"{place}.content[{number}]", "tool", habits, left) for number, part in inner]
    elif result.cache is not None and habits.breakpoints:
        output = [{"type": "input_text", "text": result.content} | _cached(result.cache, habits, left)]
    else:
        _cached(result.cache, habits, left)
        output = result.content
    return {"type": "function_call_output", "call_id": result.tool_call_id, "output": output}


def _opaque(part: Opaque, place: str, left: LeftOut) -> JSON:
    if part.wire != WIRE:
        left.refuse(place, f"an item of the wire {part.wire} cannot be said on this one")
    return part.data


class _Said:
    """Writes one assistant message as the items that it came as."""

    def __init__(self, message: Message, number: int, habits: Habits, left: LeftOut) -> None:
        self._message = message
        self._number = number
        self._habits = habits
        self._left = left
        self._items: list[JSON] = []
        self._text: list[str] = []
        self._phase: str | None = None
        self._thoughts = _thoughts_of(message.parts)

    def items(self) -> list[JSON]:
        """The items, in order. An answer without any part is an empty message: leaving it out would join turns."""
        for number, part in enumerate(self._message.parts):
            self._part(part, f"messages[{self._number}].content[{number}]")
        self._flush()
        return self._items or [{"type": "message", "role": "assistant", "content": ""}]

    def _part(self, part: Part, place: str) -> None:
        match part:
            case Text():
                _cached(part.cache, Habits(breakpoints=False, stored=False), self._left)
                self._text.append(part.text)
                return
            case Reasoning():
                self._reasoning(part)
                return
            case ToolCall():
                item: JSON = {
                    "type": "function_call",
                    "call_id": part.id,
                    "name": part.name,
                    "arguments": part.arguments or "{}",
                }
            case Refusal():
                item = self._refusal(part)
            case Opaque():
                item = _opaque(part, place, self._left)
            case Image() | File() | Audio():
                self._left.refuse(place, f"this wire has no {type(part).__name__.lower()} in an assistant message")
            case ToolResult():
                raise InvalidRequestError(f"{place}: ToolResult has no place in an assistant message", param=place)
            case _:
                assert_never(part)
        self._flush()
        self._items.append(item)

    def _flush(self) -> None:
        """Text that was said in one breath is one message."""
        if self._text:
            phase = {} if self._phase is None else {"phase": self._phase}
            said = "".join(self._text)
            # llama.cpp's server knows an assistant's message only by its type; OpenAI does not need it.
            self._items.append({"type": "message", "role": "assistant", "content": said, **phase})
            self._text.clear()
        self._phase = None

    def _refusal(self, part: Refusal) -> JSON:
        # Its type demands an id, and nothing was stored under one: any of the right form will do.
        return {
            "type": "message",
            "role": "assistant",
            "id": f"msg_{self._number}_{len(self._items)}",
            "status": "completed",
            "content": [{"type": "refusal", "refusal": part.text}],
        }

    def _reasoning(self, part: Reasoning) -> None:
        own = [item for item in part.details if _is_ours(item)]
        thought = self._thoughts.pop(_key_of(part), None)
        if thought is not None:
            self._think(thought)
        elif part.text and not own and part.id is None:
            self._left.drop("reasoning of earlier turns", "it is not this provider's, which takes only its own back")
        for item in own:
            if item["type"] == "message":
                self._flush()
                self._phase = item.get("phase")
            elif item["type"] != "reasoning":
                self._flush()
                self._items.append(item)

    def _think(self, thought: JSON) -> None:
        if not (thought.get("encrypted_content") or thought.get("content") or self._habits.stored):
            if thought.get("summary"):
                self._left.drop(
                    "reasoning of earlier turns", "only a summary of it is there, without its encrypted form"
                )
            return
        self._flush()
        self._items.append(thought)


def _is_ours(item: JSON) -> bool:
    """Whether an item of `Reasoning.details` is of this wire; those of OpenRouter's chat are `reasoning.…`."""
    kind = item.get("type")
    return isinstance(kind, str) and "." not in kind


def _key_of(part: Reasoning) -> str:
    return part.id or next((str(item.get("id")) for item in part.details if item.get("type") == "reasoning"), "")


def _thoughts_of(parts: Sequence[Part]) -> dict[str, JSON]:
    """What each reasoning item of an answer is to be sent back as, by its id.

    A streamed answer names an item where it stands and brings what must travel back at its end: the last word counts.
    """
    thoughts: dict[str, JSON] = {}
    for part in parts:
        if not isinstance(part, Reasoning):
            continue
        whole = [item for item in part.details if item.get("type") == "reasoning"]
        key = _key_of(part)
        if whole:
            thoughts[key] = whole[-1]
        elif part.id is not None and (part.text or part.encrypted):
            thoughts.setdefault(key, _thought(part))
    return thoughts


def _thought(part: Reasoning) -> JSON:
    encrypted = {} if part.encrypted is None else {"encrypted_content": part.encrypted}
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "id": part.id, "summary": summary, **encrypted}
