from __future__ import annotations

import json
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.catalog import expected_cost, expected_costs
from planar.routing import CostRouter, Ordered, Ranking, replay
from planar.testing.routers import candidates as listed
from planar.testing.routers import constraints
from planar.types import NANO, Candidate, Constraints, Health, ModelInfo, Price, PriceStep, RouteRequest

flat = {
    "input": st.integers(0, 10**7),
    "output": st.integers(0, 10**7),
    "cached_input": st.none() | st.integers(0, 10**6),
    "call": st.integers(0, 10**6),
}
prices = (
    st.none()
    | st.builds(Price, **flat)
    | st.builds(
        Price,
        **flat,
        compute_second=st.integers(0, 10**6),
        compute_ms_per_token=st.integers(1, 1000),
        steps=st.builds(PriceStep, above=st.integers(0, 10**5), price=st.builds(Price, **flat)).map(
            lambda step: (step,)
        ),
    )
)
healths = st.builds(
    Health,
    ttft_p50=st.none() | st.floats(0.001, 60),
    tokens_per_second=st.none() | st.floats(0.1, 1000),
    retry_at=st.none() | st.floats(0, 100),
    auth_failed=st.booleans(),
    age=st.none() | st.floats(0, 3600),
    in_flight=st.integers(0, 9),
    waiting=st.integers(0, 3),
    waited=st.none() | st.floats(0, 60),
    ttft_p95=st.none() | st.floats(0.001, 60),
    error_rate=st.none() | st.floats(0, 1),
)


@st.composite
def estimated(draw: st.DrawFn) -> list[Candidate]:
    """Candidates with everything that is estimated of them."""
    return [
        replace(
            each,
            info=replace(each.info, price=draw(prices)),
            input_tokens_likely=draw(st.integers(10**2, 10**5)),
            output_tokens_likely=draw(st.integers(0, 10**4)),
            cached_tokens_likely=draw(st.integers(0, 10**2)),
            served_last=draw(st.booleans()),
            quality=draw(st.none() | st.floats(0, 100)),
            health=draw(healths),
        )
        for each in draw(listed)
    ]


asked_for = st.sampled_from(
    [
        None,
        "ordered",
        "pinned",
        "cheapest",
        "fastest",
        "quality",
        "balanced",
        planar.Fastest(whole=True),
        planar.Balanced(usd_per_second=Decimal("0.01")),
        planar.Weighted({"a:m0": 3, "b:m1": 1, "c:m2": 0.5}),
        planar.Sticky("cheapest"),
        planar.Sticky(planar.Fastest(whole=True)),
    ]
)
requests = st.builds(
    RouteRequest,
    model=st.sampled_from(["fast", "auto"]),
    tenant=st.just("acme"),
    strategy=asked_for,
    constraints=st.just(Constraints()) | constraints,
    policies=st.lists(st.tuples(st.sampled_from(["the platform", "acme"]), constraints), max_size=2).map(tuple),
    prefer=st.none() | st.sampled_from("abc"),
    max_tokens=st.none() | st.integers(1, 200),
    length_seen=st.booleans(),
    headroom=st.none() | st.integers(0, 10**9),
    headroom_age=st.none() | st.floats(0, 10),
    seed=st.integers(0, 2**63),
)
routers = st.sampled_from(
    [CostRouter(), CostRouter("cheapest"), CostRouter("balanced", balanced=planar.Balanced(usd_per_point=Decimal(1)))]
)


def one(name: str, **fields: Any) -> Candidate:
    info = ModelInfo(
        id="m",
        price=fields.pop("price", None),
        quality=fields.pop("quality", None),
        context_window=fields.pop("context_window", None),
    )
    return Candidate(deployment=f"{name}:m", provider=name, model="m", info=info, **fields)


def order(found: planar.Route) -> str:
    return "".join(candidate.provider for candidate in found.order)


def plan(strategy: object, *known: Candidate, **fields: Any) -> planar.Route:
    return CostRouter().plan(RouteRequest(model="fast", tenant="acme", strategy=strategy, **fields), known)


@given(routers, requests, estimated())
@examples(300)
def test_a_record_is_decided_the_same_again(router: CostRouter, request: RouteRequest, known: list[Candidate]) -> None:
    route = router.plan(request, known)

    again = replay(route.to_json())

    assert [kept.deployment for kept in again.order] == [kept.deployment for kept in route.order]
    assert again == route
    assert again.to_json() == route.to_json()
    assert again.explain() == route.explain()


