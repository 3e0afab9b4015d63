"""Token counts where nobody has counted: a bound that holds, and a likely figure.

The likely figure of a text goes by its characters. Measured in November 2026 with cl100k_base and o200k_base, in
characters per token: English prose 4.0 to 4.7, Python and JavaScript 4.0 to 4.3, C 3.8, JSON 3.3; the translated
messages of GNU programs in Spanish, French and German 3.5 to 4.3, in Czech, Polish and Hungarian 2.4 to 3.2, in
Russian, Greek and Arabic 1.2 to 3.8, in Chinese, Japanese and Korean 1.3 to 2.2. OpenAI says 4 ("What are tokens and
how to count them?"), Google 4 ("Understand and count tokens"), Anthropic 3.5 (its glossary).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from planar.catalog._media import media_bound, media_likely
from planar.types import (
    Audio,
    ChatRequest,
    File,
    Image,
    ModelInfo,
    Opaque,
    OutputSchema,
    Part,
    Reasoning,
    Tool,
    ToolCall,
    ToolResult,
)
from planar.types._quick import quick

_PER_MESSAGE = 16
"""Role markers and separators of the chat templates we know, generously."""
_LIKELY_PER_MESSAGE, _LIKELY_PER_CHAT = 4, 3
"""OpenAI's cookbook, "How to count tokens with tiktoken": three and the role for a message, three before the answer."""
_LIKELY_PER_TOOL = 12
_MOST_FOR_TOOLS, _LIKELY_FOR_TOOLS = 1_024, 346
"""What Anthropic puts before a prompt with tools ("Tool use", pricing): by model 159 to 530, most often 346."""

# In twentieths of a token, so that they are added without rounding.
_ASCII, _JSON, _ACCENT, _NARROW, _WIDE = 5, 6, 20, 10, 16
_NOT_FIRST = bytes(range(0xC0))
"""What begins no character beyond ASCII in UTF-8."""


@quick
@dataclass(frozen=True, slots=True)
class InputBound:
    """How many tokens a prompt has: at most, and probably.

    Attributes:
        tokens: At most, without pictures, documents and sound, whatever the model.
        media: Those, which each model counts in its own way.
        likely: Probably, without those.
        around: How many of the likely ones stand around the texts: who speaks, and what separates them.
        tools: It offers tools; some vendors explain to the model what that means.
    """

    tokens: int
    media: tuple[Image | File | Audio, ...] = ()
    likely: int = 0
    around: int = 0
    tools: bool = False

    def of(self, model: ModelInfo) -> int:
        """What this model can make of it: never more than fits its context window."""
        tokens = self.tokens
        for part in self.media:
            tokens += media_bound(part, model.id)
        window = model.context_window
        return tokens if window is None or tokens <= window else window

    def likely_of(self, model: ModelInfo, *, text: int | None = None) -> int:
        """What this model will probably make of it, whether that fits it or not: an estimate.

        Args:
            text: The tokens of the texts (`texts_of`), where somebody has counted those.
        """
        if text is not None:
            tokens = self.around + text
        else:
            # Characters per token, as the vendors say: 3.5 there, 4 elsewhere.
            claude = _is_claude(model.id)
            tokens = self.likely * 8 // 7 if claude else self.likely
            if claude and self.tools:
                tokens += _LIKELY_FOR_TOOLS
        if self.media:
            tokens += sum([media_likely(part, model.id) for part in self.media])
            tokens = min(tokens, self.tokens + sum([media_bound(part, model.id) for part in self.media]))
        return tokens


@lru_cache(maxsize=1024)
def _is_claude(model: str) -> bool:
    return "claude" in model


def input_bound(request: ChatRequest) -> InputBound:
    """How many tokens the prompt can have, and how many it probably has. One pass over it.

    A text has at most one token per UTF-8 byte, the only bound that holds for every tokenizer: measured
    0.994 tokens per byte on rare CJK and control characters (cl100k and o200k).
    """
    count = len(request.messages)
    most, twentieths = _PER_MESSAGE * count, 0
    around = _LIKELY_PER_CHAT + _LIKELY_PER_MESSAGE * count
    media: list[Image | File | Audio] | None = None
    for message in request.messages:
        content = message.content
        if not isinstance(content, str):
            media = [*(media or ()), *_media_in(content)]
            size, weight = _parts(content)
        elif content.isascii():
            size = len(content)
            weight = size * _ASCII
        else:
            size, weight = _text(content)
        most += size
        twentieths += weight
    if request.tools or request.output is not None:
        size, weight = _schemas(request.tools, request.output)
        most += size
        twentieths += weight
        around += _LIKELY_PER_TOOL * len(request.tools)
    return InputBound(most, tuple(media) if media else (), around + -(-twentieths // 20), around, bool(request.tools))


def texts_of(request: ChatRequest) -> list[str]:
    """Every text of a prompt that becomes tokens, tools and shapes included, for who counts them."""
    texts: list[str] = []
    for message in request.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            texts += _texts_in(message.content)
    texts += [_described(tool) for tool in request.tools]
    if request.output is not None:
        texts.append(json.dumps(dict(request.output.schema)))
    return texts


def _described(tool: Tool) -> str:
    return json.dumps([tool.name, tool.description, dict(tool.parameters)])


def _texts_in(content: Iterable[str | Part]) -> Iterator[str]:
    for part in content:
        match part:
            case str():
                yield part
            case Image() | File() | Audio():
                pass
            case ToolCall():
                yield from (part.name, part.arguments)
            case ToolResult():
                yield from _texts_in((part.content,) if isinstance(part.content, str) else part.content)
            case Reasoning():
                yield from (part.text, part.encrypted or "")
            case Opaque():
                yield json.dumps(dict(part.data))
            case _:
                yield part.text


def _media_in(content: Iterable[str | Part]) -> Iterator[Image | File | Audio]:
    for part in content:
        if isinstance(part, Image | File | Audio):
            yield part
        elif isinstance(part, ToolResult) and not isinstance(part.content, str):
            yield from _media_in(part.content)


def _text(text: str) -> tuple[int, int]:
    """Bytes of a text, and twentieths of a token that it probably has."""
    count = len(text)
    if text.isascii():
        return count, count * _ASCII
    data = text.encode("utf-8", "surrogatepass")
    size = len(data)
    # Beyond ASCII the letters of Latin, Greek, Cyrillic, Arabic and Hebrew take two bytes, nearly all others three: how
    # many there are of both follows from the bytes that begin one. One of four counts as two of three.
    beyond = len(data.translate(None, _NOT_FIRST))
    wide = size - count - beyond
    narrow = max(0, beyond - wide)
    # Few among many are accents, which break up the words that a vocabulary knows.
    weight = _ACCENT if 4 * beyond < count else _NARROW
    return size, (count - beyond) * _ASCII + narrow * weight + wide * _WIDE


def _json(*texts: str) -> tuple[int, int]:
    size = sum([len(text.encode("utf-8", "surrogatepass")) for text in texts])
    return size, size * _JSON


def _schemas(tools: Iterable[Tool], output: OutputSchema | None) -> tuple[int, int]:
    texts = [_described(tool) for tool in tools]
    most = _MOST_FOR_TOOLS + _PER_MESSAGE * len(texts) if texts else 0
    if output is not None:
        texts.append(json.dumps(dict(output.schema)))
    size, weight = _json(*texts)
    return most + size, weight


def _parts(content: Iterable[str | Part]) -> tuple[int, int]:
    most = twentieths = 0
    for part in content:
        size, weight = _part(part)
        most += size
        twentieths += weight
    return most, twentieths


def _part(part: str | Part) -> tuple[int, int]:
    match part:
        case str():
            return _text(part)
        case Image() | File() | Audio():
            return 0, 0  # by what the model makes of it: `media`
        case ToolCall():
            size, weight = _json(part.name, part.arguments)
        case ToolResult():
            size, weight = _parts((part.content,) if isinstance(part.content, str) else part.content)
        case Reasoning():
            return _joined(_text(part.text), _json(part.encrypted or ""))
        case Opaque():
            return _json(json.dumps(dict(part.data)))
        case _:
            return _text(part.text)
    return _PER_MESSAGE + size, 20 * _LIKELY_PER_MESSAGE + weight


def _joined(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def likely_tokens(*, characters: int, deltas: int = 0) -> int:
    """A likely count, for output whose provider reports none: four characters a token, or one token a delta."""
    return max(deltas, -(-characters // 4))
