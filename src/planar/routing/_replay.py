"""Deciding once more what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

from planar.errors import ConfigurationError, InvalidRequestError
from planar.routing._router import CostRouter
from planar.routing._strategies import Balanced, Cascade, Fastest, Sticky, Weighted, names, strategy_of
from planar.types import Route
from planar.types._route_pages import recorded


def replay(record: str) -> Route:
    """Decide once more what `Route.to_json` recorded: the same router, asked the same, gives the same order.

    Raises:
        InvalidRequestError: It is no record of a route, or of a router or strategy of somebody else's.
    """
    name, settings, request, candidates = recorded(record)
    if name != CostRouter.name:
        raise InvalidRequestError(f"only what {CostRouter.name} decided can be replayed; this was decided by {name!r}")
    try:
        balanced = _made(settings.get("balanced"))
        strategy = _made(settings.get("strategy"))
        router = CostRouter(
            None if strategy is None else strategy_of(strategy),
            balanced=balanced if isinstance(balanced, Balanced) else None,
        )
        asked = replace(request, strategy=_made(request.strategy))
    except (ConfigurationError, TypeError, ArithmeticError) as error:
        raise InvalidRequestError(f"this is no record of a route: {error}") from error
    return router.plan(asked, candidates)


def _made(data: object) -> object:
    """The strategy that was written down. A cascade has no check any more: it decides after the route."""
    if not isinstance(data, Mapping):
        return data
    given: dict[str, Any] = dict(cast("Mapping[str, Any]", data))
    name = given.pop("name", None)
    if "otherwise" in given:
        given["otherwise"] = _made(given["otherwise"])
    match name:
        case "fastest":
            return Fastest(**given)
        case "balanced":
            return Balanced(**{key: None if worth is None else Decimal(worth) for key, worth in given.items()})
        case "weighted":
            return Weighted(**given)
        case "sticky":
            return Sticky(**given)
        case "cascade":
            return Cascade(_unrecorded, **given)
        case str() if name in names():
            return strategy_of(name)
        case _:
            raise InvalidRequestError(f"only the strategies of planar.routing can be replayed, not {name!r}")


def _unrecorded(answer: object) -> bool:
    raise InvalidRequestError("a replayed cascade decides an order; its check was not recorded")
