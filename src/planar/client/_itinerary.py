"""Whom a call asks next, after how long a pause, and when there is nobody left to ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from planar.client._core import Core
from planar.client._deployments import Deployment
from planar.client._ends import another_may_serve
from planar.errors import (
    AnswerRejectedError,
    NoPlaceError,
    PlanarError,
    ProviderConnectionError,
    ProviderError,
    QuotaExceededError,
    UnknownPriceError,
)
from planar.routing import backoff, quality_of
from planar.types import NANO, Candidate, Route, RouteRequest


@dataclass(slots=True, eq=False)
class Stop:
    """The next deployment to ask, `pause` seconds from now. Nothing changes it; freezing it would take longer."""

    deployment: Deployment
    candidate: Candidate
    pause: float = 0.0

    def again(self, pause: float = 0.0) -> Stop:
        """The same deployment once more."""
        return Stop(self.deployment, self.candidate, pause)


Able: TypeAlias = Callable[[Stop], bool]
"""Whether one may be asked at all."""


@dataclass(slots=True)
class _Failed:
    stop: Stop
    error: PlanarError
    at: float
    times: int


class Itinerary:
    """The deployments of a route in the order in which one call asks them. Decides; does nothing.

    First each one once, in the route's order and without a pause: another upstream need not be waited for. Then, those
    whose failure may pass, again: after a pause with jitter, at the earliest when the vendor said, within the retry
    budget of the deployment. All of it within the attempts that a call has, its deadline and its cost ceiling:
    the least of the call's own and those of the policies that hold for its tenant.

    One exception: a connection that broke before any answer is made anew at once, since most often it was a kept one
    that the server had closed.
    """

    __slots__ = ("_asked", "_ceiling", "_core", "_failed", "_left", "_spent")

    def __init__(self, core: Core, route: Route, deployments: Mapping[str, Deployment]) -> None:
        self._core = core
        self._ceiling = _ceiling(route.request)
        self._left = [Stop(deployments[chosen.deployment], chosen) for chosen in route.order]
        self._failed: dict[str, _Failed] = {}
        self._asked = 0
        self._spent: int | None = 0

    @property
    def has_more(self) -> bool:
        """Somebody was not asked yet, and the call has attempts left."""
        return bool(self._left) and self._asked < self._core.retry.attempts

    def can_escalate(self, stop: Stop, cost: int | None = 0) -> bool:
        """Somebody who may be better was not asked yet, and may be asked after an attempt there at this cost."""
        if not self.has_more:
            return False
        spent = None if cost is None or self._spent is None else self._spent + cost
        return any(self._fits(one, spent) and _may_be_better(one, stop) for one in self._left)

    def first(self, now: float) -> Stop | None:
        """Whom to ask first; `None` if the call's cost ceiling leaves nobody."""
        return self._counted(self._take(now, None))

    def beside(self, running: Stop, now: float) -> Stop | None:
        """Whom to ask while another is still being waited for: one that the cost ceiling has room for beside that."""
        if not self.has_more:
            return None
        most = running.candidate.cost_bound
        spent = None if most is None or self._spent is None else self._spent + most
        return self._counted(self._take(now, lambda stop: self._fits(stop, spent)))

    def spare(self, stop: Stop) -> None:
        """The one `beside` was not asked after all: it is still there to fall back to."""
        self._left.insert(0, stop)
        self._asked -= 1

    def instead(
        self,
        refused: Stop,
        error: QuotaExceededError | UnknownPriceError | NoPlaceError,
        now: float,
        *,
        left: float | None,
        able: Able | None = None,
    ) -> Stop | None:
        """Whom to ask in place of one that nobody could ask; it costs the call no attempt.

        Where the tenant's money does not reach, or nobody knows whether it does: one that was not asked yet, for it may
        cost less. Other limits are the same whoever answers, and refuse the call. Where there was no place: the same,
        or again one that failed. The one without a place is not come back to: its queue is where to wait for it.
        """
        if isinstance(error, NoPlaceError):
            self._failed.pop(refused.deployment.name, None)
            return self._take(now, able) or self._again(now, left, able)
        of_money = isinstance(error, UnknownPriceError) or error.dimension == "nano_usd"
        return self._take(now, able) if of_money else None

    def after(self, error: PlanarError, now: float, *, left: float | None, able: Able | None = None) -> Stop | None:
        """Whom to ask after the last one failed with `error`; `None` if that is the end of it.

        Args:
            left: Seconds that the call has; no pause is longer.
            able: Who may be asked at all; everybody, unless given.
        """
        if self._asked >= self._core.retry.attempts or not another_may_serve(error):
            return None
        return self._counted(self._at_once(error, now, able) or self._take(now, able) or self._again(now, left, able))

    def ended(self, stop: Stop, error: PlanarError | None, cost: int | None, *, now: float) -> None:
        """Take note of an attempt that is over, and of what it was booked at."""
        self._spent = None if cost is None or self._spent is None else self._spent + cost
        name = stop.deployment.name
        if isinstance(error, AnswerRejectedError):
            # Nobody would look at what they answer: who is no better than what was rejected is not asked.
            self._left = [one for one in self._left if _may_be_better(one, stop)]
            self._failed = {key: one for key, one in self._failed.items() if _may_be_better(one.stop, stop)}
        if error is not None:
            before = self._failed.get(name)
            self._failed[name] = _Failed(stop, error, now, 1 if before is None else before.times + 1)

    def _counted(self, stop: Stop | None) -> Stop | None:
        if stop is not None:
            self._asked += 1
        return stop

    def _take(self, now: float, able: Able | None) -> Stop | None:
        """The first that is left and may be asked now, else the first that is left: somebody has to be asked."""
        left = self._left
        if able is not None or self._ceiling is not None:
            left = [stop for stop in left if self._may(stop, able)]
        if not left:
            return None
        stop = left[0]
        if len(left) > 1:
            names = {one.deployment.name: one for one in left}
            stop = names[self._core.health.admitted(list(names), now)[0]]
        self._left.remove(stop)
        self._core.retries_of(stop.deployment.name).called(now)
        return stop

    def _at_once(self, error: PlanarError, now: float, able: Able | None) -> Stop | None:
        if not isinstance(error, ProviderConnectionError) or not error.broke:
            return None
        last = next((one for one in self._failed.values() if one.error is error), None)
        if last is None or last.times > 1 or not self._may(last.stop, able):
            return None
        return last.stop.again() if self._core.retries_of(last.stop.deployment.name).take(now) else None

    def _again(self, now: float, left: float | None, able: Able | None) -> Stop | None:
        waits = [
            (self._pause(failed, now), failed.stop)
            for failed in self._failed.values()
            if failed.error.retryable and self._may(failed.stop, able)
            if (_retry_after(failed.error) or 0.0) <= self._core.retry.max_wait
        ]
        for pause, stop in sorted(waits, key=lambda wait: wait[0]):
            if left is not None and pause >= left:
                return None
            if self._core.retries_of(stop.deployment.name).take(now):
                return stop.again(pause)
        return None

    def _pause(self, failed: _Failed, now: float) -> float:
        """Seconds from now until this one may be asked again."""
        policy = self._core.retry
        wait = backoff(
            failed.times,
            base=policy.base,
            cap=policy.cap,
            retry_after=_retry_after(failed.error),
            random=self._core.random.random,
        )
        return max(0.0, failed.at + wait - now)

    def _may(self, stop: Stop, able: Able | None) -> bool:
        return (able is None or able(stop)) and self._fits(stop, self._spent)

    def _fits(self, stop: Stop, spent: int | None) -> bool:
        ceiling, bound = self._ceiling, stop.candidate.cost_bound
        if ceiling is None:
            return True
        return spent is not None and bound is not None and spent + bound <= ceiling


def _ceiling(request: RouteRequest) -> int | None:
    """What the call may cost in all, in nano-USD: the least that it, the platform or a scope of its tenant allows."""
    own = request.constraints.max_cost_usd
    if own is None and not request.policies:
        return None
    given = [own, *[policy.max_cost_usd for _, policy in request.policies]]
    ceilings = [ceiling for ceiling in given if ceiling is not None]
    return int(min(ceilings) * NANO) if ceilings else None


def _may_be_better(one: Stop, other: Stop) -> bool:
    good, least = quality_of(one.candidate), quality_of(other.candidate)
    return good is None or least is None or good > least


def _retry_after(error: PlanarError) -> float | None:
    return error.retry_after if isinstance(error, ProviderError) else None
