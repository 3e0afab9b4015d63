"""One call on its way: route, hold, ask, count; retry, fall back, hedge, resume. The only attempt loop."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from operator import attrgetter

import anyio

from planar.client._account import Account
from planar.client._answer import folded
from planar.client._attempt import OpenAttempt
from planar.client._cascade import Judge, check_of
from planar.client._core import Core, plan
from planar.client._ends import final_error, late, passed_over, soonest
from planar.client._fold import Fold
from planar.client._itinerary import Itinerary, Stop
from planar.client._loops import Loop, current_loop
from planar.client._order import Order
from planar.client._race import Hedge, Race
from planar.client._resume import can_continue, is_resumable, rest_of
from planar.errors import (
    ClosedError,
    NoPlaceError,
    NoRouteError,
    PlanarError,
    QuotaExceededError,
    UnknownPriceError,
)
from planar.events import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Finish,
    Resumed,
    RouteSelected,
    UsageReported,
)
from planar.protocols import RequestContext, RequestObserver, Telemetry
from planar.telemetry import NOBODY
from planar.types import (
    ChatRequest,
    Completion,
    FinishReason,
    Route,
)


class Run:
    """The life of one call. `advance` gives its events in batches; `close` ends it, however far it came.

    Every step is a method that does one thing and names the next in `_step`, so that no generator, task or
    cancel scope is left open between two batches.

    Attributes:
        attempt: The one whose words are, or will be, the answer.
        account: What it has come to by now.
        fold: What the caller has been given.
    """

    __slots__ = (
        "_completion",
        "_core",
        "_deadline",
        "_hedge",
        "_holding",
        "_itinerary",
        "_judge",
        "_loop",
        "_now",
        "_numbered",
        "_observer",
        "_open_attempts",
        "_order",
        "_request",
        "_resumed",
        "_speaking",
        "_step",
        "_stop",
        "_telemetry",
        "_untold",
        "account",
        "attempt",
        "busy",
        "ended",
        "error",
        "fold",
        "request_id",
        "route",
    )

    def __init__(self, core: Core, order: Order) -> None:
        self._core = core
        self._order = order
        self._request: ChatRequest = order.request
        self._step: Callable[[], Awaitable[Sequence[Event]]] = self._begin
        self._loop: Loop | None = None
        self._now: Callable[[], float] = _not_yet
        self.busy = False
        self._telemetry: AbstractContextManager[RequestObserver] | None = None
        self._observer: RequestObserver | None = None
        self._itinerary: Itinerary | None = None
        self._judge: Judge | None = None
        self._stop: Stop | None = None
        self._resumed: Resumed | None = None
        self._open_attempts: list[OpenAttempt] = []
        self._deadline: float | None = None
        self._speaking: OpenAttempt | None = None
        self._untold: list[Event] = []
        self._hedge: Hedge | None = None
        self._completion: Completion | None = None
        self.request_id = core.new_id()
        self.route: Route | None = None
        self.attempt: OpenAttempt | None = None
        self.account = Account()
        self._numbered = 0
        self._holding: OpenAttempt | None = None
        self.fold = Fold()
        self.error: BaseException | None = None
        self.ended = False

    # -- the outside ---------------------------------------------------------------------------

    async def advance(self) -> Sequence[Event]:
        """The next batch of events; an empty one is a keep-alive. Check `ended` first.

        Raises:
            PlanarError: The call failed; everything that had arrived was delivered.
        """
        if self.busy:
            raise ClosedError("this stream is being read by somebody else: a stream has one reader")
        self.busy = True
        try:
            if self._loop is None:
                self._enter_loop()
            # Most calls have no deadline: no scope and no further coroutine for them.
            return await (self._step() if self._deadline is None else self._timed())
        except BaseException as error:  # noqa: BLE001 - a cancellation must settle too; `_failed` raises it again
            return await self._failed(error)
        finally:
            self.busy = False

    async def _timed(self) -> Sequence[Event]:
        assert self._deadline is not None
        with anyio.CancelScope(deadline=self._deadline):
            return await self._step()
        raise late(self._now() - self.account.started, None if self._holding is None else self._holding.waits_at)

    def _enter_loop(self) -> None:
        self._loop = loop = current_loop()
        self._now = (self._core.clock or loop).monotonic
        self.account.started = self._now()
        total = self._order.timeouts.total
        ends = [self._order.deadline] if self._order.deadline is not None else []
        if total is not None:
            ends.append(self.account.started + total)
        self._deadline = min(ends) if ends else None
        self._core.runs.add(self)

    async def close(self) -> None:
        """End the call where it stands: stop the provider, settle what was used. Idempotent, and not cancellable."""
        if self.ended or self._loop is None:
            self.ended = True
            return
        try:
            await self._end_attempts(None)
        except BaseException as error:
            self._finish(error)
            raise
        self._finish(None)

    @property
    def is_here(self) -> bool:
        """It belongs to the event loop that runs this code."""
        return self._loop is not None and self._loop.runs_here()

    def abandon(self) -> None:
        """Nobody holds the stream any more: close it on its own loop. Callable from a finaliser on any thread."""
        if self.ended or self._loop is None or self._loop.spawn(self.close):
            return
        self.ended = True
        self._core.runs.discard(self)
        for attempt in self._open_attempts:
            attempt.lost()
        # Its connection went with the loop; what it held is charged when the lease expires.
        warnings.warn("a planar stream was dropped after its event loop had ended", ResourceWarning, stacklevel=2)

    # -- the steps -----------------------------------------------------------------------------

    async def _begin(self) -> Sequence[Event]:
        core, order, loop = self._core, self._order, self._loop
        assert loop is not None
        if core.closed:
            raise ClosedError("the client was closed: make a new one")
        if core.telemetry is not None:
            self._watch(core.telemetry)
        now = core.steady(loop)
        self.route, deployments = plan(core, order, now=now)
        if self._observer is not None:
            self._observer.routed(self.route)
        self._itinerary = Itinerary(core, self.route, deployments)
        if order.hedge and not (order.request.tools or order.request.extra_body):
            # What acts, or may act at the vendor's, must not act twice.
            hold = partial(self._held, fold=None, patient=False)
            self._hedge = Hedge(core, self._itinerary, hold, tier=order.request.service_tier)
        check = check_of(self.route.strategy)
        if check is not None:
            self._judge = Judge(
                check,
                route=self.route,
                itinerary=self._itinerary,
                account=self.account,
                shape=order.request.output,
                now=self._now,
            )
        self._stop = self._itinerary.first(now)
        if self._stop is None:
            raise NoRouteError(f"no deployment may serve this call:\n{self.route.explain()}", route=self.route)
        self._step = self._hold
        return (RouteSelected(self.route),)

    def _watch(self, telemetry: Telemetry) -> None:
        order = self._order
        context = RequestContext(
            request_id=self.request_id,
            tenant=order.tenant,
            operation="chat",
            model=order.model,
            streamed=order.wire != "whole",
            metadata=order.metadata,
        )
        self._telemetry = telemetry.request(context)
        observer = self._telemetry.__enter__()
        self._observer = None if observer is NOBODY else observer

    async def _hold(self) -> Sequence[Event]:
        stop, resumed = self._stop, self._resumed
        assert stop is not None
        # An answer that begins again has words of its own: what the caller has is kept until they come.
        fold = self.fold if resumed is None or resumed.mode == "continue" else Fold()
        self.attempt = attempt = await self._held(stop, fold)
        events: list[Event] = [AttemptStarted(attempt.number, attempt.deployment.name)]
        if resumed is not None:
            events.append(Resumed(attempt.number, attempt.deployment.name, resumed.mode))
        self._resumed = None
        delay = None if self._hedge is None else self._hedge.patience(attempt)
        self._step = (
            self._open if self._hedge is None or delay is None else partial(self._race, self._hedge, attempt, delay)
        )
        return [*events, *attempt.notices] if attempt.notices else events

    async def _held(self, stop: Stop, fold: Fold | None, *, patient: bool = True) -> OpenAttempt:
        """An attempt whose hold stands; where there is no place at a deployment, or no money for it, another is tried.

        Args:
            fold: What its words are added to; one of its own, unless given.
            patient: It may wait for a place. Otherwise nobody else is asked where there is none, or no money.

        Raises:
            NoPlaceError: Nobody who may be asked has room.
            QuotaExceededError, UnknownPriceError: Nobody can be asked on this tenant's account.
        """
        loop = self._loop
        assert loop is not None
        passed: list[NoPlaceError] = []
        while True:
            if stop.pause > 0:
                await anyio.sleep(stop.pause)
            withheld = self._judge is not None and self._judge.withholds(stop)
            attempt = OpenAttempt(
                self._core,
                self._order,
                self._request,
                loop,
                stop=stop,
                fold=Fold() if withheld or fold is None else fold,
                withheld=withheld,
            )
            attempt.notices.extend([passed_over(error) for error in passed])
            self._holding = attempt
            try:
                await attempt.hold(self._numbered + 1, patient=patient)
                break
            except NoPlaceError as error:
                passed.append(error)
                following = self._instead(stop, error) if patient else None
                if following is None:
                    raise soonest(passed) from None
            except (QuotaExceededError, UnknownPriceError) as error:
                following = self._instead(stop, error) if patient else None
                if following is None:
                    raise
            finally:
                self.account.queued += attempt.queued
            stop = following
        self._holding = None
        self._numbered += 1
        self._open_attempts.append(attempt)
        if self._observer is not None:
            self._observer.attempt_started(attempt.number, attempt.deployment.name)
        return attempt

    def _instead(self, stop: Stop, error: QuotaExceededError | UnknownPriceError | NoPlaceError) -> Stop | None:
        loop, itinerary, resumed = self._loop, self._itinerary, self._resumed
        assert loop is not None
        assert itinerary is not None
        able = can_continue if resumed is not None and resumed.mode == "continue" else None
        return itinerary.instead(stop, error, self._core.steady(loop), left=self._left(), able=able)

    async def _open(self) -> Sequence[Event]:
        attempt = self.attempt
        assert attempt is not None
        await attempt.open(self._deadline)
        self._step = self._read
        return await self._read()

    async def _read(self) -> Sequence[Event]:
        attempt = self.attempt
        assert attempt is not None
        batch = await attempt.read()
        if attempt.withheld is not None and self._judge is not None:
            return await self._keep(self._judge, attempt, batch)
        if attempt.spoke and self._speaking is not attempt:
            self._speak(attempt)
        fold = attempt.fold
        return batch if fold.usage is None and fold.finish is None else await self._last(attempt, batch)

    async def _last(self, attempt: OpenAttempt, batch: Sequence[Event]) -> Sequence[Event]:
        """A batch with, or after, the counts."""
        # What ends the answer is told once, after it was booked; the words are not kept waiting for that.
        words = [event for event in batch if not isinstance(event, _ENDS)]
        if attempt.fold.finish is None:
            return words
        self.fold = attempt.fold
        self._step = self._settle
        return words or await self._settle()

    async def _keep(self, judge: Judge, attempt: OpenAttempt, batch: Sequence[Event]) -> Sequence[Event]:
        """A batch of an attempt whose words are withheld: all of them, once they were checked."""
        words = await judge.take(attempt, batch)
        if words is None:
            return ()
        self.fold = attempt.fold
        if attempt.spoke:
            self._speak(attempt, at=self._now())
        self._step = self._settle
        return words or await self._settle()

    def _speak(self, attempt: OpenAttempt, *, at: float | None = None) -> None:
        """The commit point: from here on the caller has words of this attempt; `at` says when, if not as they came."""
        account = self.account
        self._speaking = attempt
        if attempt.fold is not self.fold:
            self.fold = attempt.fold
            account.begin_anew()
        if account.first is None:
            account.began, account.first = attempt.first, attempt.first if at is None else at
            if self._observer is not None:
                self._observer.first_token(account.first - account.started)

    async def _settle(self) -> Sequence[Event]:
        attempt = self.attempt
        assert attempt is not None
        await attempt.leave(None)
        await attempt.settle(None, cut=False)
        self._note(attempt)
        finish = self.fold.finish
        usage = self.account.usage
        assert finish is not None
        self._finish(None)
        late = attempt.late_notices
        return (*late, finish) if usage is None else (*late, UsageReported(usage), finish)

    # -- two at once ---------------------------------------------------------------------------

    async def _race(self, hedge: Hedge, first: OpenAttempt, delay: float) -> Sequence[Event]:
        race = Race(first, partial(hedge.second, first), delay=delay, deadline=self._deadline)
        await race.run()
        events: list[Event] = [AttemptStarted(other.number, other.deployment.name) for other in race.runners[1:]]
        for failed, error in race.failures:
            await self._end(failed, error)
            if race.winner is not None:
                events.append(AttemptFailed(failed.number, failed.deployment.name, error))
        if race.winner is None:
            self._untold = events
            raise race.failures[-1][1]
        self.attempt = race.winner
        for loser in [one for one in self._open_attempts if one is not race.winner]:
            loser.overtaken = True
            hedge.doubled = loser
            await self._end(loser, None)
        self._step = self._read
        if race.winner.spoke:
            self._speak(race.winner)
        return [*events, *await self._last(race.winner, race.batch)]

    # -- ends ----------------------------------------------------------------------------------

    async def _failed(self, error: BaseException) -> Sequence[Event]:
        """An attempt is over. Go on with another, or end the call with what the caller should see."""
        if self.ended:
            raise error
        if not isinstance(error, PlanarError):
            await self._give_up(error)
            raise error
        await self._shielded_end(error)
        ended = self.account.attempts
        last = ended[-1] if ended else None
        if last is not None and last.error is error:
            self._stop = self._next_stop(error)
            if self._stop is not None:
                self._step = self._hold
                untold, self._untold = self._untold, []
                return (*untold, AttemptFailed(last.number, last.deployment, error))
        partial = None if self._speaking is None else self.completion("error")
        final = final_error(error, ended, partial=partial)
        self._finish(final)
        if final is not error:
            raise final from error
        if last is not None and last.error is not None and last.error is not error:
            raise error from last.error  # refused on the way to another deployment
        raise error

    def _next_stop(self, error: PlanarError) -> Stop | None:
        """Whom to ask now, and on which terms; `None` if that was the end."""
        itinerary, loop, mode = self._itinerary, self._loop, self._order.resume
        assert itinerary is not None
        assert loop is not None
        now = self._core.steady(loop)
        left = self._left()
        if self._speaking is None:
            return itinerary.after(error, now, left=left)
        if mode is None or not is_resumable(error):
            return None
        request = self._order.request
        if mode == "continue":
            rest = rest_of(request, self.fold)
            stop = None if rest is None else itinerary.after(error, now, left=left, able=can_continue)
            self._request = rest or request
        else:
            stop = itinerary.after(error, now, left=left)
        if stop is not None:
            self._resumed = Resumed(0, stop.deployment.name, mode)
        return stop

    def _left(self) -> float | None:
        """Seconds until the deadline, if there is one."""
        return None if self._deadline is None else self._deadline - self._now()

    async def _give_up(self, error: BaseException) -> None:
        """The caller was cancelled, or a bug surfaced: end the attempt and let the error go its way."""
        await self._shielded_end(error if isinstance(error, Exception) else None)
        self._finish(error)

    async def _shielded_end(self, error: BaseException | None) -> None:
        try:
            await self._end_attempts(error)
        except BaseException:
            # Cancelled a second time, in the middle of this: the loop ends it without us.
            if self._open_attempts and self._loop is not None:
                self._loop.spawn(self.close)
            raise

    async def _end_attempts(self, error: BaseException | None) -> None:
        for attempt in tuple(self._open_attempts):
            await self._end(attempt, error)

    async def _end(self, attempt: OpenAttempt, error: BaseException | None) -> None:
        await attempt.end(error)
        self._note(attempt)

    def _note(self, attempt: OpenAttempt) -> None:
        """Keep the record of an attempt that has ended. A second time finds it noted."""
        if attempt not in self._open_attempts:
            return
        self._open_attempts.remove(attempt)
        record = attempt.record
        if record is None:
            return  # nobody was asked
        self.account.add(record, attempt, answers=attempt is self.attempt and attempt.fold is self.fold)
        if self._hedge is not None and attempt is self._hedge.doubled:
            self._hedge.settle()
        else:
            self._core.hedges.spent(attempt.cost or 0)
        if self._itinerary is not None:
            self._itinerary.ended(attempt.stop, record.error, attempt.cost, now=attempt.steady())
        if self._observer is not None:
            self._observer.attempt_ended(record.number, record.error)

    def _finish(self, error: BaseException | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        self.account.ended = self._now()
        self.account.attempts.sort(key=_number)
        self._core.runs.discard(self)
        if self._observer is not None:
            self._observer.finished(self.answer() if self.attempt is not None else None, error)
        telemetry, self._telemetry = self._telemetry, None
        if telemetry is not None:
            telemetry.__exit__(None if error is None else type(error), error, None)

    # -- the answer ----------------------------------------------------------------------------

    def answer(self) -> Completion:
        """The completion of a call that has ended: one object, whoever asks."""
        if self._completion is None:
            self._completion = self.completion()
        return self._completion

    def completion(self, reason: FinishReason | None = None) -> Completion:
        """What has been said so far, folded. `output` is the stream's to fill in."""
        assert self.route is not None
        assert self.attempt is not None
        account = self.account
        usage = account.usage
        return folded(
            self.fold,
            reason or self.fold.reason,
            route=self.route,
            attempt=self.attempt,
            attempts=tuple(account.attempts),
            usage=usage,
            cost=account.cost,
            timings=account.timings(usage, now=self._now()),
        )


_ENDS = (UsageReported, Finish)


def _not_yet() -> float:
    """The time of a call that no event loop has run."""
    return 0.0


_number = attrgetter("number")
