"""An answer that broke off after it had begun: whether it can go on, and what is asked for then."""

from __future__ import annotations

from dataclasses import replace

from planar.client._ends import another_may_serve, produced
from planar.client._fold import Fold
from planar.client._itinerary import Stop
from planar.errors import PlanarError
from planar.types import ChatRequest, Message


def is_resumable(error: PlanarError) -> bool:
    """Whether the rest may be had from somebody: not where the tenant, the caller or a filter ended it."""
    return another_may_serve(error)


def can_continue(stop: Stop) -> bool:
    """Whether this deployment gives the rest of an answer that was begun elsewhere."""
    return stop.deployment.continues


def rest_of(request: ChatRequest, fold: Fold) -> ChatRequest | None:
    """The request for what is missing; `None` where the beginning is not plain text that somebody can go on from.

    Earlier thoughts are not sent: they belong to the model that had them.
    """
    text = fold.text
    if not text or fold.tool_calls or fold.refusals or request.output is not None:
        return None
    left = None if request.max_tokens is None else request.max_tokens - produced(fold)
    if left is not None and left < 1:
        return None
    begun = Message("assistant", text)
    return replace(request, messages=(*request.messages, begun), max_tokens=left, continues=True)
