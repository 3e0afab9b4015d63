"""Work beside everything else on an event loop, of which there is one at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from planar.transport._loops import on_trio

if TYPE_CHECKING:
    import asyncio

_logger = logging.getLogger("planar.quotas")


class Background:
    """Runs one piece of work on the loop that starts it, until it ends, the loop does, or it is stopped."""

    def __init__(self) -> None:
        self._running = False
        self._stop: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None  # the loop itself keeps only a weak reference

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Start it, unless it runs already."""
        if self._running:
            return
        self._running = True
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
        task = self._task = loop.create_task(self._run(work))

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._stop = stop

    def _start_on_trio(self, work: Callable[[], Awaitable[None]]) -> None:
        import trio

        token, scope = trio.lowlevel.current_trio_token(), anyio.CancelScope()

        async def run() -> None:
            with scope:
                await self._run(work)

        trio.lowlevel.spawn_system_task(run)
        self._stop = lambda: token.run_sync_soon(scope.cancel)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            _logger.exception("what waits for the quota store could not be written; the next failure tries again")
        finally:
            self._running = False
