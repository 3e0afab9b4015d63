"""The router that does what the operator wrote."""

from __future__ import annotations

from collections.abc import Sequence

from planar.errors import InvalidRequestError
from planar.routing._filters import refusal_of
from planar.types import Candidate, Route, RouteRequest, Verdict


class OrderedRouter:
    """Tries the deployments of an alias in the order in which the operator listed them.

    It knows no strategy but `"pinned"`, which keeps only the first that passes the filters, so that nothing
    falls back.
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
        verdicts: list[Verdict] = []
        position = 0
        for candidate in candidates:
            refusal = refusal_of(candidate, request)
            if refusal is not None:
                verdicts.append(Verdict(candidate=candidate, position=None, dropped_by=refusal[0], detail=refusal[1]))
            elif request.strategy == "pinned" and position > 0:
                verdicts.append(
                    Verdict(candidate=candidate, position=None, dropped_by="strategy", detail="pinned to the first")
                )
            else:
                verdicts.append(Verdict(candidate=candidate, position=position, detail="in the alias's order"))
                position += 1
        return Route(request=request, router="OrderedRouter", verdicts=tuple(verdicts))
