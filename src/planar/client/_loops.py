"""The two event loops, as far as the client must tell them apart: their clock, and work handed to them from outside."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from planar.transport._loops import on_trio

if TYPE_CHECKING:
    import asyncio

    import trio


class Loop(Protocol):
    """A running event loop. It is a `Clock` on the scale of `anyio.current_time()`."""

    def monotonic(self) -> float:
        """Seconds on the loop's clock."""
        ...

    def steady(self) -> float:
        """Seconds on a clock that all loops of this process share, but for those on virtual time."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def runs_here(self) -> bool:
        """Whether this is the loop that runs this code."""
        ...

    def spawn(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work` on the loop, from any thread or finaliser. False if the loop is gone."""
        ...

    def call(self, step: Callable[[], object]) -> bool:
        """Call `step` on the loop soon, from any thread or finaliser. False if the loop is gone."""
        ...


def current_loop() -> Loop:
    """The loop that runs this code.

    Raises:
        RuntimeError: None does.
    """
    return _TrioLoop() if on_trio() else _AsyncioLoop()


class _AsyncioLoop:
    time = staticmethod(time.time)

    def __init__(self) -> None:
        import asyncio

        self._loop = loop = asyncio.get_running_loop()
        # The clock of `anyio.current_time()`, virtual ones included. Most loops only pass on what the system says, and
        # a call reads it a dozen times: then the system is asked itself.
        passed_on = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        self.monotonic: Callable[[], float] = time.monotonic if passed_on else loop.time
        self.steady = self.monotonic

    def runs_here(self) -> bool:
        import asyncio

        return not on_trio() and asyncio.get_running_loop() is self._loop

    def spawn(self, work: Callable[[], Awaitable[None]]) -> bool:
        def start() -> None:
            run = _logged(work)
            task = self._loop.create_task(run)
            # The loop keeps only a weak reference to its tasks.
            _BACKGROUND.add(task)
            task.add_done_callback(_BACKGROUND.discard)

        return self.call(start)

    def call(self, step: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:
            return False
        return True


_BACKGROUND: set[asyncio.Task[None]] = set()


class _TrioLoop:
    __slots__ = ("_token", "_virtual")

    time = staticmethod(time.time)

    def __init__(self) -> None:
        import trio

        self._token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        # The real clock of each run of trio begins somewhere else; one that can jump is a test's.
        self._virtual = hasattr(trio.lowlevel.current_clock(), "jump")

    def monotonic(self) -> float:
        return anyio.current_time()

    def steady(self) -> float:
        return anyio.current_time() if self._virtual else time.monotonic()

    def runs_here(self) -> bool:
        import trio

        return on_trio() and trio.lowlevel.current_trio_token() is self._token

    def spawn(self, work: Callable[[], Awaitable[None]]) -> bool:
        import trio

        def start() -> None:
            trio.lowlevel.spawn_system_task(_logged, work)

        return self.call(start)

    def call(self, step: Callable[[], object]) -> bool:
        import trio

        try:
            self._token.run_sync_soon(step)
        except trio.RunFinishedError:
            return False
        return True


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    """Nobody waits for this work: what goes wrong in it is told in the log."""
    try:
        await work()
    except Exception:
        logging.getLogger("planar.client").exception("a call that its caller had left could not be ended in order")


def steady_now() -> float:
    """Now on the steady clock, within an event loop or outside."""
    try:
        return current_loop().steady()
    except RuntimeError:
        return time.monotonic()


async def shielded(work: Callable[[], Awaitable[Any]], *, seconds: float) -> bool:
    """Do `work` to its end although the caller is being cancelled. False if `seconds` were not enough."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds) as scope:
        await work()
    return not scope.cancelled_caught
