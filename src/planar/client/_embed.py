"""Texts to vectors: the same route, holds, retries and fallback as an answer, in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio

from planar.client._attempt import CLOSE_SECONDS
from planar.client._booking import Booking, Terms, book
from planar.client._core import Core, plan
from planar.client._ends import final_error, late, soonest
from planar.client._itinerary import Itinerary, Stop
from planar.client._loops import Loop, current_loop, shielded
from planar.client._order import Order
from planar.client._places import Line, Place
from planar.errors import (
    ClosedError,
    InvalidRequestError,
    NoPlaceError,
    NoRouteError,
    PlanarError,
    QuotaExceededError,
    UnknownPriceError,
)
from planar.protocols import Call
from planar.types import Attempt, Embeddings, EmbedRequest, ResponseInfo, Usage, usd


def checked_inputs(inputs: str | Sequence[str]) -> tuple[str, ...]:
    """The texts to embed.

    Raises:
        InvalidRequestError: There is none, one is empty, or one is not a text.
    """
    texts = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not texts:
        raise InvalidRequestError("there is nothing to embed: give at least one text", param="inputs")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise InvalidRequestError(f"inputs[{place}] must be a text that is not empty", param=f"inputs[{place}]")
    return texts


async def embed(core: Core, order: Order, request: EmbedRequest) -> Embeddings:
    """Ask the deployments of the route until one answers."""
    if core.closed:
        raise ClosedError("the client was closed: make a new one")
    asking = _Asking(core, order, request)
    with anyio.CancelScope(deadline=float("inf") if asking.deadline is None else asking.deadline):
        return await asking.answer()
    raise late(asking.seconds, asking.waits_at)


class _Asking:
    def __init__(self, core: Core, order: Order, request: EmbedRequest) -> None:
        self._core = core
        self._order = order
        self._request = request
        self._loop: Loop = current_loop()
        self._attempts: list[Attempt] = []
        ends = [] if order.deadline is None else [order.deadline]
        if order.timeouts.total is not None:
            ends.append(self._loop.monotonic() + order.timeouts.total)
        self.deadline = min(ends) if ends else None
        self.waits_at: Line | None = None
        self._started = self._loop.monotonic()

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return self._loop.monotonic() - self._started

    async def answer(self) -> Embeddings:
        core = self._core
        route, deployments = plan(core, self._order, now=core.steady(self._loop))
        itinerary = Itinerary(core, route, deployments)
        stop = itinerary.first(core.steady(self._loop))
        if stop is None:
            raise NoRouteError(f"no deployment may serve this call:\n{route.explain()}", route=route)
        while True:
            try:
                return await self._attempt(stop, itinerary)
            except PlanarError as error:
                asked = bool(self._attempts) and self._attempts[-1].error is error
                following = itinerary.after(error, core.steady(self._loop), left=self._left()) if asked else None
                if following is None:
                    final = final_error(error, self._attempts, partial=None)
                    if final is error:
                        raise
                    raise final from error
                stop = following

    async def _attempt(self, stop: Stop, itinerary: Itinerary) -> Embeddings:
        booking, stop, place = await self._held(stop, itinerary)
        try:
            return await self._held_attempt(booking, stop, itinerary)
        finally:
            if place is not None:
                place.give_back(self._core.steady(self._loop))

    async def _held_attempt(self, booking: Booking, stop: Stop, itinerary: Itinerary) -> Embeddings:
        core = self._core
        name, began = stop.deployment.name, core.steady(self._loop)
        watch = core.health.began(name, began)
        try:
            await booking.dispatched()
            answer = await self._asked(stop)
        except BaseException as error:
            await shielded(lambda: booking.settle(None, frozenset(("failed",))), seconds=CLOSE_SECONDS)
            now = core.steady(self._loop)
            if isinstance(error, PlanarError):
                watch.failed(error, now)
                self._attempts.append(
                    Attempt(number=len(self._attempts) + 1, deployment=name, lease_id=booking.lease_id, error=error)
                )
                itinerary.ended(stop, error, 0, now=now)
            else:
                watch.cancelled()
            raise
        watch.succeeded(core.steady(self._loop))
        return await self._settled(answer, booking, stop)

    async def _held(self, stop: Stop, itinerary: Itinerary) -> tuple[Booking, Stop, Place | None]:
        """A place and a hold at `stop`; or where there is none, or money does not reach for it, at another."""
        core, order, loop = self._core, self._order, self._loop
        passed: list[NoPlaceError] = []
        while True:
            await anyio.sleep(stop.pause)
            terms = Terms(
                tenant=order.tenant,
                candidate=stop.candidate,
                wanted=1,
                at_once=True,
                metadata=order.metadata,
                tell=core.herald.tell,
            )
            place: Place | None = None
            try:
                place = await self._place(stop)
                booking = await book(core.quotas, terms, lease_id=core.new_id(), now=loop.monotonic())
            except BaseException as error:
                if place is not None:
                    place.give_back(core.steady(loop))
                if not isinstance(error, QuotaExceededError | UnknownPriceError | NoPlaceError):
                    raise
                if isinstance(error, NoPlaceError):
                    passed.append(error)
                following = itinerary.instead(stop, error, core.steady(loop), left=self._left())
                if following is None:
                    raise (soonest(passed) if isinstance(error, NoPlaceError) else error) from None
                stop = following
            else:
                return booking, stop, place

    async def _place(self, stop: Stop) -> Place | None:
        core, loop = self._core, self._loop
        line = None if core.queues is None else core.queues.before(stop.deployment)
        if line is None:
            return None
        self.waits_at = line
        try:
            place = await line.place(stop.deployment, self._order.tenant, loop, now=core.steady(loop))
        except PlanarError:
            self.waits_at = None
            raise
        self.waits_at = None
        return place

    def _left(self) -> float | None:
        """Seconds until the deadline, if there is one."""
        return None if self.deadline is None else self.deadline - self._loop.monotonic()

    async def _settled(self, answer: Embeddings, booking: Booking, stop: Stop) -> Embeddings:
        # An embedding has no output, so a provider that leaves that count out means none.
        counted = answer.usage or Usage(input_tokens=booking.input_bound, estimated=True)
        usage = replace(counted, output_tokens=counted.output_tokens or 0)
        cost = await booking.settle(usage, frozenset(("estimated",) if usage.estimated else ()))
        provider = stop.deployment.provider_name
        return replace(answer, usage=usage, cost_usd=None if cost is None else usd(cost), provider=provider)

    async def _asked(self, stop: Stop) -> Embeddings:
        order, deployment = self._order, stop.deployment
        call = Call(
            clock=self._core.clock or self._loop,
            timeouts=order.timeouts,
            response=ResponseInfo(),
            deadline=self.deadline,
            idempotency_key=order.idempotency_key,
            attempt=len(self._attempts) + 1,
            tenant=order.tenant,
            strict=order.strict,
        )
        return await deployment.provider.embed(self._request, model=deployment.model, call=call)
