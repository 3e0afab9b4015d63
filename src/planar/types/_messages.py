"""What a conversation is made of, and the tools and shapes that go with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from planar.types._quick import quick
from planar.types._words import JSON, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHint:
    """Ask the provider to remember the prompt up to and including this part.

    Attributes:
        ttl: Seconds it should live; `None` leaves it to the provider.
    """

    ttl: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Text:
    """Plain text. `signature` is a provider's opaque token that must travel back with it."""

    text: str
    cache: CacheHint | None = field(default=None, kw_only=True)
    signature: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture, by its bytes or by an address that the provider (never Planar) fetches.

    Attributes:
        media_type: Such as `image/png`; needed with `data`.
        detail: How closely to look, where the provider has levels.
    """

    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A document, by its bytes, by an id the provider gave, or by an address that the provider fetches."""

    data: bytes | None = None
    file_id: str | None = None
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Sound, as bytes. `format` is the container, such as `wav` or `mp3`."""

    data: bytes
    format: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """The model asks for a tool.

    Attributes:
        arguments: JSON text exactly as the model wrote it; it may be cut or invalid.
        signature: A provider's opaque token that must travel back with the call.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None

    def parsed(self) -> Any:
        """The arguments as JSON; an empty text is `{}`.

        Raises:
            ValueError: The model wrote something that is not JSON.
        """
        return json.loads(self.arguments) if self.arguments.strip() else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gave back for the call with this id."""

    tool_call_id: str
    content: str | tuple[Text | Image | File, ...]
    is_error: bool = False
    name: str | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What the model thought, with whatever the provider wants back unchanged in the next turn.

    Attributes:
        signature: The provider's proof for `text`.
        encrypted: The thought itself where the provider hides it.
        details: A provider's own list of items, replayed as it came.
    """

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    details: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model declined, in its own words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """An item of one wire that Planar does not read and hands back untouched on the same wire."""

    wire: str
    data: JSON


Part: TypeAlias = Text | Image | File | Audio | ToolCall | ToolResult | Reasoning | Refusal | Opaque


@quick
@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: who speaks, and text or parts.

    Example:
        >>> Message("user", "Three rivers in Spain?").text
        'Three rivers in Spain?'
    """

    role: Role
    content: str | tuple[Part, ...]
    name: str | None = field(default=None, kw_only=True)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, whatever form it was given in."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text parts, joined with nothing between them."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask for.

    Attributes:
        parameters: JSON Schema of the arguments object.
        strict: Ask the provider to hold the model to the schema, where it can.
    """

    name: str
    parameters: JSON
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and which tools the model must use. Where only the mode matters, its name is enough.

    Attributes:
        name: With `mode="tool"`, the one that must be called.
        parallel: Whether several calls may come in one turn; `None` leaves it to the provider.
    """

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str | None = None
    parallel: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """The shape the answer must have.

    Attributes:
        schema: JSON Schema of the answer.
        model: The pydantic class it came from, where there is one; `Completion.output` is an instance of it.
    """

    name: str
    schema: JSON
    strict: bool = True
    model: type | None = None


def text_of(messages: Sequence[Message]) -> str:
    """All text that the model will read, for estimates."""
    return "\n".join(message.text for message in messages)
