"""Who is left alone after failures: a circuit breaker that reads no clock."""

from __future__ import annotations

import math
from threading import Lock

from planar.types import BreakerPolicy, BreakerState

BUCKETS = 10
_DOUBLINGS = 64
"""Beyond these every ejection has long been at its cap."""


class Breaker:
    """Leaves a deployment alone for a while after failures, longer each time, and lets single probes find it back.

    `now` is always seconds on one monotonic clock. Each call is announced with `begin` and reported once with the
    ticket that `begin` gave. A call begun before the last change of state has no say about what came after it.

    A caller that has nobody else to ask may begin in spite of `allow`: its success closes the breaker like a
    probe's, its failure changes nothing, so that the last deployment standing is not punished for being asked.

    Threads may share it. Changes of state take a lock; counting does not, for under the GIL it is one step, and
    a count that got lost would change nothing.
    """

    __slots__ = (
        "_closed_at",
        "_consecutive",
        "_doublings",
        "_era",
        "_held_until",
        "_lock",
        "_open_until",
        "_policy",
        "_probe",
        "_probe_began",
        "_ticket",
        "_window",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._lock = Lock()
        self._window = Window(policy.window)
        self._consecutive = 0
        self._doublings = -1  # of the last ejection; -1 before the first and once healed
        self._closed_at = 0.0
        self._open_until: float | None = None  # `None` means closed
        self._held_until = -math.inf
        # Tickets only grow. Those of one era begin with the number that the change of state left, and a probe's
        # number is nobody else's.
        self._ticket = self._era = 1
        self._probe = 0  # 0 means that none is out
        self._probe_began = 0.0

    def state(self, now: float) -> BreakerState:
        """Closed: in use. Open: ejected. Half open: a probe may be let through, or is out."""
        until = self._open_until  # read once: another thread may close it meanwhile
        if until is None:
            return "closed"
        return "open" if now < until else "half_open"

    def allow(self, now: float) -> bool:
        """Whether a call may be begun now. Changes nothing: `begin` takes the probe."""
        return self.retry_at(now) is None

    def retry_at(self, now: float) -> float | None:
        """When a call may be begun, as far as known now; `None` if it may be begun at once.

        While a probe is out this is when it would be taken for lost; its report may come earlier.
        """
        wait, until = self._held_until, self._open_until
        if until is not None:
            wait = max(wait, until)
            if self._probe:
                wait = max(wait, self._probe_began + self._policy.probe_timeout)
        return wait if now < wait else None

    def error_rate(self, now: float) -> float | None:
        """Failures among the calls that ended within the window; `None` if none did, or none since it closed."""
        volume, failures = self._window.counts(now)
        return failures / volume if volume else None

    def look(self, now: float) -> tuple[float | None, BreakerState, float | None, float]:
        """`retry_at`, `state` and `error_rate`, and until when they stay so if nothing is reported."""
        retry_at, opened = self.retry_at(now), self._open_until
        volume, failures = self._window.counts(now)
        until = self._window.next_bucket if volume else math.inf
        if retry_at is not None and retry_at < until:
            until = retry_at
        if opened is None:
            return retry_at, "closed", failures / volume if volume else None, until
        if now < opened < until:
            until = opened
        return retry_at, "open" if now < opened else "half_open", failures / volume if volume else None, until

    def begin(self, now: float) -> int:
        """Announce a call, and get the ticket for its report. The first one when half open is the probe."""
        if self._open_until is not None:
            with self._lock:
                if self.state(now) == "half_open" and self.allow(now):
                    self._probe = self._ticket + 1
                    self._probe_began = now
                    self._ticket += 2
                    return self._probe
        return self._ticket

    def let_through(self, now: float, ticket: int) -> bool:
        """Whether a call that has just begun was allowed to; of two who saw that a probe may begin, one was."""
        return ticket == self._probe or (self._open_until is None and self._held_until <= now)

    def succeeded(self, now: float, ticket: int) -> None:
        """Report an answer."""
        if self._open_until is None:
            self._consecutive = 0
            self._window.add(now, failed=False)
            return
        with self._lock:
            if ticket >= self._era:
                self._close(now)

    def failed(self, now: float, ticket: int) -> None:
        """Report a failure that is the deployment's own."""
        with self._lock:
            if ticket < self._era:
                return
            if self._open_until is None:
                self._consecutive += 1
                self._window.add(now, failed=True)
                if self._too_many(now):
                    self._eject(now)
            elif ticket == self._probe:
                self._eject(now)

    def cancelled(self, ticket: int) -> None:
        """Report a call that says nothing about the deployment. A probe is given back: the next call may be one."""
        if ticket == self._probe:
            with self._lock:
                if ticket == self._probe:
                    self._probe = 0

    def hold(self, now: float, seconds: float) -> None:
        """Allow nothing for `seconds`, as a `Retry-After` asked. No failure: the state stays as it is."""
        if seconds > 0:
            self._held_until = max(self._held_until, now + min(seconds, self._policy.max_hold))

    def _too_many(self, now: float) -> bool:
        policy = self._policy
        if self._consecutive >= policy.consecutive:
            return True
        volume, failures = self._window.counts(now)
        return volume >= policy.min_volume and failures >= policy.error_rate * volume

    def _eject(self, now: float) -> None:
        policy = self._policy
        if self._open_until is None and self._doublings >= 0:
            healed = (now - self._closed_at) // policy.healing
            self._doublings = int(max(-1, self._doublings - healed))
        self._doublings = min(self._doublings + 1, _DOUBLINGS)
        self._open_until = now + min(policy.max_ejection, policy.ejection * 2.0**self._doublings)
        self._change()

    def _close(self, now: float) -> None:
        self._open_until = None
        self._closed_at = now
        self._consecutive = 0
        self._window = Window(self._policy.window)  # what led to the ejection has been paid for
        self._change()

    def _change(self) -> None:
        self._probe = 0
        self._ticket += 1
        self._era = self._ticket


class Window:
    """How many calls ended well or badly within the last seconds, in ten buckets."""

    __slots__ = ("_bucket", "_failures", "_per_second", "_volumes")

    def __init__(self, seconds: float) -> None:
        self._per_second = BUCKETS / seconds
        self._bucket = 0
        self._volumes = [0] * BUCKETS
        self._failures = [0] * BUCKETS

    def add(self, now: float, *, failed: bool) -> None:
        """Count one call."""
        bucket = int(now * self._per_second)
        if bucket > self._bucket:
            self._turn_to(bucket)
        place = self._bucket % BUCKETS
        self._volumes[place] += 1
        if failed:
            self._failures[place] += 1

    def counts(self, now: float) -> tuple[int, int]:
        """How many calls ended, and how many of them badly."""
        bucket = int(now * self._per_second)
        if bucket > self._bucket:
            self._turn_to(bucket)
        return sum(self._volumes), sum(self._failures)

    @property
    def next_bucket(self) -> float:
        """When those who were counted first may be too old."""
        return (self._bucket + 1) / self._per_second

    def _turn_to(self, bucket: int) -> None:
        for step in range(1, min(bucket - self._bucket, BUCKETS) + 1):
            place = (self._bucket + step) % BUCKETS
            self._volumes[place] = self._failures[place] = 0
        self._bucket = bucket
