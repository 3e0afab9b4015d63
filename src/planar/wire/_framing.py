"""The two framings that an answer travels in, a stream of server-sent events and one JSON document, for any wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from planar.errors import ProviderError, ProviderProtocolError, RequestError, TruncatedStreamError
from planar.events import Event, TextDelta
from planar.types import ResponseInfo
from planar.wire._base import MAX_EVENT, MAX_TOTAL
from planar.wire._json import is_cut, loads, parser
from planar.wire.sse import SSEParser

_BLANK = b" \t\r\n"


class Answer(Protocol):
    """What one wire makes of what arrives. Every method appends to `events`, also when it raises afterwards."""

    finished: bool
    """`Finish` was given: nothing that follows is read."""

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one event of a stream."""
        ...

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole answer."""
        ...

    def done(self, events: list[Event]) -> None:
        """Take `[DONE]`."""
        ...

    def ended(self, events: list[Event]) -> bool:
        """The stream's body is at its end. Whether the answer is: then it has been finished."""
        ...


class TextReader(Protocol):
    """An answer that can tell an event which is a piece of text and nothing else without taking it apart."""

    text: Callable[[bytes], str | None] | None
    """Reads such an event, and gives `None` for any other; there only while such events come."""


class StreamFraming:
    """Feeds an answer with the events of a stream, cut anywhere. Does no I/O.

    A body that is one JSON document instead is read as such: an error that came with status 200, or the whole
    answer of a server that does not stream. Content types are not looked at.

    Args:
        answer: What is fed.
        response: What the answer fills.
        provider: Named in errors.
        max_event: Largest event, in bytes.
        ends_with_body: No event of this wire says that the answer is whole: a body that ends in the middle of an
            event was cut, whatever came before.
        reader: The answer again, where it reads text by itself.
    """

    def __init__(
        self,
        answer: Answer,
        response: ResponseInfo,
        provider: str,
        *,
        max_event: int = MAX_EVENT,
        ends_with_body: bool = False,
        reader: TextReader | None = None,
    ) -> None:
        self._answer = answer
        self._reader = reader
        self._response = response
        self._provider = provider
        self._parser = SSEParser(provider, max_event=max_event)
        self._ends_with_body = ends_with_body
        self._loads, self._unreadable = parser()
        self._document: WholeFraming | None = None
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
            self._take(self._parser.feed(data), events)
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
            ProviderError, RequestError: As by `feed`.
        """
        if self._held is not None:
            raise self._held
        if self._document is not None:
            return self._document.close()
        events: list[Event] = []
        self._take(self._parser.close(), events)
        cut = self._ends_with_body and self._parser.cut
        if not self._answer.finished and (cut or not self._answer.ended(events)):
            raise truncated(self._provider, self._response)
        return events

    def _begin(self, data: bytes) -> None:
        first = data.lstrip(_BLANK)[:1]
        if first == b"<":
            message = "the provider sent a page instead of an answer: is the address right?"
            self._held = ProviderProtocolError(message, provider=self._provider)
            raise self._held
        if first:
            self._begun = True
            if first in (b"{", b"["):
                self._document = WholeFraming(self._answer, self._response, self._provider)

    def _take(self, blocks: list[tuple[str | None, bytes]], events: list[Event]) -> None:
        reader = self._reader
        for name, block in blocks:
            read = None if reader is None else reader.text
            if read is None:
                self._block(name, block, events)
            elif text := read(block):
                events.append(TextDelta(text))
            else:
                self._block(name, block, events)

    def _block(self, name: str | None, block: bytes, events: list[Event]) -> None:
        if self._answer.finished:
            return
        if block[:1] != b"{":
            block = block.strip()
            if block == b"[DONE]":
                self._answer.done(events)
                return
            if not block:
                return
        try:
            fields: Any = self._loads(block)
        except self._unreadable as error:
            message = f"the provider sent an event that is not JSON: {error}"
            raise ProviderProtocolError(message, provider=self._provider) from None
        # `__class__ is` rather than `isinstance`: no call on the path that every token takes.
        if fields.__class__ is dict:
            self._answer.event(name, fields, events)
        elif fields.__class__ is list and fields and isinstance(fields[0], dict):
            # Google's surfaces wrap an error in a list of its own.
            self._answer.event(name, cast("dict[str, Any]", fields[0]), events)


class WholeFraming:
    """Feeds an answer with one JSON document. Everything comes from `close()`: half a document says nothing."""

    def __init__(self, answer: Answer, response: ResponseInfo, provider: str) -> None:
        self._answer = answer
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
            message = f"the provider sent an answer of more than {MAX_TOTAL} bytes"
            raise ProviderProtocolError(message, provider=self._provider)
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
        try:
            document: object = loads(body)
        except ValueError as error:
            if is_cut(body):
                raise truncated(self._provider, self._response) from None
            message = f"the provider's answer is not JSON: {error}"
            raise ProviderProtocolError(message, provider=self._provider) from None
        events: list[Event] = []
        self._answer.document(document, events)
        if isinstance(document, dict):
            self._response.raw = cast("dict[str, Any]", document)
        return events


def truncated(provider: str, response: ResponseInfo | None) -> TruncatedStreamError:
    """The error for a body that ended too early, with the usage that was seen."""
    message = "the provider's answer ended before it was whole"
    return TruncatedStreamError(message, provider=provider, usage=None if response is None else response.usage)
