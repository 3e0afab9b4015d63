"""Two deployments, one answer: whoever begins first is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from planar.client._attempt import OpenAttempt
from planar.client._booking import first_hold
from planar.client._core import Core
from planar.client._itinerary import Itinerary, Stop
from planar.errors import NoPlaceError, PlanarError, TenantError
from planar.events import Event

_Hold = Callable[[Stop], Awaitable[OpenAttempt]]
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


class Hedge:
    """What one call that may be hedged does about it, within the budgets of hedging.

    Args:
        hold: Gives an attempt whose hold stands, without waiting for a place.
        tier: The service tier that is asked for.

    Attributes:
        doubled: What hedging costs is what this attempt costs: the second, or whoever lost; `None` while there is none.
    """

    __slots__ = ("_bound", "_core", "_hold", "_itinerary", "_tier", "doubled")

    def __init__(self, core: Core, itinerary: Itinerary, hold: _Hold, *, tier: str | None) -> None:
        self._core = core
        self._itinerary = itinerary
        self._hold = hold
        self._tier = tier
        self._bound = 0
        self.doubled: OpenAttempt | None = None

    def patience(self, attempt: OpenAttempt) -> float | None:
        """How long the first deployment may be silent before a second is asked; `None`: nobody else will be."""
        if attempt.number > 1:
            return None
        core = self._core
        core.hedges.called()
        if attempt.withheld is not None or not self._itinerary.has_more:
            return None  # what is checked first need not begin sooner
        return core.health.hedge_delay(attempt.deployment.name, core.hedging, core.steady(attempt.loop))

    async def second(self, first: OpenAttempt) -> OpenAttempt | None:
        """The other deployment of a race, held, if there is one that the budgets allow."""
        core, itinerary = self._core, self._itinerary
        stop = itinerary.beside(first.stop, core.steady(first.loop))
        bound = None if stop is None else first_hold(stop.candidate, self._tier)
        if stop is None:
            return None
        if bound is None or not core.hedges.take(cost_bound=bound):
            itinerary.spare(stop)
            return None
        other: OpenAttempt | None = None
        try:
            self.doubled = other = await self._hold(stop)
        except (TenantError, NoPlaceError):
            itinerary.spare(stop)
            return None  # no money for two, or no place: the first goes on alone
        finally:
            if other is None:
                core.hedges.settle(cost_bound=bound, cost=0)
        self._bound = bound
        return other

    def settle(self) -> None:
        """The attempt that was doubled has ended."""
        if self.doubled is not None:
            self._core.hedges.settle(cost_bound=self._bound, cost=self.doubled.cost)
