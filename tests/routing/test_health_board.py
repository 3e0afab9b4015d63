"""The board says how deployments are doing, blames them only for what they did, and never takes the last one away."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar import errors
from planar.errors import (
    ContentFilteredError,
    ContextLengthError,
    DeadlineExceededError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    QuotaExceededError,
    RateLimitedError,
    StreamInterruptedError,
    TruncatedStreamError,
)
from planar.routing._health import HealthBoard
from planar.routing._recent import SAMPLES, Recent, share_of
from planar.routing._verdicts import VERDICTS, verdict_of
from planar.types import BreakerPolicy, Health, HedgePolicy

POLICY = BreakerPolicy(consecutive=3, ejection=4)
BROKEN = ProviderServerError("it broke")
SPENT = QuotaExceededError(
    scope="acme", dimension="tokens", limit=1, remaining=0, requested=1, kind="spent", retry_after=None
)


def answer(board: HealthBoard, place: str, *, at: float, ttft: float = 0.5, total: float = 2.0) -> None:
    watch = board.began(place, at)
    watch.first_token(at + ttft)
    watch.succeeded(at + total)


def fail(board: HealthBoard, place: str, error: PlanarError, *, at: float, times: int = 1) -> None:
    for _ in range(times):
        board.began(place, at).failed(error, at)


def eject(board: HealthBoard, place: str, *, at: float) -> None:
    fail(board, place, BROKEN, at=at, times=POLICY.consecutive)


def test_of_a_deployment_that_was_never_asked_nothing_is_known() -> None:
    board = HealthBoard()

    assert board.snapshot("a:m", 100) == Health()


def test_a_snapshot_says_what_was_measured() -> None:
    board = HealthBoard(POLICY)
    for n in range(1, 21):
        answer(board, "a:m", at=100, ttft=n / 8, total=n)
    fail(board, "a:m", BROKEN, at=120)
    board.began("a:m", 121)

    assert board.snapshot("a:m", 123) == Health(
        message="ProviderServerError",
        error_rate=1 / 21,
        in_flight=1,
        ttft=2.5,
        ttft_p50=1.25,
        ttft_p95=2.375,
        latency_p95=19.0,
        age=3.0,
    )


def test_latencies_that_are_too_old_are_forgotten() -> None:
    board = HealthBoard()
    answer(board, "a:m", at=100)

    health = board.snapshot("a:m", 2_000)

    assert (health.ttft_p50, health.ttft_p95, health.latency_p95) == (None, None, None)
    assert health.ttft == 0.5


def test_how_long_calls_have_waited_is_told_before_any_of_them_ends() -> None:
    board = HealthBoard()
    answered = board.began("a:m", 100, streamed=True)
    board.began("a:m", 101, streamed=True)
    board.began("a:m", 104, streamed=True)
    broken = board.began("a:m", 105, streamed=True)
    board.began("a:m", 100)  # of a whole answer nobody can say whether it has begun

    answered.first_token(106)
    before = board.snapshot("a:m", 107)
    broken.failed(BROKEN, 107)
    after = board.snapshot("a:m", 107)

    assert (before.waiting, before.waited) == (3, 3)
    assert (after.waiting, after.waited) == (2, 3)
    assert after.in_flight == 4


def test_nobody_waits_where_every_call_has_begun_or_ended_or_was_lost_long_ago() -> None:
    board = HealthBoard()
    board.began("lost:m", 100, streamed=True)
    answer(board, "a:m", at=100)
    board.began("a:m", 101, streamed=True).cancelled()

    waits = [(health.waiting, health.waited) for health in (board.snapshot("a:m", 102), board.snapshot("lost:m", 900))]

    assert waits == [(0, None), (0, None)]


def test_an_ejected_deployment_is_moved_out_and_comes_back_by_a_probe() -> None:
    board = HealthBoard(POLICY)
    eject(board, "a:m", at=100)

    ejected = board.admitted(["a:m", "b:m"], 103)
    later = board.admitted(["a:m", "b:m"], 104)
    probe = board.began("a:m", 104)
    rival = board.began("a:m", 104)
    meanwhile = board.admitted(["a:m", "b:m"], 104)
    probe.succeeded(105)

    assert ejected == ["b:m"]
    assert later == ["a:m", "b:m"]
    assert (probe.admitted, rival.admitted) == (True, False)
    assert meanwhile == ["b:m"]
    assert board.snapshot("a:m", 105).state == "closed"


def test_a_probe_whose_caller_left_is_given_back() -> None:
    board = HealthBoard(POLICY)
    eject(board, "a:m", at=100)

    board.began("a:m", 104).cancelled()

    assert board.began("a:m", 104).admitted


def test_a_probe_that_ends_by_the_callers_fault_is_given_back() -> None:
    board = HealthBoard(POLICY)
    eject(board, "a:m", at=100)

    fail(board, "a:m", ContextLengthError("too long"), at=104)

    assert board.snapshot("a:m", 104).state == "half_open"
    assert board.began("a:m", 104).admitted


def test_the_last_one_is_never_taken_away() -> None:
    board = HealthBoard(POLICY)
    eject(board, "late:m", at=102)
    eject(board, "soon:m", at=100)

    assert board.admitted(["late:m", "soon:m"], 103) == ["soon:m", "late:m"]
    assert board.admitted(["late:m"], 103) == ["late:m"]
    assert board.admitted([], 103) == []


@pytest.mark.parametrize(
    "error",
    [
        ContextLengthError("too long"),
        ContentFilteredError("no"),
        DeadlineExceededError("too late"),
        SPENT,
        errors.InvalidRequestError("no"),
        errors.UnknownTenantError("who?", tenant="x"),
        errors.StoreError("away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_callers_and_tenants_cause_never_counts(error: PlanarError) -> None:
    board = HealthBoard(POLICY)

    fail(board, "a:m", error, at=100, times=50)

    assert board.snapshot("a:m", 100) == Health()


@pytest.mark.parametrize(
    "error",
    [
        BROKEN,
        ProviderConnectionError("refused"),
        ProviderProtocolError("nonsense"),
        ProviderTimeoutError("slow", phase="first_token"),
        TruncatedStreamError("cut"),
        StreamInterruptedError("cut"),
        OverloadedError("full, and it does not say for how long"),
        RateLimitedError("too many, and it does not say for how long"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_deployment_causes_ejects_it(error: PlanarError) -> None:
    board = HealthBoard(POLICY)

    fail(board, "a:m", error, at=100, times=3)

    health = board.snapshot("a:m", 100)
    assert (health.ok, health.state, health.retry_at, health.error_rate) == (False, "open", 104, 1)
    assert health.message == type(error).__name__


def test_a_rate_limit_that_says_for_how_long_holds_back_and_is_no_failure() -> None:
    board = HealthBoard(POLICY)

    fail(board, "a:m", RateLimitedError("too many", retry_after=20.0), at=100, times=9)

    health = board.snapshot("a:m", 119)
    assert (health.ok, health.state, health.retry_at, health.error_rate) == (False, "closed", 120, None)
    assert board.admitted(["a:m", "b:m"], 119) == ["b:m"]
    assert board.admitted(["a:m", "b:m"], 120) == ["a:m", "b:m"]


def test_a_server_error_that_says_when_to_come_back_is_both() -> None:
    board = HealthBoard(POLICY)

    fail(board, "a:m", ProviderServerError("down", status=503, retry_after=9.0), at=100)

    health = board.snapshot("a:m", 100)
    assert (health.error_rate, health.retry_at) == (1, 109)


@pytest.mark.parametrize(
    "error",
    [
        ProviderAuthError("no"),
        ModelNotFoundError("no"),
        ProviderQuotaError("no money"),
        errors.ProviderPermissionError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_key_is_no_outage_and_a_success_clears_it(error: PlanarError) -> None:
    board = HealthBoard(POLICY)
    older = board.began("a:m", 99)
    fail(board, "a:m", error, at=100, times=50)

    refused = board.snapshot("a:m", 101)
    older.succeeded(102)
    still = board.snapshot("a:m", 102)
    answer(board, "a:m", at=103)
    cleared = board.snapshot("a:m", 105)

    assert (refused.ok, refused.auth_failed, refused.state, refused.error_rate) == (False, True, "closed", None)
    assert refused.message == type(error).__name__
    assert still.auth_failed
    assert (cleared.ok, cleared.auth_failed, cleared.message) == (True, False, "")


def test_only_the_first_report_of_a_call_counts() -> None:
    board = HealthBoard(POLICY)
    watch = board.began("a:m", 100)

    watch.first_token(101)
    watch.first_token(105)
    watch.succeeded(106)
    watch.succeeded(107)
    watch.cancelled()
    watch.failed(BROKEN, 107)
    watch.first_token(108)

    health = board.snapshot("a:m", 106)
    assert (health.in_flight, health.error_rate, health.ttft_p95, health.latency_p95) == (0, 0, 1, 6)


def test_the_same_deployment_with_another_key_is_another_place() -> None:
    board = HealthBoard(POLICY)
    places = [("a:m", "key-1"), ("a:m", "key-2")]
    for _ in range(3):
        board.began(places[0], 100).failed(BROKEN, 100)

    assert board.admitted(places, 101) == [("a:m", "key-2")]


def test_a_board_remembers_no_more_places_than_it_may() -> None:
    board = HealthBoard(POLICY, capacity=2)
    running = board.began("a:m", 100)
    answer(board, "b:m", at=100)

    answer(board, "c:m", at=100)

    assert board.snapshot("a:m", 101).in_flight == 1
    assert board.snapshot("b:m", 101) == Health()
    assert board.snapshot("c:m", 101).ttft == 0.5
    running.cancelled()


def test_a_hedge_waits_for_the_quantile_within_its_bounds() -> None:
    board = HealthBoard()
    for n in range(1, 21):
        answer(board, "a:m", at=100, ttft=float(n), total=30)

    assert board.hedge_delay("a:m", HedgePolicy(max_delay=60), 130) == 19
    assert board.hedge_delay("a:m", HedgePolicy(max_delay=10), 130) == 10
    assert board.hedge_delay("a:m", HedgePolicy(min_delay=25, max_delay=60), 130) == 25
    assert board.hedge_delay("a:m", HedgePolicy(min_samples=21), 130) is None
    assert board.hedge_delay("b:m", HedgePolicy(), 130) is None


def test_threads_may_share_a_board() -> None:
    board = HealthBoard(BreakerPolicy(consecutive=2, ejection=0.001, max_ejection=0.002))

    def calls(seed: int) -> None:
        for n in range(500):
            now = 1000 + n / 100
            watch = board.began("a:m", now)
            watch.first_token(now)
            board.snapshot("a:m", now)
            board.admitted(["a:m"], now)
            if (n + seed) % 3:
                watch.failed(BROKEN, now)
            else:
                watch.succeeded(now)

    pace = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(calls, range(4))) == [None] * 4
    finally:
        sys.setswitchinterval(pace)

    assert board.snapshot("a:m", 1100).in_flight == 0
    assert board.began("a:m", 1100).admitted


def every_error() -> Iterator[type[PlanarError]]:
    for _, each in inspect.getmembers(errors, inspect.isclass):
        if issubclass(each, PlanarError) and not each.__name__.startswith("_"):
            yield each


def test_every_error_has_a_verdict_and_only_a_providers_error_can_blame_it() -> None:
    for each in every_error():
        error = each.__new__(each)

        blamed = verdict_of(error) in ("failure", "auth", "busy")

        assert not blamed or issubclass(each, errors.ProviderError)


def test_no_verdict_is_listed_twice_over() -> None:
    for each, verdict in VERDICTS.items():
        inherited = next((VERDICTS[base] for base in each.__mro__[1:] if base in VERDICTS), None)

        assert verdict != inherited


def test_an_answer_that_broke_off_is_judged_by_what_broke_it() -> None:
    error = StreamInterruptedError("a:m broke off")
    error.__cause__ = ContentFilteredError("no")

    assert verdict_of(error) == "ignored"


def test_an_answer_of_the_wrong_shape_is_still_an_answer() -> None:
    board = HealthBoard(POLICY)

    fail(board, "a:m", errors.OutputInvalidError("no", text="", problems=()), at=100)

    assert board.snapshot("a:m", 100).error_rate == 0


@given(
    values=st.lists(st.tuples(st.sampled_from([0.0, 0.1, 5.0, 60.0]), st.floats(0, 1e6)), max_size=300),
    share=st.sampled_from([0.01, 0.5, 0.9, 0.95, 1.0]),
)
@examples(100)
def test_a_quantile_is_that_of_the_last_samples_that_are_not_too_old(
    values: list[tuple[float, float]], share: float
) -> None:
    recent = Recent(600.0)
    now, seen = 1000.0, list[tuple[float, float]]()
    for step, value in values:
        now += step
        recent.add(now, value)
        seen.append((now, value))

    kept = sorted(value for at, value in seen[-SAMPLES:] if at >= now - 600.0)

    assert share_of(recent.ascending(now), share) == (kept[math.ceil(share * len(kept)) - 1] if kept else None)


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=300))
@examples(50)
def test_a_quantile_that_is_asked_for_all_the_time_is_at_most_a_sixteenth_behind(values: list[float]) -> None:
    recent = Recent(600.0)

    for count, value in enumerate(values, start=1):
        recent.add(1000.0, value)
        seen = recent.ascending(1000.0)

        assert any(
            seen == sorted(values[max(0, end - SAMPLES) : end]) for end in range(count, count - 1 - count // 16, -1)
        )


def test_speed_is_the_tokens_after_the_first_over_the_time_after_it() -> None:
    board = HealthBoard()
    for rate in (10, 20, 40):
        watch = board.began("a:m", 100)
        watch.first_token(101)
        watch.succeeded(103, tokens=1 + 2 * rate)

    assert board.snapshot("a:m", 104).tokens_per_second == 20


@pytest.mark.parametrize(("first", "tokens"), [(True, None), (True, 1), (True, 0), (False, 50)])
def test_a_speed_that_was_not_measured_is_unknown(first: bool, tokens: int | None) -> None:
    board = HealthBoard()
    watch = board.began("a:m", 100)
    if first:
        watch.first_token(101)
    watch.succeeded(103, tokens=tokens)

    assert board.snapshot("a:m", 104).tokens_per_second is None


reports = st.tuples(
    st.sampled_from(["answer", "fail", "busy", "auth", "cancel", "begin", "first"]), st.floats(0, 40), st.floats(0, 30)
)


@examples(300)
@given(st.lists(reports, max_size=30), st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_looking_often_shows_what_looking_for_the_first_time_does(
    calls: list[tuple[str, float, float]], looks: list[float]
) -> None:
    policy = BreakerPolicy(consecutive=2, ejection=4)
    watched, fresh = HealthBoard(policy), HealthBoard(policy)
    now = 1000.0

    def same() -> None:
        line = fresh._lines.get("a:m")
        if line is not None:
            line.changed = True
        one, other = watched.snapshot("a:m", now), fresh.snapshot("a:m", now)
        assert replace(one, age=None) == replace(other, age=None)
        if other.age is None or one.age is None:
            assert one.age is other.age
        else:
            assert other.age * 0.98 - 1e-6 <= one.age <= other.age + 1e-6

    for kind, pause, seconds in calls:
        now += pause
        same()
        for board in (watched, fresh):
            report(board, kind, now, seconds)
        same()
    for pause in looks:
        now += pause
        same()


def report(board: HealthBoard, kind: str, now: float, seconds: float) -> None:
    watch = board.began("a:m", now - seconds)
    match kind:
        case "answer":
            watch.first_token(now - seconds / 2)
            watch.succeeded(now, tokens=50)
        case "fail":
            watch.failed(BROKEN, now)
        case "busy":
            watch.failed(RateLimitedError("slow down", retry_after=seconds), now)
        case "auth":
            watch.failed(ProviderAuthError("bad key"), now)
        case "cancel":
            watch.cancelled()
        case "first":
            watch.first_token(now)
        case _:
            pass


def test_a_snapshot_that_time_has_changed_is_not_given_again() -> None:
    board = HealthBoard(POLICY)
    eject(board, "a:m", at=100)
    board.began("a:m", 100).failed(RateLimitedError("slow down", retry_after=10), 100)
    seen: list[tuple[str, float | None]] = []

    for now in (103.99, 104.0, 109.99, 110.0):
        health = board.snapshot("a:m", now)
        seen.append((health.state, health.retry_at))

    assert seen == [("open", 110), ("half_open", 110), ("half_open", 110), ("half_open", None)]
