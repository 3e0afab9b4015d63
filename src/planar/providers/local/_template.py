"""Renders a model's own chat template, in a sandbox: it came with a file from somewhere."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from planar.errors import ConfigurationError, InvalidRequestError, MissingExtraError, UnsupportedError
from planar.providers.local._gguf import ModelCard
from planar.providers.local._messages import Conversation

try:
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ModuleNotFoundError as missing:
    raise MissingExtraError("jinja2", extra="llamacpp") from missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that is ready for the tokenizer.

    Attributes:
        segments: Each is tokenised by itself, so that no control token stands across two of them.
        begun: The template has written the token that begins a text; the tokenizer must not add another.
    """

    segments: tuple[str, ...]
    begun: bool


class ChatTemplate:
    """A compiled chat template. May be used from several threads.

    It sees what templates in the wild expect: `messages`, `add_generation_prompt`, `bos_token`, `eos_token`,
    `raise_exception`, `strftime_now` and a `tojson` that leaves letters as they are.

    Raises:
        ConfigurationError: The template is not valid Jinja.
    """

    def __init__(self, source: str, card: ModelCard) -> None:
        self.source = source
        self._card = card
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"the chat template does not compile: {error}") from error

    def render(self, conversation: Conversation, *, now: float) -> Prompt:
        """The text that the model reads. `now` is in seconds since the epoch, for templates that tell the date.

        Raises:
            InvalidRequestError: The template refuses the conversation, two user turns in a row for instance.
            UnsupportedError: The template has no way to continue the assistant's last turn.
        """
        try:
            text = self._template.render(
                messages=list(conversation.messages),
                tools=None,
                add_generation_prompt=not conversation.continued,
                bos_token=self._card.bos,
                eos_token=self._card.eos,
                raise_exception=_refuse,
                strftime_now=_calendar(now),
            )
        except Exception as error:  # a template is a program: whatever it stumbles over is about this conversation
            raise InvalidRequestError(f"the model's chat template refuses: {error}", param="messages") from error
        if conversation.continued:
            text = _up_to(conversation.end, text)
        segments = tuple(segment for segment in text.split(conversation.seam) if segment)
        return Prompt(segments=segments, begun=bool(self._card.bos) and text.startswith(self._card.bos))


def _up_to(end: str, text: str) -> str:
    position = text.rfind(end)
    if position < 0:
        raise UnsupportedError("the model's chat template cannot continue an assistant's turn", param="messages")
    return text[:position]


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _calendar(now: float) -> Callable[[str], str]:
    def strftime_now(format: str) -> str:
        return datetime.datetime.fromtimestamp(now).astimezone().strftime(format)

    return strftime_now
