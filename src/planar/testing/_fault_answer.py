"""One well-formed HTTP response, from which a fault takes what it needs and spoils the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from planar.testing._fault_steps import FaultStep, Send
from planar.testing._wires import WIRES, Counted, WireName


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The response that a request would have got, had nothing gone wrong.

    Attributes:
        wire, streamed: In which form it was asked for.
        opening: Pieces of the body before the first word: events of a stream, or the beginning of a document.
        words: Pieces of the body with a word each.
        ending: Pieces of the body after the last word.
        elsewhere: The address of another host, which no request should reach.
    """

    wire: WireName
    streamed: bool
    opening: tuple[bytes, ...]
    words: tuple[bytes, ...]
    ending: tuple[bytes, ...]
    elsewhere: str

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The whole body: an item is an event, where it is a stream."""
        return (*self.opening, *self.words, *self.ending)

    @property
    def content_type(self) -> str:
        """As the vendor sends it."""
        return WIRES[self.wire].content_type if self.streamed else "application/json"

    @property
    def ping(self) -> bytes:
        """A keep-alive that says nothing, as it is framed: white space, where the answer is one document."""
        return self.framed(WIRES[self.wire].ping) if self.streamed else b"\n"

    @property
    def raw(self) -> bytes:
        """Every byte of the response, head and framing included."""
        return b"".join(step.data for step in self.respond())

    def counted(self, counted: Counted) -> Answer:
        """The same answer with its usage somewhere else."""
        return answer_of(self.wire, streamed=self.streamed, elsewhere=self.elsewhere, counted=counted)

    def head(self, status: int = 200, headers: Mapping[str, str] | None = None, *, length: int | None = None) -> Send:
        """Status line and headers; the body is chunked unless its length is given."""
        framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        fields = {"content-type": self.content_type, **framing, **(headers or {})}
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return Send("\r\n".join(lines).encode())

    def framed(self, piece: bytes) -> bytes:
        """A piece of the body as it is sent: a chunk of its own in a stream."""
        return b"%x\r\n%s\r\n" % (len(piece), piece) if self.streamed else piece

    def respond(
        self, pieces: Sequence[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Send, ...]:
        """The head, each piece, and (in a stream) the last chunk, one step each."""
        body = self.pieces if pieces is None else pieces
        length = None if self.streamed else sum(map(len, body))
        last = (Send(b"0\r\n\r\n"),) if self.streamed else ()
        return (self.head(200, headers, length=length), *(Send(self.framed(piece)) for piece in body), *last)

    def until(self, pieces: int) -> tuple[Send, ...]:
        """The steps of an answer that will not be whole: the head, and the pieces before this one.

        A document's head promises more than it has, so that nothing makes it look whole.
        """
        length = None if self.streamed else len(self.raw) + (1 << 20)
        return (self.head(length=length), *(Send(self.framed(piece)) for piece in self.pieces[:pieces]))

    def refuse(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[Send, ...]:
        """A response of another kind; its body is JSON unless the headers say otherwise."""
        fields = {"content-type": "application/json", **(headers or {})}
        return (self.head(status, fields, length=len(body)), Send(body))

    def refuse_with(self, status: int, document: object, headers: Mapping[str, str] | None = None) -> tuple[Send, ...]:
        """`refuse` with a JSON document."""
        return self.refuse(status, json.dumps(document).encode(), headers)


Script: TypeAlias = Callable[[Answer], Sequence[FaultStep]]
"""Says what is done instead of giving this answer."""


def answer_of(wire: WireName, *, streamed: bool, elsewhere: str = "", counted: Counted = "told") -> Answer:
    """The well-formed answer of a wire."""
    pieces = WIRES[wire].stream(counted) if streamed else WIRES[wire].whole(counted)
    return Answer(
        wire=wire,
        streamed=streamed,
        opening=pieces.opening,
        words=pieces.words,
        ending=pieces.ending,
        elsewhere=elsewhere,
    )
