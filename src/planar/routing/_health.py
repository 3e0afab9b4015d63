"""How every deployment is doing: what the router may know, and who is left alone for now."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TypeAlias, TypeVar

from planar.errors import PlanarError, ProviderError
from planar.routing._breaker import Breaker
from planar.routing._recent import Recent, share_of
from planar.routing._verdicts import verdict_of
from planar.types import BreakerPolicy, Health, HedgePolicy

Place: TypeAlias = str | tuple[str, str]
"""A deployment's name, or the name and an id of the key it is asked with. The two are different places."""

PlaceT = TypeVar("PlaceT", bound=Place)
LATENCY_SECONDS = 600.0
"""How long a latency is remembered."""
STALENESS = 0.01
"""By how much of its age a snapshot that nothing else has changed may be older than it says."""
_UNSEEN = Health()


class HealthBoard:
    """Watches every call to every deployment, and says how each is doing.

    `now` is always seconds on one monotonic clock; the board reads none. It may be used from several threads and
    loops. What it knows of a place takes a few KiB however much happens there.

    Args:
        policy: When a deployment is left alone.
        capacity: Most places that are remembered. The oldest without a call in flight is forgotten first.
    """

    __slots__ = ("_capacity", "_lines", "_lock", "_policy")

    def __init__(self, policy: BreakerPolicy | None = None, *, capacity: int = 4096) -> None:
        self._policy = policy or BreakerPolicy()
        self._capacity = capacity
        self._lines: dict[Place, _Line] = {}
        self._lock = Lock()

    def began(self, place: Place, now: float, *, streamed: bool = False) -> Watch:
        """Announce a call. What becomes of it is reported to the `Watch`, once.

        Args:
            streamed: Its answer will have a first token, and counts as waiting until that comes.
        """
        line = self._lines.get(place) or self._new_line(place)
        ticket = line.breaker.begin(now)
        line.in_flight += 1
        watch = Watch(line, now, ticket, line.breaker.let_through(now, ticket))
        if streamed:
            line.waiting[watch] = now
        line.changed = True
        return watch

    def admitted(self, places: Sequence[PlaceT], now: float) -> list[PlaceT]:
        """Those that may be asked now, in their order; if none may, all of them, soonest to be allowed first.

        So the last one is never taken away: a deployment that fails is better than none.
        """
        lines = self._lines
        allowed = [
            place for place in places if (line := lines.get(place)) is None or line.breaker.retry_at(now) is None
        ]
        return allowed or sorted(places, key=lambda place: self._retry_at(place, now) or now)

    def snapshot(self, place: Place, now: float) -> Health:
        """How a deployment is doing now. Of one that was never asked, `Health()`.

        The last one is given again where nothing was reported since and time has not changed it; its age then is at
        most a hundredth too small.
        """
        line = self._lines.get(place)
        if line is None:
            return _UNSEEN
        if not line.changed and line.seen_from <= now < line.seen_until:
            return line.seen
        return line.look(now)

    def hedge_delay(self, place: Place, policy: HedgePolicy, now: float) -> float | None:
        """Seconds to wait for the first token before a second deployment is asked beside this one.

        The policy's quantile of the recent times to first token, within its bounds; `None` while there are too few.
        """
        line = self._lines.get(place)
        if line is None:
            return None
        measured = share_of(line.ttft.ascending(now), policy.quantile)
        if measured is None or len(line.ttft.ascending(now)) < policy.min_samples:
            return None
        return min(max(measured, policy.min_delay), policy.max_delay)

    def _retry_at(self, place: Place, now: float) -> float | None:
        line = self._lines.get(place)
        return None if line is None else line.breaker.retry_at(now)

    def _new_line(self, place: Place) -> _Line:
        with self._lock:
            line = self._lines.get(place)
            if line is None:
                if len(self._lines) >= self._capacity:
                    idle = next((each for each, line in self._lines.items() if not line.in_flight), None)
                    if idle is not None:
                        del self._lines[idle]
                line = self._lines[place] = _Line(self._policy)
            return line


