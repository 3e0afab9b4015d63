"""Retries and hedges stay a share of the traffic and of the money, in any sequence; waits are jittered and bounded."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.errors import ConfigurationError
from planar.routing._budgets import HedgeBudget, RetryBudget, backoff
from planar.types import NANO, HedgePolicy, RetryPolicy

FREE = HedgePolicy(share=0.5, burst=3, money_share=1.0, allowance_usd=Decimal(1_000_000))


def test_a_fresh_client_may_retry_at_once_but_not_for_ever() -> None:
    budget = RetryBudget(RetryPolicy(budget_cap=3, budget_floor=0))

    taken = [budget.take(100) for _ in range(4)]

    assert taken == [True, True, True, False]


def test_calls_earn_retries() -> None:
    budget = RetryBudget(RetryPolicy(budget_cap=1, budget_ratio=0.1, budget_floor=0))
    budget.take(100)

    for _ in range(9):
        budget.called(100)
    after_nine = budget.take(100)
    budget.called(100)
    after_ten = budget.take(100)

    assert (after_nine, after_ten) == (False, True)


def test_a_quiet_client_earns_retries_by_waiting_and_saves_up_no_more_than_the_cap() -> None:
    budget = RetryBudget(RetryPolicy(budget_cap=2, budget_ratio=0, budget_floor=0.1))
    budget.take(100)
    budget.take(100)

    early = budget.take(109)
    then = budget.take(110)
    much_later = [budget.take(10_000) for _ in range(3)]

    assert (early, then, much_later) == (False, True, [True, True, False])


@given(
    ratio=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    cap=st.sampled_from([1.0, 2.5, 10.0]),
    floor=st.sampled_from([0.0, 0.1, 3.0]),
    steps=st.lists(st.tuples(st.sampled_from([0.0, 0.01, 1.0, 30.0]), st.booleans()), max_size=200),
)
@examples(200)
def test_retries_never_exceed_their_share_in_any_span(
    ratio: float, cap: float, floor: float, steps: list[tuple[float, bool]]
) -> None:
    budget = RetryBudget(RetryPolicy(budget_ratio=ratio, budget_cap=cap, budget_floor=floor))
    now, calls, retries = 1000.0, 0, 0
    earned = [0.0]  # by the calls and seconds up to each step, less the retries

    for seconds, retry in steps:
        now += seconds
        if not retry:
            budget.called(now)
            calls += 1
        elif budget.take(now):
            retries += 1
        earned.append(calls * ratio + (now - 1000) * floor - retries)

    best = -math.inf
    for owed in earned:
        best = max(best, owed)
        assert best - owed <= cap + 1e-6


def test_a_hedge_needs_calls_first() -> None:
    budget = HedgeBudget(HedgePolicy(share=0.05, allowance_usd=Decimal(1)))

    taken = list[bool]()
    for _ in range(60):
        budget.called()
        taken.append(budget.take(cost_bound=0))

    assert [call for call, hedged in enumerate(taken, start=1) if hedged] == [20, 40, 60]


def test_a_hedge_of_unknown_price_is_not_made() -> None:
    budget = HedgeBudget(FREE)
    for _ in range(10):
        budget.called()

    assert not budget.take(cost_bound=None)
    assert budget.take(cost_bound=0)


def test_hedges_that_were_saved_up_are_bounded() -> None:
    budget = HedgeBudget(FREE)
    for _ in range(1_000):
        budget.called()

    assert [budget.take(cost_bound=0) for _ in range(4)] == [True, True, True, False]


def test_a_hedge_that_turns_out_cheaper_leaves_room_for_the_next() -> None:
    budget = HedgeBudget(HedgePolicy(share=1, money_share=0, allowance_usd=Decimal(1)))
    for _ in range(5):
        budget.called()

    first = budget.take(cost_bound=NANO)
    second = budget.take(cost_bound=1)
    budget.settle(cost_bound=NANO, cost=NANO // 2)
    third = budget.take(cost_bound=NANO // 2)
    budget.settle(cost_bound=NANO // 2, cost=None)
    fourth = budget.take(cost_bound=1)

    assert (first, second, third, fourth) == (True, False, True, False)


def test_what_is_spent_earns_money_for_hedges_whether_on_hedges_or_not() -> None:
    budget = HedgeBudget(HedgePolicy(share=1, money_share=0.5, allowance_usd=Decimal(0)))
    for _ in range(5):
        budget.called()

    nothing_spent = budget.take(cost_bound=1)
    budget.spent(100)
    too_dear = budget.take(cost_bound=51)
    within = budget.take(cost_bound=50)
    budget.settle(cost_bound=50, cost=50)
    earned_by_the_hedge = budget.take(cost_bound=25)
    no_more = budget.take(cost_bound=1)

    assert (nothing_spent, too_dear, within) == (False, False, True)
    assert (earned_by_the_hedge, no_more) == (True, False)


@given(
    share=st.sampled_from([0.0, 0.05, 0.1, 1 / 3, 1.0]),
    burst=st.sampled_from([1.0, 5.0]),
    money_share=st.sampled_from([0.0, 0.05, 1.0]),
    allowance=st.sampled_from([0, 1_000, NANO]),
    steps=st.lists(
        st.tuples(st.sampled_from(["call", "hedge", "settle"]), st.integers(0, 2_000), st.floats(0, 1)), max_size=200
    ),
)
@examples(200)
def test_hedges_never_exceed_their_share_of_calls_and_of_money(
    share: float, burst: float, money_share: float, allowance: int, steps: list[tuple[str, int, float]]
) -> None:
    policy = HedgePolicy(share=share, burst=burst, money_share=money_share, allowance_usd=Decimal(allowance).scaleb(-9))
    budget = HedgeBudget(policy)
    calls = hedges = spent = hedged = 0
    running = list[int]()

    for what, amount, part in steps:
        if what == "call":
            budget.called()
            budget.spent(amount)
            calls, spent = calls + 1, spent + amount
        elif what == "hedge" and budget.take(cost_bound=amount):
            running.append(amount)
            hedges += 1
        elif what == "settle" and running:
            bound = running.pop()
            cost = int(bound * part)
            budget.settle(cost_bound=bound, cost=cost)
            hedged, spent = hedged + cost, spent + cost

        assert hedges <= share * calls + 1e-6
        assert hedged + sum(running) <= money_share * spent + allowance


@given(
    attempt=st.integers(1, 5_000),
    base=st.floats(0, 100),
    cap=st.floats(0, 1_000),
    retry_after=st.none() | st.floats(-10, 1_000),
    seed=st.integers(),
)
@examples(200)
def test_a_wait_lies_between_what_was_asked_for_and_the_bound_above_it(
    attempt: int, base: float, cap: float, retry_after: float | None, seed: int
) -> None:
    seconds = backoff(attempt, base=base, cap=cap, retry_after=retry_after, random=Random(seed).random)

    floor = max(0.0, retry_after or 0.0)
    assert floor <= seconds <= floor + min(cap, base * 2.0 ** min(attempt - 1, 900)) + 1e-9


def test_the_same_randomness_gives_the_same_waits_and_bounds_double() -> None:
    almost_one = [backoff(attempt, base=0.5, cap=3, random=lambda: 1.0) for attempt in range(1, 6)]
    first, second = (
        [backoff(attempt, base=0.5, cap=3, random=random) for attempt in range(1, 6)]
        for random in (Random(7).random, Random(7).random)
    )

    assert almost_one == [0.5, 1, 2, 3, 3]
    assert first == second


@pytest.mark.parametrize(
    ("policy", "wrong", "told"),
    [
        (RetryPolicy, {"attempts": 0}, "attempts must be a whole number of at least 1, not 0"),
        (RetryPolicy, {"base": 9}, "cap must be a number of at least 9 as base, not 8.0"),
        (RetryPolicy, {"budget_ratio": 2}, "budget_ratio must be a number of at least 0 and at most 1, not 2"),
        (RetryPolicy, {"budget_floor": "x"}, "budget_floor must be a number of at least 0, not 'x'"),
        (HedgePolicy, {"quantile": 0}, "quantile must be a number above 0 and at most 1, not 0"),
        (HedgePolicy, {"max_delay": 0}, "max_delay must be a number of at least 0.05 as min_delay, not 0"),
        (
            HedgePolicy,
            {"allowance_usd": 0.1},
            "0.1 is not an amount of USD: write a Decimal, a str or an int of at least 0 with at most nine decimals",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(
    policy: type[RetryPolicy | HedgePolicy], wrong: dict[str, float], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        policy(**wrong)  # type: ignore[arg-type]

    assert caught.value.message == told
