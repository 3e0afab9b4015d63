"""What a model's name stands for: plain aliases, stars, regexes, `auto`, and what is said of names that fit nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.client._aliases import stars
from planar.testing import ScriptedProvider
from planar.types import ModelInfo

GPTS = ("gpt-6-luna", "gpt-6-astra", "gpt-5-mini")
CLAUDES = ("claude-opus-5-5", "claude-haiku-5")


def open_vendor(name: str = "box") -> planar.OpenAICompatible:
    """A provider that says nothing of its models."""
    return planar.OpenAICompatible(base_url="http://127.0.0.1:9/v1", api_key=None, name=name)


def client_of(models: Mapping[str, Sequence[str]] | None = None, **options: Any) -> planar.Planar:
    options.setdefault(
        "providers", [ScriptedProvider(name="openai", models=GPTS), ScriptedProvider(name="anthropic", models=CLAUDES)]
    )
    return planar.Planar(models=models, **options)


def names(client: planar.Planar, model: str, **options: Any) -> list[str]:
    """The deployments that a call would look at, in the operator's order."""
    return [verdict.candidate.deployment for verdict in client.plan("Rivers?", model=model, **options).verdicts]


# -- stars in deployments


def test_a_star_in_a_deployment_stands_for_the_known_models_in_the_order_of_the_provider() -> None:
    client = client_of({"best": ["anthropic:claude-*", "openai:gpt-6-*"]})

    assert names(client, "best") == [
        "anthropic:claude-opus-5-5",
        "anthropic:claude-haiku-5",
        "openai:gpt-6-luna",
        "openai:gpt-6-astra",
    ]
    assert client.models == {"best": tuple(names(client, "best"))}


def test_a_deployment_that_is_named_twice_is_tried_once_in_its_first_place() -> None:
    client = client_of({"best": ["openai:gpt-6-astra", "openai:*", "openai:gpt-5-mini"]})

    assert names(client, "best") == ["openai:gpt-6-astra", "openai:gpt-6-luna", "openai:gpt-5-mini"]


def test_a_star_may_stand_for_the_provider_too() -> None:
    client = client_of({"small": ["*:*-mini", "*:*haiku*"]})

    assert names(client, "small") == ["openai:gpt-5-mini", "anthropic:claude-haiku-5"]


def test_stars_find_what_the_catalog_describes() -> None:
    catalog = planar.Catalog(models={f"box:{name}": ModelInfo(id=name) for name in ("qwen-3", "llama-4", "qwen-2")})
    client = client_of({"qwen": ["box:qwen-*"]}, providers=[open_vendor()], catalog=catalog)

    assert names(client, "qwen") == ["box:qwen-3", "box:qwen-2"]


def test_what_the_provider_does_not_serve_is_not_found_however_the_catalog_describes_it() -> None:
    catalog = planar.Catalog(models={"openai:gpt-4": ModelInfo(id="gpt-4")})
    client = client_of({"any": ["openai:*"]}, catalog=catalog)

    assert names(client, "any") == [f"openai:{name}" for name in GPTS]


def test_models_that_only_make_embeddings_are_found_alone_and_not_beside_others() -> None:
    vectors = ModelInfo(id="embed-1", capabilities=frozenset({"embeddings"}))
    catalog = planar.Catalog(models={"box:embed-1": vectors, "box:llama-4": ModelInfo(id="llama-4")})
    client = client_of({"any": ["box:*"], "vectors": ["box:embed-*"]}, providers=[open_vendor()], catalog=catalog)

    assert names(client, "any") == ["box:llama-4"]
    assert client.models["vectors"] == ("box:embed-1",)


def test_stars_find_what_the_package_knows_of_the_vendor_itself_and_not_of_a_namesake() -> None:
    client = client_of({"best": ["anthropic:claude-*-5-5"]}, providers=[planar.Anthropic(api_key="k")])

    assert names(client, "best") == [f"anthropic:claude-{kind}-5-5" for kind in ("haiku", "opus", "sonnet")]
    with pytest.raises(planar.ConfigurationError, match="no known model matches"):
        client_of({"best": ["anthropic:claude-*-5-5"]}, providers=[open_vendor("anthropic")])