@given(requests, estimated())
@examples(300)
def test_nobody_who_may_be_asked_is_cheaper_than_the_cheapest(request: RouteRequest, known: list[Candidate]) -> None:
    request = replace(request, strategy="cheapest", prefer=None)

    route = CostRouter().plan(request, known)

    spared = [
        verdict.candidate
        for verdict in route.verdicts
        if verdict.position is not None and verdict.detail == "by money" and verdict.candidate.info.price is not None
    ]
    costs = {each.deployment: _likely(each) for each in spared}
    if costs:
        assert costs[route.order[0].deployment] == min(costs.values())


def _likely(one: Candidate) -> int:
    assert one.info.price is not None
    return expected_cost(
        one.info.price,
        input_tokens=one.input_tokens_likely,
        cached_tokens=one.cached_tokens_likely,
        output_tokens=one.output_tokens_likely,
    )


@given(estimated())
@examples(100)
def test_costs_that_are_reckoned_at_once_are_those_that_are_reckoned_one_by_one(known: list[Candidate]) -> None:
    assert expected_costs(known) == [None if one.info.price is None else _likely(one) for one in known]


@given(requests, estimated())
@examples(300)
def test_no_fallback_passes_over_what_any_policy_says(request: RouteRequest, known: list[Candidate]) -> None:
    route = CostRouter().plan(request, known)

    # Which of them an estimated prompt excludes depends on who else is left.
    short = [replace(each, input_tokens_likely=0) for each in known]
    for wanted in (request.constraints, *[policy for _, policy in request.policies]):
        alone = CostRouter().plan(RouteRequest(model="fast", tenant="acme", constraints=wanted), short)
        passing = {kept.deployment for kept in alone.order}
        assert {kept.deployment for kept in route.order} <= passing


@given(requests, estimated())
@examples(200)
def test_a_strategy_changes_the_order_and_not_who_is_in_it(request: RouteRequest, known: list[Candidate]) -> None:
    route = CostRouter().plan(replace(request, strategy="ordered"), known)

    other = CostRouter().plan(request, known)

    if request.strategy != "pinned":
        assert {kept.deployment for kept in other.order} == {kept.deployment for kept in route.order}
    else:
        assert {kept.deployment for kept in other.order} <= {kept.deployment for kept in route.order}


def test_whose_price_is_unknown_is_never_the_cheapest() -> None:
    unknown, dear = one("a"), one("b", price=Price.per_million(input=100, output=100), input_tokens_likely=10)

    assert order(plan("cheapest", unknown, dear)) == "ba"
    assert order(plan("balanced", unknown, dear)) == "ba"


def test_a_cache_that_has_the_prompt_makes_the_dearer_one_cheaper() -> None:
    list_price = Price.per_million(input=2, output=2, cached_input="0.2")
    cold = one("a", price=Price.per_million(input=1, output=1), input_tokens_likely=1000)
    warm = one("b", price=list_price, input_tokens_likely=1000, cached_tokens_likely=900)

    assert order(plan("cheapest", cold, warm)) == "ba"
    assert order(plan("cheapest", cold, replace(warm, cached_tokens_likely=0))) == "ab"


def test_who_was_never_measured_is_asked_next_but_not_by_everybody_at_once() -> None:
    slow, quick = one("a", health=Health(ttft_p50=3.0)), one("b", health=Health(ttft_p50=0.2))
    new, asked = one("c"), one("d", health=Health(in_flight=8))

    assert order(plan("fastest", slow, quick, new, asked)) == "cbda"


def test_where_calls_wait_longer_than_they_used_to_a_first_token_is_expected_later() -> None:
    quick = Health(ttft_p50=0.2, ttft_p95=9.0)
    slower = one("b", health=Health(ttft_p50=0.5))

    begun = plan("fastest", one("a", health=replace(quick, waiting=1, waited=0.1)), slower)
    late = plan("fastest", one("a", health=replace(quick, waiting=1, waited=0.3)), slower)

    assert (order(begun), order(late)) == ("ab", "ba")


def test_failures_take_the_time_of_asking_somebody_else() -> None:
    quick = one("a", health=Health(ttft_p50=0.4, error_rate=0.3))
    sound = one("b", health=Health(ttft_p50=0.7))

    found = plan("fastest", quick, sound)

    assert order(found) == "ba"


