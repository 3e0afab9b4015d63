"""How a refusal is said."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NoReturn

from planar.errors import QuotaExceededError, UnknownPriceError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import Seen
from planar.quotas._measures import DIMENSIONS, Refusal
from planar.quotas._state import Record, State


def refuse(refusals: Sequence[tuple[Seen, int, Refusal]]) -> NoReturn:
    """Name the limit that takes longest to have room, of equals the one nearest the root.

    Until that one has room, there is no use in asking again.
    """

    def rank(refused: tuple[Seen, int, Refusal]) -> tuple[float, int]:
        cell, _, refusal = refused
        return inf if refusal.wait is None else refusal.wait, -cell.scope.count("/")

    cell, cost, refusal = max(refusals, key=rank)
    raise QuotaExceededError(
        scope=cell.scope,
        dimension=DIMENSIONS[cell.index],
        limit=refusal.limit,
        child=refusal.child,
        remaining=refusal.remaining,
        requested=cost,
        kind=refusal.kind,
        retry_after=None if refusal.wait is None else refusal.wait / SECOND,
    )


def refuse_unknown_price(scope: str, deployment: str) -> NoReturn:
    """Say whose money limit needs a price."""
    raise UnknownPriceError(
        f"{scope} has a money limit and nobody knows what {deployment} costs: set a price for it",
        deployment=deployment,
        scope=scope,
    )


def fate_of(record: Record | None) -> str:
    """What became of a lease, for the sentence that says why something cannot be done with it."""
    return fate(record.state if record else None)


def fate(state: State | None) -> str:
    """What became of a lease that is in this state, or is not known."""
    match state:
        case None:
            return "it is not known here, or ended long ago"
        case "active":
            return "it is alive"
        case "settled":
            return "it was settled"
        case "released":
            return "it was released"
        case "charged" | "lapsed":
            return "it expired"