def test_what_its_vendor_is_about_to_end_is_found_alone_and_not_beside_others() -> None:
    models = {"box:old-1": ModelInfo(id="old-1", deprecated=True), "box:new-1": ModelInfo(id="new-1")}
    aliases = {"any": ["box:*"], "old": ["box:old-*"]}
    client = client_of(aliases, providers=[open_vendor()], catalog=planar.Catalog(models=models))

    assert client.models == {"any": ("box:new-1",), "old": ("box:old-1",)}


# -- wildcards and regexes


def test_a_star_in_an_alias_gives_what_it_matched_to_the_deployment() -> None:
    client = client_of({"gpt-*": ["openai:gpt-*", "anthropic:claude-haiku-5"]})

    assert names(client, "gpt-5-mini") == ["openai:gpt-5-mini", "anthropic:claude-haiku-5"]
    assert client.models == {"gpt-*": ("openai:gpt-*", "anthropic:claude-haiku-5")}


def test_several_stars_are_given_in_their_order_and_one_is_given_to_all() -> None:
    client = client_of({"*/at/*": ["box:*@*"], "x-*": ["box:*/*"]}, providers=[open_vendor()])

    assert names(client, "llama/at/fp8") == ["box:llama@fp8"]
    assert names(client, "x-qwen") == ["box:qwen/qwen"]


def test_a_regex_matches_the_whole_name_and_gives_its_groups() -> None:
    client = client_of(
        {r"re:(?P<kind>opus|haiku)(-\d.*)": [r"anthropic:claude-\g<kind>\2"]},
    )

    assert names(client, "opus-5-5") == ["anthropic:claude-opus-5-5"]
    with pytest.raises(planar.UnknownModelError):
        client.plan("Rivers?", model="my-opus-5-5")


def test_a_plain_name_comes_before_a_wildcard_and_that_before_a_regex_and_then_the_order_counts() -> None:
    client = client_of(
        {
            "re:.+": ["box:by-regex"],
            "gpt-*": ["box:first-wildcard"],
            "gpt-6*": ["box:second-wildcard"],
            "gpt-6": ["box:plain"],
        },
        providers=[open_vendor()],
    )

    assert names(client, "gpt-6") == ["box:plain"]
    assert names(client, "gpt-6-luna") == ["box:first-wildcard"]
    assert names(client, "claude") == ["box:by-regex"]


def test_a_name_with_a_colon_is_a_deployment_whatever_the_patterns_say() -> None:
    client = client_of({"*": ["anthropic:claude-haiku-5"], "re:.*": ["anthropic:claude-haiku-5"]})

    assert names(client, "openai:gpt-6-luna") == ["openai:gpt-6-luna"]
    with pytest.raises(planar.UnknownModelError, match="write provider:model"):
        client.plan("Rivers?", model="other:gpt-6-luna")


def test_what_a_pattern_makes_is_left_out_where_the_provider_does_not_serve_it() -> None:
    client = client_of({"*": ["openai:*", "anthropic:*"]})

    assert names(client, "claude-haiku-5") == ["anthropic:claude-haiku-5"]
    with pytest.raises(planar.UnknownModelError, match="there is no alias 'mistral'"):
        client.plan("Rivers?", model="mistral")


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
@examples(300)
def test_stars_match_what_a_regex_would_and_stand_for_what_makes_the_name_again(pattern: str, name: str) -> None:
    found = stars(pattern, name)

    assert (found is not None) == (re.fullmatch(pattern.replace("*", ".*"), name) is not None)
    if found is not None:
        pieces = pattern.split("*")
        assert len(found) == len(pieces) - 1
        assert "".join(piece + star for piece, star in zip(pieces, [*found, ""], strict=True)) == name


ALIASES = st.dictionaries(
    st.text("ab", min_size=1, max_size=3) | st.text("ab*", min_size=1, max_size=3) | st.just("re:(a+)b?"),
    st.lists(st.sampled_from(["one:a", "one:b", "two:a", "two:b", "two:ab"]), min_size=1, max_size=3),
    max_size=4,
)


