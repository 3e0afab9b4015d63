"""How an attempt and a call end: what was used, what is raised, and whether somebody else is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planar.catalog import likely_tokens
from planar.client._fold import Fold
from planar.errors import (
    ContentFilteredError,
    ContextLengthError,
    DeadlineExceededError,
    PlanarError,
    ProviderError,
    QuotaExceededError,
    RouteExhaustedError,
    StreamInterruptedError,
    UnsupportedError,
)
from planar.types import Attempt, ChatRequest, Completion, Usage


def another_may_serve(error: PlanarError) -> bool:
    """Whether the next deployment might do what this one could not. A filter's verdict is not shopped around."""
    if isinstance(error, ContentFilteredError):
        return False
    return isinstance(error, ProviderError | UnsupportedError | ContextLengthError)


def final_error(error: PlanarError, attempts: Sequence[Attempt], *, partial: Completion | None) -> PlanarError:
    """What the caller sees of the error that ended a call.

    Args:
        partial: What had reached the caller; `None` if nothing had.
    """
    if isinstance(error, StreamInterruptedError | QuotaExceededError | DeadlineExceededError):
        if partial is not None:
            error.partial = partial
            if isinstance(error, StreamInterruptedError):
                error.usage = partial.usage
        return error
    if partial is not None and isinstance(error, ProviderError):
        return _interrupted(error, attempts[-1].deployment, partial)
    failures = tuple(attempt for attempt in attempts if attempt.error is not None)
    if len({attempt.deployment for attempt in failures}) > 1 and failures[-1].error is error:
        told = "; ".join(f"{attempt.deployment}: {attempt.error}" for attempt in failures)
        return RouteExhaustedError(f"all {len(failures)} attempts failed: {told}", attempts=failures)
    return error


def _interrupted(error: ProviderError, deployment: str, partial: Completion) -> StreamInterruptedError:
    return StreamInterruptedError(
        f"{deployment} broke off after {len(partial.text)} characters: {error.message}",
        partial=partial,
        usage=partial.usage,
        provider=error.provider,
        deployment=deployment,
        status=error.status,
        type=error.type,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def produced(fold: Fold) -> int:
    """About how many tokens have been said."""
    return likely_tokens(characters=fold.characters, deltas=fold.deltas)


def counted(known: Usage | None, fold: Fold, request: ChatRequest, *, failed: bool) -> Usage | None:
    """What an attempt used: the provider's word if it gave one, else an estimate that says so.

    `None` for an attempt that failed before it said anything: nothing was delivered.
    """
    if known is not None and known.input_tokens is not None and known.output_tokens is not None:
        return known
    if known is None and failed and fold.deltas == 0:
        return None
    known = known or Usage()
    prompt = sum(len(message.text) for message in request.messages)
    return replace(
        known,
        input_tokens=likely_tokens(characters=prompt) if known.input_tokens is None else known.input_tokens,
        output_tokens=produced(fold) if known.output_tokens is None else known.output_tokens,
        estimated=True,
    )
