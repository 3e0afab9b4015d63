"""What every router has to keep, as tests that any implementation can run.

Needs pytest and hypothesis. Subclass, and provide one method: it makes a `router`.

    class TestMyRouter(RouterContract):
        strategies = (None, "cheapest")

        def router(self) -> MyRouter:
            return MyRouter()
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from planar.errors import InvalidRequestError
from planar.protocols import Router
from planar.testing._watch import IO, clock_watched, watched
from planar.types import NANO, Candidate, Capability, Constraints, Health, ModelInfo, Route, RouteRequest

_CAPABILITIES: tuple[Capability, ...] = ("tools", "image", "json_schema")
_QUALITY = st.none() | st.floats(0, 100)
_NEEDS = st.frozensets(st.sampled_from(_CAPABILITIES), max_size=2)

infos = st.builds(
    ModelInfo,
    id=st.just("m"),
    local=st.booleans(),
    region=st.sampled_from([None, "eu", "us"]),
    quality=_QUALITY,
    capabilities=st.none() | st.frozensets(st.sampled_from(_CAPABILITIES)),
    context_window=st.none() | st.integers(1, 200),
)
healths = st.builds(
    Health,
    ok=st.booleans(),
    error_rate=st.none() | st.floats(0, 1),
    ttft=st.none() | st.floats(0, 60),
    in_flight=st.integers(0, 100),
    age=st.none() | st.floats(0, 3600),
)
vendors = st.sampled_from(["a", "b", "c"])


def _numbered(found: list[Candidate]) -> list[Candidate]:
    """No two of one name."""
    return [
        replace(each, deployment=f"{each.provider}:m{number}", model=f"m{number}") for number, each in enumerate(found)
    ]


_anybody = st.builds(
    Candidate,
    deployment=st.just(""),
    provider=vendors,
    model=st.just(""),
    info=infos,
    input_tokens_bound=st.integers(0, 200),
    output_tokens_bound=st.none() | st.integers(0, 200),
    cost_bound=st.none() | st.integers(0, 10 * NANO),
    input_estimated=st.booleans(),
    health=healths,
)

candidates = st.lists(_anybody, max_size=6).map(_numbered)
"""Up to six deployments of three vendors, no two of one name, with anything known of them or nothing."""

crowds = st.lists(_anybody, min_size=4, max_size=8).map(_numbered)
"""Enough of them that a bound tells some from others."""

_PATTERNS = st.frozensets(st.sampled_from(["a:*", "*:m0", "b:m[0-3]", "?:m1", "c:m2"]), max_size=2)

_BOUNDS: Mapping[str, st.SearchStrategy[Any]] = {
    "vendors": st.frozensets(vendors),
    "excluded_vendors": st.frozensets(vendors, max_size=1),
    "models": _PATTERNS,
    "excluded_models": _PATTERNS,
    "regions": st.frozensets(st.sampled_from(["eu", "us"])),
    "max_cost_usd": st.decimals(0, 10, places=2),
    "min_quality": st.floats(0, 100),
    "local_only": st.booleans(),
    "needs": _NEEDS,
}


def _bounded(names: list[str]) -> st.SearchStrategy[Constraints]:
    return st.builds(Constraints, **{name: _BOUNDS[name] for name in names})


constraints = st.lists(st.sampled_from(list(_BOUNDS)), min_size=1, max_size=2, unique=True).flatmap(_bounded)
"""A bound or two: of more hardly anybody would be left, and nothing shown."""

policies = st.lists(constraints, min_size=1, max_size=3).map(
    lambda found: tuple(zip(("the platform", "acme", "acme/search"), found, strict=False))
)
"""What the platform and the scopes of a tenant allow."""


def requests(*strategies: object) -> st.SearchStrategy[RouteRequest]:
    """Requests by one of these strategies, with any constraints and policies or none."""
    return st.builds(
        RouteRequest,
        model=st.just("fast"),
        tenant=st.sampled_from(["acme", "acme/search"]),
        strategy=st.sampled_from(strategies),
        constraints=st.just(Constraints()) | constraints,
        policies=st.just(()) | policies,
        prefer=st.none() | vendors,
        needs=_NEEDS,
        max_tokens=st.none() | st.integers(1, 200),
        service_tier=st.sampled_from([None, "flex"]),
        seed=st.integers(0, 3),
    )


# The same method runs in the class of every router that is held to it: that is what it is for. An example is made
# smaller and not explained, which takes far longer than finding it.
_tried = settings(
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.differing_executors],
)


class RouterContract:
    """The promises of `planar.protocols.Router`, one test each.

    Attributes:
        strategies: Those that it knows; `None` is a request that names none.
    """

    strategies: ClassVar[tuple[object, ...]] = (None,)

    def router(self) -> Router:
        """Make one."""
        raise NotImplementedError("override `router` and make yours")

    @given(st.data(), candidates)
    @_tried
    def test_the_same_input_gives_the_same_route(self, data: st.DataObject, known: list[Candidate]) -> None:
        """Asked again, asked in a tuple, and asked of another router of the kind."""
        request = data.draw(requests(*self.strategies))
        router = self.router()

        route = router.plan(request, known)

        assert router.plan(request, known) == route
        assert router.plan(request, tuple(known)) == route
        assert self.router().plan(request, known) == route

    @given(st.data(), candidates)
    @_tried
    def test_every_candidate_has_one_verdict(self, data: st.DataObject, known: list[Candidate]) -> None:
        """Whether it is kept or dropped."""
        request = data.draw(requests(*self.strategies))

        route = self._plan(request, known)

        judged = sorted((verdict.candidate for verdict in route.verdicts), key=lambda each: each.deployment)
        assert judged == sorted(known, key=lambda each: each.deployment)
        assert route.request == request
        assert route.router

    @given(st.data(), candidates)
    @_tried
    def test_the_order_counts_from_nought_without_a_gap(self, data: st.DataObject, known: list[Candidate]) -> None:
        """So that it is one order."""
        route = self._plan(data.draw(requests(*self.strategies)), known)

        places = sorted(verdict.position for verdict in route.verdicts if verdict.position is not None)
        assert places == list(range(len(places)))

    @given(st.data(), candidates)
    @_tried
    def test_who_is_dropped_is_told_why(self, data: st.DataObject, known: list[Candidate]) -> None:
        """The filter and the reason; and nobody else is."""
        route = self._plan(data.draw(requests(*self.strategies)), known)

        for verdict in route.verdicts:
            if verdict.position is None:
                assert verdict.dropped_by
                assert verdict.detail
            else:
                assert verdict.dropped_by is None

    @given(st.data(), crowds)
    @_tried
    def test_no_constraint_is_violated(self, data: st.DataObject, known: list[Candidate]) -> None:
        """By the first choice or by any fallback; what is not known of a deployment does not pass."""
        request = replace(data.draw(requests(*self.strategies)), constraints=data.draw(constraints), policies=())

        route = self._plan(request, known)

        for kept in route.order:
            assert _violated(kept, request.constraints) == []

    @given(st.data(), crowds)
    @_tried
    def test_no_policy_is_violated(self, data: st.DataObject, known: list[Candidate]) -> None:
        """The platform's and those of all scopes of the tenant hold, whatever the call itself wants."""
        request = replace(data.draw(requests(*self.strategies)), constraints=Constraints(), needs=frozenset())
        request = replace(request, policies=data.draw(policies))

        route = self._plan(request, known)

        for kept in route.order:
            for name, policy in request.policies:
                assert _violated(kept, policy) == [], f"the policy of {name}"

    @given(st.data(), crowds)
    @_tried
    def test_a_policy_only_takes_away(self, data: st.DataObject, known: list[Candidate]) -> None:
        """Who passes with it passes without it, too."""
        wanted, narrowing = data.draw(constraints), data.draw(policies)
        request = RouteRequest(model="fast", tenant="acme/search", constraints=wanted, policies=narrowing)

        narrowed = self._plan(request, known)
        free = self._plan(replace(request, policies=()), known)

        assert {kept.deployment for kept in narrowed.order} <= {kept.deployment for kept in free.order}

    @given(st.data(), candidates)
    @_tried
    def test_a_deployment_has_what_is_needed(self, data: st.DataObject, known: list[Candidate]) -> None:
        """Where its capabilities are listed: where they are not, none excludes it."""
        request = data.draw(requests(*self.strategies))

        route = self._plan(request, known)

        for kept in route.order:
            has = kept.info.capabilities
            needed = request.needs.union(request.constraints.needs, *[policy.needs for _, policy in request.policies])
            assert has is None or needed <= has

    @given(candidates)
    @_tried
    def test_a_strategy_that_it_does_not_know_is_refused(self, known: list[Candidate]) -> None:
        """Rather than answered by another one."""
        for strategy in ("no such strategy", "", object()):
            with pytest.raises(InvalidRequestError):
                self._plan(RouteRequest(model="fast", tenant="acme", strategy=strategy), known)

    @given(st.data(), candidates)
    @_tried
    def test_what_it_is_given_is_not_changed(self, data: st.DataObject, known: list[Candidate]) -> None:
        """Neither the list nor anything in it."""
        request = data.draw(requests(*self.strategies))
        before = copy.deepcopy((request, known))

        self._plan(request, known)

        assert (request, known) == before

    @given(st.data(), candidates)
    @_tried
    def test_it_reads_no_clock_and_does_no_io(self, data: st.DataObject, known: list[Candidate]) -> None:
        """A route that was taken can be played again."""
        request = data.draw(requests(*self.strategies))
        router = self.router()
        router.plan(request, known)  # what is imported late is imported here

        with watched(*IO) as done, clock_watched() as read:
            router.plan(request, known)

        assert done == [], f"planning did {done}"
        assert read == [], f"planning read {read}"

    def _plan(self, request: RouteRequest, known: Sequence[Candidate]) -> Route:
        route: object = self.router().plan(request, known)
        assert isinstance(route, Route), f"plan() gives a Route, not {type(route).__name__}"
        return route


def _violated(kept: Candidate, wanted: Constraints) -> list[str]:
    """The constraints that a candidate does not meet, by name. Written once more, so as to check and not to repeat."""
    info, cost = kept.info, kept.cost_bound
    met = {
        "vendors": wanted.vendors is None or kept.provider in wanted.vendors,
        "excluded_vendors": kept.provider not in wanted.excluded_vendors,
        "models": wanted.models is None or any(fnmatchcase(kept.deployment, each) for each in wanted.models),
        "excluded_models": not any(fnmatchcase(kept.deployment, each) for each in wanted.excluded_models),
        "regions": wanted.regions is None or info.region in wanted.regions,
        "local_only": info.local or not wanted.local_only,
        "min_quality": wanted.min_quality is None or (info.quality is not None and info.quality >= wanted.min_quality),
        "max_cost_usd": wanted.max_cost_usd is None or (cost is not None and cost <= wanted.max_cost_usd * NANO),
    }
    return [name for name, holds in met.items() if not holds]
