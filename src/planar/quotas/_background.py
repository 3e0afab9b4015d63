"""Work beside everything else on an event loop, of which there is one at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Event

import anyio

from planar.transport._loops import on_trio

_logger = logging.getLogger("planar.quotas")


class Background:
    """Runs one piece of work on the loop that starts it, until it ends, the loop does, or it is stopped."""

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._runs: Callable[[], bool] = _never

    @property
    def running(self) -> bool:
        """It was started, has not ended, and neither has its loop."""
        return self._runs()

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Start it, unless it runs already."""
        if self._runs():
            return
        if on_trio():
            self._start_on_trio(work)
        else:
            self._start_on_asyncio(work)

    def stop(self) -> None:
        """Have it cancelled, from whatever thread. Its loop may be gone already."""
        stop, self._stop = self._stop, None
        if stop is not None:
            with suppress(RuntimeError):  # what both loops raise when they have ended
                stop()

    def _start_on_asyncio(self, work: Callable[[], Awaitable[None]]) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        task = loop.create_task(_logged(work))  # kept alive by the functions below: the loop itself would not

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._stop = stop
        self._runs = lambda: loop.is_running() and not task.done()

    def _start_on_trio(self, work: Callable[[], Awaitable[None]]) -> None:
        import trio

        token, scope, ended = trio.lowlevel.current_trio_token(), anyio.CancelScope(), Event()

        async def run() -> None:
            try:
                with scope:
                    await _logged(work)
            finally:
                ended.set()

        trio.lowlevel.spawn_system_task(run)
        self._stop = lambda: token.run_sync_soon(scope.cancel)
        self._runs = lambda: not ended.is_set()


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:
        _logger.exception("what waits for the quota store could not be written; the next failure tries again")


def _never() -> bool:
    return False
