"""The answer, as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from planar.client._core import Core
from planar.client._order import Order
from planar.client._output import parse_output
from planar.client._run import Run
from planar.errors import ClosedError
from planar.events import Event, TextDelta
from planar.types import Completion


class Stream:
    """The answer, as it arrives. Nothing happens before it is read, entered or awaited.

    Read it as text, `async for token in stream`, or as events, `async for event in stream.events()`; both take
    from the same stream. The form that is sure to stop the spending at once is

        async with client.stream("...") as stream:
            async for token in stream:
                ...

    because leaving the block closes the upstream request. A loop that breaks without the block is closed too,
    when Python lets go of the stream. One task reads a stream.

    Raises:
        PlanarError: While reading, after everything that had arrived was delivered.
    """

    __slots__ = ("_batch", "_order", "_position", "_run")

    def __init__(self, core: Core, order: Order) -> None:
        self._run = Run(core, order)
        self._order = order
        self._batch: Sequence[Event] = ()
        self._position = 0

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while True:
            batch, position = self._batch, self._position
            if position >= len(batch):
                # As in `_next`, written twice: a coroutine less under every token of every open stream.
                if self._run.ended:
                    raise StopAsyncIteration
                self._batch = await self._run.advance()
                self._position = 0
                continue
            event = batch[position]
            self._position = position + 1
            if type(event) is TextDelta and event.text:
                return event.text

    def events(self) -> AsyncIterator[Event]:
        """All that the stream says, as the closed union `planar.Event`."""
        return _Events(self)

    async def _next(self) -> Event:
        while self._position >= len(self._batch):
            if self._run.ended:
                raise StopAsyncIteration
            self._batch = await self._run.advance()
            self._position = 0
        event = self._batch[self._position]
        self._position += 1
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._run.close()

    async def aclose(self) -> None:
        """Stop the provider and settle what was used. Idempotent; cancelling the caller does not interrupt it."""
        await self._run.close()

    async def completion(self) -> Completion:
        """The folded answer. Runs a stream that is still open to its end.

        After an early leave it is what had arrived, with `finish_reason` "cancelled".

        Raises:
            PlanarError: The one with which the stream failed, again.
            OutputInvalidError: The answer is whole and does not have the shape that `output=` asked for.
        """
        while not self._run.ended:
            await self._run.advance()
        self._position = len(self._batch)
        if self._run.error is not None:
            raise self._run.error
        if self._run.attempt is None:
            raise ClosedError("this stream was closed before anybody was asked, so there is nothing to fold")
        completion = self._run.answer()
        shape = self._order.request.output
        if shape is None or completion.finish_reason not in ("stop", "length"):
            return completion
        return replace(completion, output=parse_output(completion.text, shape))

    def __del__(self) -> None:
        if not self._run.ended:
            self._run.abandon()


class _Events:
    """The events of a stream. Holds the stream, so that it is closed when the last of both is gone."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await self._stream._next()
