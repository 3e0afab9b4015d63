"""Everything that an upstream can do wrong, each with a name, what it is made of, and what a client makes of it.

A fault is a script: it looks at the well-formed answer of the wire and says which steps are taken instead. Scripts of
one's own are functions from `Answer` to steps, or just the steps.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TypeAlias

from planar.errors import (
    ContextLengthError,
    OverloadedError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    RequestError,
    TruncatedStreamError,
)
from planar.testing._fault_answer import Answer, Script
from planar.testing._fault_bodies import Reason, failure_inside, refusal
from planar.testing._fault_steps import Close, Drip, FaultStep, Pause, Repeat, Reset, Send
from planar.testing._wires import INPUT_TOKENS, OUTPUT_TOKENS, TEXT, WORDS, WireName
from planar.wire._base import MAX_EVENT, MAX_TOTAL
from planar.wire._responses_decode import MAX_RESPONSE_EVENT
from planar.wire.gemini import MAX_CHUNK

__all__ = [
    "FAULTS",
    "INPUT_TOKENS",
    "OUTPUT_TOKENS",
    "SERVED",
    "TEXT",
    "WORDS",
    "Answer",
    "Behaviour",
    "Close",
    "Drip",
    "Fault",
    "FaultStep",
    "NamedFault",
    "Outcome",
    "Pause",
    "Reason",
    "Repeat",
    "Reset",
    "Script",
    "Send",
    "WireName",
    "drip",
    "refuse",
    "reset_at",
    "stall_at",
    "storm",
]

PING_EVERY = 0.02
"""Seconds between two keep-alives, and between two bytes of a slow header."""
_BOMB = 64 << 20
_BLOCK = 256 << 10
_LARGEST: Mapping[WireName, int] = {"openai_responses": MAX_RESPONSE_EVENT, "gemini": MAX_CHUNK}
_PAGE = b"<!DOCTYPE html>\n<html>\n<head><title>Sign in</title></head>\n\n<body>data: none</body>\n</html>\n"
_SETTLE = Pause(0.02)  # what was sent must be with the client before a reset overtakes it


class Fault(StrEnum):
    """What an upstream does. Each stands for a threat of the security page, where it is one."""

    NONE = "none"
    """Nothing: the answer is well formed and whole."""

    REFUSED = "refused"
    """Nobody listens on the port. It cannot be counted, so it lasts until the server is told something else."""
    RESET_BEFORE_HEADERS = "reset_before_headers"
    """The connection breaks once the request was read."""
    RESET_IN_HEADERS = "reset_in_headers"
    """The connection breaks in the middle of the headers."""
    RESET_IN_BODY = "reset_in_body"
    """The connection breaks after two words of the answer."""

    STALL_BEFORE_HEADERS = "stall_before_headers"
    """The request is read and nothing is ever said (T8: an upstream without end)."""
    STALL_BEFORE_EVENTS = "stall_before_events"
    """The headers come, and nothing after them (T8)."""
    STALL = "stall"
    """Two words come, and nothing after them (T8)."""
    PINGS_BEFORE_EVENTS = "pings_before_events"
    """The headers come, and after them keep-alives for ever: silence that looks like life (T8)."""
    PINGS = "pings"
    """Two words come, and after them keep-alives for ever (T8)."""
    SLOW_HEADERS = "slow_headers"
    """Headers come byte by byte and never end: no single read is slow (T8)."""
    DRIP = "drip"
    """The whole answer comes in pieces of one byte, which cut every UTF-8 sequence, line and chunk."""

    TRUNCATED_CHUNKS = "truncated_chunks"
    """After two words the connection ends, without the last chunk of a body whose length was not told."""
    SHORT_BODY = "short_body"
    """After two words the connection ends, short of the content-length that was promised."""
    CLEAN_CUT = "clean_cut"
    """After two words the HTTP body ends as it should; only the answer in it does not."""

    INVALID_UTF8 = "invalid_utf8"
    """The second word holds bytes that are no UTF-8 (T6: input made to break a parser)."""
    GZIP_BOMB = "gzip_bomb"
    """A body of 64 KiB that inflates to 64 MiB, although no encoding was asked for (T7: decompression bombs)."""
    HTML_502 = "html_502"
    """A proxy's page of HTML with status 502."""
    HTML_200 = "html_200"
    """A page of HTML with status 200, as a captive portal or a wrong address gives."""
    WRONG_CONTENT_TYPE = "wrong_content_type"
    """A well-formed answer that calls itself `text/plain`."""
    GIANT_EVENT = "giant_event"
    """A second word that is larger than an event may be (T8). One document may be as large."""
    GIANT_TOTAL = "giant_total"
    """Words without end, more than a body may hold (T8)."""
    DUPLICATE_DELTAS = "duplicate_deltas"
    """Every word twice, which no wire lets a client tell from a model that repeats itself; or the document twice."""
    OUT_OF_ORDER = "out_of_order"
    """The first word ahead of what should open the answer, two others exchanged; or the halves of the document."""
    MISSING_USAGE = "missing_usage"
    """Usage is never told (T11: a quota passed by without usage)."""
    LATE_USAGE = "late_usage"
    """Usage is told after what ends the answer (T11). In one document there is no later: it is missing."""
    ERROR_INSIDE = "error_inside"
    """Status 200, two words, and then an error; or a document that is one."""

    REDIRECT = "redirect"
    """Status 307 to another host (T4: a redirect that carries the key away)."""
    RATE_LIMITED = "rate_limited"
    """Status 429 with `retry-after: 1`."""
    NO_MONEY = "no_money"
    """Status 429 (402 of Ollama) of an account that is out of money: waiting does not help."""
    UNAUTHORIZED = "unauthorized"
    """Status 401."""
    CONTEXT_OVERFLOW = "context_overflow"
    """Status 400 for a prompt that is too long."""
    SERVER_ERROR = "server_error"
    """Status 500."""
    UNAVAILABLE = "unavailable"
    """Status 503."""
    OVERLOADED = "overloaded"
    """Status 529."""
    GARBAGE_STATUS = "garbage_status"
    """A first line that is no HTTP."""


