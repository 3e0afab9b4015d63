"""What was said, and what came of it, as the one object that the caller gets."""

from __future__ import annotations

from planar.client._attempt import OpenAttempt
from planar.client._fold import Fold
from planar.types import Attempt, Completion, FinishReason, Route, Timings, Usage, usd


def folded(
    fold: Fold,
    reason: FinishReason,
    *,
    route: Route,
    attempt: OpenAttempt,
    attempts: tuple[Attempt, ...],
    usage: Usage | None,
    cost: int | None,
    timings: Timings,
) -> Completion:
    """The completion of a call, as far as it has come.

    Args:
        fold: What the caller was given.
        attempt: The one that answered, or was the last to be asked.
        attempts: Those that have ended.
        cost: Of all of them, in nano-USD.
    """
    response, deployment, text = attempt.response, attempt.deployment, fold.text
    return Completion(
        text=text,
        finish_reason=reason,
        raw_finish_reason=None if fold.finish is None else fold.finish.raw_reason,
        usage=usage,
        cost_usd=None if cost is None else usd(cost),
        provider=deployment.provider_name,
        model=response.model or deployment.model,
        route=route,
        attempts=attempts,
        timings=timings,
        message=fold.message(text),
        tool_calls=fold.tool_calls,
        reasoning=fold.reasoning,
        refusal=fold.refusal,
        citations=tuple(fold.citations),
        logprobs=tuple(fold.logprobs),
        notices=tuple(fold.notices),
        request_id=response.request_id,
        response_id=response.response_id,
        service_tier=response.service_tier,
        rate_limits=response.rate_limits,
        raw=response.raw,
    )
