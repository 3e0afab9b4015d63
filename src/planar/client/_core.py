"""What a client and all its copies share, and the question that is put to the router."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from planar.catalog import input_bound
from planar.client._deployments import Deployment, Deployments, candidate
from planar.client._order import Order
from planar.errors import NoRouteError
from planar.protocols import Clock, QuotaStore, Router, Telemetry
from planar.types import Route, RouteRequest

if TYPE_CHECKING:
    from planar.client._run import Run


@dataclass(slots=True, kw_only=True)
class Core:
    """What a client and all its copies share."""

    deployments: Deployments
    router: Router
    quotas: QuotaStore
    telemetry: Telemetry
    clock: Clock | None
    new_id: Callable[[], str]
    closed: bool = False
    runs: set[Run] = field(default_factory=set["Run"])


def plan(core: Core, order: Order) -> tuple[Route, dict[str, Deployment]]:
    """Ask the router. Pure but for what the deployments know of themselves.

    Raises:
        UnknownModelError: The model names nothing here.
        NoRouteError: Every candidate was dropped.
    """
    bound = input_bound(order.request)
    deployments = {deployment.name: deployment for deployment in core.deployments.resolve(order.model)}
    candidates = [candidate(one, order.request, input_tokens=bound) for one in deployments.values()]
    request = RouteRequest(
        model=order.model,
        tenant=order.tenant,
        strategy=order.strategy,
        constraints=order.constraints,
        needs=order.needs,
        max_tokens=order.request.max_tokens,
        seed=order.request.seed or 0,
    )
    route = core.router.plan(request, candidates)
    if all(verdict.position is None for verdict in route.verdicts):
        raise NoRouteError(f"no deployment of {order.model!r} may serve this call:\n{route.explain()}", route=route)
    return route, deployments
