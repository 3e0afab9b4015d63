"""One call on its way: route, hold, ask, count, and fall back until the first delta. The only attempt loop."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from functools import partial

import anyio

from planar.client._booking import Booking, Flag, Terms, book
from planar.client._core import Core, plan
from planar.client._deployments import Deployment
from planar.client._ends import another_may_serve, counted, final_error, produced
from planar.client._fold import Fold
from planar.client._loops import Loop, current_loop, shielded
from planar.client._order import Order
from planar.errors import (
    ClosedError,
    DeadlineExceededError,
    PlanarError,
    ProviderConnectionError,
    ProviderProtocolError,
)
from planar.events import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Finish,
    Notice,
    RouteSelected,
    UsageReported,
)
from planar.protocols import Call, RequestContext, RequestObserver
from planar.telemetry import NOBODY
from planar.types import (
    Attempt,
    Candidate,
    Completion,
    FinishReason,
    ResponseInfo,
    Route,
    Timings,
    Usage,
    usd,
)

CLOSE_SECONDS = 5.0
"""How long a provider, and then the store, may take to end an attempt that is left early."""


class Run:
    """The life of one call. `advance` gives its events in batches; `close` ends it, however far it came.

    Every step is a method that does one thing and names the next in `_step`, so that no generator, task or
    cancel scope is left open between two batches.
    """

    __slots__ = (
        "_asked",
        "_attempt_started",
        "_batches",
        "_booking",
        "_completion",
        "_core",
        "_deadline",
        "_ended_at",
        "_first",
        "_first_seen",
        "_loop",
        "_manager",
        "_observer",
        "_order",
        "_remaining",
        "_started",
        "_step",
        "_telemetry",
        "attempts",
        "busy",
        "cost",
        "deployment",
        "ended",
        "error",
        "fold",
        "request_id",
        "response",
        "route",
        "usage",
    )

    def __init__(self, core: Core, order: Order) -> None:
        self._core = core
        self._order = order
        self._step: Callable[[], Awaitable[Sequence[Event]]] = self._begin
        self._loop: Loop | None = None
        self.busy = False
        self._telemetry: AbstractContextManager[RequestObserver] | None = None
        self._observer: RequestObserver | None = None
        self._remaining: list[tuple[Deployment, Candidate]] = []
        self._asked: tuple[Deployment, Candidate] | None = None
        self._booking: Booking | None = None
        self._manager: AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]] | None = None
        self._batches: AsyncIterator[Sequence[Event]] | None = None
        self._deadline: float | None = None
        self._started = self._attempt_started = self._first = 0.0
        self._ended_at: float | None = None
        self._first_seen = False
        self._completion: Completion | None = None
        self.request_id = core.new_id()
        self.route: Route | None = None
        self.deployment: Deployment | None = None
        self.response = ResponseInfo()
        self.attempts: list[Attempt] = []
        self.fold = Fold()
        self.cost: int | None = None
        self.usage: Usage | None = None
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
        raise DeadlineExceededError(f"the deadline passed after {self._now() - self._started:.3g} s")

    def _enter_loop(self) -> None:
        self._loop = current_loop()
        self._started = self._now()
        total = self._order.timeouts.total
        ends = [self._order.deadline] if self._order.deadline is not None else []
        if total is not None:
            ends.append(self._started + total)
        self._deadline = min(ends) if ends else None
        self._core.runs.add(self)

    async def close(self) -> None:
        """End the call where it stands: stop the provider, settle what was used. Idempotent, and not cancellable."""
        if self.ended or self._loop is None:
            self.ended = True
            return
        try:
            await self._end_attempt(None)
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
        # Its connection went with the loop; what it held is charged when the lease expires.
        warnings.warn("a planar stream was dropped after its event loop had ended", ResourceWarning, stacklevel=2)

    # -- the steps -----------------------------------------------------------------------------

    async def _begin(self) -> Sequence[Event]:
        if self._core.closed:
            raise ClosedError("the client was closed: make a new one")
        context = RequestContext(
            request_id=self.request_id,
            tenant=self._order.tenant,
            operation="chat",
            model=self._order.model,
            streamed=self._order.wire != "whole",
            metadata=self._order.metadata,
        )
        self._telemetry = self._core.telemetry.request(context)
        observer = self._telemetry.__enter__()
        self._observer = None if observer is NOBODY else observer
        self.route, deployments = plan(self._core, self._order)
        self._remaining = [(deployments[chosen.deployment], chosen) for chosen in self.route.order]
        if self._observer is not None:
            self._observer.routed(self.route)
        self._step = self._hold
        return (RouteSelected(self.route),)

    async def _hold(self) -> Sequence[Event]:
        self._asked = self._remaining.pop(0)
        self.deployment, chosen = self._asked
        deployment = self.deployment
        self.response = ResponseInfo()
        self.fold.usage = None
        self._attempt_started = self._now()
        self._booking = await book(
            self._core.quotas, self._terms(deployment, chosen), lease_id=self._core.new_id(), now=self._attempt_started
        )
        number = len(self.attempts) + 1
        if self._observer is not None:
            self._observer.attempt_started(number, deployment.name)
        self._step = self._open
        return (AttemptStarted(number, deployment.name), *self._terms_notices(deployment, self._booking))

    def _terms(self, deployment: Deployment, chosen: Candidate) -> Terms:
        request, counter = self._order.request, deployment.counter
        return Terms(
            tenant=self._order.tenant,
            candidate=chosen,
            wanted=request.max_tokens,
            at_once=self._order.on_low_budget == "refuse",
            metadata=self._order.metadata,
            count=None if counter is None else partial(counter.count_tokens, request, model=deployment.model),
        )

    def _terms_notices(self, deployment: Deployment, booking: Booking) -> list[Notice]:
        notices: list[Notice] = []
        if deployment.info.price is None:
            text = f"the price of {deployment.name} is unknown, so cost_usd is None: give Catalog(prices={{...}}) one"
            notices.append(Notice("price_unknown", text, {"deployment": deployment.name}))
        wanted = self._order.request.max_tokens
        if wanted is not None and booking.max_tokens is not None and booking.max_tokens < wanted:
            text = f"max_tokens was shortened from {wanted} to {booking.max_tokens}"
            notices.append(Notice("max_tokens_clamped", text, {"asked": wanted, "sent": booking.max_tokens}))
        for notice in notices:
            self.fold.add(notice)
        return notices

    async def _open(self) -> Sequence[Event]:
        booking, deployment, loop = self._booking, self.deployment, self._loop
        assert booking is not None
        assert deployment is not None
        assert loop is not None
        # A whole answer cannot be cut in the middle, so a tenant with a budget gets the streamed form.
        streamed = self._order.wire != "whole" or booking.bounded
        request = self._order.request
        if request.max_tokens != booking.max_tokens or request.streamed != streamed:
            request = replace(request, max_tokens=booking.max_tokens, streamed=streamed)
        call = Call(
            clock=self._core.clock or loop,
            timeouts=self._order.timeouts,
            response=self.response,
            deadline=self._deadline,
            idempotency_key=self._order.idempotency_key,
            attempt=len(self.attempts) + 1,
            tenant=self._order.tenant,
            strict=self._order.strict,
        )
        await booking.dispatched()
        manager = deployment.provider.stream(request, model=deployment.model, call=call)
        self._batches = await manager.__aenter__()
        self._manager = manager
        self._step = self._read
        return await self._read()

    async def _read(self) -> Sequence[Event]:
        fold, booking, batches = self.fold, self._booking, self._batches
        assert booking is not None
        assert batches is not None
        now = self._now()
        if booking.bounded or now >= booking.renew_at:
            await booking.keep_up(produced(fold), now=now)
        try:
            batch = await batches.__anext__()
        except StopAsyncIteration:
            name = "" if self.deployment is None else self.deployment.name
            raise ProviderProtocolError(f"{name} ended its stream without a Finish event") from None
        if not batch:
            return batch
        usage = fold.usage
        fold.take(batch)
        if not self._first_seen and fold.deltas:
            self._saw_first()
        if fold.finish is None and fold.usage is usage:
            return batch
        # What ends the answer is told once, after it was booked; the words are not kept waiting for that.
        words = [event for event in batch if not isinstance(event, UsageReported | Finish)]
        if fold.finish is None:
            return words
        self._step = self._settle
        return words or await self._settle()

    def _saw_first(self) -> None:
        self._first_seen = True
        self._first = self._now()
        if self._observer is not None:
            self._observer.first_token(self._first - self._started)

    async def _settle(self) -> Sequence[Event]:
        finish = self.fold.finish
        assert finish is not None
        await self._leave_provider(None)
        await self._book(error=None, cut=False)
        self._finish(None)
        assert self.usage is not None
        return (UsageReported(self.usage), finish)

    # -- ends ----------------------------------------------------------------------------------

    async def _failed(self, error: BaseException) -> Sequence[Event]:
        """An attempt is over. Go on to the next deployment, or end the call with what the caller should see."""
        open_attempt = self._booking is not None
        if self.ended:
            raise error
        if not isinstance(error, PlanarError):
            await self._give_up(error)
            raise error
        committed = self.fold.deltas > 0
        if open_attempt:
            await self._shielded_end(error)
        if open_attempt and not committed and self._goes_on(error):
            self._step = self._hold
            failed = self.attempts[-1]
            return (AttemptFailed(failed.number, failed.deployment, error),)
        partial = self.completion("error") if committed else None
        final = final_error(error, self.attempts, partial=partial)
        self._finish(final)
        if final is error:
            raise error
        raise final from error

    def _goes_on(self, error: PlanarError) -> bool:
        """Whether another attempt follows: once more where a connection broke, else at the next deployment."""
        asked = self._asked
        if asked is not None and isinstance(error, ProviderConnectionError) and error.broke:
            # Most often a kept connection that the server had closed: nothing is wrong with either side.
            tries = sum(attempt.deployment == asked[0].name for attempt in self.attempts)
            if tries == 1:
                self._remaining.insert(0, asked)
        return bool(self._remaining) and another_may_serve(error)

    async def _give_up(self, error: BaseException) -> None:
        """The caller was cancelled, or a bug surfaced: end the attempt and let the error go its way."""
        await self._shielded_end(error if isinstance(error, Exception) else None)
        self._finish(error)

    async def _shielded_end(self, error: BaseException | None) -> None:
        try:
            await self._end_attempt(error)
        except BaseException:
            # Cancelled a second time, in the middle of this: the loop ends it without us.
            if self._booking is not None and self._loop is not None:
                self._loop.spawn(self.close)
            raise

    async def _end_attempt(self, error: BaseException | None) -> None:
        await shielded(lambda: self._leave_provider(error), seconds=CLOSE_SECONDS)
        failure = error if isinstance(error, PlanarError) else None
        await shielded(lambda: self._book(error=failure, cut=True), seconds=CLOSE_SECONDS)

    async def _leave_provider(self, error: BaseException | None) -> None:
        manager, self._manager = self._manager, None
        self._batches = None
        if manager is not None:
            await manager.__aexit__(None if error is None else type(error), error, None)

    async def _book(self, *, error: PlanarError | None, cut: bool) -> None:
        """Settle the attempt's lease and keep its record. Idempotent: a second call finds no booking."""
        booking, deployment = self._booking, self.deployment
        if booking is None or deployment is None:
            return
        flags: set[Flag] = set()
        known = self.fold.usage or self.response.usage
        usage = counted(known, self.fold, self._order.request, failed=error is not None)
        if usage is not None:
            flags |= {"estimated"} if usage.estimated else set()
            flags |= {"suspect"} if usage.suspect else set()
        if cut:
            flags.add("cut" if error is None else "failed")
        cost = await booking.settle(usage, frozenset(flags))
        if self._booking is not booking:
            return  # somebody else closed it while we waited for the store
        self._booking = None
        if not booking.was_dispatched:
            return
        self.usage, self.cost = usage, cost
        number = len(self.attempts) + 1
        self.attempts.append(
            Attempt(
                number=number,
                deployment=deployment.name,
                lease_id=booking.lease_id,
                error=error,
                usage=usage,
                cost_usd=None if cost is None else usd(cost),
                seconds=self._now() - self._attempt_started,
            )
        )
        if self._observer is not None:
            self._observer.attempt_ended(number, error)

    def _finish(self, error: BaseException | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        self._ended_at = self._now()
        self._core.runs.discard(self)
        if self._observer is not None:
            self._observer.finished(self.answer() if self.deployment is not None else None, error)
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
        fold, response, deployment = self.fold, self.response, self.deployment
        assert deployment is not None
        usage = self.usage
        return Completion(
            text=fold.text,
            finish_reason=reason or fold.reason,
            raw_finish_reason=None if fold.finish is None else fold.finish.raw_reason,
            usage=usage,
            cost_usd=None if self.cost is None else usd(self.cost),
            provider=deployment.provider.name,
            model=response.model or deployment.model,
            route=self.route,
            attempts=tuple(self.attempts),
            timings=self._timings(usage),
            message=fold.message(),
            tool_calls=fold.tool_calls,
            reasoning=fold.reasoning,
            refusal=fold.refusal,
            citations=tuple(fold.citations),
            logprobs=tuple(fold.logprobs),
            notices=tuple(fold.notices),
            request_id=response.request_id,
            response_id=response.response_id,
            service_tier=response.service_tier,
            rate_limits=response.rate_limits,
            raw=response.raw,
        )

    def _timings(self, usage: Usage | None) -> Timings:
        end = self._now() if self._ended_at is None else self._ended_at
        speed = None
        produced = None if usage is None else usage.output_tokens
        if self._first_seen and produced is not None and produced > 1 and end > self._first:
            speed = (produced - 1) / (end - self._first)
        return Timings(
            queued=max(0.0, self._attempt_started - self._started),
            ttft=self._first - self._started if self._first_seen else None,
            total=end - self._started,
            tokens_per_second=speed,
        )

    def _now(self) -> float:
        if self._core.clock is not None:
            return self._core.clock.monotonic()
        return 0.0 if self._loop is None else self._loop.monotonic()
