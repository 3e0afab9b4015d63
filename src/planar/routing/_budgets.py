"""How much of the traffic may be asked again, or twice, and how long to wait before. Nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from planar.types import HedgePolicy, RetryPolicy, nano

_MILLION = 1_000_000
_DOUBLINGS = 64
"""Beyond these every wait has long been at its cap."""


class RetryBudget:
    """Keeps the retries of one deployment to a share of its calls, so that they cannot keep it down.

    A bucket of retries: each call puts a part of one in, each second a little more, and each retry takes a whole one
    out. It begins full. In any span of time there are at most `budget_cap` + `budget_ratio` per call +
    `budget_floor` per second of them.

    `now` is always seconds on one monotonic clock. Threads may share it.
    """

    __slots__ = ("_lock", "_policy", "_tokens", "_updated")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._lock = Lock()
        self._tokens = float(policy.budget_cap)
        self._updated: float | None = None

    def called(self, now: float) -> None:
        """A call is made there that is not a retry."""
        with self._lock:
            self._fill(now, self._policy.budget_ratio)

    def take(self, now: float) -> bool:
        """Whether a retry may be made now. If so, it is taken out."""
        with self._lock:
            self._fill(now, 0.0)
            if self._tokens < 1.0 - 1e-9:  # ten tenths are a little less than one
                return False
            self._tokens -= 1.0
            return True

    def _fill(self, now: float, tokens: float) -> None:
        if self._updated is None or now > self._updated:
            passed = 0.0 if self._updated is None else now - self._updated
            tokens += passed * self._policy.budget_floor
            self._updated = now
        self._tokens = min(self._policy.budget_cap, self._tokens + tokens)


class HedgeBudget:
    """Keeps hedges to a share of the calls, and what they cost to a share of the money.

    At no time have there been more hedges than `share` of the calls; of them at most `burst` can have been saved up.
    What they cost, those that run counted with their bounds, is at most `money_share` of everything spent, and the
    allowance, as long as none costs more than its bound.

    Money is whole nano-USD. Threads may share it.
    """

    __slots__ = ("_allowance", "_burst", "_hedged", "_lock", "_money_share", "_share", "_spent", "_tokens")

    def __init__(self, policy: HedgePolicy) -> None:
        # Whole millionths, so that a thousand shares add up to what they should.
        self._share = int(policy.share * _MILLION + 1e-6)
        self._burst = int(policy.burst * _MILLION)
        self._money_share = int(policy.money_share * _MILLION + 1e-6)
        self._allowance = nano(policy.allowance_usd)
        self._lock = Lock()
        self._tokens = 0
        self._spent = 0
        self._hedged = 0

    def called(self) -> None:
        """A call is made that is not a hedge."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + self._share)

    def spent(self, nano_usd: int) -> None:
        """An attempt that was no hedge has cost this much."""
        with self._lock:
            self._spent += nano_usd

    def take(self, *, cost_bound: int | None) -> bool:
        """Whether a hedge that costs at most `cost_bound` may be made now. If so, it is taken out; `settle` is due.

        A hedge whose price is unknown (`None`) is not made: it could cost anything.
        """
        if cost_bound is None:
            return False
        with self._lock:
            room = self._money_share * self._spent + (self._allowance - self._hedged - cost_bound) * _MILLION
            if self._tokens < _MILLION or room < 0:
                return False
            self._tokens -= _MILLION
            self._hedged += cost_bound
            return True

    def settle(self, *, cost_bound: int, cost: int | None) -> None:
        """A hedge has ended, and cost this much; `None`, where nobody knows, leaves its bound."""
        cost = cost_bound if cost is None else cost
        with self._lock:
            self._hedged += cost - cost_bound
            self._spent += cost


def backoff(
    attempt: int, *, base: float, cap: float, retry_after: float | None = None, random: Callable[[], float]
) -> float:
    """Seconds to wait before asking again: anything up to a bound that doubles each time (full jitter).

    Args:
        attempt: How many have failed, from 1.
        base: Bound of the first wait.
        cap: Bound of every wait.
        retry_after: What the provider asked for. It is waited whole, and the jitter comes on top, for everybody else
            was told the same.
        random: Gives a number of at least 0 and below 1, such as `random.Random(seed).random`.
    """
    jitter = random() * min(cap, base * 2.0 ** min(attempt - 1, _DOUBLINGS))
    return jitter + retry_after if retry_after is not None and retry_after > 0 else jitter
