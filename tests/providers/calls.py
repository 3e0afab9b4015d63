"""A call as the client would make it, on the real clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio

from planar.events import Event, Finish, ReasoningDelta, TextDelta, ToolCallEnd, UsageReported
from planar.protocols import Call
from planar.types import ChatRequest, ResponseInfo, Timeouts, Usage


class RealClock:
    def monotonic(self) -> float:
        return anyio.current_time()

    def time(self) -> float:
        return time.time()


def a_call(*, timeouts: Timeouts | None = None, clock: Any = None, **options: Any) -> Call:
    return Call(clock=clock or RealClock(), timeouts=timeouts or Timeouts(), response=ResponseInfo(), **options)


async def events_of(provider: Any, request: ChatRequest, *, model: str = "m", call: Call | None = None) -> list[Event]:
    async with provider.stream(request, model=model, call=call or a_call()) as batches:
        return [event async for batch in batches for event in batch]


def text_in(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thought_in(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def calls_in(events: Sequence[Event]) -> list[ToolCallEnd]:
    return [event for event in events if isinstance(event, ToolCallEnd)]


def usage_in(events: Sequence[Event]) -> Usage:
    (reported,) = [event for event in events if isinstance(event, UsageReported)]
    return reported.usage


def finish_of(events: Sequence[Event]) -> Finish:
    last = events[-1]
    assert isinstance(last, Finish)
    return last