class Watch:
    """One call to a deployment, on whose end exactly one report is due; later ones change nothing.

    Attributes:
        admitted: It may go on. `False` if the deployment is ejected or held back, or if somebody else's probe is out:
            then go on only if there is nobody else to ask, and report `cancelled` otherwise.
    """

    __slots__ = ("_began", "_ended", "_first", "_line", "_ticket", "admitted")

    def __init__(self, line: _Line, began: float, ticket: int, admitted: bool) -> None:
        self._line = line
        self._began = began
        self._ticket = ticket
        self._first: float | None = None
        self._ended = False
        self.admitted = admitted

    def first_token(self, now: float) -> None:
        """The first delta arrived. Only the first report counts."""
        line = self._line
        if self._first is None and not self._ended:
            self._first = now
            line.waiting.pop(self, None)
            line.ttft.add(now, max(0.0, now - self._began))
            line.changed = True

    def succeeded(self, now: float, *, tokens: int | None = None) -> None:
        """The answer arrived, whole.

        Args:
            tokens: How many it has, of those that were given from the first delta on; `None` if nobody counted.
        """
        line = self._line
        if self._ended:
            return
        self._end()
        line.reported_at = now
        line.last_error = ""
        # An answer that began before the key was refused says nothing about the key.
        if line.auth_failed_at is not None and self._began >= line.auth_failed_at:
            line.auth_failed_at = None
        line.latency.add(now, max(0.0, now - self._began))
        if tokens is not None and tokens > 1 and self._first is not None and now > self._first:
            line.speed.add(now, (tokens - 1) / (now - self._first))
        line.breaker.succeeded(now, self._ticket)
        line.changed = True

    def failed(self, error: PlanarError, now: float) -> None:
        """The call ended with an error, which counts against the deployment only if `verdict_of` says so.

        A `Retry-After` holds the deployment back until then. One that says that it is busy and for how long has not
        failed; one that is busy and does not say has, for nothing else would take the load off it.
        """
        verdict = verdict_of(error)
        if verdict == "success":
            self.succeeded(now)
            return
        if verdict == "ignored":
            self.cancelled()
            return
        line = self._line
        if self._ended:
            return
        self._end()
        line.reported_at = now
        line.last_error = type(error).__name__
        wait = error.retry_after if isinstance(error, ProviderError) else None
        if verdict == "auth":
            line.auth_failed_at = now
        if wait is not None:
            line.breaker.hold(now, wait)
        if verdict == "failure" or (verdict == "busy" and wait is None):
            line.breaker.failed(now, self._ticket)
        else:
            line.breaker.cancelled(self._ticket)
        line.changed = True

    def cancelled(self) -> None:
        """The call ended in a way that says nothing about the deployment: the caller left, or a rival was faster."""
        line = self._line
        if not self._ended:
            self._end()
            line.breaker.cancelled(self._ticket)
            line.changed = True

    def _end(self) -> None:
        self._ended = True
        self._line.in_flight -= 1
        self._line.waiting.pop(self, None)


class _Line:
    """What is known of one place. Its fields change in one step each, so that threads can share it under the GIL.

    Attributes:
        changed: Something was reported since `seen` was made. Whoever reports sets it last, whoever looks clears it
            first, so that no report is overlooked.
        seen: What was seen last; it holds from `seen_from` until `seen_until`.
    """

    __slots__ = (
        "auth_failed_at",
        "breaker",
        "changed",
        "in_flight",
        "last_error",
        "latency",
        "reported_at",
        "seen",
        "seen_from",
        "seen_until",
        "speed",
        "ttft",
        "waiting",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self.breaker = Breaker(policy)
        self.ttft = Recent(LATENCY_SECONDS)
        self.latency = Recent(LATENCY_SECONDS)
        self.speed = Recent(LATENCY_SECONDS)
        self.in_flight = 0
        self.waiting: dict[Watch, float] = {}  # when each began, the oldest first
        self.auth_failed_at: float | None = None
        self.last_error = ""
        self.reported_at: float | None = None
        self.changed = True
        self.seen = _UNSEEN
        self.seen_from = self.seen_until = 0.0

    def look(self, now: float) -> Health:
        """See how it is doing, and remember that for as long as only its age grows."""
        self.changed = False
        retry_at, state, error_rate, until = self.breaker.look(now)
        first, whole, speed = self.ttft, self.latency, self.speed
        ttft, latency, speeds = first.ascending(now), whole.ascending(now), speed.ascending(now)
        until = min(until, first.stale_at, whole.stale_at, speed.stale_at)
        auth_failed, reported_at, age = self.auth_failed_at is not None, self.reported_at, None
        if reported_at is not None:
            age = now - reported_at if now > reported_at else 0.0
            until = min(until, now + age * STALENESS)
        waiting, waited = self.waits(now)
        if waited is not None:
            until = min(until, now + waited * STALENESS)
        seen = Health(
            ok=retry_at is None and not auth_failed,
            message=self.last_error,
            state=state,
            error_rate=error_rate,
            in_flight=self.in_flight,
            waiting=waiting,
            waited=waited,
            ttft=first.last,
            ttft_p50=share_of(ttft, 0.5),
            ttft_p95=share_of(ttft, 0.95),
            latency_p95=share_of(latency, 0.95),
            tokens_per_second=share_of(speeds, 0.5),
            auth_failed=auth_failed,
            retry_at=retry_at,
            age=age,
        )
        self.seen_until = now  # for nobody, while the others are being put in place
        self.seen, self.seen_from = seen, now
        self.seen_until = until
        return seen

    def waits(self, now: float) -> tuple[int, float | None]:
        """How many calls wait for their first token, and how long half of them have waited at least."""
        if not self.waiting:
            return 0, None
        # One that is older has lost its event loop: nobody will report on it.
        since = [began for began in list(self.waiting.values()) if now - began <= LATENCY_SECONDS]
        return len(since), max(0.0, now - since[len(since) // 2]) if since else None
