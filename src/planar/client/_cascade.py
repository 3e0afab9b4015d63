"""An answer that is withheld until a check has said that it will do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from inspect import isawaitable
from typing import TypeAlias

from planar.client._account import Account
from planar.client._answer import folded
from planar.client._attempt import OpenAttempt
from planar.client._output import parse_output
from planar.errors import AnswerRejectedError, OutputInvalidError
from planar.protocols import ChecksAnswers
from planar.types import Completion, OutputSchema, Route

Check: TypeAlias = Callable[[Completion], bool | Awaitable[bool]]


def check_of(strategy: object | None) -> Check | None:
    """What a strategy checks answers with, if it does."""
    if strategy is None or isinstance(strategy, str) or not isinstance(strategy, ChecksAnswers):
        return None
    return strategy.check


async def examine(
    check: Check, attempt: OpenAttempt, *, route: Route, account: Account, shape: OutputSchema | None, now: float
) -> None:
    """Show a whole answer, which was booked already and which nobody has seen, to the check.

    The check sees what the caller would get: of a call with `output=` the parsed answer, and none that does not fit.
    There is no time to the first token, for the caller has none yet.

    Raises:
        AnswerRejectedError: It will not do. The attempt's record says so, too.
    """
    completion = _completion(attempt, route, account, now)
    name, problem = attempt.deployment.name, "the check rejected it"
    cause: OutputInvalidError | None = None
    try:
        if shape is not None and completion.finish_reason in ("stop", "length"):
            completion = replace(completion, output=parse_output(completion.text, shape))
    except OutputInvalidError as error:
        cause, problem = error, error.message
    if cause is None:
        verdict = check(completion)
        if isawaitable(verdict):
            verdict = await verdict
        if verdict:
            return
    provider = attempt.deployment.provider.name
    rejected = AnswerRejectedError(
        f"{name} answered, but {problem}", text=completion.text, provider=provider, deployment=name
    )
    attempt.reject(rejected)
    raise rejected from cause


def _completion(attempt: OpenAttempt, route: Route, account: Account, now: float) -> Completion:
    record = attempt.record
    attempts = tuple(account.attempts) if record is None else (*account.attempts, record)
    return folded(
        attempt.fold,
        attempt.fold.reason,
        route=route,
        attempt=attempt,
        attempts=attempts,
        usage=attempt.usage,
        cost=None if account.cost is None or attempt.cost is None else account.cost + attempt.cost,
        timings=account.timings(attempt.usage, now=now),
    )
