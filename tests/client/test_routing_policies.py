"""Policies of the platform and of tenants: that they only narrow, what they choose, what is refused at the start."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.testing import ScriptedProvider
from planar.types import NANO, Candidate, ModelInfo, Price

Policy = planar.RoutingPolicy
BROKEN = planar.ProviderServerError("it broke", status=500)


def only(**constraints: Any) -> planar.RoutingPolicy:
    return Policy(constraints=planar.Constraints(**constraints))


def vendors(*names: str) -> frozenset[str]:
    return frozenset(names)


def client_of(**options: Any) -> planar.Planar:
    """Three vendors with two models each, in the order a, b, c; `any` is all of them."""
    options.setdefault("providers", [ScriptedProvider("ok", name=name, models=["small", "large"]) for name in "abc"])
    options.setdefault("models", {"any": ["a:small", "b:small", "c:small", "a:large", "b:large", "c:large"]})
    return planar.Planar(**options)


def order(client: planar.Planar, **options: Any) -> list[str]:
    try:
        route = client.plan("Rivers?", **{"model": "any", **options})
    except planar.NoRouteError:
        return []
    return [candidate.deployment for candidate in route.order]


# -- what holds for whom


def test_the_policies_of_the_whole_path_hold_and_the_route_says_whose_they_are() -> None:
    client = client_of(
        policy=only(excluded_vendors=vendors("c")),
        tenants={
            "acme": only(models=vendors("*:small")),
            "acme/search": only(vendors=vendors("b", "c")),
            "other": only(vendors=vendors("c")),
        },
    )

    route = client.plan("Rivers?", model="any", tenant="acme/search/alice")

    assert [candidate.deployment for candidate in route.order] == ["b:small"]
    assert [name for name, _ in route.request.policies] == ["the platform", "acme", "acme/search"]
    told = {verdict.candidate.deployment: verdict.detail for verdict in route.verdicts}
    assert told["c:small"] == "c is excluded (policy of the platform)"
    assert told["b:large"] == "it is not among *:small (policy of acme)"
    assert told["a:small"] == "a is not among b, c (policy of acme/search)"
    assert order(client, tenant="acme") == ["a:small", "b:small"]
    assert order(client, tenant="acme2/search") == order(client) == ["a:small", "b:small", "a:large", "b:large"]


def test_a_tenant_cannot_widen_what_the_platform_allows_by_any_name_that_it_asks_for() -> None:
    client = client_of(
        policy=only(vendors=vendors("a")), tenants={"acme": only(vendors=vendors("a", "b", "c"), models=vendors("*"))}
    )

    assert order(client, tenant="acme") == ["a:small", "a:large"]
    assert order(client, tenant="acme", model="auto") == ["a:small", "a:large"]
    assert order(client, tenant="acme", model="b:small") == []
    assert order(client, tenant="acme", constraints=planar.Constraints(vendors=vendors("b"))) == []


@pytest.mark.parametrize("tenant", ["acme", "acme/x", "acme/x/y", "acme/x/y/z"])
def test_a_policy_holds_for_every_tenant_below_it(tenant: str) -> None:
    client = client_of(tenants={"acme": only(vendors=vendors("b"))})

    assert order(client, tenant=tenant) == ["b:small", "b:large"]


def test_a_client_without_policies_asks_the_router_nothing_more() -> None:
    request = client_of().plan("Rivers?", model="any", tenant="acme/search").request

    assert (request.policies, request.prefer, request.strategy) == ((), None, None)


def test_the_strategy_is_the_calls_then_the_deepest_tenants_then_the_platforms() -> None:
    client = client_of(
        policy=Policy(strategy="cheapest"),
        tenants={"acme": Policy(strategy="fastest"), "acme/search": only(vendors=vendors("b"))},
    )

    def strategy(**options: Any) -> object:
        return client.plan("Rivers?", model="any", **options).request.strategy

    assert strategy() == "cheapest"
    assert strategy(tenant="acme/search/alice") == "fastest"
    assert strategy(tenant="acme/search/alice", strategy="quality") == "quality"


def test_the_preferred_vendor_comes_first_and_changes_nothing_where_it_is_excluded() -> None:
    client = client_of(
        policy=Policy(prefer="b", constraints=planar.Constraints(excluded_vendors=vendors("c"))),
        tenants={"acme": Policy(prefer="c"), "other": Policy(prefer="a")},
    )

    assert order(client) == ["b:small", "b:large", "a:small", "a:large"]
    assert order(client, tenant="acme") == ["a:small", "b:small", "a:large", "b:large"]
    assert order(client, tenant="other/team") == ["a:small", "a:large", "b:small", "b:large"]


def test_residency_holds_for_models_whose_region_is_known() -> None:
    models = {
        "a:small": ModelInfo(id="small", region="eu"),
        "b:small": ModelInfo(id="small", region="us"),
        "c:small": ModelInfo(id="small"),
    }
    client = client_of(catalog=planar.Catalog(models=models), tenants={"acme": only(regions=vendors("eu"))})

    assert order(client, tenant="acme") == ["a:small"]


async def spent_by(
    client: planar.Planar, providers: Sequence[ScriptedProvider], **options: Any
) -> list[tuple[str, str]]:
    """Whom a call asked, in order; it may fail."""
    asked: list[tuple[str, str]] = []
    async with client:
        try:
            await client.infer("Rivers?", model="any", **options)
        except planar.PlanarError:
            pass
        for provider in providers:
            asked += [(provider.name, received.model) for received in provider.received]
    return asked


@pytest.mark.parametrize(
    ("platform", "tenant", "call", "attempts"),
    [(None, None, None, 3), ("0.00025", None, None, 2), (None, "0.00025", None, 2), ("1", "0.00025", "0.00015", 1)],
)
@pytest.mark.anyio
async def test_the_ceiling_of_a_call_is_the_least_that_anybody_set_and_fallbacks_share_it(
    platform: str | None, tenant: str | None, call: str | None, attempts: int
) -> None:
    # At 100 USD per million tokens of output, one token is at most 0.0001 USD; a failed attempt is booked in full.
    price = Price.per_million(input=0, output=100)
    cut = planar.events.TextDelta("E")
    providers = [ScriptedProvider([cut, BROKEN], name=name, models=["small"], price=price) for name in "abc"]
    cap = {None: planar.Constraints()}
    client = client_of(
        providers=providers,
        models={"any": ["a:small", "b:small", "c:small"]},
        policy=only(max_cost_usd=None if platform is None else Decimal(platform)),
        tenants={"acme": only(max_cost_usd=None if tenant is None else Decimal(tenant))},
        retry=planar.RetryPolicy(attempts=3, base=0.0),
    )

    asked = await spent_by(
        client,
        providers,
        tenant="acme",
        max_tokens=1,
        resume="restart",
        constraints=cap[None] if call is None else planar.Constraints(max_cost_usd=Decimal(call)),
    )

    assert len(asked) == attempts


# -- that a policy only narrows, and that nobody else is asked

NAMES = [f"{vendor}:{model}" for vendor in "abc" for model in ("small", "large")]
PATTERNS = st.frozensets(st.sampled_from(["a:*", "*:small", "b:large", "*:*", "c:s*", "?:large", "[ab]:*"]), max_size=2)
INFOS = st.fixed_dictionaries(
    {
        name: st.builds(
            ModelInfo,
            id=st.just(name.partition(":")[2]),
            region=st.sampled_from([None, "eu", "us"]),
            local=st.booleans(),
            quality=st.none() | st.integers(0, 100),
            price=st.none() | st.just(Price.per_million(input=1, output=1)),
            capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "image"])),
        )
        for name in NAMES
    }
)
CONSTRAINTS = st.builds(
    planar.Constraints,
    vendors=st.none() | st.frozensets(st.sampled_from("abc")),
    excluded_vendors=st.frozensets(st.sampled_from("abc"), max_size=1),
    models=st.none() | PATTERNS,
    excluded_models=PATTERNS.map(lambda patterns: patterns - {"*:*"}),
    regions=st.none() | st.frozensets(st.sampled_from(["eu", "us"])),
    max_cost_usd=st.none() | st.sampled_from([Decimal(0), Decimal("0.00002"), Decimal(1)]),
    min_quality=st.none() | st.integers(0, 100),
    local_only=st.booleans(),
    needs=st.frozensets(st.sampled_from(["tools", "image"]), max_size=1),
)
POLICIES = st.builds(Policy, constraints=CONSTRAINTS, prefer=st.none() | st.sampled_from("abc"))
SCOPES = ("acme", "acme/search", "acme/search/alice")
TENANTS = st.dictionaries(st.sampled_from([*SCOPES, "other"]), POLICIES, max_size=3)


def allows(constraints: planar.Constraints, one: Candidate) -> bool:
    """Written once more, so as to check and not to repeat."""
    info, cost = one.info, one.cost_bound
    return all(
        (
            constraints.vendors is None or one.provider in constraints.vendors,
            one.provider not in constraints.excluded_vendors,
            constraints.models is None or any(fnmatchcase(one.deployment, each) for each in constraints.models),
            not any(fnmatchcase(one.deployment, each) for each in constraints.excluded_models),
            constraints.regions is None or info.region in constraints.regions,
            info.local or not constraints.local_only,
            constraints.min_quality is None or (info.quality is not None and info.quality >= constraints.min_quality),
            info.capabilities is None or constraints.needs <= info.capabilities,
            constraints.max_cost_usd is None or (cost is not None and cost <= constraints.max_cost_usd * NANO),
        )
    )


@contextmanager
def unsaid() -> Iterator[None]:
    """That a policy leaves nobody is a warning, and here no matter."""
    logger = logging.getLogger("planar.client")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


@given(INFOS, st.none() | POLICIES, TENANTS, CONSTRAINTS)
@examples(120)
@unsaid()
def test_what_passes_with_a_tenants_policy_passes_without_it_and_meets_everything(
    infos: Mapping[str, ModelInfo],
    platform: planar.RoutingPolicy | None,
    tenants: Mapping[str, planar.RoutingPolicy],
    wanted: planar.Constraints,
) -> None:
    catalog = planar.Catalog(models=infos)
    client = client_of(catalog=catalog, policy=platform, tenants=tenants)
    call = {"tenant": SCOPES[-1], "constraints": wanted, "max_tokens": 10}
    held = [wanted, *[each.constraints for each in (platform, *map(tenants.get, SCOPES)) if each is not None]]

    passed = set(order(client, **call))
    everybody = client_of(catalog=catalog).plan("Rivers?", model="any", max_tokens=10).order

    assert passed == {one.deployment for one in everybody if all(allows(each, one) for each in held)}
    for scope in SCOPES:
        wider = {name: policy for name, policy in tenants.items() if name != scope}
        assert passed <= set(order(client_of(catalog=catalog, policy=platform, tenants=wider), **call))
    assert passed <= set(order(client_of(catalog=catalog, tenants=tenants), **call))


@given(POLICIES, POLICIES, CONSTRAINTS)
@examples(20)
@unsaid()
def test_no_fallback_hedge_or_retry_asks_whom_a_policy_excludes(
    platform: planar.RoutingPolicy, tenant: planar.RoutingPolicy, wanted: planar.Constraints
) -> None:
    providers = [ScriptedProvider([BROKEN], name=name, models=["small", "large"]) for name in "abc"]
    client = client_of(
        providers=providers,
        policy=platform,
        tenants={"acme": tenant},
        retry=planar.RetryPolicy(attempts=12, base=0.0, cap=0.0),
    )
    held = (platform.constraints, tenant.constraints, wanted)
    known = {one.deployment: one for one in client_of(providers=providers).plan("Rivers?", model="any").order}

    async def ask() -> list[tuple[str, str]]:
        return await spent_by(client, providers, tenant="acme", constraints=wanted, hedge=True)

    asked = anyio.run(ask)

    for vendor, model in asked:
        assert all(allows(each, known[f"{vendor}:{model}"]) for each in held)


# -- aliases of tenants


def test_an_alias_of_a_tenant_comes_before_the_wider_ones_and_nobody_else_has_it() -> None:
    client = client_of(
        models={"fast": ["a:small"], "best": ["a:large"]},
        tenants={
            "acme": Policy(models={"fast": ["b:small"], "own": ["b:large"]}),
            "acme/search": Policy(models={"f*": ["c:small"]}),
        },
    )

    assert order(client, model="fast") == ["a:small"]
    assert order(client, model="fast", tenant="acme/sales") == ["b:small"]
    assert order(client, model="fast", tenant="acme/search/alice") == ["c:small"]
    assert order(client, model="own", tenant="acme/search") == ["b:large"]
    assert order(client, model="best", tenant="acme/search") == ["a:large"]
    with pytest.raises(planar.UnknownModelError) as caught:
        client.plan("Rivers?", model="own", tenant="other")
    assert "b:large" not in str(caught.value)
    assert client.models == {"fast": ("a:small",), "best": ("a:large",)}
    assert client.with_options(tenant="acme/sales").models == {
        "fast": ("b:small",),
        "best": ("a:large",),
        "own": ("b:large",),
    }


def test_auto_is_what_the_aliases_of_the_tenant_and_the_platform_name_and_not_those_of_another() -> None:
    client = client_of(
        models={"fast": ["a:small"]},
        tenants={"acme": Policy(models={"own": ["b:large"]}), "other": Policy(models={"own": ["c:large"]})},
    )

    assert sorted(order(client, model="auto", tenant="acme/x")) == ["a:small", "b:large"]
    assert order(client, model="auto") == ["a:small"]


def test_the_platforms_policy_may_have_aliases_too() -> None:
    client = client_of(models={"fast": ["a:small"]}, policy=Policy(models={"fast": ["b:small"], "x": ["c:small"]}))

    assert order(client, model="fast") == order(client, model="fast", tenant="acme") == ["b:small"]
    assert sorted(order(client, model="auto")) == ["a:small", "b:small", "c:small"]


def test_a_star_of_a_tenants_alias_may_reach_what_is_excluded_if_something_is_left() -> None:
    client = client_of(policy=only(excluded_models=vendors("a:*")), tenants={"acme": Policy(models={"x": ["*:small"]})})

    assert order(client, model="x", tenant="acme") == ["b:small", "c:small"]


# -- what is refused, and what is only said

WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"policy": only(vendors=vendors("d"))}, "the policy of the platform: vendors names 'd', but the providers are"),
    ({"tenants": {"acme": only(excluded_vendors=vendors("A"))}}, "excluded_vendors names 'A', but the providers are"),
    ({"tenants": {"acme": Policy(prefer="d")}}, "the policy of acme: prefer names 'd'"),
    ({"tenants": {"ac me": Policy()}}, "'ac me' is not a tenant"),
    ({"tenants": {"a/b/c/d/e": Policy()}}, "'a/b/c/d/e' is not a tenant"),
    ({"tenants": {"": Policy()}}, "'' is not a tenant"),
    ({"tenants": {"acme": planar.Constraints()}}, "the policy of acme is a planar.RoutingPolicy, not Constraints("),
    ({"policy": planar.Constraints()}, "the policy of the platform is a planar.RoutingPolicy, not Constraints("),
    ({"policy": only(models=vendors("d:*"))}, "'d:*' can match no deployment of this client"),
    ({"policy": only(excluded_models=vendors("small"))}, "'small' can match no deployment of this client: write"),
    (
        {"policy": only(excluded_models=vendors("a"))},
        "'a' can match no deployment of this client: write provider:model",
    ),
    ({"policy": Policy(strategy="cheep")}, "the policy of the platform: CostRouter knows no strategy 'cheep'"),
    ({"tenants": {"acme": Policy(strategy=7)}}, "the policy of acme: CostRouter knows no strategy 7"),
    ({"tenants": {"acme": Policy(models={"x": ["d:small"]})}}, "the policy of acme: alias 'x': 'd:small' names no"),
    ({"tenants": {"acme": Policy(models={"x": "a:small"})}}, "alias 'x': it needs a list of deployments"),
    (
        {
            "policy": only(excluded_vendors=vendors("a")),
            "tenants": {"acme": Policy(models={"x": ["b:small", "a:small"]})},
        },
        "the policy of acme: alias 'x' names 'a:small', which may not serve it: a is excluded (policy of the platform)",
    ),
    (
        {"policy": only(excluded_vendors=vendors("a")), "tenants": {"acme": Policy(models={"x-*": ["a:*"]})}},
        "the policy of acme: alias 'x-*' names 'a:*', which may not serve it: a is excluded (policy of the platform)",
    ),
    (
        {"tenants": {"acme": only(local_only=True), "acme/search": Policy(models={"x": ["a:small"]})}},
        "'a:small', which may not serve it: it does not run in this process (policy of acme)",
    ),
    (
        {"tenants": {"acme": Policy(models={"x": ["a:small"]}, constraints=planar.Constraints(vendors=vendors("b")))}},
        "alias 'x' names 'a:small', which may not serve it: a is not among b (policy of acme)",
    ),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=range(len(WRONG)))
def test_a_policy_that_cannot_be_right_is_refused_at_the_start(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(planar.ConfigurationError) as caught:
        client_of(**options)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Policy(constraints={"vendors": "a"}), "planar.Constraints(...)"),  # type: ignore[arg-type]
        (lambda: Policy(prefer=""), "by its name"),
        (lambda: Policy(models=["a:small"]), "aliases"),  # type: ignore[arg-type]
        (lambda: planar.Constraints(vendors="openai"), "vendors must be a set of texts"),  # type: ignore[arg-type]
        (lambda: planar.Constraints(excluded_models=None), "excluded_models must be a set"),  # type: ignore[arg-type]
    ],
    ids=range(5),
)
def test_a_value_of_the_wrong_kind_is_refused_where_it_is_written(make: Any, words: str) -> None:
    with pytest.raises(planar.PlanarError) as caught:
        make()

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tenants": {"acme": only(excluded_models=vendors("a:smal"))}},
            "the policy of acme: 'a:smal' matches nothing that is known: did you mean 'a:small'?",
        ),
        ({"policy": only(models=vendors("a:*", "*:huge"))}, "'*:huge' matches nothing that is known"),
        (
            {"tenants": {"acme": only(regions=vendors("eu"))}},
            "the policy of acme leaves nobody to serve it: a:small: its region is unknown (policy of acme), and so on",
        ),
    ],
    ids=range(3),
)
def test_what_may_be_wrong_is_a_warning_and_the_client_works(
    options: Mapping[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    client_of(**options)

    assert [(record.name, record.levelname) for record in caplog.records] == [("planar.client", "WARNING")]
    assert words in caplog.text


class Graded:
    def predict(self, text: str, *, label: str | None = None) -> Mapping[str, float]:
        return {"a:small": 90.0 if "Rivers" in text else 10.0}


def test_a_least_quality_is_a_matter_of_the_call_where_prompts_are_graded() -> None:
    good = Policy(constraints=planar.Constraints(min_quality=50), models={"mine": ["a:small"]})

    client = client_of(quality=Graded(), tenants={"acme": good})
    client.set_policy("other", good)

    assert order(client, model="mine", tenant="acme") == order(client, model="mine", tenant="other") == ["a:small"]
    with pytest.raises(planar.NoRouteError):
        client.plan("Proofs?", model="mine", tenant="acme")


def test_policies_can_be_kept_in_sets_and_are_not_changed_from_outside() -> None:
    models = {"x": ["a:small"]}
    policy = Policy(constraints=planar.Constraints(vendors={"a"}), models=models)  # type: ignore[arg-type]

    models["x"].append("b:small")
    models["y"] = ["b:small"]

    assert policy.models == {"x": ("a:small",)}
    assert policy.constraints.vendors == frozenset({"a"})
    assert len({policy, replace(policy)}) == 1


# -- changing them


def test_a_policy_can_be_changed_and_taken_away_and_holds_from_the_next_call() -> None:
    client = client_of(
        tenants={"acme": only(vendors=vendors("a", "b")), "acme/search": only(vendors=vendors("b", "c"))}
    )
    copy = client.with_options(tenant="acme/search")

    assert order(copy) == ["b:small", "b:large"]
    client.set_policy("acme", only(models=vendors("*:large")))
    assert order(copy) == ["b:large", "c:large"]
    client.set_policy("acme/search", None)
    assert order(copy) == ["a:large", "b:large", "c:large"]
    client.set_policy(None, only(excluded_vendors=vendors("a")))
    assert order(copy) == ["b:large", "c:large"]
    client.set_policy("acme", None)
    client.set_policy(None, None)
    assert len(order(copy)) == 6


@pytest.mark.parametrize(
    ("tenant", "policy", "words"),
    [
        ("acme", only(vendors=vendors("d")), "vendors names 'd'"),
        ("a b", Policy(), "'a b' is not a tenant"),
        ("acme/x", Policy(models={"x": ["b:small"]}), "'b:small', which may not serve it"),
        (
            None,
            only(excluded_vendors=vendors("a")),
            "the policy of acme: alias 'x' names 'a:small', which may not serve it",
        ),
    ],
    ids=range(4),
)
def test_a_change_that_cannot_be_right_changes_nothing(
    tenant: str | None, policy: planar.RoutingPolicy, words: str
) -> None:
    own = Policy(models={"x": ["a:small"]}, constraints=planar.Constraints(vendors=vendors("a")))
    client = client_of(tenants={"acme": own})
    before = client._core.policies

    with pytest.raises(planar.ConfigurationError) as caught:
        client.set_policy(tenant, policy)

    assert words in str(caught.value)
    assert client._core.policies is before
    assert order(client, model="x", tenant="acme/x") == ["a:small"]


def test_many_tenants_with_policies_are_made_quickly_and_found_at_once() -> None:
    tenants = {f"t{number}": only(vendors=vendors("abc"[number % 3])) for number in range(2_000)}
    client = client_of(tenants=tenants)

    client.set_policy("t7", only(vendors=vendors("c")))

    assert order(client, tenant="t7/x") == ["c:small", "c:large"]
    assert order(client, tenant="t1999/x/y") == ["b:small", "b:large"]
