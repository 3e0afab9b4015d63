"""Texts to vectors: the same route, hold and fallback as an answer, in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio

from planar.client._booking import Booking, Terms, book
from planar.client._core import Core, plan
from planar.client._deployments import Deployment
from planar.client._ends import another_may_serve, final_error
from planar.client._loops import current_loop, shielded
from planar.client._order import Order
from planar.client._run import CLOSE_SECONDS
from planar.errors import ClosedError, DeadlineExceededError, InvalidRequestError, PlanarError
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
    """Ask the deployments of the route in turn until one answers."""
    if core.closed:
        raise ClosedError("the client was closed: make a new one")
    route, deployments = plan(core, order)
    failures: list[Attempt] = []
    for number, chosen in enumerate(route.order, start=1):
        terms = Terms(tenant=order.tenant, candidate=chosen, wanted=1, at_once=True, metadata=order.metadata)
        now = anyio.current_time()
        booking = await book(core.quotas, terms, lease_id=core.new_id(), now=now)
        deployment = deployments[chosen.deployment]
        try:
            return await _attempt(core, order, request, deployment, booking, number)
        except PlanarError as error:
            failures.append(
                Attempt(number=number, deployment=chosen.deployment, lease_id=booking.lease_id, error=error)
            )
            if number == len(route.order) or not another_may_serve(error):
                final = final_error(error, failures, partial=None)
                if final is error:
                    raise
                raise final from error
    raise AssertionError("a route has at least one deployment")


async def _attempt(
    core: Core, order: Order, request: EmbedRequest, deployment: Deployment, booking: Booking, number: int
) -> Embeddings:
    await booking.dispatched()
    try:
        answer = await _asked(core, order, request, deployment, number)
    except BaseException:
        await shielded(lambda: booking.settle(None, frozenset(("failed",))), seconds=CLOSE_SECONDS)
        raise
    # An embedding has no output, so a provider that leaves that count out means none.
    counted = answer.usage or Usage(input_tokens=booking.input_bound, estimated=True)
    usage = replace(counted, output_tokens=counted.output_tokens or 0)
    cost = await booking.settle(usage, frozenset(("estimated",) if usage.estimated else ()))
    return replace(answer, usage=usage, cost_usd=None if cost is None else usd(cost), provider=deployment.provider.name)


async def _asked(core: Core, order: Order, request: EmbedRequest, deployment: Deployment, number: int) -> Embeddings:
    loop = current_loop()
    ends = [] if order.deadline is None else [order.deadline]
    if order.timeouts.total is not None:
        ends.append(loop.monotonic() + order.timeouts.total)
    call = Call(
        clock=core.clock or loop,
        timeouts=order.timeouts,
        response=ResponseInfo(),
        deadline=min(ends) if ends else None,
        idempotency_key=order.idempotency_key,
        attempt=number,
        tenant=order.tenant,
        strict=order.strict,
    )
    with anyio.CancelScope(deadline=min(ends) if ends else float("inf")):
        return await deployment.provider.embed(request, model=deployment.model, call=call)
    raise DeadlineExceededError("the deadline passed before the embeddings came")
