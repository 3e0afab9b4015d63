"""The router that does what the operator wrote."""

from __future__ import annotations

from collections.abc import Sequence

from planar.errors import InvalidRequestError
from planar.routing._filters import refusal_of
from planar.types import Candidate, Health, Route, RouteRequest, Verdict

AUTH_SECONDS = 30.0
"""For so long a deployment whose key was refused is asked after the others; then it is tried again."""


class OrderedRouter:
    """Tries the deployments of an alias in the order in which the operator listed them.

    Those that are left alone for now, after failures or because they asked for it, come last. It knows no strategy but
    `"pinned"`, which keeps only the first that passes the filters, so that nothing falls back.
    """

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        """Drop what a filter refuses and keep the rest in order.

        Raises:
            InvalidRequestError: The strategy is not one that this router knows.
        """
        if request.strategy not in (None, "pinned"):
            raise InvalidRequestError(
                f"OrderedRouter follows the alias's order and knows no strategy {request.strategy!r}:"
                " leave strategy out, or write 'pinned' to try the first deployment only",
                param="strategy",
            )
        refusals = [refusal_of(candidate, request) for candidate in candidates]
        late = [_last_resort(candidate.health) for candidate in candidates]
        passed = [index for index, refusal in enumerate(refusals) if refusal is None]
        order = passed[:1] if request.strategy == "pinned" else sorted(passed, key=late.__getitem__)
        places = {index: position for position, index in enumerate(order)}
        verdicts = [
            _verdict(candidate, refusals[index], places.get(index), late=late[index][0])
            for index, candidate in enumerate(candidates)
        ]
        return Route(request=request, router="OrderedRouter", verdicts=tuple(verdicts))


def _last_resort(health: Health) -> tuple[bool, float]:
    """Sorts those that may be asked, in the operator's order, before those that are left alone, soonest first."""
    if health.retry_at is not None:
        return True, health.retry_at
    refused = health.auth_failed and health.age is not None and health.age < AUTH_SECONDS
    return refused, 0.0


def _verdict(candidate: Candidate, refusal: tuple[str, str] | None, place: int | None, *, late: bool) -> Verdict:
    if refusal is not None:
        return Verdict(candidate=candidate, position=None, dropped_by=refusal[0], detail=refusal[1])
    if place is None:
        return Verdict(candidate=candidate, position=None, dropped_by="strategy", detail="pinned to the first")
    if not late:
        return Verdict(candidate=candidate, position=place, detail="in the alias's order")
    health = candidate.health
    return Verdict(candidate=candidate, position=place, detail=f"left alone for now: {health.message or health.state}")
