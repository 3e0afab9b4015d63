"""Reading a provider's answer as the client would, and holding what comes to the rules of `planar.events`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import anyio
import anyio.lowlevel

from planar.events import (
    DELTAS,
    Event,
    Finish,
    Notice,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.protocols import Call, Provider
from planar.types import ChatRequest, FinishReason, ResponseInfo, Timeouts, Usage

PATIENCE = 10.0
"""Seconds that something may take which has no reason to take any."""


class LoopClock:
    """The real time, on the running loop's scale."""

    def monotonic(self) -> float:
        """Seconds on the loop's clock."""
        return anyio.current_time()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def new_call(*, timeouts: Timeouts | None = None, deadline: float | None = None) -> Call:
    """A first attempt, with nothing known of its response."""
    return Call(
        clock=LoopClock(),
        timeouts=timeouts or Timeouts(connect=10, first_token=60, stall=60),
        response=ResponseInfo(),
        deadline=deadline,
    )


@dataclass(slots=True)
class Answer:
    """What came, batch by batch."""

    call: Call
    batches: list[Sequence[Event]] = field(default_factory=list[Sequence[Event]])

    @property
    def events(self) -> list[Event]:
        """All events, in order."""
        return [event for batch in self.batches for event in batch]

    @property
    def text(self) -> str:
        """The pieces of text, joined."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def usage(self) -> Usage | None:
        """The counts, if they were told."""
        return next((event.usage for event in self.events if isinstance(event, UsageReported)), None)

    @property
    def has_content(self) -> bool:
        """Whether the model has said anything."""
        return any(isinstance(event, DELTAS) for event in self.events)


async def read_answer(provider: Provider, question: ChatRequest, *, model: str, call: Call | None = None) -> Answer:
    """Read an answer to its end and check the order of what it says."""
    answer = Answer(call or new_call())
    await read_into(answer, provider, question, model=model)
    check_answer(answer)
    return answer


async def read_into(answer: Answer, provider: Provider, question: ChatRequest, *, model: str) -> None:
    """Read an answer to its end, whatever comes."""
    async with provider.stream(question, model=model, call=answer.call) as batches:
        async for batch in batches:
            answer.batches.append(batch)


def check_answer(answer: Answer) -> None:
    """Hold a whole answer to the rules.

    Raises:
        AssertionError: It breaks one of them.
    """
    for batch in answer.batches:
        loose: object = batch
        assert isinstance(loose, Sequence), f"a batch is a sequence of events, not {type(loose).__name__}"
        assert not isinstance(loose, str | bytes), "a batch is a sequence of events, not text"
    events = answer.events
    for event in events:
        allowed = isinstance(event, (*DELTAS, Notice, UsageReported, Finish))
        assert allowed, f"{type(event).__name__} is the client's to say, not a provider's"
    _check_end(events)
    _check_texts(events)
    check_tool_calls(events)


def _check_end(events: Sequence[Event]) -> None:
    assert events, "the answer ended without a Finish"
    finishes = [event for event in events if isinstance(event, Finish)]
    assert len(finishes) == 1, f"an answer has exactly one Finish, not {len(finishes)}"
    assert isinstance(events[-1], Finish), f"Finish comes last, but {type(events[-1]).__name__} followed it"
    assert finishes[0].reason in get_args(FinishReason), f"{finishes[0].reason!r} is no FinishReason"
    reports = [event.usage for event in events if isinstance(event, UsageReported)]
    assert len(reports) <= 1, f"usage is told at most once, not {len(reports)} times"
    for usage in reports:
        _check_parts(usage)


def _check_parts(usage: Usage) -> None:
    parts: tuple[tuple[Any, Any], ...] = (
        (usage.cached_input_tokens, usage.input_tokens),
        (usage.cache_write_tokens, usage.input_tokens),
        (usage.reasoning_tokens, usage.output_tokens),
        (0, usage.input_tokens),
        (0, usage.output_tokens),
    )
    for part, total in parts:
        assert part is None or part >= 0, f"a count is negative: {usage}"
        assert part is None or total is None or part <= total, f"a sub-count is more than its total: {usage}"


def _check_texts(events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, TextDelta):
            says = event.text or event.logprobs or event.signature
            assert says, "a TextDelta is never empty: a batch without events is a keep-alive"


def check_tool_calls(events: Iterable[Event]) -> None:
    """Each call starts, gets its arguments piece by piece, and ends with all of them, before the answer does.

    Raises:
        AssertionError: One does not.
    """
    started: dict[int, ToolCallStart] = {}
    pieces: dict[int, str] = {}
    for event in events:
        match event:
            case ToolCallStart():
                assert event.index not in started, f"tool call {event.index} starts twice"
                started[event.index], pieces[event.index] = event, ""
            case ToolCallDelta():
                assert event.index in pieces, f"arguments of tool call {event.index}, which is not open"
                pieces[event.index] += event.arguments
            case ToolCallEnd():
                assert event.index in pieces, f"tool call {event.index} ends and is not open"
                start, told = started[event.index], pieces.pop(event.index)
                assert (start.id, start.name) == (event.id, event.name), "a tool call ends as another than it began"
                assert told == event.arguments, "a tool call's arguments are not the pieces that were told"
            case Finish():
                assert not pieces, f"the answer ends and tool calls {sorted(pieces)} do not"
                asked = event.reason != "tool_calls" or bool(started)
                assert asked, "the reason is tool_calls, and no tool was called"
            case _:
                pass


@contextmanager
def in_time() -> Generator[None]:
    """The block has no reason to take long.

    Raises:
        AssertionError: It took more than `PATIENCE`.
    """
    with anyio.move_on_after(PATIENCE) as scope:
        yield
    assert not scope.cancelled_caught, f"it took more than {PATIENCE:g} s"


async def failure_of(
    provider: Provider, question: ChatRequest, model: str, timeouts: Timeouts | None = None
) -> BaseException:
    """The error that ends an answer, whatever it is.

    Raises:
        AssertionError: None did.
    """
    with in_time():
        try:
            await read_answer(provider, question, model=model, call=new_call(timeouts=timeouts))
        except Exception as error:  # noqa: BLE001 - which one it is, the test looks at
            return error
    raise AssertionError("nothing failed")


async def read_until_content(batches: AsyncIterator[Sequence[Event]], answer: Answer) -> None:
    """Read until the model has said something."""
    while not answer.has_content:
        answer.batches.append(await anext(batches))


async def read_on(batches: AsyncIterator[Sequence[Event]]) -> None:
    """Read until somebody cancels.

    Raises:
        AssertionError: Nobody did.
    """
    async for _ in batches:
        pass
    raise AssertionError("the slow answer came to its end before it was cancelled")


async def soon(act: Callable[[], object]) -> None:
    """Let the others come to their next wait first."""
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    act()


async def until(true: Callable[[], bool], otherwise: str) -> None:
    """Wait for what should be so at once, or as soon as a peer has noticed.

    Raises:
        AssertionError: It does not come to be.
    """
    with anyio.move_on_after(PATIENCE):
        while not true():  # noqa: ASYNC110 - what is waited for may be another process
            await anyio.sleep(0.001)
    assert true(), otherwise


@contextmanager
def no_scope_is_left_open() -> Generator[None]:
    """Both loops refuse scopes that are not left in the order in which they were entered, or by another task.

    Raises:
        AssertionError: The block made one of them say so.
    """
    try:
        yield
    except (RuntimeError, BaseExceptionGroup) as error:
        grouped: BaseException = error
        if isinstance(grouped, BaseExceptionGroup) and grouped.split(RuntimeError)[0] is None:
            raise
        raise AssertionError("a cancel scope or task group was open between two batches") from error