Behaviour: TypeAlias = Fault | Script | Sequence[FaultStep]
"""What the server does with one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a client should make of a fault.

    Attributes:
        error: The class that a provider raises; `None` where the answer is served.
        words: Some words come first. Once the caller has seen them, the error is a `StreamInterruptedError`, and the
            class above is that of its cause unless it is one itself.
    """

    error: type[ProviderError | RequestError] | None = None
    words: bool = False


SERVED = Outcome()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFault:
    """A fault's script, and what a client should make of it in both forms of an answer."""

    script: Script
    streamed: Outcome
    whole: Outcome

    def outcome(self, *, streamed: bool) -> Outcome:
        """What a client should make of it."""
        return self.streamed if streamed else self.whole


# --- Scripts that take arguments ----------------------------------------------------------------


def reset_at(offset: int) -> Script:
    """Break the connection after so many bytes of the response, head included; negative ones count from the end."""
    return lambda answer: (Send(answer.raw[:offset]), _SETTLE, Reset())


def stall_at(piece: int | None, *, pings: bool = False) -> Script:
    """Fall silent for ever before this piece of the body, counted from 0; `None`: before the headers.

    Args:
        piece: An event of a stream. In a document, 0 is before it, 1 before its first word, 2 before its second, ...
        pings: Send keep-alives instead of nothing; before the headers there are none.
    """

    def script(answer: Answer) -> Sequence[FaultStep]:
        if piece is None:
            return (Pause(),)
        return (*answer.until(piece), Repeat(answer.ping, gap=PING_EVERY) if pings else Pause())

    return script


def drip(gap: float = 0.0001) -> Script:
    """Send the whole response one byte at a time, with so many seconds after each."""
    return lambda answer: (Drip(answer.raw, gap),)


def refuse(reason: Reason, headers: Mapping[str, str] | None = None) -> Script:
    """Refuse as the vendor does, with more headers such as `{"retry-after-ms": "20"}`."""
    return lambda answer: answer.refuse_with(*refusal(answer.wire, reason), headers)


def storm(
    times: int, *, retry_after: float | None = None, retry_after_ms: float | None = None, then: Behaviour = Fault.NONE
) -> tuple[Behaviour, ...]:
    """Refuse so many requests with 429 and these hints, and then do something else: `server.say(*storm(3))`."""
    hints = {"retry-after": retry_after, "retry-after-ms": retry_after_ms}
    headers = {name: f"{value:g}" for name, value in hints.items() if value is not None}
    return (*(refuse("rate_limited", headers) for _ in range(times)), then)


# --- The named ones -----------------------------------------------------------------------------


def _after_words(answer: Answer, *steps: FaultStep) -> tuple[FaultStep, ...]:
    return (*answer.until(len(answer.opening) + 2), *steps)


