"""The router follows the alias's order, drops what a constraint excludes, and says why for every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.routing import CostRouter
from planar.testing import ScriptedProvider, reply
from planar.types import NANO, Candidate, Constraints, ModelInfo, Price, Route, RouteRequest

infos = st.builds(
    ModelInfo,
    id=st.just("m"),
    local=st.booleans(),
    region=st.sampled_from([None, "eu", "us"]),
    quality=st.none() | st.floats(0, 100),
    capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "image", "json_schema"])),
    context_window=st.none() | st.integers(1, 100),
)
candidates = st.lists(
    st.builds(
        Candidate,
        deployment=st.uuids().map(lambda unique: f"p:{unique}"),
        provider=st.sampled_from(["a", "b", "c"]),
        model=st.just("m"),
        info=infos,
        input_tokens_bound=st.integers(0, 100),
        cost_bound=st.none() | st.integers(0, 10 * NANO),
        input_estimated=st.booleans(),
    ),
    max_size=6,
)
constraints = st.builds(
    Constraints,
    vendors=st.none() | st.frozensets(st.sampled_from(["a", "b"])),
    excluded_vendors=st.frozensets(st.sampled_from(["a", "c"])),
    regions=st.none() | st.just(frozenset({"eu"})),
    max_cost_usd=st.none() | st.decimals(0, 10, places=2),
    min_quality=st.none() | st.floats(0, 100),
    local_only=st.booleans(),
    needs=st.frozensets(st.sampled_from(["tools", "image"])),
)
requests = st.builds(
    RouteRequest,
    model=st.just("fast"),
    tenant=st.just("acme"),
    strategy=st.sampled_from([None, "pinned"]),
    constraints=constraints,
    needs=st.frozensets(st.sampled_from(["tools", "json_schema"])),
    max_tokens=st.none() | st.integers(1, 50),
)


@given(requests, candidates)
@examples(200)
def test_the_same_input_gives_the_same_route(request: RouteRequest, given_candidates: list[Candidate]) -> None:
    assert CostRouter().plan(request, given_candidates) == CostRouter().plan(request, tuple(given_candidates))


@given(requests, candidates)
@examples(200)
def test_no_candidate_of_the_order_violates_a_constraint(
    request: RouteRequest, given_candidates: list[Candidate]
) -> None:
    route = CostRouter().plan(request, given_candidates)

    wanted = request.constraints
    for kept in route.order:
        info = kept.info
        assert wanted.vendors is None or kept.provider in wanted.vendors
        assert kept.provider not in wanted.excluded_vendors
        assert wanted.regions is None or info.region in wanted.regions
        assert not wanted.local_only or info.local
        assert wanted.min_quality is None or (info.quality is not None and info.quality >= wanted.min_quality)
        assert info.capabilities is None or (wanted.needs | request.needs) <= info.capabilities
        if info.context_window is not None and not kept.input_estimated:
            assert kept.input_tokens_bound < info.context_window
        if wanted.max_cost_usd is not None:
            assert kept.cost_bound is not None
            assert Decimal(kept.cost_bound) / NANO <= wanted.max_cost_usd


@given(requests, candidates)
@examples(200)
def test_every_candidate_has_one_verdict_and_what_is_kept_keeps_its_order(
    request: RouteRequest, given_candidates: list[Candidate]
) -> None:
    route = CostRouter().plan(request, given_candidates)

    assert [verdict.candidate for verdict in route.verdicts] == given_candidates
    assert all((verdict.position is None) == (verdict.dropped_by is not None) for verdict in route.verdicts)
    assert all(verdict.detail for verdict in route.verdicts)
    fitting = [
        verdict.position
        for verdict in route.verdicts
        if verdict.position is not None and verdict.detail != "the prompt may not fit it"
    ]
    assert fitting == list(range(len(fitting)))


@given(candidates)
@examples(100)
def test_what_nothing_excludes_is_kept(given_candidates: list[Candidate]) -> None:
    unread = ModelInfo(id="m")
    estimated = [replace(candidate, input_estimated=True, info=unread) for candidate in given_candidates]

    route = CostRouter().plan(RouteRequest(model="fast", tenant="acme"), estimated)

    assert list(route.order) == estimated
    assert [verdict.position for verdict in route.verdicts] == list(range(len(estimated)))


@given(requests, candidates)
@examples(200)
def test_pinned_keeps_the_first_of_what_would_be_kept(request: RouteRequest, given_candidates: list[Candidate]) -> None:
    unpinned = CostRouter().plan(replace(request, strategy=None), given_candidates)

    pinned = CostRouter().plan(replace(request, strategy="pinned"), given_candidates)

    kept = [verdict.candidate for verdict in unpinned.verdicts if verdict.position is not None]
    assert list(pinned.order) == kept[:1]


def test_a_strategy_that_it_does_not_know_is_refused_by_name() -> None:
    request = RouteRequest(model="fast", tenant="acme", strategy="cheap")

    with pytest.raises(planar.InvalidRequestError, match="no strategy 'cheap': write one of ordered, pinned, cheapest"):
        CostRouter().plan(request, ())


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "estimated", "dropped_by"),
    [
        (9, None, False, None),
        (10, None, False, "context"),
        (6, 4, False, None),
        (7, 4, False, "context"),
        (99, 4, True, None),
    ],
)
def test_only_a_prompt_that_was_counted_and_leaves_no_room_for_the_answer_excludes(
    prompt: int, max_tokens: int | None, estimated: bool, dropped_by: str | None
) -> None:
    small = ModelInfo(id="m", context_window=10)
    candidate = Candidate(
        deployment="a:m", provider="a", model="m", info=small, input_tokens_bound=prompt, input_estimated=estimated
    )

    route = CostRouter().plan(RouteRequest(model="fast", tenant="acme", max_tokens=max_tokens), [candidate])

    assert [verdict.dropped_by for verdict in route.verdicts] == [dropped_by]


def test_a_route_explains_every_candidate_in_a_table() -> None:
    free = ModelInfo(id="m")
    listed = [
        Candidate(deployment="a:m", provider="a", model="m", info=free, cost_bound=1_500_000),
        Candidate(deployment="b:m", provider="b", model="m", info=free),
    ]
    request = RouteRequest(model="fast", tenant="acme", constraints=Constraints(excluded_vendors=frozenset("a")))

    lines = CostRouter().plan(request, listed).explain().splitlines()

    assert lines[0] == "fast for acme, by CostRouter, ordered"
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["1", "b:m", "unknown", "unknown"],
        ["-", "a:m", "unknown", "0.0015"],
    ]
    assert lines[3].endswith("excluded_vendors: a is excluded")


DEAR = Price.per_million(input=1000, output=1000)
MODELS = {
    "a:default": ModelInfo(id="default", price=Price.FREE, region="eu", quality=90, capabilities=frozenset({"tools"})),
    "b:default": ModelInfo(id="default", price=DEAR, region="us", quality=10, capabilities=frozenset()),
    "c:default": ModelInfo(id="default", price=Price.FREE, region="eu", quality=90, capabilities=frozenset({"tools"})),
}


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(excluded_vendors=frozenset({"b"})),
        Constraints(vendors=frozenset({"a", "c"})),
        Constraints(regions=frozenset({"eu"})),
        Constraints(min_quality=50),
        Constraints(needs=frozenset({"tools"})),
        Constraints(max_cost_usd=Decimal("0.001")),
    ],
    ids=["excluded_vendors", "vendors", "regions", "min_quality", "needs", "max_cost_usd"],
)
@pytest.mark.anyio
async def test_fallback_never_reaches_what_a_constraint_excludes(constraints: Constraints) -> None:
    broken = ScriptedProvider([planar.OverloadedError("busy")], name="a")
    excluded = ScriptedProvider(reply("no"), name="b")
    allowed = ScriptedProvider(reply("Ebro"), name="c")
    client = planar.Planar(
        providers=[broken, excluded, allowed], models={"fast": list(MODELS)}, catalog=planar.Catalog(models=MODELS)
    )

    completion = await client.infer("Rivers?", model="fast", max_tokens=50, constraints=constraints)

    assert [attempt.deployment for attempt in completion.attempts] == ["a:default", "c:default"]
    assert excluded.received == []


class Backwards:
    """A router that inherits from nothing: the last of the alias comes first."""

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        return CostRouter().plan(request, candidates[::-1])


@pytest.mark.anyio
async def test_whatever_has_a_plan_is_a_router() -> None:
    first, last = ScriptedProvider(reply("Ebro"), name="a"), ScriptedProvider(reply("Tajo"), name="b")
    client = planar.Planar(providers=[first, last], models={"fast": ["a:default", "b:default"]}, router=Backwards())

    completion = await client.infer("Rivers?", model="fast")

    assert completion.text == "Tajo"
    assert first.received == []
