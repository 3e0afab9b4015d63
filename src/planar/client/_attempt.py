"""One try at one deployment, from its hold to its row in the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

import anyio

from planar.catalog import likely_tokens
from planar.client._booking import Booking, Flag, Terms, book
from planar.client._core import Core
from planar.client._ends import estimated
from planar.client._fold import Fold
from planar.client._itinerary import Stop
from planar.client._loops import Loop, shielded
from planar.client._order import Order, refused, without
from planar.client._pace import Pace
from planar.client._places import Line, Place
from planar.errors import (
    AnswerRejectedError,
    DeadlineExceededError,
    PlanarError,
    ProviderError,
    ProviderProtocolError,
    QuotaExceededError,
    StoreError,
)
from planar.events import DELTAS, Event, Finish, Notice, UsageReported
from planar.protocols import Call
from planar.routing import Watch
from planar.types import AbortPolicy, Attempt, ChatRequest, ResponseInfo, Usage, usd

CLOSE_SECONDS = 5.0
"""How long a provider, and then the store, may take to end an attempt that is left early."""


class OpenAttempt:
    """A deployment that is being asked, and what that has come to so far.

    Attributes:
        number: From 1 over the whole call; 0 until the hold stands.
        fold: What was said: the call's own, or one for itself where other words stand until it speaks.
        notices: What its terms made worth telling.
        late_notices: What its end did.
        queued: Seconds that it waited for a place.
        waits_at: The queue in which it waits, or in which it was cancelled.
        now: Gives seconds on the client's clock.
        steady: Gives those on the clock that all event loops share, where health and budgets live.
        spoke: It has given a delta.
        withheld: Its words, which nobody gets before they were checked; `None` if they are given as they come.
        overtaken: Another was faster.
        record: How it ended; `None` while it has not, and where nobody was asked.
    """

    __slots__ = (
        "_base",
        "_batches",
        "_core",
        "_line",
        "_manager",
        "_order",
        "_pace",
        "_place",
        "_request",
        "_settled",
        "_streamed",
        "_told_late",
        "_watch",
        "booking",
        "cost",
        "deployment",
        "first",
        "fold",
        "late_notices",
        "loop",
        "notices",
        "now",
        "number",
        "overtaken",
        "queued",
        "record",
        "response",
        "spoke",
        "started",
        "steady",
        "stop",
        "usage",
        "waits_at",
        "withheld",
    )

    def __init__(
        self,
        core: Core,
        order: Order,
        request: ChatRequest,
        loop: Loop,
        *,
        stop: Stop,
        fold: Fold,
        withheld: bool = False,
    ) -> None:
        self._core = core
        self._order = order
        self._request = request
        self.loop = loop
        self.now = (core.clock or loop).monotonic
        self.steady = loop.steady if core.clock is None else core.clock.monotonic
        self._manager: AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]] | None = None
        self._batches: AsyncIterator[Sequence[Event]] | None = None
        rate = order.timeouts.min_rate
        self._pace = None if rate is None else Pace(rate)
        self.stop = stop
        self.deployment = stop.deployment
        self.fold = fold
        fold.usage = fold.finish = None  # of an attempt before this one
        self._base = (fold.characters, fold.deltas)
        self._settled: Booking | None = None
        self._watch: Watch | None = None
        self._told_late: Usage | None = None
        self._streamed = False
        self.response = ResponseInfo()
        self.booking: Booking | None = None
        self.notices: list[Notice] = []
        refuses = refused(request, stop.deployment.info)
        if refuses:
            self._request, self.notices = without(request, refuses, stop.deployment.name)
        self.late_notices: list[Notice] = []
        self.number = 0
        self._line: Line | None = None if core.queues is None else core.queues.before(stop.deployment)
        self.waits_at: Line | None = None
        self._place: Place | None = None
        self.queued = self.started = self.first = 0.0
        self.spoke = self.overtaken = False
        self.withheld: list[Event] | None = [] if withheld else None
        self.usage: Usage | None = None
        self.cost: int | None = None
        self.record: Attempt | None = None

    # -- asking --------------------------------------------------------------------------------

    async def hold(self, number: int, *, patient: bool = True) -> None:
        """Take a place if places are scarce, and reserve what it may use. Until then, the attempt has not begun.

        The place comes first: a hold would keep the tenant's money from its other calls for as long as this one waits.

        Args:
            patient: It may wait for the place.

        Raises:
            NoPlaceError, QuotaExceededError, UnknownPriceError: Nothing is held, and nobody may be asked.
        """
        core, deployment = self._core, self.deployment
        if self._line is not None:
            await self._queue(self._line, patient=patient)
        self.started = self.now()
        try:
            self.booking = booking = await book(core.quotas, self._terms(), lease_id=core.new_id(), now=self.started)
        except BaseException as error:
            self.give_back()
            if isinstance(error, QuotaExceededError) and error.dimension == "nano_usd":
                core.memory.headroom.told(self._order.tenant, error.remaining, self.steady())
            raise
        self.number = number
        now = self.steady()
        core.memory.headroom.told(self._order.tenant, booking.money_left, now)
        self._watch = core.health.began(deployment.name, now, streamed=self._order.wire != "whole")
        self._notice(booking)

    async def _queue(self, line: Line, *, patient: bool) -> None:
        loop, since = self.loop, self.now()
        self.waits_at = line
        try:
            self._place = await line.place(
                self.deployment, self._order.tenant, loop, now=self.steady(), patient=patient
            )
            self.waits_at = None
        except PlanarError:
            self.waits_at = None
            raise
        finally:
            self.queued = self.now() - since

    def give_back(self) -> None:
        """Let the next one in where places are scarce. Idempotent."""
        place, self._place = self._place, None
        if place is not None:
            place.give_back(self.steady())

    def lost(self) -> None:
        """Its event loop is gone, and the connection with it. Callable from a finaliser."""
        if self._place is not None:
            self._place.give_back()

    def _terms(self) -> Terms:
        order, request, counter = self._order, self._request, self.deployment.counter
        return Terms(
            tenant=order.tenant,
            candidate=self.stop.candidate,
            wanted=request.max_tokens,
            at_once=order.on_low_budget == "refuse",
            metadata=order.metadata,
            tell=self._core.herald.tell,
            count=None if counter is None else partial(counter.count_tokens, request, model=self.deployment.model),
            tier=request.service_tier,
        )

    def _notice(self, booking: Booking) -> None:
        notices = self.notices
        if self.deployment.info.price is None:
            name = self.deployment.name
            text = f"the price of {name} is unknown, so cost_usd is None: give Catalog(prices={{...}}) one"
            notices.append(Notice("price_unknown", text, {"deployment": name}))
        wanted = self._request.max_tokens
        if wanted is not None and booking.max_tokens is not None and booking.max_tokens < wanted:
            text = f"max_tokens was shortened from {wanted} to {booking.max_tokens}"
            notices.append(Notice("max_tokens_clamped", text, {"asked": wanted, "sent": booking.max_tokens}))
        notices += booking.notices
        for notice in notices:
            self.fold.add(notice)

    async def open(self, deadline: float | None) -> None:
        """Ask. From here on the ledger will have a row."""
        booking, order = self.booking, self._order
        assert booking is not None
        # A whole answer cannot be cut in the middle, so a tenant with a budget gets the streamed form.
        self._streamed = streamed = order.wire != "whole" or booking.bounded
        request = self._request
        if request.max_tokens != booking.max_tokens or request.streamed != streamed:
            request = replace(request, max_tokens=booking.max_tokens, streamed=streamed)
        call = Call(
            clock=self._core.clock or self.loop,
            timeouts=order.timeouts if self._pace is None else self._pace.bounded(order.timeouts),
            response=self.response,
            deadline=deadline,
            idempotency_key=order.idempotency_key,
            attempt=self.number,
            tenant=order.tenant,
            strict=order.strict,
        )
        await booking.dispatched()
        manager = self.deployment.provider.stream(request, model=self.deployment.model, call=call)
        self._batches = await manager.__aenter__()
        self._manager = manager

    async def read(self) -> Sequence[Event]:
        """The next batch, folded and within what is held; an empty one is a keep-alive.

        Raises:
            ProviderError: The provider failed, or was slower than `timeouts.min_rate`.
            QuotaExceededError: What was held is used up and there is no more.
            StoreError: What was held is used up and the store is away.
        """
        fold, booking, batches = self.fold, self.booking, self._batches
        assert booking is not None
        assert batches is not None
        now = self.now()
        if booking.bounded or now >= booking.renew_at:
            left = booking.money_left
            await booking.keep_up(self.produced, now=now)
            if booking.money_left != left:
                core = self._core
                core.memory.headroom.told(self._order.tenant, booking.money_left, self.steady())
        if self._pace is not None:
            self._pace.check(self.produced)
        try:
            batch = await batches.__anext__()
        except StopAsyncIteration:
            raise ProviderProtocolError(f"{self.deployment.name} ended its stream without a Finish event") from None
        if self._pace is not None and self.spoke:
            self._pace.waited(self.now() - now)
        if batch:
            fold.take(batch)
            if not self.spoke and fold.deltas > self._base[1]:
                self._speak()
                if self._pace is not None:
                    self._pace.begin(self.produced)
        return batch

    def _speak(self) -> None:
        self.spoke = True
        self.first = self.now()
        if self._watch is not None and self._streamed:
            self._watch.first_token(self.steady())  # a whole answer has no first token

    @property
    def produced(self) -> int:
        """About how many tokens it has given."""
        characters, deltas = self._base
        return likely_tokens(characters=self.fold.characters - characters, deltas=self.fold.deltas - deltas)

    # -- ending --------------------------------------------------------------------------------

    async def end(self, error: BaseException | None) -> None:
        """Leave it where it stands: it failed with `error`, or we cut it (`None`, or an error of ours).

        Idempotent. Not cancellable but for its bounds in time.
        """
        failure = error if isinstance(error, PlanarError) else None
        abort = self._core.aborts.get(self.deployment.provider_name)
        if self._is_ours(failure) and abort is not None and abort.drain_seconds and self._batches is not None:
            try:
                await shielded(lambda: self.settle(failure, cut=True), seconds=CLOSE_SECONDS)
            except BaseException:
                await shielded(lambda: self.leave(error), seconds=CLOSE_SECONDS)
                raise
            self._drain_later(abort, self._batches)
            return
        await shielded(lambda: self.leave(error), seconds=CLOSE_SECONDS)
        await shielded(lambda: self.settle(failure, cut=True), seconds=CLOSE_SECONDS)

    async def leave(self, error: BaseException | None) -> None:
        """Stop the computation or close the connection."""
        manager, self._manager = self._manager, None
        self._batches = None
        try:
            if manager is not None:
                await manager.__aexit__(None if error is None else type(error), error, None)
        finally:
            self.give_back()

    async def settle(self, error: PlanarError | None, *, cut: bool) -> None:
        """Book what was used and keep the record. A second call finds no booking and changes nothing."""
        booking = self.booking
        if booking is None:
            return
        usage = self._counted(failed=not self._is_ours(error))
        told = len(booking.notices)
        cost = await booking.settle(usage, self._flags(usage, error, cut=cut), tier=self.response.service_tier)
        if self.booking is not booking:
            return  # somebody else closed it while we waited for the store
        self.booking, self._settled = None, booking
        self.late_notices = booking.notices[told:]
        for notice in self.late_notices:
            self.fold.add(notice)
        seconds = self.now() - self.started
        if booking.money_left is not None and cost is not None:
            self._core.memory.headroom.freed(self._order.tenant, booking.money_held - cost)
        self._report(usage, error, cut=cut)
        if not booking.was_dispatched:
            return
        self.usage, self.cost = usage, cost
        self.record = Attempt(
            number=self.number,
            deployment=self.deployment.name,
            lease_id=booking.lease_id,
            error=error,
            usage=usage,
            cost_usd=None if cost is None else usd(cost),
            seconds=seconds,
        )

    def gave(self) -> None:
        """The caller gets what was withheld."""
        answer = 0 if self.usage is None else self.usage.output_tokens or 0
        self._core.memory.caches.gave(self._order.topic, self.deployment.name, answer=answer)

    def reject(self, error: AnswerRejectedError) -> None:
        """Say of an answer that was booked that it was not good enough. What it cost stays."""
        if self.record is not None:
            self.record = replace(self.record, error=error)

    def _is_ours(self, error: PlanarError | None) -> bool:
        """It was ended by us, for the caller, the tenant or want of a store, and did not fail."""
        if isinstance(error, StoreError):
            return self.spoke  # before that it was not even asked
        return error is None or isinstance(error, DeadlineExceededError | QuotaExceededError)

    def _counted(self, *, failed: bool) -> Usage | None:
        """What it used: the provider's word if it gave one, else an estimate that says so."""
        known = self._told_late or self.fold.usage or self.response.usage
        if known is not None and known.input_tokens is not None and known.output_tokens is not None:
            return known
        if known is None and failed and not self.spoke:
            return None  # nothing was delivered
        abort = self._core.aborts.get(self.deployment.provider_name)
        produced = self.produced
        if abort is not None and abort.bills_all and not failed and self.booking is not None:
            produced = max(produced, self.booking.output_held)
        return estimated(known, self._request, produced=produced)

    def _flags(self, usage: Usage | None, error: PlanarError | None, *, cut: bool) -> frozenset[Flag]:
        flags: set[Flag] = set()
        if usage is not None and usage.estimated:
            flags.add("estimated")
        if usage is not None and usage.suspect:
            flags.add("suspect")
        if cut:
            flags.add("cut" if self._is_ours(error) else "failed")
        return frozenset(flags)

    def _report(self, usage: Usage | None, error: PlanarError | None, *, cut: bool) -> None:
        watch, now = self._watch, self.steady()
        if watch is None:
            return
        if error is not None:
            watch.failed(error, now)
        elif not cut:
            watch.succeeded(now, tokens=None if usage is None else self._given(usage))
            self._remember(usage, now)
        else:
            if not self.spoke and self.overtaken:
                watch.first_token(now)  # it took at least as long: without these its times would look too good
            watch.cancelled()

    def _given(self, usage: Usage) -> int | None:
        """Tokens that came from the first delta on: without thoughts that were not shown."""
        tokens = None if usage.estimated else usage.output_tokens
        if tokens is None or not usage.reasoning_tokens or self.fold.reasoning:
            return tokens
        return tokens - usage.reasoning_tokens

    def _remember(self, usage: Usage | None, now: float) -> None:
        order, finish = self._order, self.fold.finish
        if usage is None or finish is None or self._request.continues:
            return  # the rest of an answer says nothing about whole ones
        self._core.memory.answered(
            order.kind,
            order.topic,
            self.deployment.name,
            usage,
            finish.reason,
            now=now,
            given=self.withheld is None,
        )

    def _drain_later(self, abort: AbortPolicy, batches: AsyncIterator[Sequence[Event]]) -> None:
        draining = self._core.draining
        draining.add(self)
        if not self.loop.spawn(partial(self._drain, abort, batches)):
            draining.discard(self)  # the loop is gone, and the connection with it: the estimate stands
            self.lost()

    async def _drain(self, abort: AbortPolicy, batches: AsyncIterator[Sequence[Event]]) -> None:
        """Read on for what the answer cost, after the caller has left. What was estimated is corrected then."""
        try:
            with anyio.move_on_after(abort.drain_seconds):
                await self._read_on(batches, most=abort.drain_tokens - self.produced)
            await shielded(lambda: self.leave(None), seconds=CLOSE_SECONDS)
            await self._correct()
        finally:
            self._core.draining.discard(self)
            self.give_back()

    async def _read_on(self, batches: AsyncIterator[Sequence[Event]], *, most: int) -> None:
        # Counted and not folded: what the caller has is what there was when it left.
        read = 0
        try:
            while read < most:
                for event in await batches.__anext__():
                    read += isinstance(event, DELTAS)
                    if isinstance(event, UsageReported):
                        self._told_late = event.usage
                    if isinstance(event, Finish):
                        return
        except (StopAsyncIteration, ProviderError):
            return  # it broke off: the estimate stands

    async def _correct(self) -> None:
        estimate, booking = self.usage, self._settled
        self._told_late = self._told_late or self.response.usage
        if self._told_late is None or estimate is None or not estimate.estimated or booking is None:
            return
        usage = self._counted(failed=False)
        if usage is not None and not usage.estimated and not self._core.closed:
            flags, tier = self._flags(usage, None, cut=True), self.response.service_tier
            self.usage, self.cost = usage, await booking.settle(usage, flags, tier=tier)