def test_where_answers_have_stopped_coming_nobody_else_is_sent_for_cheapness() -> None:
    stopped = Health(ttft_p50=0.5, ttft_p95=1.5, waiting=2, waited=1.6)
    cheap, dear = Price(input=1, output=1), Price(input=9, output=9)

    found = plan("cheapest", one("a", price=cheap, health=stopped), one("b", price=dear))
    single = plan("cheapest", one("a", price=cheap, health=replace(stopped, waiting=1)), one("b", price=dear))

    assert order(found) == "ba"
    assert found.verdicts[0].detail == "left alone for now: 2 calls wait for a first token, 1.6 s"
    assert order(single) == "ab"


def test_the_whole_answer_may_be_what_has_to_be_fast() -> None:
    begins = one("a", health=Health(ttft_p50=0.1, tokens_per_second=10), output_tokens_likely=100)
    ends = one("b", health=Health(ttft_p50=2.0, tokens_per_second=100), output_tokens_likely=100)

    assert order(plan("fastest", begins, ends)) == "ab"
    assert order(plan(planar.Fastest(whole=True), begins, ends)) == "ba"


def test_the_best_comes_first_and_of_two_the_cheaper() -> None:
    cheap, dear = Price.per_million(input=1, output=1), Price.per_million(input=9, output=9)
    known = [
        one("a", quality=50.0, price=dear, input_tokens_likely=9),
        one("b", quality=50.0, price=cheap, input_tokens_likely=9),
        one("c", quality=80.0, price=dear, input_tokens_likely=9),
        one("d", price=cheap, input_tokens_likely=9),
    ]

    assert order(plan("quality", *known)) == "cbad"


def test_balanced_adds_money_time_and_quality_in_usd() -> None:
    worth = planar.Balanced(usd_per_second=Decimal("0.01"), usd_per_point=Decimal("0.001"))
    price = Price.per_million(input=10, output=0)
    here = one(
        "a",
        price=price,
        quality=90.0,
        input_tokens_likely=1000,
        health=Health(ttft_p50=2.0, tokens_per_second=50.0),
    )
    there = replace(
        here, deployment="b:m", provider="b", quality=70.0, health=Health(ttft_p50=1.0, tokens_per_second=50)
    )

    route = plan(worth, here, there)

    assert order(route) == "ab"
    sums = [verdict.score["worth_usd"] for verdict in route.verdicts]
    assert sums == pytest.approx([0.01 + 0.02, 0.01 + 0.01 + 0.02])


@pytest.mark.parametrize(
    "strategy", ["balanced", planar.Sticky(), planar.Cascade(check=bool, otherwise=planar.Sticky())]
)
def test_what_the_router_says_that_quality_is_worth_holds_within_another_strategy_too(strategy: object) -> None:
    router = CostRouter(balanced=planar.Balanced(usd_per_point=Decimal(1)))
    poor = one("a", price=Price.FREE, quality=10.0, input_tokens_likely=1000)
    dear = one("b", price=Price.per_million(input=9, output=9), quality=90.0, input_tokens_likely=1000)

    route = router.plan(RouteRequest(model="fast", tenant="acme", strategy=strategy), [poor, dear])

    assert route.order[0] is dear
    assert replay(route.to_json()).order == route.order


def test_unless_somebody_says_twice_the_time_weighs_like_twice_the_money() -> None:
    def at(name: str, usd: int, seconds: float) -> Candidate:
        seen = Health(ttft_p50=seconds, tokens_per_second=1e9)
        return one(name, price=Price.per_million(input=usd, output=0), input_tokens_likely=100, health=seen)

    assert order(plan("balanced", at("a", 3, 1.0), at("b", 1, 2.5))) == "ba"
    assert order(plan("balanced", at("a", 2, 1.0), at("b", 1, 2.5))) == "ab"
    assert order(plan("balanced", at("a", 0, 9.0), at("b", 1, 1.0))) == "ba", "free is not priceless"
    assert order(plan("balanced", at("a", 0, 2.0), at("b", 0, 1.0))) == "ba"


def test_weights_decide_how_often_each_is_first_and_the_probability_is_recorded() -> None:
    known = [one("a"), one("b"), one("c")]
    weights = planar.Weighted({"a:m": 3, "b:m": 1})

    routes = [plan(weights, *known, seed=seed) for seed in range(2000)]

    first = Counter(route.order[0].provider for route in routes)
    assert 0.70 < first["a"] / 2000 < 0.80
    assert first["c"] == 0
    assert [verdict.score.get("probability") for verdict in routes[0].verdicts] == [0.75, 0.25, 0.0]
    assert plan(weights, *known, seed=7) == plan(weights, *known, seed=7)


