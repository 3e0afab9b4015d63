"""The events that are a piece of text and nothing else, which most of most streams are, read without building the rest.

A shape allows only what says nothing further, such as fields that are null: any other event is refused, and is then
read in full.
"""

from __future__ import annotations

from functools import cache
from types import GenericAlias
from typing import Any, Literal

from planar.wire._json import Parser, parser_of


@cache
def plain_chunk() -> Parser | None:
    """Reads a chunk of OpenAI's chat wire: its text is `choices[0].delta.content`. `None` where nothing can."""
    return parser_of(_chunk)


def _chunk(msgspec: Any) -> Any:
    silent = ("refusal", "reasoning_content", "reasoning", "reasoning_details", "tool_calls", "function_call")
    said = [("content", str), ("role", Any, None), *_null(*silent, "annotations", "audio")]
    delta = msgspec.defstruct("Delta", said, forbid_unknown_fields=True, gc=False)
    only = [("delta", delta), ("index", Literal[0] | None, None), *_null("finish_reason", "logprobs")]
    choice = msgspec.defstruct("Choice", only, gc=False)
    whole = [("choices", GenericAlias(tuple, (choice,))), *_null("usage", "error", "x_groq", "citations")]
    return msgspec.defstruct("Chunk", whole, gc=False)


@cache
def plain_delta() -> Parser | None:
    """Reads a delta of Anthropic's Messages: its text is `delta.text`, of the block `index`; `None` as above."""
    return parser_of(_delta)


def _delta(msgspec: Any) -> Any:
    said = [("text", str), ("type", Literal["text_delta"])]
    delta = msgspec.defstruct("Delta", said, gc=False)
    whole = [("type", Literal["content_block_delta"]), ("index", int), ("delta", delta)]
    return msgspec.defstruct("Event", whole, gc=False)


def _null(*names: str) -> list[tuple[str, Any, None]]:
    return [(name, None, None) for name in names]