def _whole(answer: Answer) -> Sequence[FaultStep]:
    return answer.respond()


def _truncated_chunks(answer: Answer) -> Sequence[FaultStep]:
    body = (*answer.opening, *answer.words[:2])
    return (answer.head(), *(Send(b"%x\r\n%s\r\n" % (len(piece), piece)) for piece in body), Close())


def _short_body(answer: Answer) -> Sequence[FaultStep]:
    body = b"".join((*answer.opening, *answer.words[:2]))
    return (answer.head(length=len(body) + 100), Send(body), Close())


def _clean_cut(answer: Answer) -> Sequence[FaultStep]:
    return answer.respond((*answer.opening, *answer.words[:2]))


def _second_word(answer: Answer, word: bytes) -> tuple[bytes, ...]:
    first, second, *others = answer.words
    return (*answer.opening, first, second.replace(WORDS[1].encode(), word), *others, *answer.ending)


@cache
def _bomb() -> bytes:
    """The gzip of `_BOMB` zeros. Every block of them packs to the same bytes, so that only one has to be packed."""
    zeros, times, check = bytes(_BLOCK), _BOMB // _BLOCK, 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(times):
        check = zlib.crc32(zeros, check)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + times * block + b"\x03\x00" + struct.pack("<II", check, _BOMB)


def _gzip_bomb(answer: Answer) -> Sequence[FaultStep]:
    return answer.respond([_bomb()], {"content-encoding": "gzip"})


def _giant_total(answer: Answer) -> Sequence[FaultStep]:
    block = b"x" * _BLOCK
    if answer.streamed:
        block = answer.words[1].replace(WORDS[1].encode(), block)
    times = MAX_TOTAL // _BLOCK + 1
    head = answer.head() if answer.streamed else answer.head(length=times * len(block) + (1 << 20))
    before = (*answer.opening, answer.words[0])
    return (head, *(Send(answer.framed(piece)) for piece in before), Repeat(answer.framed(block), times), Pause())


def _duplicate_deltas(answer: Answer) -> Sequence[FaultStep]:
    if not answer.streamed:
        return answer.respond(answer.pieces * 2)
    twice = (word for word in answer.words for _ in range(2))
    return answer.respond((*answer.opening, *twice, *answer.ending))