def test_a_conversation_stays_until_leaving_costs_less() -> None:
    price = Price.per_million(input=2, output=2, cached_input="0.2")
    last = one("a", price=price, input_tokens_likely=1000, cached_tokens_likely=900, served_last=True)
    quicker = one("b", price=price, input_tokens_likely=1000, health=Health(ttft_p50=0.1))
    last = replace(last, health=Health(ttft_p50=5.0))
    sticky = planar.Sticky("fastest")

    stays = plan(sticky, last, quicker)
    leaves = plan(
        sticky, last, replace(quicker, info=replace(quicker.info, price=Price.per_million(input="0.1", output=1)))
    )

    assert order(plan("fastest", last, quicker)) == "ba"
    assert order(stays) == "ab"
    assert stays.verdicts[0].detail == "it has the conversation"
    assert stays.verdicts[0].score["cache_usd"] == pytest.approx(900 * 1.8e-6)
    assert order(leaves) == "ba"


def test_a_cascade_says_who_is_asked_only_where_another_fails() -> None:
    cheap, mid, dear = (Price.per_million(input=usd, output=usd) for usd in (1, 2, 3))
    known = [
        one("a", price=dear, quality=90.0, input_tokens_likely=9),
        one("b", price=mid, quality=40.0, input_tokens_likely=9),
        one("c", price=cheap, quality=60.0, input_tokens_likely=9),
    ]

    route = plan(planar.Cascade(lambda completion: True), *known)

    assert order(route) == "cba"
    assert route.verdicts[1].detail == "no better than one before it: asked only where that fails"


def test_the_preferred_vendor_comes_first_and_who_is_left_alone_last() -> None:
    away = Health(retry_at=9.0, message="OverloadedError")
    known = [one("a"), one("b"), one("c", health=away)]

    assert order(plan("ordered", *known, prefer="b")) == "bac"
    assert order(plan("ordered", *known, prefer="c")) == "abc"


def test_a_fresh_headroom_excludes_and_a_stale_one_does_not() -> None:
    dear = one("a", price=Price.per_million(input=1000, output=0), input_tokens_likely=1000)
    cheap = one("b", price=Price.per_million(input=1, output=0), input_tokens_likely=1000)

    fresh = plan("ordered", dear, cheap, headroom=NANO // 2, headroom_age=1.0)
    stale = plan("ordered", dear, cheap, headroom=NANO // 2, headroom_age=60.0)
    none = plan("ordered", dear, cheap, headroom=0, headroom_age=1.0)

    assert (order(fresh), fresh.verdicts[0].dropped_by) == ("b", "headroom")
    assert order(stale) == "ab"
    assert order(none) == "ab", "the store refuses, and says why"


def test_a_prompt_that_may_not_fit_asks_the_others_first() -> None:
    small = one("a", context_window=100, input_tokens_likely=90, input_tokens_bound=300)
    large = one("b", context_window=1000, input_tokens_likely=90, input_tokens_bound=300)

    route = plan("ordered", small, large, max_tokens=50)

    assert order(route) == "ba"
    assert route.verdicts[0].detail == "the prompt may not fit it"


def test_a_prompt_that_cannot_fit_excludes_unless_that_would_be_everybody() -> None:
    small = one("a", context_window=100, input_tokens_likely=260)
    large = one("b", context_window=1000, input_tokens_likely=260)

    assert order(plan("ordered", small, large)) == "b"
    assert plan("ordered", small, large).verdicts[0].detail == "not even half of some 261 tokens fits 100"
    assert order(plan("ordered", small)) == "a"


def test_a_route_says_whose_policy_dropped_one() -> None:
    route = plan("ordered", one("a"), one("b"), policies=(("acme", Constraints(excluded_vendors=frozenset("a"))),))

    assert route.verdicts[0].detail == "a is excluded (policy of acme)"
    assert "excluded_vendors: a is excluded (policy of acme)" in route.explain()


class Backwards:
    name = "backwards"

    def rank(self, request: RouteRequest, these: Any) -> Ranking:
        return Ranking(order=range(len(these))[::-1], why="backwards")


def test_a_strategy_of_somebody_elses_decides_and_cannot_be_replayed() -> None:
    route = plan(Backwards(), one("a"), one("b"))

    assert order(route) == "ba"
    assert "CostRouter, backwards" in route.explain()
    with pytest.raises(planar.InvalidRequestError, match="'backwards'"):
        replay(route.to_json())


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ("", "no record of a route"),
        ("[]", "no record of a route"),
        ("{}", "form 1: it is None"),
        ('{"planar_route": 2}', "form 1: it is 2"),
        ('{"planar_route": 1, "router": "Mine"}', "no record of a route"),
    ],
)
def test_what_is_no_record_is_refused(record: str, says: str) -> None:
    with pytest.raises(planar.InvalidRequestError, match=says):
        replay(record)


