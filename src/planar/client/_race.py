"""Two deployments, one answer: whoever begins first is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from planar.client._attempt import OpenAttempt
from planar.errors import PlanarError
from planar.events import Event

_Second = Callable[[], Awaitable[OpenAttempt | None]]


class Race:
    """The first attempt, and after `delay` seconds a second beside it, until one of them gives a delta.

    Everything happens within `run`: nothing runs on after it.

    Args:
        first: Held, and not asked yet.
        second: Chooses and holds the other; `None` if there is none, or no budget for it.
        deadline: What the attempts are told of the call's end.

    Attributes:
        winner: Who gave something first; `None` if both failed.
        batch: What it gave.
        failures: Who failed, in order, with what.
        runners: Everybody who was asked.
    """

    def __init__(self, first: OpenAttempt, second: _Second, *, delay: float, deadline: float | None) -> None:
        self._second = second
        self._delay = delay
        self._deadline = deadline
        self._running = 0
        self.runners = [first]
        self.winner: OpenAttempt | None = None
        self.batch: list[Event] = []
        self.failures: list[tuple[OpenAttempt, PlanarError]] = []

    async def run(self) -> None:
        """Let them run. Afterwards the runners that did not win are still to be ended."""
        async with anyio.create_task_group() as tasks:
            self._running = 1
            tasks.start_soon(self._ask, self.runners[0], tasks)
            tasks.start_soon(self._hedge, tasks)

    async def _hedge(self, tasks: TaskGroup) -> None:
        await anyio.sleep(self._delay)
        other = await self._second()
        if other is None:
            return
        self.runners.append(other)
        self._running += 1
        tasks.start_soon(self._ask, other, tasks)

    async def _ask(self, attempt: OpenAttempt, tasks: TaskGroup) -> None:
        heard: list[Event] = []
        try:
            await attempt.open(self._deadline)
            while not attempt.spoke and attempt.fold.finish is None:
                heard.extend(await attempt.read())
        except PlanarError as error:
            self.failures.append((attempt, error))
            self._running -= 1
            if self._running == 0:
                tasks.cancel_scope.cancel()  # a second that was only planned: falling back is the call's own affair
            return
        if self.winner is None:
            self.winner, self.batch = attempt, heard
        tasks.cancel_scope.cancel()
