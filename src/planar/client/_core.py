"""What a client and all its copies share, and the question that is put to the router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import TYPE_CHECKING

from planar.catalog import input_bound
from planar.client._alerts import Herald
from planar.client._counting import Counting
from planar.client._deployments import Deployment, Deployments, candidate
from planar.client._loops import Loop
from planar.client._memory import Memory
from planar.client._order import Order, parameters
from planar.client._places import Queues
from planar.client._policies import Policies
from planar.errors import NoRouteError
from planar.protocols import Clock, QualityModel, QuotaStore, Router, Telemetry
from planar.routing import HealthBoard, HedgeBudget, RetryBudget
from planar.types import AbortPolicy, HedgePolicy, RetryPolicy, Route, RouteRequest

if TYPE_CHECKING:
    from planar.client._attempt import OpenAttempt
    from planar.client._run import Run


@dataclass(slots=True, kw_only=True)
class Core:
    """What a client and all its copies share.

    Attributes:
        aborts: By provider name, what follows when a caller leaves an answer early.
        runs: Calls that have begun and not ended.
        telemetry: Who watches; `None`, most often, where nobody does.
        policies: What the platform and its tenants may use; `changing` is held by whoever puts others in their place.
        quality: How well each deployment will answer a prompt, where somebody has learned that.
        memory: What earlier calls say about the next.
        queues: What stands in front of scarce deployments; `None`, most often, where nothing does.
        counting: The vocabularies at hand.
        draining: Attempts that are read on after their callers left.
    """

    deployments: Deployments
    policies: Policies
    router: Router
    quotas: QuotaStore
    telemetry: Telemetry | None
    clock: Clock | None
    new_id: Callable[[], str]
    health: HealthBoard
    retry: RetryPolicy
    hedging: HedgePolicy
    hedges: HedgeBudget
    aborts: Mapping[str, AbortPolicy]
    herald: Herald
    quality: QualityModel | None = None
    memory: Memory = field(default_factory=Memory)
    queues: Queues | None = None
    counting: Counting = field(default_factory=Counting)
    random: Random = field(default_factory=Random)
    changing: Lock = field(default_factory=Lock)
    closed: bool = False
    runs: set[Run] = field(default_factory=set["Run"])
    draining: set[OpenAttempt] = field(default_factory=set["OpenAttempt"])
    _counted_anew: Lock = field(default_factory=Lock)
    _retries: dict[str, RetryBudget] = field(default_factory=dict[str, RetryBudget])

    def retries_of(self, deployment: str) -> RetryBudget:
        """The retry budget of a deployment, which all calls share."""
        known = self._retries.get(deployment)
        return known or self._first_retries_of(deployment)

    def _first_retries_of(self, deployment: str) -> RetryBudget:
        with self._counted_anew:
            if len(self._retries) >= _KEPT:
                # Callers may name models without end: whoever was named first begins anew when it is named again.
                del self._retries[next(iter(self._retries))]
            return self._retries.setdefault(deployment, RetryBudget(self.retry))

    def steady(self, loop: Loop) -> float:
        """Seconds on a clock that all event loops of this process share, where health and budgets live."""
        return loop.steady() if self.clock is None else self.clock.monotonic()


def plan(core: Core, order: Order, *, now: float) -> tuple[Route, dict[str, Deployment]]:
    """Ask the router, with what is known of each deployment at `now` on the steady clock.

    Raises:
        UnknownModelError: The model names nothing here.
        NoRouteError: Every candidate was dropped.
    """
    prompt = input_bound(order.request)
    standing = core.policies.of(order.tenant)
    recalled = core.memory.recall(order.kind, order.topic, now)
    deployments = {deployment.name: deployment for deployment in standing.deployments.resolve(order.model)}
    texts = core.counting.texts(prompt, order.request, [one.info.tokenizer for one in deployments.values()])
    graded = _nothing_known if core.quality is None else _graded(core.quality, order)
    candidates = [
        candidate(
            one,
            order.request,
            prompt=prompt,
            texts=texts,
            health=core.health.snapshot(one.name, now),
            recalled=recalled,
            quality=graded.get(one.name),
        )
        for one in deployments.values()
    ]
    request = RouteRequest(
        model=order.model,
        tenant=order.tenant,
        strategy=standing.strategy if order.strategy is None else order.strategy,
        constraints=order.constraints,
        policies=standing.policies,
        prefer=standing.prefer,
        needs=order.needs,
        parameters=parameters(order.request) if order.strict else _none,
        max_tokens=order.request.max_tokens,
        service_tier=order.request.service_tier,
        length_seen=recalled.lengths is not None,
        headroom=recalled.headroom,
        headroom_age=recalled.headroom_age,
        seed=core.random.getrandbits(63) if order.request.seed is None else order.request.seed,
    )
    route = core.router.plan(request, candidates)
    if not route.order:
        raise NoRouteError(f"no deployment of {order.model!r} may serve this call:\n{route.explain()}", route=route)
    return route, deployments


_none: frozenset[str] = frozenset()
_KEPT = 4096
"""Deployments whose retry budgets are remembered."""
_nothing_known: Mapping[str, float] = {}
_LABEL = "label"


def _graded(model: QualityModel, order: Order) -> Mapping[str, float]:
    """By deployment, how well it will answer what was asked last."""
    asked = next((message for message in reversed(order.request.messages) if message.role == "user"), None)
    return _nothing_known if asked is None else model.predict(asked.text, label=order.metadata.get(_LABEL))
