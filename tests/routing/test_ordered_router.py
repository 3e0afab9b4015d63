"""The router follows the alias's order, drops what a constraint excludes, and says why for every candidate."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.routing import OrderedRouter
from planar.testing import ScriptedProvider, reply
from planar.types import NANO, Candidate, Constraints, ModelInfo, RouteRequest

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
    assert OrderedRouter().plan(request, given_candidates) == OrderedRouter().plan(request, tuple(given_candidates))


@given(requests, candidates)
@examples(200)
def test_no_candidate_of_the_order_violates_a_constraint(
    request: RouteRequest, given_candidates: list[Candidate]
) -> None:
    route = OrderedRouter().plan(request, given_candidates)

    wanted = request.constraints
    for kept in route.order:
        info = kept.info
        assert wanted.vendors is None or kept.provider in wanted.vendors
        assert kept.provider not in wanted.excluded_vendors
        assert wanted.regions is None or info.region in wanted.regions
        assert not wanted.local_only or info.local
        assert wanted.min_quality is None or (info.quality is not None and info.quality >= wanted.min_quality)
        assert info.capabilities is None or (wanted.needs | request.needs) <= info.capabilities
        if wanted.max_cost_usd is not None:
            assert kept.cost_bound is not None
            assert Decimal(kept.cost_bound) / NANO <= wanted.max_cost_usd


@given(requests, candidates)
@examples(200)
def test_every_candidate_has_one_verdict_and_what_is_kept_keeps_its_order(
    request: RouteRequest, given_candidates: list[Candidate]
) -> None:
    route = OrderedRouter().plan(request, given_candidates)

    assert [verdict.candidate for verdict in route.verdicts] == given_candidates
    assert all((verdict.position is None) == (verdict.dropped_by is not None) for verdict in route.verdicts)
    kept = [candidate for candidate in given_candidates if candidate in route.order]
    assert list(route.order) == kept
    assert len(kept) <= 1 or request.strategy != "pinned"


def test_a_strategy_that_it_does_not_know_is_refused_by_name() -> None:
    request = RouteRequest(model="fast", tenant="acme", strategy="cheapest")

    with pytest.raises(planar.InvalidRequestError, match="'cheapest'"):
        OrderedRouter().plan(request, ())


def test_a_prompt_that_was_counted_and_does_not_fit_excludes() -> None:
    small = ModelInfo(id="m", context_window=10)
    counted = Candidate(
        deployment="a:m", provider="a", model="m", info=small, input_tokens_bound=11, input_estimated=False
    )

    route = OrderedRouter().plan(RouteRequest(model="fast", tenant="acme"), [counted])

    assert [verdict.dropped_by for verdict in route.verdicts] == ["context"]


@pytest.mark.anyio
async def test_fallback_never_reaches_what_a_constraint_excludes() -> None:
    broken = ScriptedProvider([planar.OverloadedError("busy")], name="a")
    excluded = ScriptedProvider(reply("no"), name="b")
    allowed = ScriptedProvider(reply("Ebro"), name="c")
    client = planar.Planar(
        providers=[broken, excluded, allowed], models={"fast": ["a:default", "b:default", "c:default"]}
    )

    completion = await client.infer(
        "Rivers?", model="fast", constraints=planar.Constraints(excluded_vendors=frozenset({"b"}))
    )

    assert completion.provider == "c"
    assert excluded.received == []
