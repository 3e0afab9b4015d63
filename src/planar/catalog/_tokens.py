"""Token counts where nobody has counted: a bound that holds, and a likely figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from planar.catalog._media import media_bound
from planar.types import Audio, ChatRequest, File, Image, ModelInfo, Opaque, Part, Reasoning, ToolCall, ToolResult

_PER_MESSAGE = 16
"""Role markers and separators of the chat templates we know, generously."""


@dataclass(frozen=True, slots=True)
class InputBound:
    """Most tokens that a prompt can have.

    Attributes:
        tokens: Without pictures and documents, whatever the model.
        media: Those, which each model counts in its own way.
    """

    tokens: int
    media: tuple[Image | File, ...] = ()

    def of(self, model: ModelInfo) -> int:
        """What this model can make of it: never more than fits its context window."""
        tokens = self.tokens
        for part in self.media:
            tokens += media_bound(part, model.id)
        return tokens if model.context_window is None else min(tokens, model.context_window)


def input_bound(request: ChatRequest) -> InputBound:
    """Most tokens that the prompt can have.

    A text has at most one token per UTF-8 byte, the only bound that holds for every tokenizer: measured
    0.994 tokens per byte on rare CJK and control characters (cl100k and o200k).
    """
    total = _PER_MESSAGE * len(request.messages)
    media: list[Image | File] = []
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            total += _text_bound(content)
        else:
            total += sum(map(_part_bound, content))
            media += _media_in(content)
    for tool in request.tools:
        total += _PER_MESSAGE + len(json.dumps([tool.name, tool.description, dict(tool.parameters)]).encode())
    if request.output is not None:
        total += len(json.dumps(dict(request.output.schema)).encode())
    return InputBound(total, tuple(media))


def _media_in(content: Iterable[str | Part]) -> Iterator[Image | File]:
    for part in content:
        if isinstance(part, Image | File):
            yield part
        elif isinstance(part, ToolResult) and not isinstance(part.content, str):
            yield from _media_in(part.content)


def _text_bound(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _part_bound(part: str | Part) -> int:
    match part:
        case str():
            return _text_bound(part)
        case Image() | File():
            return 0  # by what the model makes of it: `media`
        case Audio():
            return len(part.data) + _PER_MESSAGE
        case ToolCall():
            return _PER_MESSAGE + len(part.name.encode()) + len(part.arguments.encode())
        case ToolResult():
            content = (part.content,) if isinstance(part.content, str) else part.content
            return _PER_MESSAGE + sum(map(_part_bound, content))
        case Reasoning():
            return len(part.text.encode()) + len((part.encrypted or "").encode())
        case Opaque():
            return len(json.dumps(dict(part.data)).encode())
        case _:
            return _text_bound(part.text)


def likely_tokens(*, characters: int, deltas: int = 0) -> int:
    """A likely count, for output whose provider reports none: four characters a token, or one token a delta."""
    return max(deltas, -(-characters // 4))
