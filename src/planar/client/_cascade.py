"""An answer that is withheld until a check has said that it will do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from inspect import isawaitable
from typing import TypeAlias, cast

from planar.client._account import Account
from planar.client._answer import folded
from planar.client._attempt import OpenAttempt
from planar.client._itinerary import Itinerary, Stop
from planar.client._output import parse_output
from planar.errors import AnswerRejectedError, OutputInvalidError
from planar.events import Event, Finish, UsageReported
from planar.types import Completion, OutputSchema, Route

Check: TypeAlias = Callable[[Completion], bool | Awaitable[bool]]


def check_of(strategy: object | None) -> Check | None:
    """What a strategy checks answers with, if it does."""
    # As `ChecksAnswers` says, in a twentieth of the time that `isinstance` takes for it: every call asks this.
    check = getattr(strategy, "check", None)
    return cast("Check", check) if callable(check) else None


class Judge:
    """Keeps the words of attempts from the caller until they were checked, while there is somebody else to ask."""

    __slots__ = ("_account", "_check", "_itinerary", "_now", "_route", "_shape")

    def __init__(
        self,
        check: Check,
        *,
        route: Route,
        itinerary: Itinerary,
        account: Account,
        shape: OutputSchema | None,
        now: Callable[[], float],
    ) -> None:
        self._check = check
        self._route = route
        self._itinerary = itinerary
        self._account = account
        self._shape = shape
        self._now = now

    def withholds(self, stop: Stop) -> bool:
        """The words of an attempt that is made there now are for the check first."""
        return self._itinerary.can_escalate(stop)

    async def take(self, attempt: OpenAttempt, batch: Sequence[Event]) -> Sequence[Event] | None:
        """Keep a batch; once the answer is whole and will do, give all of its words.

        Raises:
            AnswerRejectedError: It will not do. The attempt's record says so, too.
        """
        words = attempt.withheld
        assert words is not None
        words += [event for event in batch if not isinstance(event, UsageReported | Finish)]
        if attempt.fold.finish is None:
            return None
        # Booked before it is checked: that may take longer than a lease lives.
        await attempt.leave(None)
        await attempt.settle(None, cut=False)
        if self._itinerary.can_escalate(attempt.stop, attempt.cost):
            await self._examine(attempt)
        attempt.gave()
        return words

    async def _examine(self, attempt: OpenAttempt) -> None:
        completion = self._completion(attempt)
        problem, cause = "the check rejected it", None
        try:
            # As the caller would get it; what does not fit `output=` need not be looked at.
            if self._shape is not None and completion.finish_reason in ("stop", "length"):
                completion = replace(completion, output=parse_output(completion.text, self._shape))
        except OutputInvalidError as error:
            problem, cause = error.message, error
        else:
            verdict = self._check(completion)
            if await verdict if isawaitable(verdict) else verdict:
                return
        name = attempt.deployment.name
        rejected = AnswerRejectedError(
            f"{name} answered, but {problem}",
            text=completion.text,
            provider=attempt.deployment.provider_name,
            deployment=name,
        )
        attempt.reject(rejected)
        raise rejected from cause

    def _completion(self, attempt: OpenAttempt) -> Completion:
        """What the caller would get, but for the time to the first token: nobody has got any yet."""
        account, record = self._account, attempt.record
        return folded(
            attempt.fold,
            attempt.fold.reason,
            route=self._route,
            attempt=attempt,
            attempts=tuple(account.attempts) if record is None else (*account.attempts, record),
            usage=attempt.usage,
            cost=None if account.cost is None or attempt.cost is None else account.cost + attempt.cost,
            timings=account.timings(attempt.usage, now=self._now()),
        )
