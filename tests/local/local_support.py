"""How the tests of this room ask the real model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from planar.events import Event, Finish, TextDelta, UsageReported
from planar.protocols import Call
from planar.providers.local.llamacpp import LlamaCpp
from planar.types import ChatRequest, Message, ResponseInfo, Timeouts, Usage


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


@dataclass
class Answer:
    events: list[Event]
    call: Call

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def finish(self) -> Finish:
        assert isinstance(self.events[-1], Finish)
        return self.events[-1]

    @property
    def usage(self) -> Usage:
        [reported] = [event.usage for event in self.events if isinstance(event, UsageReported)]
        return reported


def new_call(*, tenant: str = "default", timeouts: Timeouts | None = None, strict: bool = False) -> Call:
    return Call(
        clock=SystemClock(), timeouts=timeouts or Timeouts(), response=ResponseInfo(), tenant=tenant, strict=strict
    )


def question(text: str = "Three rivers in Spain?", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message("user", text),), **fields)


def by_grammar(grammar: str, text: str = "Go on.", *, name: str = "local", **fields: Any) -> ChatRequest:
    extra: Mapping[str, Mapping[str, Any]] = {name: {"grammar": grammar}}
    return question(text, extra_body=extra, **fields)


async def ask(provider: LlamaCpp, request: ChatRequest, *, call: Call | None = None) -> Answer:
    call = call or new_call()
    events: list[Event] = []
    async with provider.stream(request, model="default", call=call) as batches:
        async for batch in batches:
            events += batch
    return Answer(events, call)


async def until(true: Callable[[], bool]) -> None:
    """Let everybody else run until something holds."""
    with anyio.fail_after(60):
        while not true():
            await anyio.sleep(0.001)


def texts(batches: Sequence[Event]) -> str:
    return "".join(event.text for event in batches if isinstance(event, TextDelta))