@given(ALIASES, st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5))
@examples(60)
def test_what_a_name_stands_for_does_not_depend_on_what_was_asked_before(
    aliases: dict[str, list[str]], asked: list[str]
) -> None:
    def resolved(client: planar.Planar, model: str) -> Sequence[str] | None:
        try:
            return [deployment.name for deployment in client._core.deployments.resolve(model)]
        except planar.UnknownModelError:
            return None

    def fresh() -> planar.Planar:
        return client_of(aliases, providers=[open_vendor("one"), open_vendor("two")])

    client = fresh()
    for model in (*asked, *asked):
        found = resolved(client, model)

        assert found == resolved(fresh(), model)
        if model in aliases:
            assert found == list(dict.fromkeys(aliases[model]))
        elif found is not None:
            assert found in [list(dict.fromkeys(values)) for alias, values in aliases.items() if set(alias) - {*"ab"}]


@pytest.mark.parametrize("name", ["box:{}", "x-{}", "nothing-{}"])
def test_asking_for_many_names_does_not_take_memory_without_bound(name: str) -> None:
    client = client_of({"x-*": ["box:*"]}, providers=[open_vendor()])
    stock = client._core.deployments.stock

    for number in range(5_000):
        try:
            client._core.deployments.resolve(name.format(number))
        except planar.UnknownModelError:
            assert name.startswith("nothing")

    assert stock.deployment.cache_info().currsize <= 4096
    assert stock.filled.cache_info().currsize <= 4096


def test_a_name_that_is_far_too_long_is_refused_and_not_kept() -> None:
    client = client_of({"*": ["box:*"]}, providers=[open_vendor()])

    for name in ("x" * 513, "box:" + "x" * 513):
        with pytest.raises(planar.UnknownModelError, match="at most 512 characters"):
            client.plan("Rivers?", model=name)


# -- auto, and what is said of names


def test_auto_is_what_the_aliases_name() -> None:
    client = client_of(
        {"fast": ["openai:gpt-5-mini"], "best": ["anthropic:*"], "g-*": ["openai:gpt-6-luna", "openai:*"]}
    )

    assert names(client, "auto") == [
        "openai:gpt-5-mini",
        "anthropic:claude-opus-5-5",
        "anthropic:claude-haiku-5",
        "openai:gpt-6-luna",
    ]


def test_auto_without_aliases_is_all_that_is_known_and_gives_answers() -> None:
    vectors = ModelInfo(id="embed-1", capabilities=frozenset({"embeddings"}))
    catalog = planar.Catalog(models={"box:embed-1": vectors, "box:llama-4": ModelInfo(id="llama-4")})
    client = client_of(providers=[ScriptedProvider(name="local"), open_vendor()], catalog=catalog)

    assert names(client, "auto") == ["local:default", "box:llama-4"]


def test_auto_does_not_choose_among_all_that_the_package_knows_the_price_of() -> None:
    described = planar.Catalog(models={"openai:gpt-6-luna": ModelInfo(id="gpt-6-luna", quality=70)})
    providers = [planar.OpenAI(api_key="k"), planar.Anthropic(api_key="k")]

    assert names(client_of(providers=providers, catalog=described), "auto") == ["openai:gpt-6-luna"]
    with pytest.raises(planar.UnknownModelError, match="needs an alias"):
        client_of(providers=providers).plan("Rivers?", model="auto")


def test_auto_has_no_more_than_a_hundred_deployments() -> None:
    client = client_of(providers=[ScriptedProvider(name="many", models=[f"m{number}" for number in range(300)])])

    assert names(client, "auto") == [f"many:m{number}" for number in range(100)]