def _out_of_order(answer: Answer) -> Sequence[FaultStep]:
    if not answer.streamed:
        body = b"".join(answer.pieces)
        return answer.respond([body[len(body) // 2 :], body[: len(body) // 2]])
    first, second, third, *others = answer.words
    return answer.respond((first, *answer.opening, third, second, *others, *answer.ending))


def _error_inside(answer: Answer) -> Sequence[FaultStep]:
    if not answer.streamed:
        return answer.refuse_with(200, refusal(answer.wire, "server_error")[1])
    return answer.respond((*answer.opening, *answer.words[:2], failure_inside(answer.wire)))


def _redirect(answer: Answer) -> Sequence[FaultStep]:
    return answer.refuse(307, b"", {"location": f"{answer.elsewhere}/taken"})


def _slow_headers(answer: Answer) -> Sequence[FaultStep]:
    return (Send(b"HTTP/1.1 200 OK\r\nx-slow: "), Repeat(b"x", gap=PING_EVERY))


def _always(error: type[ProviderError | RequestError]) -> tuple[Outcome, Outcome]:
    return Outcome(error=error), Outcome(error=error)


def _after(error: type[ProviderError | RequestError]) -> tuple[Outcome, Outcome]:
    """In a stream after two words; of a document nothing is seen before its end."""
    return Outcome(error=error, words=True), Outcome(error=error)


_BOTH_SERVED = (SERVED, SERVED)
_SPOILED_DOCUMENT = (SERVED, Outcome(error=ProviderProtocolError))


def _named(script: Script, outcomes: tuple[Outcome, Outcome]) -> NamedFault:
    streamed, whole = outcomes
    return NamedFault(script=script, streamed=streamed, whole=whole)


FAULTS: Mapping[Fault, NamedFault] = {
    Fault.NONE: _named(_whole, _BOTH_SERVED),
    # A connection that the port's closing overtook is broken instead.
    Fault.REFUSED: _named(reset_at(0), _always(ProviderConnectionError)),
    Fault.RESET_BEFORE_HEADERS: _named(reset_at(0), _always(ProviderConnectionError)),
    Fault.RESET_IN_HEADERS: _named(reset_at(25), _always(ProviderConnectionError)),
    Fault.RESET_IN_BODY: _named(
        lambda answer: _after_words(answer, _SETTLE, Reset()),
        _after(TruncatedStreamError),
    ),
    Fault.STALL_BEFORE_HEADERS: _named(stall_at(None), _always(ProviderTimeoutError)),
    Fault.STALL_BEFORE_EVENTS: _named(stall_at(0), _always(ProviderTimeoutError)),
    Fault.STALL: _named(lambda answer: _after_words(answer, Pause()), _after(ProviderTimeoutError)),
    Fault.PINGS_BEFORE_EVENTS: _named(stall_at(0, pings=True), _always(ProviderTimeoutError)),
    Fault.PINGS: _named(
        lambda answer: _after_words(answer, Repeat(answer.ping, gap=PING_EVERY)),
        _after(ProviderTimeoutError),
    ),
    Fault.SLOW_HEADERS: _named(_slow_headers, _always(ProviderTimeoutError)),
    Fault.DRIP: _named(drip(), _BOTH_SERVED),
    Fault.TRUNCATED_CHUNKS: _named(_truncated_chunks, _after(TruncatedStreamError)),
    Fault.SHORT_BODY: _named(_short_body, _after(TruncatedStreamError)),
    Fault.CLEAN_CUT: _named(_clean_cut, _after(TruncatedStreamError)),
    Fault.INVALID_UTF8: _named(
        lambda answer: answer.respond(_second_word(answer, b"Ta\xff\xfejo, ")),
        _after(ProviderProtocolError),
    ),
    Fault.GZIP_BOMB: _named(_gzip_bomb, _always(ProviderProtocolError)),
    Fault.HTML_502: _named(
        lambda answer: answer.refuse(502, _PAGE, {"content-type": "text/html"}),
        _always(ProviderServerError),
    ),
    Fault.HTML_200: _named(
        lambda answer: answer.respond([_PAGE], {"content-type": "text/html"}),
        _always(ProviderProtocolError),
    ),
    Fault.WRONG_CONTENT_TYPE: _named(
        lambda answer: answer.respond(headers={"content-type": "text/plain"}),
        _BOTH_SERVED,
    ),
    Fault.GIANT_EVENT: _named(
        lambda answer: answer.respond(_second_word(answer, b"x" * (_LARGEST.get(answer.wire, MAX_EVENT) + 1))),
        (Outcome(error=ProviderProtocolError, words=True), SERVED),
    ),
    Fault.GIANT_TOTAL: _named(_giant_total, _after(ProviderProtocolError)),
    Fault.DUPLICATE_DELTAS: _named(_duplicate_deltas, _SPOILED_DOCUMENT),
    Fault.OUT_OF_ORDER: _named(_out_of_order, _SPOILED_DOCUMENT),
    Fault.MISSING_USAGE: _named(lambda answer: answer.counted("missing").respond(), _BOTH_SERVED),
    Fault.LATE_USAGE: _named(lambda answer: answer.counted("late").respond(), _BOTH_SERVED),
    Fault.ERROR_INSIDE: _named(_error_inside, _after(ProviderServerError)),
    Fault.REDIRECT: _named(_redirect, _always(ProviderProtocolError)),
    Fault.RATE_LIMITED: _named(refuse("rate_limited", {"retry-after": "1"}), _always(RateLimitedError)),
    Fault.NO_MONEY: _named(refuse("no_money"), _always(ProviderQuotaError)),
    Fault.UNAUTHORIZED: _named(refuse("unauthorized"), _always(ProviderAuthError)),
    Fault.CONTEXT_OVERFLOW: _named(refuse("context_overflow"), _always(ContextLengthError)),
    Fault.SERVER_ERROR: _named(refuse("server_error"), _always(ProviderServerError)),
    Fault.UNAVAILABLE: _named(refuse("unavailable"), _always(OverloadedError)),
    Fault.OVERLOADED: _named(refuse("overloaded"), _always(OverloadedError)),
    Fault.GARBAGE_STATUS: _named(
        lambda _: (Send(b"I am no web server\r\n\r\n"), Close()), _always(ProviderConnectionError)
    ),
}
"""Every fault, with what it does and what a client should make of it."""


def script_of(behaviour: Behaviour) -> Script:
    """The script that a behaviour stands for."""
    if isinstance(behaviour, Fault):
        return FAULTS[behaviour].script
    if callable(behaviour):
        return behaviour
    return lambda _: behaviour
