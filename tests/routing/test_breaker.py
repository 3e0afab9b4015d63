"""A breaker ejects after failures, longer each time, and comes back by single probes; any sequence of calls."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from effort import TIMES, examples
from planar.errors import ConfigurationError
from planar.routing._breaker import Breaker, Window
from planar.types import BreakerPolicy

POLICY = BreakerPolicy(
    window=10,
    min_volume=6,
    error_rate=0.5,
    consecutive=3,
    ejection=4,
    max_ejection=20,
    healing=30,
    probe_timeout=15,
    max_hold=50,
)


def fail(breaker: Breaker, now: float, *, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(now, breaker.begin(now))


def succeed(breaker: Breaker, now: float, *, times: int = 1) -> None:
    for _ in range(times):
        breaker.succeeded(now, breaker.begin(now))


def test_failures_in_a_row_eject() -> None:
    breaker = Breaker(POLICY)

    fail(breaker, 100, times=2)
    before = breaker.state(100)
    fail(breaker, 100)

    assert before == "closed"
    assert breaker.state(103.9) == "open"
    assert not breaker.allow(103.9)
    assert breaker.retry_at(103.9) == 104
    assert breaker.state(104) == "half_open"
    assert breaker.allow(104)


def test_a_success_ends_the_row() -> None:
    breaker = Breaker(POLICY)

    fail(breaker, 100, times=2)
    succeed(breaker, 100)
    fail(breaker, 100, times=2)

    assert breaker.state(100) == "closed"


def test_a_rate_of_failures_ejects_once_there_were_enough_calls() -> None:
    breaker = Breaker(POLICY)

    for _ in range(2):
        succeed(breaker, 100)
        fail(breaker, 100)
    succeed(breaker, 100)
    before = breaker.state(100)
    fail(breaker, 100)

    assert before == "closed"
    assert breaker.state(100) == "open"
    assert breaker.error_rate(100) == 0.5


def test_failures_out_of_the_window_are_forgotten() -> None:
    breaker = Breaker(POLICY)
    for _ in range(2):
        succeed(breaker, 100)
        fail(breaker, 100)

    later = breaker.error_rate(111)
    succeed(breaker, 111)
    fail(breaker, 111)

    assert later is None
    assert breaker.state(111) == "closed"


def test_one_probe_is_let_through_and_its_success_closes() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)

    probe = breaker.begin(104)
    meanwhile = breaker.allow(104.5)
    breaker.succeeded(105, probe)

    assert not meanwhile
    assert breaker.state(105) == "closed"
    assert breaker.error_rate(105) is None


def test_a_probe_that_fails_ejects_for_twice_as_long_up_to_the_cap() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)
    now, lasted = 100.0, list[float]()

    for _ in range(4):
        until = breaker.retry_at(now) or 0.0
        lasted.append(until - now)
        now = until
        fail(breaker, now)

    assert lasted == [4, 8, 16, 20]


def test_a_probe_that_is_cancelled_is_given_back() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)

    breaker.cancelled(breaker.begin(104))

    assert breaker.state(104) == "half_open"
    assert breaker.allow(104)


def test_a_probe_that_nobody_reports_on_is_taken_for_lost() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)
    lost = breaker.begin(104)

    waits = breaker.retry_at(110)
    second = breaker.begin(119)
    breaker.failed(119, lost)

    assert waits == 119
    assert breaker.state(119) == "half_open"
    assert not breaker.allow(119)
    breaker.succeeded(120, second)
    assert breaker.state(120) == "closed"


def test_time_in_use_takes_the_doublings_back_one_by_one() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 0, times=3)
    fail(breaker, 4)
    fail(breaker, 12)
    succeed(breaker, 28)

    fail(breaker, 28 + 60, times=3)

    assert breaker.retry_at(88) == 88 + 8  # 16, less two doublings, and one more


def test_long_enough_in_use_the_next_ejection_is_as_short_as_the_first() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 0, times=3)
    fail(breaker, 4)
    succeed(breaker, 12)

    fail(breaker, 1000, times=3)

    assert breaker.retry_at(1000) == 1004


def test_a_call_begun_before_the_ejection_has_no_say_after_it() -> None:
    breaker = Breaker(POLICY)
    early = [breaker.begin(99) for _ in range(3)]
    fail(breaker, 100, times=3)

    breaker.succeeded(101, early[0])
    breaker.failed(101, early[1])
    still_open = breaker.retry_at(101)
    succeed(breaker, 104)
    breaker.failed(104, early[2])

    assert still_open == 104
    assert breaker.state(104) == "closed"
    assert breaker.error_rate(104) is None


def test_a_call_begun_in_spite_of_the_ejection_closes_by_success_and_prolongs_nothing_by_failure() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)

    fail(breaker, 101, times=9)
    prolonged = breaker.retry_at(101)
    succeed(breaker, 102)

    assert prolonged == 104
    assert breaker.state(102) == "closed"


def test_only_the_failure_of_the_probe_itself_counts_while_it_is_out() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 100, times=3)
    forced_early = breaker.begin(101)
    probe = breaker.begin(104)
    forced_late = breaker.begin(104)

    breaker.failed(105, forced_early)
    breaker.failed(105, forced_late)
    meanwhile = breaker.state(105)
    breaker.failed(105, probe)

    assert meanwhile == "half_open"
    assert breaker.retry_at(105) == 113


def test_a_hold_allows_nothing_and_is_no_failure() -> None:
    breaker = Breaker(POLICY)

    breaker.hold(100, 7)
    breaker.hold(100, 2)
    breaker.hold(100, -5)

    assert not breaker.allow(106)
    assert breaker.retry_at(106) == 107
    assert breaker.state(106) == "closed"
    assert breaker.allow(107)


def test_a_hold_is_believed_up_to_its_cap() -> None:
    breaker = Breaker(POLICY)

    breaker.hold(100, 86_400)

    assert breaker.retry_at(100) == 150


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"window": 0}, "window must be a number above 0, not 0"),
        ({"window": float("nan")}, "window must be a number above 0, not nan"),
        ({"error_rate": 1.5}, "error_rate must be a number above 0 and at most 1, not 1.5"),
        ({"min_volume": 2.0}, "min_volume must be a whole number of at least 1, not 2.0"),
        ({"consecutive": True}, "consecutive must be a whole number of at least 1, not True"),
        ({"ejection": 9, "max_ejection": 8}, "max_ejection must be a number of at least 9 as ejection, not 8"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BreakerPolicy(**wrong)  # type: ignore[arg-type]

    assert caught.value.message == told


@given(
    steps=st.lists(st.tuples(st.floats(0, 8), st.booleans()), max_size=60),
    seconds=st.sampled_from([1.0, 10.0, 30.0]),
)
@examples(100)
def test_a_window_counts_what_its_last_ten_buckets_hold(steps: list[tuple[float, bool]], seconds: float) -> None:
    window = Window(seconds)
    now, seen = 1000.0, list[tuple[int, bool]]()

    for step, failed in steps:
        now += step
        window.add(now, failed=failed)
        seen.append((int(now * (10 / seconds)), failed))

    last = seen[-1][0] if seen else 0
    kept = [failed for bucket, failed in seen if bucket > last - 10]
    assert window.counts(now) == (len(kept), sum(kept))


@dataclass
class Begun:
    """A call that was not reported on yet."""

    ticket: int
    at: float
    probe: bool


class BreakerMachine(RuleBasedStateMachine):
    """Callers who ask `allow` first, except where they say that they force their way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.calls: list[Begun] = []
        self.last_ejection: float | None = None

    @initialize(
        policy=st.builds(
            BreakerPolicy,
            window=st.sampled_from([1.0, 10.0]),
            min_volume=st.integers(1, 6),
            error_rate=st.sampled_from([0.1, 0.5, 1.0]),
            consecutive=st.integers(1, 4),
            ejection=st.sampled_from([1.0, 5.0]),
            max_ejection=st.sampled_from([5.0, 7.0, 60.0]),
            healing=st.sampled_from([10.0, 1e9]),
            probe_timeout=st.sampled_from([2.0, 30.0]),
        )
    )
    def a_breaker(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.breaker = Breaker(policy)

    @property
    def live_probes(self) -> list[Begun]:
        return [call for call in self.calls if call.probe and self.now < call.at + self.policy.probe_timeout]

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.allow(self.now))
    @rule()
    def begin(self) -> None:
        probe = self.breaker.state(self.now) == "half_open"

        self.calls.append(Begun(self.breaker.begin(self.now), self.now, probe))

        assert not probe or (len(self.live_probes) == 1 and not self.breaker.allow(self.now))

    @precondition(lambda self: not self.breaker.allow(self.now))
    @rule()
    def force(self) -> None:
        self.calls.append(Begun(self.breaker.begin(self.now), self.now, probe=False))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 50))
    def succeed(self, which: int) -> None:
        call = self.calls.pop(which % len(self.calls))
        before = self.breaker.state(self.now)

        self.breaker.succeeded(self.now, call.ticket)

        after = self.breaker.state(self.now)
        assert after == ("closed" if call.probe else after)
        if before != after:
            assert (before, after) in {("open", "closed"), ("half_open", "closed")}
            self.forget_probes()

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 50))
    def fail(self, which: int) -> None:
        call = self.calls.pop(which % len(self.calls))
        before = self.breaker.state(self.now)

        self.breaker.failed(self.now, call.ticket)

        if before != "closed" and not call.probe:
            assert self.breaker.state(self.now) == before
        if self.breaker.state(self.now) == "open" and before != "open":
            self.check_ejection(again=before == "half_open")

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 50))
    def cancel(self, which: int) -> None:
        call = self.calls.pop(which % len(self.calls))

        self.breaker.cancelled(call.ticket)

        assert self.breaker.allow(self.now) or not call.probe or self.live_probes

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 50))
    def lose(self, which: int) -> None:
        self.calls.pop(which % len(self.calls))

    def check_ejection(self, *, again: bool) -> None:
        self.forget_probes()
        lasts = (self.breaker.retry_at(self.now) or 0.0) - self.now
        assert self.policy.ejection - 1e-6 <= lasts <= self.policy.max_ejection + 1e-6
        if again or self.policy.healing > 1e6:
            grown = min(2 * (self.last_ejection or self.policy.ejection / 2), self.policy.max_ejection)
            assert lasts == pytest.approx(grown)
        self.last_ejection = lasts

    def forget_probes(self) -> None:
        """Calls of an earlier era are nobody's probe any more."""
        for call in self.calls:
            call.probe = False

    @invariant()
    def is_never_open_for_ever(self) -> None:
        longest = max(self.policy.max_ejection, self.policy.probe_timeout)

        assert self.breaker.allow(self.now + longest)

    @invariant()
    def what_is_allowed_agrees_with_when(self) -> None:
        at = self.breaker.retry_at(self.now)

        assert self.breaker.allow(self.now) == (at is None)
        assert at is None or (at > self.now and self.breaker.allow(at))


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(
    max_examples=60 * TIMES, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
