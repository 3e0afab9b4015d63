"""Waiting for one another across event loops and threads, and work that goes on beside the calls."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import anyio

from planar.transport._loops import on_trio

if TYPE_CHECKING:
    import asyncio

_BACKGROUND: set[asyncio.Task[None]] = set()


def running_loop() -> Any:
    """What stands for the event loop that runs this code."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


class Gate:
    """Tasks of any loop wait until it opens. Entering and opening are done under one lock, the caller's."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, anyio.Event]] = deque()

    def enter(self) -> anyio.Event:
        """Queue up: the event is set when the gate opens."""
        event = anyio.Event()
        self._waiting.append((running_loop(), event))
        return event

    def leave(self, event: anyio.Event) -> None:
        """Wait no more. If the gate had been opened for this one, it opens for the next instead."""
        if event.is_set():
            self.open(1)
        else:
            self._waiting = deque(each for each in self._waiting if each[1] is not event)

    def open(self, count: int | None = None) -> None:
        """Let so many through, first come first; by default everybody."""
        if not self._waiting:
            return
        here = running_loop()
        left = len(self._waiting) if count is None else count
        while left and self._waiting:
            loop, event = self._waiting.popleft()
            if loop is here:
                event.set()
                left -= 1
            else:
                left -= _soon(loop, event.set)


def _soon(loop: Any, call: Callable[[], object]) -> bool:
    try:
        if hasattr(loop, "call_soon_threadsafe"):
            loop.call_soon_threadsafe(call)
        else:
            loop.run_sync_soon(call)
    except RuntimeError:
        return False  # the loop is over, and whoever waited there with it (trio's RunFinishedError is one, too)
    return True


def spawn(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` on this loop beside everything else. It is cancelled when the loop ends."""
    if on_trio():
        import trio

        trio.lowlevel.spawn_system_task(_logged, work)
        return
    import asyncio

    # In a context of its own: what the call that started it had in its own is not this work's.
    task = asyncio.get_running_loop().create_task(_logged(work), context=Context())
    _BACKGROUND.add(task)  # the loop keeps only a weak reference to its tasks
    task.add_done_callback(_BACKGROUND.discard)


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    """Nobody waits for this work: what goes wrong in it is told in the log."""
    try:
        await work()
    except Exception:
        logging.getLogger("planar.quotas").exception("slabs are no longer looked after on this event loop")
