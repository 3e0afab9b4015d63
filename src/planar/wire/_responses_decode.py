"""The two forms of a Responses answer: a stream of named events, and one JSON document."""

from __future__ import annotations

from planar.types import ResponseInfo
from planar.wire._base import MAX_EVENT
from planar.wire._framing import StreamFraming, WholeFraming
from planar.wire._responses_answer import ResponsesAnswer

MAX_RESPONSE_EVENT = 8 * MAX_EVENT
"""Largest event, in bytes: the terminal one repeats the whole answer, encrypted reasoning and pictures included."""


class ChatDecoder(StreamFraming):
    """Turns the streamed answer of `/responses`, cut anywhere, into events. Does no I/O.

    What an event is called by its `event:` line is not looked at: its own `type` says it. The answer has ended with
    the first of `response.completed`, `response.incomplete`, `response.failed`, `error` and `[DONE]`; without any,
    `close()` raises.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        super().__init__(ResponsesAnswer(response, provider), response, provider, max_event=MAX_RESPONSE_EVENT)


class WholeDecoder(WholeFraming):
    """Turns the whole answer of `/responses` into the events that its streamed form would have given.

    Args:
        response: Filled when the answer is whole.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        super().__init__(ResponsesAnswer(response, provider), response, provider)
