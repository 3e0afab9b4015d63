"""Brings a conversation into the form that chat templates read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from planar.errors import InvalidRequestError, UnsupportedError
from planar.types import Message, Reasoning, Refusal, Text, ToolCall, ToolResult

TemplateMessage: TypeAlias = dict[str, Any]

_MARKS: Final = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # noncharacters: no text that is meant to be read has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation as a template takes it.

    Attributes:
        continued: The last turn is the assistant's, and the answer goes on from its end.
        dropped_reasoning: Earlier thoughts were left out, because the template has no place for them.
        seam: Stands inside every text that looks like a control token; the prompt is cut there.
        end: Stands behind the last text of a conversation that is continued.
    """

    messages: tuple[TemplateMessage, ...]
    continued: bool
    dropped_reasoning: bool
    seam: str
    end: str


def conversation(messages: Sequence[Message], *, template: str, control_tokens: frozenset[str]) -> Conversation:
    """Flatten parts to text, and break up what a caller wrote to look like a control token.

    Raises:
        UnsupportedError: A part cannot be said in the words of this template.
        InvalidRequestError: There is no message, or a text is not valid Unicode.
    """
    if not messages:
        raise InvalidRequestError("there is no message to answer", param="messages")
    plain = [entry for message in messages for entry in _entries(message, template)]
    seam, end = _unused_marks(plain)
    safe = [_without_control_tokens(entry, _pattern(control_tokens), seam) for entry in plain]
    continued = plain[-1]["role"] == "assistant" and "tool_calls" not in plain[-1]
    if continued:
        safe[-1] = {**safe[-1], "content": safe[-1]["content"] + end}
    return Conversation(
        messages=tuple(safe),
        continued=continued,
        dropped_reasoning="reasoning_content" not in template and any(map(_thinks, messages)),
        seam=seam,
        end=end,
    )


def _thinks(message: Message) -> bool:
    return any(isinstance(part, Reasoning) for part in message.parts)


def _entries(message: Message, template: str) -> Iterator[TemplateMessage]:
    """One entry per tool result, and one for everything else that the message says."""
    text: list[str] = []
    thoughts: list[str] = []
    calls: list[TemplateMessage] = []
    results = 0
    for part in message.parts:
        match part:
            case Text(text=words) | Refusal(text=words):
                text.append(words)
            case Reasoning(text=words):
                thoughts.append(words)
            case ToolCall():
                calls.append(_call(part, template))
            case ToolResult():
                results += 1
                yield _result(part, template)
            case _:
                raise UnsupportedError(
                    f"a {type(part).__name__.lower()} cannot be given to a local model: it reads text only",
                    param="messages",
                )
    if text or calls or not results:
        yield _spoken(message, "".join(text), calls, thoughts if "reasoning_content" in template else [])


def _spoken(message: Message, text: str, calls: list[TemplateMessage], thoughts: list[str]) -> TemplateMessage:
    entry: TemplateMessage = {"role": "system" if message.role == "developer" else message.role, "content": text}
    if message.name is not None:
        entry["name"] = message.name
    if calls:
        entry["tool_calls"] = calls
    if thoughts:
        entry["reasoning_content"] = "".join(thoughts)
    return entry


def _call(call: ToolCall, template: str) -> TemplateMessage:
    if "tool_call" not in template:
        raise UnsupportedError("the model's chat template has no place for a tool call", param="messages")
    try:
        arguments: Any = call.parsed()
    except ValueError:
        arguments = call.arguments  # what the model once wrote is shown to it as it was
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _result(result: ToolResult, template: str) -> TemplateMessage:
    if "tool" not in template:
        raise UnsupportedError("the model's chat template has no place for a tool's result", param="messages")
    if isinstance(result.content, str):
        content = result.content
    elif all(isinstance(part, Text) for part in result.content):
        content = "".join(part.text for part in result.content if isinstance(part, Text))
    else:
        raise UnsupportedError("a local model reads only text as a tool's result", param="messages")
    entry: TemplateMessage = {"role": "tool", "content": content, "tool_call_id": result.tool_call_id}
    if result.name is not None:
        entry["name"] = result.name
    if result.is_error:
        entry["is_error"] = True
    return entry


def _unused_marks(entries: Sequence[TemplateMessage]) -> tuple[str, str]:
    text = "".join(words for entry in entries for words in _texts(entry))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"a message is not valid Unicode: {error.reason}", param="messages") from error
    unused = [mark for mark in _MARKS if mark not in text]
    if len(unused) < 2:
        raise InvalidRequestError("the messages contain every noncharacter that Unicode has", param="messages")
    return unused[0], unused[1]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _texts(item)


def _pattern(control_tokens: frozenset[str]) -> re.Pattern[str] | None:
    if not control_tokens:
        return None
    return re.compile("|".join(map(re.escape, sorted(control_tokens, key=len, reverse=True))))


def _without_control_tokens(value: Any, pattern: re.Pattern[str] | None, seam: str) -> Any:
    if pattern is None:
        return value
    if isinstance(value, str):
        return pattern.sub(lambda match: match[0][:1] + seam + match[0][1:], value)
    if isinstance(value, Mapping):
        return {
            _without_control_tokens(key, pattern, seam): _without_control_tokens(item, pattern, seam)
            for key, item in cast("Mapping[str, object]", value).items()
        }
    if isinstance(value, list | tuple):
        return [_without_control_tokens(item, pattern, seam) for item in cast("Sequence[object]", value)]
    return value
