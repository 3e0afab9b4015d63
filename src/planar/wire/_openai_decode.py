"""The two framings of an OpenAI-shaped answer: a stream of chunks, and one JSON document."""

from __future__ import annotations

from typing import Any, cast

from planar.errors import ProviderError, ProviderProtocolError, RequestError, TruncatedStreamError
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire._base import MAX_TOTAL
from planar.wire._errors import error_of, words_in
from planar.wire._json import as_dict, as_list, is_cut, loads, parser
from planar.wire._openai_answer import Answer
from planar.wire.dialects import OPENAI, Dialect
from planar.wire.sse import SSEParser

_BLANK = b" \t\r\n"


class ChatDecoder:
    """Turns the streamed answer of `/chat/completions`, cut anywhere, into events. Does no I/O.

    A body that is one JSON document instead is read as such: an error that came with status 200, or the whole
    answer of a server that does not stream. Content types are not looked at.

    The answer has ended where `[DONE]` was seen, or a finish reason with usage (we always ask for it); without
    either, `close()` raises. A dialect without usage in streams ends with the finish reason.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.
    """

    __slots__ = (
        "_answer",
        "_begun",
        "_counted",
        "_document",
        "_held",
        "_loads",
        "_parser",
        "_provider",
        "_response",
        "_unreadable",
    )

    def __init__(self, response: ResponseInfo, provider: str, dialect: Dialect = OPENAI) -> None:
        self._response = response
        self._provider = provider
        self._counted = dialect.usage
        self._parser = SSEParser(provider)
        self._answer = Answer(response, provider)
        self._loads, self._unreadable = parser()
        self._document: WholeDecoder | None = None
        self._begun = False
        self._held: ProviderError | RequestError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            ProviderError, RequestError: The stream reports a failure, or is not what the wire allows. What came
                before it in the same bytes is returned first, and the next call raises.
        """
        if self._held is not None:
            raise self._held
        if not data:
            return []
        if not self._begun:
            self._begin(data)
        if self._document is not None:
            return self._document.feed(data)
        events: list[Event] = []
        try:
            for _, block in self._parser.feed(data):
                self._block(block, events)
        except (ProviderError, RequestError) as error:
            self._held = error
            if not events:
                raise
        self._held = self._held or self._parser.failure
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended.

        Raises:
            TruncatedStreamError: The answer had not ended.
        """
        if self._held is not None:
            raise self._held
        if self._document is not None:
            return self._document.close()
        events: list[Event] = []
        for _, block in self._parser.close():
            self._block(block, events)
        answer = self._answer
        if not answer.finished:
            if not (answer.whole or (answer.reason_seen and not self._counted)):
                raise _truncated(self._provider, self._response)
            answer.finish(events)
        return events

    def _begin(self, data: bytes) -> None:
        first = data.lstrip(_BLANK)[:1]
        if first:
            self._begun = True
            if first in (b"{", b"["):
                self._document = WholeDecoder(self._response, self._provider)

    def _block(self, block: bytes, events: list[Event]) -> None:
        answer = self._answer
        if answer.finished:
            return
        if block[:1] != b"{":
            block = block.strip()
            if block == b"[DONE]":
                answer.finish(events)
                return
            if not block:
                return
        try:
            chunk = self._loads(block)
        except self._unreadable as error:
            raise ProviderProtocolError(
                f"the provider sent an event that is not JSON: {error}", provider=self._provider
            ) from None
        if chunk.__class__ is not dict:
            chunk = _object_in(chunk)
            if chunk is None:
                return
        answer.chunk(chunk, events)
        if "error" in chunk or "x_groq" in chunk or "choices" not in chunk:
            self._refuse_failure(chunk, block, events)

    def _refuse_failure(self, chunk: dict[str, Any], block: bytes, events: list[Event]) -> None:
        if failure := _failure_in(chunk):
            self._answer.report(events)  # what was used until then was used
            raise _failed(failure, block, self._provider)


class WholeDecoder:
    """Turns the whole answer of `/chat/completions` into the events that its streamed form would have given.

    Everything comes from `close()`: half a JSON document says nothing.
    """

    def __init__(self, response: ResponseInfo, provider: str, dialect: Dialect = OPENAI) -> None:
        self._response = response
        self._provider = provider
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[Event]:
        """Nothing yet.

        Raises:
            ProviderProtocolError: The body is larger than any answer may be.
        """
        if data:
            self._pieces.append(data)
        self._length += len(data)
        if self._length > MAX_TOTAL:
            self._pieces.clear()
            raise ProviderProtocolError(
                f"the provider sent an answer of more than {MAX_TOTAL} bytes", provider=self._provider
            )
        return []

    def close(self) -> list[Event]:
        """The answer.

        Raises:
            TruncatedStreamError: The document has no end.
            ProviderProtocolError: It is no answer.
            ProviderError, RequestError: It is a failure that came with a good status.
        """
        body = b"".join(self._pieces)
        self._pieces.clear()
        document = document_of(body, self._provider)
        events: list[Event] = []
        answer = Answer(self._response, self._provider)
        answer.chunk(document, events, key="message")
        if failure := _failure_in(document):
            raise _failed(failure, body, self._provider)
        if not as_list(document.get("choices")):
            raise ProviderProtocolError("the provider sent an answer without choices", provider=self._provider)
        self._response.raw = document
        answer.finish(events)
        return events


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
            raise _truncated(provider, None) from None
        raise ProviderProtocolError(f"the provider's answer is not JSON: {error}", provider=provider) from None
    if document is None:
        raise ProviderProtocolError("the provider's answer is not a JSON object", provider=provider)
    return document


def _object_in(document: object) -> dict[str, Any] | None:
    """The object that this is, or that is alone in a list: Gemini's compatible surface wraps its errors so."""
    if isinstance(document, list):
        document = next(iter(as_list(cast("object", document))), None)
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def refuse_failure(document: dict[str, Any], body: bytes, provider: str) -> None:
    """Raise what a document with a good status reports as a failure, if it does."""
    if failure := _failure_in(document):
        raise _failed(failure, body, provider)


def _failure_in(chunk: dict[str, Any]) -> object:
    """The part of a chunk that reports a failure; something empty if none does."""
    if error := chunk.get("error"):
        return {"error": error}
    if chunk.get("object") == "error":  # vLLM and Mistral put the fields at the top
        return chunk
    if error := as_dict(chunk.get("x_groq")).get("error"):
        return {"error": error}
    return None


def _failed(failure: object, body: bytes, provider: str) -> ProviderError | RequestError:
    # Nothing in a stream carries a date, so that the clock is not needed for one.
    return error_of(words_in(failure, status=None), status=None, headers={}, body=body, now=0.0, provider=provider)


def _truncated(provider: str, response: ResponseInfo | None) -> TruncatedStreamError:
    return TruncatedStreamError(
        "the provider's answer ended before it was whole",
        provider=provider,
        usage=None if response is None else response.usage,
    )
