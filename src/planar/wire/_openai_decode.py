"""The two framings of an OpenAI-shaped answer: a stream of chunks, and one JSON document."""

from __future__ import annotations

from typing import Any, cast

from planar.errors import ProviderError, ProviderProtocolError, RequestError
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire._errors import error_of, words_in
from planar.wire._framing import StreamFraming, WholeFraming, truncated
from planar.wire._json import as_dict, as_list, dumps, is_cut, loads
from planar.wire._openai_answer import Answer
from planar.wire.dialects import OPENAI, Dialect


class ChatDecoder(StreamFraming):
    """Turns the streamed answer of `/chat/completions`, cut anywhere, into events. Does no I/O.

    The answer has ended where `[DONE]` was seen, or a finish reason with usage (we always ask for it); without
    either, `close()` raises. A dialect without usage in streams ends with the finish reason.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str, dialect: Dialect = OPENAI) -> None:
        answer = _ChatAnswer(response, provider, counted=dialect.usage)
        super().__init__(answer, response, provider, reader=answer)


class WholeDecoder(WholeFraming):
    """Turns the whole answer of `/chat/completions` into the events that its streamed form would have given.

    Args:
        response: Filled when the answer is whole.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str, dialect: Dialect = OPENAI) -> None:
        super().__init__(_ChatAnswer(response, provider, counted=dialect.usage), response, provider)


class _ChatAnswer(Answer):
    """What the framings feed."""

    __slots__ = ("_counted", "_provider")

    def __init__(self, response: ResponseInfo, provider: str, *, counted: bool) -> None:
        super().__init__(response, provider)
        self._provider = provider
        self._counted = counted

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one chunk."""
        self.chunk(fields, events)
        if "error" in fields or "x_groq" in fields or "choices" not in fields:
            failure = _failure_in(fields)
            if failure:
                self.report(events)  # what was used until then was used
                raise _failed(failure, fields, self._provider)

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole answer."""
        found = _object_in(document)
        if found is None:
            raise ProviderProtocolError("the provider's answer is not a JSON object", provider=self._provider)
        self.chunk(found, events, key="message")
        refuse_failure(found, self._provider)
        if not as_list(found.get("choices")):
            raise ProviderProtocolError("the provider sent an answer without choices", provider=self._provider)
        self.finish(events)

    def done(self, events: list[Event]) -> None:
        """Take `[DONE]`."""
        self.finish(events)

    def ended(self, events: list[Event]) -> bool:
        """Whether the answer was whole when its body ended."""
        if not (self.whole or (self.reason_seen and not self._counted)):
            return False
        self.finish(events)
        return True


def document_of(body: bytes, provider: str) -> dict[str, Any]:
    """The JSON object that a body must be.

    Raises:
        TruncatedStreamError: The body is the beginning of one.
        ProviderProtocolError: It is something else.
    """
    try:
        document = _object_in(loads(body))
    except ValueError as error:
        if is_cut(body):
            raise truncated(provider, None) from None
        raise ProviderProtocolError(f"the provider's answer is not JSON: {error}", provider=provider) from None
    if document is None:
        raise ProviderProtocolError("the provider's answer is not a JSON object", provider=provider)
    return document


def _object_in(document: object) -> dict[str, Any] | None:
    """The object that this is, or that is alone in a list: Gemini's compatible surface wraps its errors so."""
    if isinstance(document, list):
        document = next(iter(as_list(cast("object", document))), None)
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def refuse_failure(document: dict[str, Any], provider: str) -> None:
    """Raise what a document with a good status reports as a failure, if it does."""
    if failure := _failure_in(document):
        raise _failed(failure, document, provider)


def _failure_in(chunk: dict[str, Any]) -> object:
    """The part of a chunk that reports a failure; something empty if none does."""
    if error := chunk.get("error"):
        return {"error": error}
    if chunk.get("object") == "error":  # vLLM and Mistral put the fields at the top
        return chunk
    if error := as_dict(chunk.get("x_groq")).get("error"):
        return {"error": error}
    return None


def _failed(failure: object, document: dict[str, Any], provider: str) -> ProviderError | RequestError:
    # Nothing in a stream carries a date, so that the clock is not needed for one.
    words = words_in(failure, status=None)
    return error_of(words, status=None, headers={}, body=dumps(document), now=0.0, provider=provider)
