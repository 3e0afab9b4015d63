"""Bounds how long one read may take, without a cancel scope that outlives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from planar.transport._loops import on_trio

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Silence(Protocol):
    """Waits for one step at a time."""

    async def wait(self, step: Callable[[], Awaitable[T]], seconds: float) -> T:
        """The step's result.

        Raises:
            TimeoutError: It took longer than `seconds`. The step was cancelled.
        """
        ...

    def stop(self) -> None:
        """No step will follow."""
        ...


def make_silence() -> Silence:
    """The one for the event loop that runs this code."""
    return _AnyioSilence() if on_trio() else _AsyncioSilence()


class _AnyioSilence:
    __slots__ = ()

    async def wait(self, step: Callable[[], Awaitable[T]], seconds: float) -> T:
        with anyio.fail_after(seconds):
            return await step()

    def stop(self) -> None:
        """Nothing is kept between two steps."""


class _AsyncioSilence:
    """One timer for a whole stream, armed again only when it goes off: one per read would cost more than the read.

    Between two reads the timer may still be armed; it finds no task then and does nothing.
    """

    __slots__ = ("_armed", "_cancelled", "_current_task", "_deadline", "_fired", "_loop", "_task", "_timer")

    def __init__(self) -> None:
        import asyncio

        # Looked up once: `wait` runs for every read of every stream.
        self._current_task = asyncio.current_task
        self._cancelled = asyncio.CancelledError
        self._loop = asyncio.get_running_loop()
        self._armed = inf
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._deadline = 0.0
        self._fired = False

    async def wait(self, step: Callable[[], Awaitable[T]], seconds: float) -> T:
        task = self._current_task(self._loop)
        if task is None:
            return await step()
        self._deadline = deadline = self._loop.time() + seconds
        if deadline < self._armed:
            self._arm()
        cancelling = task.cancelling()
        self._task = task
        try:
            return await step()
        except self._cancelled:
            if self._fired and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._task = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        self._timer = None
        self._armed = inf
        if self._task is None:
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self._fired = True
            self._task.cancel()

    def stop(self) -> None:
        """Disarm the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed = inf