@pytest.mark.parametrize("strategy", [planar.routing.Cheapest(), planar.routing.Pinned(), planar.Fastest()])
def test_a_plain_strategy_that_was_given_as_an_object_is_replayed_as_one(strategy: object) -> None:
    route = plan(strategy, one("a"), one("b"))

    assert replay(route.to_json()) == route


def test_the_route_of_another_router_is_not_replayed() -> None:
    route = plan("ordered", one("a"))
    record = json.loads(route.to_json()) | {"router": "Mine"}

    with pytest.raises(planar.InvalidRequestError, match="decided by 'Mine'"):
        replay(json.dumps(record))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: planar.Weighted({}), "needs weights by deployment"),
        (lambda: planar.Weighted(3), "needs weights by deployment"),  # type: ignore[arg-type]
        (lambda: planar.Weighted({"a:m": 0}), "must be a number above 0"),
        (lambda: planar.Weighted({"a:m": float("nan")}), "must be a number above 0"),
        (lambda: planar.Balanced(usd_per_second=0.01), "must be a Decimal"),  # type: ignore[arg-type]
        (lambda: planar.Sticky("cheap"), "'cheap' is no strategy"),
        (lambda: planar.Cascade(None), "needs a check"),  # type: ignore[arg-type]
        (lambda: planar.CostRouter("dearest"), "'dearest' is no strategy"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused_when_it_is_made(make: Any, says: str) -> None:
    with pytest.raises(planar.ConfigurationError, match=says):
        make()


def test_an_explanation_has_every_candidate_with_its_figures_and_their_age() -> None:
    price = Price.per_million(input=1, output=2)
    seen = Health(ttft_p50=0.3, tokens_per_second=50.0, age=12.0)
    known = [
        one("a", price=price, quality=80.0, input_tokens_likely=500, output_tokens_likely=100, health=seen),
        one("b"),
    ]

    text = plan("balanced", *known, headroom=2 * NANO, headroom_age=9.5).explain()

    lines = text.splitlines()
    assert lines[0] == "fast for acme, by CostRouter, balanced"
    assert lines[2].split()[:11] == ["1", "a:m", "0.000700", "unknown", "0.30", "s", "2.3", "s", "80", "12", "s"]
    assert lines[3].split()[:6] == ["2", "b:m", "unknown", "unknown", "unknown", "unknown"]
    assert lines[4] == "prompt: 500 tokens (estimated), at most 0; answer: 100 tokens (assumed)"
    assert lines[5] == "headroom: 2 USD, 9.5 s ago"


def test_the_operators_order_needs_no_estimates() -> None:
    class Unreadable:
        def __len__(self) -> int:
            return 2

    ranking = Ordered().rank(RouteRequest(model="fast", tenant="acme"), Unreadable())  # type: ignore[arg-type]

    assert list(ranking.order) == [0, 1]


def test_a_route_can_be_pickled_whatever_its_strategy_holds() -> None:
    router = CostRouter(planar.Cascade(lambda completion: True))
    route = router.plan(RouteRequest(model="fast", tenant="acme"), [one("a"), one("b")])

    again = pickle.loads(pickle.dumps(route))

    assert again == route
    assert again.explain() == route.explain()


@pytest.mark.parametrize("strategy", ["ordered", "cheapest", "fastest", "quality", "balanced", planar.Sticky()])
def test_fifty_candidates_are_put_in_order_without_a_call_for_each(strategy: Any) -> None:
    """Time is measured by a benchmark; what makes it short is that rows are made into verdicts when they are read."""
    price = Price.per_million(input=1, output=2, cached_input="0.1")
    known = [one(f"v{n}", price=price, quality=50.0 + n, health=Health(ttft_p50=1.0 + n)) for n in range(50)]
    router, request = CostRouter(), RouteRequest(model="fast", tenant="acme", strategy=strategy)
    router.plan(request, known)

    calls = calls_in(lambda: router.plan(request, known))

    assert 0 < calls < 50
    assert calls_in(lambda: router.plan(request, known).verdicts) > 50


def calls_in(run: Callable[[], object]) -> int:
    seen = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal seen
        seen += event == "call"

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen
