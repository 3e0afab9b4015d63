"""What a caller may write as a prompt, checked once and converted. Nothing is dropped: the unknown is refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeAlias, cast, get_args

from planar.errors import InvalidRequestError
from planar.types import (
    JSON,
    Audio,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from planar.wire._json import dumps

Prompt: TypeAlias = str | Message | Sequence[Message | JSON]

_ROLES: tuple[str, ...] = get_args(Role)
_KEYS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset(
        {"role", "content", "name", "refusal", "tool_calls", "reasoning_content", "reasoning", "reasoning_details"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
# An answer's own fields, which callers feed back as they came: they say nothing while they are empty.
_EMPTY_ONLY = frozenset({"annotations", "audio", "function_call", "refusal", "tool_calls"})


def messages_from(prompt: Prompt) -> tuple[Message, ...]:
    """A conversation from what the caller wrote: a text, a message, or a list of messages and OpenAI-shaped dicts.

    Raises:
        InvalidRequestError: The prompt is empty or ends in an empty question, or something in it cannot be
            represented. `param` and the message name the place, such as `messages[2].content[0].type`.
    """
    messages = _messages(prompt)
    question = messages[-1]
    if question.role == "user" and _is_blank(question):
        _refuse("messages", "the prompt is empty")
    return messages


def _is_blank(message: Message) -> bool:
    if isinstance(message.content, str):
        return not message.content.strip()
    return all(isinstance(part, Text) for part in message.content) and not message.text.strip()


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if isinstance(prompt, Message):
        return (_checked(prompt, "messages[0]"),)
    listed = cast("object", prompt)
    if not isinstance(listed, list | tuple):
        _refuse("messages", f"a {_kind(prompt)} is no prompt: write a str, a Message, or a list of messages")
    items = cast("Sequence[object]", listed)
    if not items:
        _refuse("messages", "the prompt is empty")
    return tuple([_message(item, f"messages[{number}]") for number, item in enumerate(items)])


def _refuse(place: str, why: str) -> NoReturn:
    raise InvalidRequestError(f"{place}: {why}", param=place)


def _kind(value: object) -> str:
    return type(value).__name__


def _message(item: object, place: str) -> Message:
    if isinstance(item, Message):
        return _checked(item, place)
    fields = _object(item, place, "a Message or an OpenAI-shaped dict")
    role = fields.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        _refuse(f"{place}.role", f"{role!r} is no role: one of {', '.join(_ROLES)}")
    allowed = _KEYS[role]
    for key, value in fields.items():
        if key not in allowed and not (key in _EMPTY_ONLY and not value):
            _refuse(f"{place}.{key}", f"not known in a {role} message: {', '.join(sorted(allowed))} are")
    name = _optional_text(fields, "name", place)
    if role == "tool":
        return Message("tool", (_tool_result(fields, place, name),))
    if role == "assistant":
        return Message("assistant", _said(fields, place), name=name)
    return Message(cast("Role", role), _content(fields, place, _SPOKEN[role]), name=name)


def _checked(message: Message, place: str) -> Message:
    """A message that was made by hand: its types are not enforced by Python."""
    if not isinstance(message.role, str) or message.role not in _ROLES:
        _refuse(f"{place}.role", f"{message.role!r} is no role: one of {', '.join(_ROLES)}")
    content = cast("object", message.content)
    if isinstance(content, str):
        return message
    if not isinstance(content, tuple | list):
        _refuse(f"{place}.content", f"a {_kind(content)} is no content: a str or a tuple of parts")
    parts = cast("Sequence[object]", content)
    for number, part in enumerate(parts):
        if not isinstance(part, get_args(Part)):
            _refuse(f"{place}.content[{number}]", f"a {_kind(part)} is no part of a message")
    return message if isinstance(content, tuple) else replace(message, content=tuple(cast("list[Part]", content)))


def _object(value: object, place: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(place, f"a {_kind(value)} is not {what}")
    return cast("Mapping[str, Any]", value)


def _exactly(fields: Mapping[str, Any], place: str, *allowed: str) -> None:
    for key in fields:
        if key not in allowed:
            _refuse(f"{place}.{key}", f"not known here: {', '.join(allowed)} are")


def _text(fields: Mapping[str, Any], key: str, place: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        _refuse(f"{place}.{key}", f"a str is needed, not {_kind(value)}" if key in fields else "missing")
    return value


def _optional_text(fields: Mapping[str, Any], key: str, place: str) -> str | None:
    return None if fields.get(key) is None else _text(fields, key, place)


# --- Content ----------------------------------------------------------------------------------

_PartReader: TypeAlias = Callable[[Mapping[str, Any], str], Part]


def _content(fields: Mapping[str, Any], place: str, readers: Mapping[str, _PartReader]) -> str | tuple[Part, ...]:
    content = fields.get("content")
    if isinstance(content, str):
        return content
    here = f"{place}.content"
    if not isinstance(content, list | tuple):
        _refuse(here, f"a str or a list of parts is needed, not {_kind(content)}" if "content" in fields else "missing")
    items = cast("Sequence[object]", content)
    return tuple(_part(item, f"{here}[{number}]", readers) for number, item in enumerate(items))


def _part(item: object, place: str, readers: Mapping[str, _PartReader]) -> Part:
    if isinstance(item, get_args(Part)):
        return cast("Part", item)
    fields = _object(item, place, "a part: a dict with a type")
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in readers:
        _refuse(f"{place}.type", f"{kind!r} is not taken here: one of {', '.join(readers)}")
    return readers[kind](fields, place)


def _read_text(fields: Mapping[str, Any], place: str) -> Part:
    _exactly(fields, place, "type", "text")
    return Text(_text(fields, "text", place))


def _read_refusal(fields: Mapping[str, Any], place: str) -> Part:
    _exactly(fields, place, "type", "refusal")
    return Refusal(_text(fields, "refusal", place))


def _read_image(fields: Mapping[str, Any], place: str) -> Part:
    _exactly(fields, place, "type", "image_url")
    inner, here = _object(fields.get("image_url"), f"{place}.image_url", "an object with a url"), f"{place}.image_url"
    _exactly(inner, here, "url", "detail")
    detail = inner.get("detail")
    if detail not in (None, "auto", "low", "high", "original"):
        _refuse(f"{here}.detail", f"{detail!r} is no detail: one of auto, low, high, original")
    url = _text(inner, "url", here)
    if url.startswith("data:"):
        media_type, data = _from_data_url(url, f"{here}.url")
        return Image(data=data, media_type=media_type, detail=detail)
    if not url.startswith(("https://", "http://")):
        _refuse(f"{here}.url", "an https: or data: URL is needed")
    return Image(url=url, detail=detail)


def _read_file(fields: Mapping[str, Any], place: str) -> Part:
    _exactly(fields, place, "type", "file")
    inner, here = _object(fields.get("file"), f"{place}.file", "an object with file_id or file_data"), f"{place}.file"
    _exactly(inner, here, "file_id", "file_data", "filename")
    filename = _optional_text(inner, "filename", here)
    file_id = _optional_text(inner, "file_id", here)
    file_data = _optional_text(inner, "file_data", here)
    if (file_id is None) == (file_data is None):
        _refuse(here, "exactly one of file_id and file_data is needed")
    if file_data is None:
        return File(file_id=file_id, filename=filename)
    if file_data.startswith(("https://", "http://")):
        return File(url=file_data, filename=filename)
    media_type, data = _from_data_url(file_data, f"{here}.file_data")
    return File(data=data, media_type=media_type, filename=filename)


def _read_audio(fields: Mapping[str, Any], place: str) -> Part:
    _exactly(fields, place, "type", "input_audio")
    here = f"{place}.input_audio"
    inner = _object(fields.get("input_audio"), here, "an object with data and format")
    _exactly(inner, here, "data", "format")
    return Audio(data=_from_base64(_text(inner, "data", here), f"{here}.data"), format=_text(inner, "format", here))


def _from_data_url(url: str, place: str) -> tuple[str, bytes]:
    head, comma, payload = url.removeprefix("data:").partition(",")
    media_type, _, encoding = head.rpartition(";")
    if not url.startswith("data:") or not comma or encoding != "base64" or not media_type:
        _refuse(place, "a data URL has the form data:TYPE;base64,DATA")
    return media_type, _from_base64(payload, place)


def _from_base64(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _refuse(place, "it is not base64")


_TEXT_ONLY: Mapping[str, _PartReader] = {"text": _read_text}
_SPOKEN: Mapping[str, Mapping[str, _PartReader]] = {
    "system": _TEXT_ONLY,
    "developer": _TEXT_ONLY,
    "user": {"text": _read_text, "image_url": _read_image, "file": _read_file, "input_audio": _read_audio},
}
_ASSISTANT: Mapping[str, _PartReader] = {"text": _read_text, "refusal": _read_refusal}


# --- Assistant and tool -----------------------------------------------------------------------


def _said(fields: Mapping[str, Any], place: str) -> str | tuple[Part, ...]:
    content: str | tuple[Part, ...] = ""
    if fields.get("content") is not None:
        content = _content(fields, place, _ASSISTANT)
    before = _thoughts(fields, place)
    after: list[Part] = []
    if refusal := _optional_text(fields, "refusal", place):
        after.append(Refusal(refusal))
    calls = fields.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        _refuse(f"{place}.tool_calls", f"a list is needed, not {_kind(calls)}")
    items = cast("Sequence[object]", calls)
    after.extend(_tool_call(call, f"{place}.tool_calls[{number}]") for number, call in enumerate(items))
    if not (before or after):
        if "content" not in fields:
            _refuse(f"{place}.content", "missing, and nothing else is said")
        return content
    said = (Text(content),) if isinstance(content, str) and content else content or ()
    return (*before, *said, *after)


def _thoughts(fields: Mapping[str, Any], place: str) -> tuple[Part, ...]:
    text = _optional_text(fields, "reasoning_content", place) or _optional_text(fields, "reasoning", place) or ""
    details = fields.get("reasoning_details") or ()
    if not isinstance(details, list | tuple):
        _refuse(f"{place}.reasoning_details", f"a list is needed, not {_kind(details)}")
    items = tuple(
        _object(item, f"{place}.reasoning_details[{number}]", "an object")
        for number, item in enumerate(cast("Sequence[object]", details))
    )
    return (Reasoning(text=text, details=items),) if text or items else ()


def _tool_call(item: object, place: str) -> ToolCall:
    fields = _object(item, place, "a tool call")
    _exactly(fields, place, "id", "type", "function", "index", "extra_content")
    if fields.get("type", "function") != "function":
        _refuse(f"{place}.type", f"{fields['type']!r} is not taken here: only function is")
    here = f"{place}.function"
    function = _object(fields.get("function"), here, "an object with name and arguments")
    _exactly(function, here, "name", "arguments")
    google = _google(fields, place)
    signature = _optional_text(google, "thought_signature", f"{place}.extra_content.google")
    return ToolCall(
        id=_text(fields, "id", place),
        name=_text(function, "name", here),
        arguments=_text(function, "arguments", here),
        signature=signature,
    )


def _google(fields: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    extra = fields.get("extra_content")
    if extra is None:
        return {}
    here = f"{place}.extra_content"
    inner = _object(extra, here, "an object")
    _exactly(inner, here, "google")
    google = _object(inner.get("google"), f"{here}.google", "an object")
    _exactly(google, f"{here}.google", "thought_signature")
    return google


def _tool_result(fields: Mapping[str, Any], place: str, name: str | None) -> ToolResult:
    content = _content(fields, place, _TEXT_ONLY)
    return ToolResult(
        tool_call_id=_text(fields, "tool_call_id", place),
        content=content if isinstance(content, str) else cast("tuple[Text, ...]", content),
        name=name,
    )


# --- Tools ------------------------------------------------------------------------------------


def tool_from(tool: JSON, index: int) -> Tool:
    """A tool from OpenAI's form `{"type": "function", "function": {...}}`.

    Args:
        tool: As the caller wrote it.
        index: Its place in the caller's list, for the message.

    Raises:
        InvalidRequestError: It is no function, or has a field that cannot be represented.
    """
    place = f"tools[{index}]"
    fields = _object(tool, place, "a Tool or an OpenAI-shaped dict")
    if fields.get("type") != "function":
        _refuse(f"{place}.type", f"{fields.get('type')!r} is not taken here: only function is")
    _exactly(fields, place, "type", "function")
    here = f"{place}.function"
    function = _object(fields.get("function"), here, "an object with name and parameters")
    _exactly(function, here, "name", "description", "parameters", "strict")
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        _refuse(f"{here}.strict", f"a bool is needed, not {_kind(strict)}")
    parameters = _object(
        function.get("parameters", {"type": "object", "properties": {}}), f"{here}.parameters", "an object"
    )
    try:
        dumps(parameters)
    except ValueError as error:
        _refuse(f"{here}.parameters", str(error))
    return Tool(
        name=_text(function, "name", here),
        parameters=parameters,
        description=_optional_text(function, "description", here) or "",
        strict=strict,
    )
