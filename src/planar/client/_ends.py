"""How an attempt and a call end: what was used, what is raised, and whether somebody else is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from planar.catalog import likely_tokens
from planar.client._fold import Fold
from planar.client._places import Line
from planar.errors import (
    ContentFilteredError,
    ContextLengthError,
    DeadlineExceededError,
    NoPlaceError,
    PlanarError,
    ProviderError,
    QuotaExceededError,
    RequestError,
    RouteExhaustedError,
    StoreError,
    StreamInterruptedError,
    UnsupportedError,
)
from planar.events import Notice
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
    if isinstance(error, StreamInterruptedError | QuotaExceededError | DeadlineExceededError | StoreError):
        if partial is not None:
            error.partial = partial
            if isinstance(error, StreamInterruptedError):
                error.usage = partial.usage
        return error
    if partial is not None and isinstance(error, ProviderError):
        return _interrupted(error, attempts[-1].deployment, partial)
    failures = tuple(sorted((one for one in attempts if one.error is not None), key=lambda one: one.number))
    others = [one for one in failures if one.error is not error]
    if isinstance(error, RequestError) and others:
        # The caller has to act, whoever failed before.
        error.add_note("before it: " + "; ".join(f"{one.deployment}: {one.error}" for one in others))
        return error
    if len({attempt.deployment for attempt in failures}) > 1 and len(others) < len(failures):
        told = "; ".join(f"{attempt.deployment}: {attempt.error}" for attempt in failures)
        return RouteExhaustedError(f"all {len(failures)} attempts failed: {told}", attempts=failures)
    if len(failures) > 1 and len(others) < len(failures):
        error.add_note(f"after {len(failures)} attempts at {attempts[-1].deployment}")
    return error


def late(seconds: float, line: Line | None) -> DeadlineExceededError:
    """The caller's deadline has passed, after so many seconds; where, if it was in a queue."""
    told = f"the deadline passed after {seconds:.3g} s"
    if line is not None:
        told += (
            f", in the queue for {line.name}, where {line.waiting} more wait: allow more time, or give the route"
            " another deployment"
        )
    return DeadlineExceededError(told)


def soonest(passed: Sequence[NoPlaceError]) -> NoPlaceError:
    """Of several deployments without a place, the one that may have one first; the others in its notes."""
    first = min(passed, key=lambda error: math.inf if error.retry_after is None else error.retry_after)
    for error in passed:
        if error is not first:
            first.add_note(f"and {error.deployment}: {error}")
    return first


def passed_over(error: NoPlaceError) -> Notice:
    """What the caller is told where somebody else answers for want of a place."""
    return Notice("no_place", error.message, {"deployment": error.deployment, "reason": error.reason})


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


def estimated(known: Usage | None, request: ChatRequest, *, produced: int) -> Usage:
    """What an attempt used where the provider did not say all of it: an estimate that says so.

    Args:
        known: What the provider did say.
        produced: About how many tokens were given.
    """
    known = known or Usage()
    prompt = sum(len(message.text) for message in request.messages)
    return replace(
        known,
        input_tokens=likely_tokens(characters=prompt) if known.input_tokens is None else known.input_tokens,
        output_tokens=produced if known.output_tokens is None else known.output_tokens,
        estimated=True,
    )
