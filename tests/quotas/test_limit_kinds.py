"""Each kind of limit by itself: when it refuses, what it says, and that what it says is true."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planar.errors import ConfigurationError, QuotaExceededError, UnknownTenantError
from planar.quotas._engine import QuotaEngine
from planar.types import Amount, Charge, Lease, LeaseId, Limit

SECOND = 1_000_000
NOW = 1_767_225_600 * SECOND  # midnight UTC, 1 January 2026


def engine_with(*limits: Limit, scope: str = "acme", now: int = NOW) -> QuotaEngine:
    engine = QuotaEngine()
    engine.set_limits(scope, limits, now=now)
    return engine


def reserve(engine: QuotaEngine, *, now: int, hold: Amount | None = None, ttl: float = 60, name: str = "") -> Lease:
    lease_id = LeaseId(name or f"lease-{id(object())}-{now}-{len(engine.ledger.between(None, None))}")
    return engine.reserve(lease_id, "acme", hold=hold or Amount(), ttl=ttl, deployment="x:y", now=now)


def spend(engine: QuotaEngine, amount: Amount, *, now: int, name: str) -> None:
    lease = reserve(engine, hold=amount, now=now, name=name)
    engine.settle(lease, charge=Charge(amount=amount), now=now)


def refusal(engine: QuotaEngine, *, now: int, hold: Amount | None = None) -> QuotaExceededError:
    with pytest.raises(QuotaExceededError) as caught:
        reserve(engine, now=now, hold=hold, name="refused")
    return caught.value


def test_a_burst_is_let_in_at_once_and_then_one_at_a_time():
    engine = engine_with(Limit.requests(60, burst=2))

    reserve(engine, now=NOW, name="1")
    reserve(engine, now=NOW, name="2")

    assert refusal(engine, now=NOW).retry_after == 1.0
    assert refusal(engine, now=NOW + 999_999).retry_after == 0.000001
    reserve(engine, now=NOW + SECOND, name="3")
    assert refusal(engine, now=NOW + SECOND).retry_after == 1.0


def test_a_rate_that_does_not_divide_evenly_is_kept_exactly_over_a_long_time():
    engine = engine_with(Limit.requests(7, burst=1))
    now, admitted = NOW, 0

    while now < NOW + 600 * SECOND:
        admitted += 1
        reserve(engine, now=now, name=str(admitted))
        now += round((refusal(engine, now=now).retry_after or 0) * SECOND)

    assert admitted == 70


def test_tokens_drain_evenly_and_a_settle_gives_back_or_adds_debt():
    engine = engine_with(Limit.tokens_per_minute(600))
    hold = Amount(input_tokens=100, output_tokens=500)
    lease = reserve(engine, now=NOW, hold=hold, name="1")

    engine.settle(lease, charge=Charge(amount=Amount(input_tokens=100)), now=NOW)
    assert refusal(engine, now=NOW, hold=hold).retry_after == 10.0
    lease = reserve(engine, now=NOW, hold=Amount(input_tokens=500), name="2")
    engine.settle(lease, charge=Charge(amount=Amount(input_tokens=800)), now=NOW)

    assert refusal(engine, now=NOW, hold=Amount(input_tokens=1)).retry_after == pytest.approx(30.1)
    assert engine.counts("acme", now=NOW + 30 * SECOND)[0].used == 600


def test_concurrency_counts_leases_that_are_alive():
    engine = engine_with(Limit.concurrency(2))
    first = reserve(engine, now=NOW, ttl=30, name="1")
    reserve(engine, now=NOW, ttl=10, name="2")

    busy = refusal(engine, now=NOW)
    engine.settle(first, charge=Charge(amount=Amount()), now=NOW)
    reserve(engine, now=NOW, ttl=40, name="3")

    assert (busy.kind, busy.remaining, busy.limit, busy.requested, busy.retry_after) == ("busy", 0, 2, 1, 10.0)
    assert refusal(engine, now=NOW + 9 * SECOND).retry_after == 1.0
    reserve(engine, now=NOW + 10 * SECOND, name="4")


def test_a_limit_of_nothing_lets_nobody_in():
    for limit in (Limit.concurrency(0), Limit.usd(0), Limit.tokens(0)):
        engine = engine_with(limit)

        error = refusal(engine, now=NOW, hold=Amount(input_tokens=1, nano_usd=1))

        assert error.retry_after is None


def test_a_window_of_tokens_ends_with_its_period():
    engine = engine_with(Limit.tokens(100, per="day"))
    spend(engine, Amount(input_tokens=60, output_tokens=40), now=NOW + 3_600 * SECOND, name="1")

    error = refusal(engine, now=NOW + 3_600 * SECOND, hold=Amount(output_tokens=1))

    assert (error.kind, error.retry_after) == ("spent", 23 * 3_600.0)


def test_a_total_never_comes_back():
    engine = engine_with(Limit.usd("0.0000001", per="total"))
    spend(engine, Amount(nano_usd=100), now=NOW, name="1")

    error = refusal(engine, now=NOW + 10**6 * SECOND, hold=Amount(nano_usd=1))

    assert (error.kind, error.retry_after, error.retryable) == ("spent", None, False)


def test_a_hold_in_the_way_of_a_total_is_worth_waiting_for():
    engine = engine_with(Limit.usd("0.0000001", per="total"))
    lease = reserve(engine, hold=Amount(nano_usd=100), now=NOW, ttl=25, name="1")
    engine.dispatched(lease, now=NOW)

    error = refusal(engine, now=NOW, hold=Amount(nano_usd=1))

    assert (error.kind, error.retry_after) == ("busy", 25.0)


def test_a_rolling_window_never_forgets_too_early_and_forgets_a_bucket_at_a_time():
    engine = engine_with(Limit.rolling(100, dimension="nano_usd", seconds=60))
    spend(engine, Amount(nano_usd=60), now=NOW + 500_000, name="1")
    spend(engine, Amount(nano_usd=40), now=NOW + 1_500_000, name="2")

    assert refusal(engine, now=NOW + 60_500_000, hold=Amount(nano_usd=60)).retry_after == 0.5
    assert refusal(engine, now=NOW + 60_500_000, hold=Amount(nano_usd=61)).retry_after == 1.5
    spend(engine, Amount(nano_usd=60), now=NOW + 61 * SECOND, name="3")
    assert refusal(engine, now=NOW + 61 * SECOND, hold=Amount(nano_usd=1)).retry_after == 1.0


def test_a_stream_longer_than_a_rolling_window_does_not_slip_out_of_it():
    engine = engine_with(Limit.rolling(100, dimension="nano_usd", seconds=60))
    lease = reserve(engine, hold=Amount(nano_usd=50), now=NOW, ttl=300, name="1")

    lease = engine.extend(lease, more=Amount(nano_usd=50), ttl=300, now=NOW + 200 * SECOND)

    with pytest.raises(QuotaExceededError):
        engine.extend(lease, more=Amount(nano_usd=1), ttl=300, now=NOW + 290 * SECOND)
    engine.settle(lease, charge=Charge(amount=Amount(nano_usd=100)), now=NOW + 300 * SECOND)
    assert refusal(engine, now=NOW + 359 * SECOND, hold=Amount(nano_usd=1)).kind == "spent"


def test_a_stream_is_extended_in_the_month_that_it_was_reserved_in():
    december = NOW - SECOND
    engine = engine_with(Limit.usd("0.0000001"), now=december)
    lease = reserve(engine, hold=Amount(nano_usd=60), now=december, name="1")

    spend(engine, Amount(nano_usd=100), now=NOW, name="2")
    lease = engine.extend(lease, more=Amount(nano_usd=40), ttl=60, now=NOW)

    with pytest.raises(QuotaExceededError) as caught:
        engine.extend(lease, more=Amount(nano_usd=1), ttl=60, now=NOW)
    assert caught.value.retry_after is None
    engine.settle(lease, charge=Charge(amount=Amount(nano_usd=100)), now=NOW)
    assert [(count.used, count.held) for count in engine.counts("acme", now=NOW)] == [(100, 0)]


def test_a_late_correction_of_last_month_leaves_this_month_alone():
    december = NOW - SECOND
    engine = engine_with(Limit.usd("0.0000001"), now=december)
    lease = reserve(engine, hold=Amount(nano_usd=60), now=december, ttl=1, name="1")
    engine.dispatched(lease, now=december)

    engine.settle(lease, charge=Charge(amount=Amount(nano_usd=90)), now=NOW + SECOND)
    engine.refund(lease.id, amount=Amount(nano_usd=90), reason="", now=NOW + SECOND)

    assert engine.counts("acme", now=NOW + SECOND)[0].used == 0
    assert [row.nano_usd for row in engine.ledger.between(None, None)] == [60, 30, -90]


def test_what_was_refunded_is_not_taken_back_by_a_late_correction():
    engine = engine_with(Limit.usd("0.0000001", per="total"))
    lease = reserve(engine, hold=Amount(nano_usd=100), now=NOW, ttl=1, name="1")
    engine.dispatched(lease, now=NOW)
    later = NOW + 2 * SECOND
    engine.refund(lease.id, amount=Amount(nano_usd=100), reason="", now=later)

    receipt = engine.settle(lease, charge=Charge(amount=Amount(nano_usd=10)), now=later)

    assert receipt.entry.nano_usd == 0
    assert engine.counts("acme", now=later)[0].used == 0


def test_an_unknown_charge_takes_the_hold_from_the_budget_and_is_booked_as_unknown():
    engine = engine_with(Limit.usd("0.0000001", per="total"))
    lease = reserve(engine, hold=Amount(nano_usd=70), now=NOW, name="1")

    receipt = engine.settle(lease, charge=Charge(amount=Amount(nano_usd=None)), now=NOW)

    assert receipt.entry.nano_usd is None
    assert engine.counts("acme", now=NOW)[0].used == 70


@pytest.mark.parametrize(
    "limit",
    [
        Limit(dimension="concurrency", amount=1, window="day"),
        Limit.rolling(1, dimension="concurrency", seconds=60),
        Limit(dimension="tokens", amount=1, window="none"),
        Limit.usd(1, tz="Middle/Earth"),
        Limit.usd(1, tz="../etc/passwd"),
        Limit.usd(1, tz=""),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_and_changes_nothing(limit: Limit):
    engine = engine_with(Limit.usd(5))

    with pytest.raises(ConfigurationError):
        engine.set_limits("acme", [Limit.usd(9), limit], now=NOW)

    assert engine.limits("acme") == (Limit.usd(5),)


def test_two_limits_on_the_same_thing_are_refused():
    with pytest.raises(ConfigurationError, match="two limits"):
        engine_with(Limit.usd(5), Limit.usd(9))


def test_limits_are_for_scopes():
    with pytest.raises(UnknownTenantError):
        engine_with(Limit.usd(5), scope="acme//x")


def test_a_clock_that_steps_back_mints_nothing():
    hour = 3_600 * SECOND
    engine = engine_with(Limit.requests(60, burst=1), Limit.tokens(10, per="day"), now=NOW + hour)
    reserve(engine, hold=Amount(input_tokens=10), ttl=10, now=NOW + hour, name="1")

    yesterday = refusal(engine, now=NOW - hour, hold=Amount(input_tokens=1))
    engine.expire(now=NOW + hour + 10 * SECOND)
    reserve(engine, hold=Amount(input_tokens=10), ttl=10, now=NOW - hour, name="2")

    assert yesterday.dimension == "tokens"
    assert engine.counts("acme", now=NOW + hour + 20 * SECOND)[1].held == 0


def test_a_rate_that_changes_keeps_its_level():
    engine = engine_with(Limit.tokens_per_minute(600))
    spend(engine, Amount(input_tokens=600), now=NOW, name="1")

    engine.set_limits("acme", [Limit.tokens_per_minute(1_200)], now=NOW + 30 * SECOND)

    assert engine.counts("acme", now=NOW + 30 * SECOND)[0].used == 300
    assert refusal(engine, now=NOW + 30 * SECOND, hold=Amount(input_tokens=901)).retry_after == 0.05


LIMITS = st.one_of(
    st.builds(Limit.requests, st.integers(1, 100), burst=st.integers(1, 5)),
    st.builds(Limit.requests, st.integers(1, 1000), per=st.just("hour"), burst=st.integers(1, 5)),
    st.builds(
        Limit.tokens_per_minute, st.integers(1, 500), kind=st.sampled_from(["input_tokens", "output_tokens", "tokens"])
    ),
    st.builds(Limit.concurrency, st.integers(1, 3)),
    st.builds(
        Limit.tokens,
        st.integers(0, 500),
        per=st.sampled_from(["day", "week", "month"]),
        tz=st.sampled_from(["UTC", "Asia/Kolkata", "America/Sao_Paulo"]),
    ),
    st.builds(
        Limit.rolling,
        st.integers(1, 300),
        dimension=st.sampled_from(["requests", "nano_usd", "input_tokens", "tokens"]),
        seconds=st.integers(1, 5_000),
    ),
)
STEPS = st.tuples(
    st.integers(0, 20 * SECOND),
    st.builds(
        Amount, input_tokens=st.integers(0, 100), output_tokens=st.integers(0, 100), nano_usd=st.integers(0, 100)
    ),
    st.sampled_from(["settle", "settle", "keep"]),
)


@given(
    limits=st.dictionaries(
        st.sampled_from(["acme", "acme/search"]), st.lists(LIMITS, min_size=1, max_size=3), min_size=1
    ),
    steps=st.lists(STEPS, min_size=2, max_size=25),
)
def test_retry_after_is_exact_if_nothing_else_happens(
    limits: dict[str, list[Limit]], steps: list[tuple[int, Amount, str]]
):
    engine, now = QuotaEngine(), NOW
    for scope, bounds in limits.items():
        unique = {(limit.dimension, limit.window, limit.seconds, limit.tz): limit for limit in bounds}
        engine.set_limits(scope, list(unique.values()), now=now)
    error = None
    for number, (pause, amount, fate) in enumerate(steps):
        now += pause
        try:
            lease = engine.reserve(
                LeaseId(str(number)), "acme/search", hold=amount, ttl=10**6, deployment="x:y", now=now
            )
        except QuotaExceededError as refused:
            error = refused
            break
        if fate == "settle":
            engine.settle(lease, charge=Charge(amount=amount), now=now)
    assume(error is not None)
    assert error is not None

    if error.retry_after is None:
        soon, late = now + 30 * 86_400 * SECOND, None
    else:
        late = now + round(error.retry_after * SECOND)
        soon = late - 1_000

    if soon > now and (late is not None or error.kind == "spent"):
        with pytest.raises(QuotaExceededError):
            deepcopy(engine).reserve(LeaseId("a"), "acme/search", hold=amount, ttl=1, deployment="x:y", now=soon)
    if late is not None:
        engine.reserve(LeaseId("b"), "acme/search", hold=amount, ttl=1, deployment="x:y", now=late)