def test_auto_with_nothing_known_says_what_is_missing() -> None:
    client = client_of(providers=[open_vendor()])

    with pytest.raises(planar.UnknownModelError, match="needs an alias or a provider that knows its models"):
        client.plan("Rivers?", model="auto")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fst", "did you mean 'fast'?"),
        ("zzz", "write one of fast, openai:gpt-6-luna, auto, or provider:model"),
        ("opeani:gpt-6-luna", "did you mean 'openai:gpt-6-luna'?"),
        ("openai:gpt-7", "openai does not serve 'gpt-7': it serves gpt-6-luna, gpt-6-astra, gpt-5-mini"),
        ("openai:", "names no deployment of this client"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_with_what_there_is(model: str, words: str) -> None:
    client = client_of({"fast": ["openai:gpt-6-luna"]})

    with pytest.raises(planar.UnknownModelError, match=re.escape(words)):
        client.plan("Rivers?", model=model)


def test_an_error_does_not_list_hundreds_of_models() -> None:
    client = client_of(providers=[ScriptedProvider(name="many", models=[f"m{number}" for number in range(300)])])

    with pytest.raises(planar.UnknownModelError) as caught:
        client.plan("Rivers?", model="zzz")

    assert "more, or provider:model" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_model_that_nobody_has_heard_of_is_a_warning_once_and_is_asked_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    catalog = planar.Catalog(models={"box:llama-4-scout": ModelInfo(id="llama-4-scout")})

    client = client_of({"fast": ["box:llama-4-scuot"]}, providers=[open_vendor()], catalog=catalog)

    assert names(client, "fast") == names(client, "fast") == ["box:llama-4-scuot"]
    assert [(record.name, record.levelname) for record in caplog.records] == [("planar.client", "WARNING")]
    assert "did you mean 'box:llama-4-scout'?" in caplog.text


def test_a_slip_of_the_pen_is_found_by_what_the_package_knows(caplog: pytest.LogCaptureFixture) -> None:
    models = {"fast": ["openai:gpt-6-lnua"], "dated": ["openai:gpt-4o-2024-08-06"]}

    client_of(models, providers=[planar.OpenAI(api_key="k")])

    assert len(caplog.records) == 1
    assert "did you mean 'openai:gpt-6-luna'?" in caplog.text


def test_nothing_is_said_of_a_model_whose_provider_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    client_of({"fast": ["box:whatever"]}, providers=[open_vendor()])

    assert caplog.records == []


WRONG_ALIASES: list[tuple[Mapping[str, Any], str]] = [
    ({"fast": ["opnai:gpt-6-luna"]}, "did you mean 'openai:gpt-6-luna'?"),
    ({"fast": ["openai:gpt-7"]}, "openai does not serve 'gpt-7'"),
    ({"fast": ["openai"]}, "'openai' names no deployment of this client, write provider:model"),
    ({"fast": ["openai:mistral-*"]}, "no known model matches 'openai:mistral-*': name the deployments"),
    ({"fast": ["opnai:gpt-*"]}, "did you mean 'openai:gpt-*'?"),
    ({"fast": ["gpt-*"]}, "'gpt-*' names no deployment of this client"),
    ({"fast": []}, "needs a list of deployments"),
    ({"fast": "openai:gpt-6-luna"}, "needs a list of deployments"),
    ({"fast": {"openai:gpt-6-luna"}}, "needs a list of deployments"),
    ({"fast": [7]}, "deployments are texts"),
    ({"auto": ["openai:gpt-6-luna"]}, "cannot be an alias"),
    ({"a:b": ["openai:gpt-6-luna"]}, "cannot be an alias"),
    ({"a:*": ["openai:gpt-6-luna"]}, "cannot be an alias"),
    ({" ": ["openai:gpt-6-luna"]}, "cannot be an alias"),
    ({"re:": ["openai:gpt-6-luna"]}, "cannot be an alias"),
    ({"re:gpt-(": ["openai:gpt-6-luna"]}, "it is no regex: missing )"),
    ({"re:gpt-(.*)": [r"openai:\2"]}, "does not fit the regex: invalid group reference 2"),
    ({"re:gpt-(.*)": [r"openai:\g<name>"]}, "does not fit the regex: unknown group name 'name'"),
    ({"re:gpt-(.*)": [r"opnai:\1"]}, r"did you mean 'openai:\1'?"),
    ({"re:gpt-(.*)": ["openai:*"]}, "has a star: a regex gives what its groups matched"),
    ({"a-*-b-*": ["openai:*"]}, "'openai:*' has 1 stars and the alias 2: write as many, or none"),
]


@pytest.mark.parametrize(("models", "words"), WRONG_ALIASES, ids=range(len(WRONG_ALIASES)))
def test_an_alias_that_cannot_be_right_is_refused_at_the_start(models: Mapping[str, Any], words: str) -> None:
    with pytest.raises(planar.ConfigurationError) as caught:
        client_of(models)

    assert str(caught.value).startswith(f"alias {next(iter(models))!r}: ")
    assert words in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    models = {"one": ["opnai:x"], "re:(": ["openai:x"], "three": []}

    with pytest.raises(planar.ConfigurationError) as caught:
        client_of(models, policy=planar.RoutingPolicy(prefer="cohere"), tenants={"a b": planar.RoutingPolicy()})

    for words in ("alias 'one'", "alias 're:('", "alias 'three'", "prefer names 'cohere'", "'a b' is not a tenant"):
        assert words in str(caught.value)
