"""What the package knows of vendors' models: whole, dated, found by any name, and made again with the same bytes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices import types

import planar
from planar.catalog import Catalog, cost_bound, cost_of
from planar.catalog._prices import VENDORS, _is_served
from planar.catalog._snapshot import Snapshot, shipped
from planar.protocols import KnowsVendor
from planar.testing import ScriptedProvider
from planar.types import ModelInfo, Price, PriceStep, Usage

ROOT = Path(__file__).parents[2]
EVERY = [(vendor, model) for vendor in shipped().vendors for model in shipped().models(vendor)]


def found(vendor: str, model: str) -> ModelInfo:
    info = shipped().find(vendor, model)
    assert info is not None
    return info


def test_it_is_small_and_its_vendors_are_those_that_planar_speaks_to() -> None:
    file = ROOT / "src/planar/catalog/snapshot.json"

    assert file.stat().st_size < 150_000
    assert shipped().vendors == ("anthropic", "deepseek", "gemini", "groq", "mistral", "openai", "together", "xai")
    assert len(EVERY) > 400
    assert date.fromisoformat(shipped().day) >= date(2026, 11, 25)


def test_models_are_in_order_and_each_is_there_once() -> None:
    for vendor in shipped().vendors:
        models = shipped().models(vendor)

        assert list(models) == sorted(set(models))


def test_every_price_says_where_and_when_it_was_read_and_so_does_each_of_its_steps_and_tiers() -> None:
    def parts(price: Price) -> list[Price]:
        inner = [part for tier in price.tiers.values() for part in parts(tier)]
        return [price, *(step.price for step in price.steps), *inner]

    infos = [info for vendor, model in EVERY if (info := shipped().find(vendor, model)) is not None]
    prices = [part for info in infos if info.price is not None for part in parts(info.price)]

    assert len(prices) > 500
    assert all(price.source.startswith("https://") and "genai-prices" in price.source for price in prices)
    assert all(price.as_of == shipped().day for price in prices)
    assert all(info.source and info.as_of for info in infos)
    assert [info.quality for info in infos if info.quality is not None] == [], "nobody publishes one, so it is unknown"


def test_a_model_without_a_price_is_listed_with_the_reason() -> None:
    infos = {f"{vendor}:{model}": shipped().find(vendor, model) for vendor, model in EVERY}
    without = {name for name, info in infos.items() if info is not None and info.price is None}

    assert without <= set(shipped().left_out)
    assert shipped().left_out["deepseek:deepseek-flash"] == "the price depends on the time of day"


@pytest.mark.skipif(version("genai-prices") != shipped().made_from.split()[1], reason="another genai-prices")
def test_making_it_again_gives_the_same_bytes() -> None:
    run = [sys.executable, str(ROOT / "tools/snapshot.py"), "--check"]

    said = subprocess.run(run, capture_output=True, text=True, check=False)

    assert said.stdout == "the same\n"


def _texts(rule: Any) -> Iterator[str]:
    for clause in getattr(rule, "or_", None) or getattr(rule, "and_", None) or ():
        yield from _texts(clause)
    for text in vars(rule).values():
        if isinstance(text, str):
            yield text.translate(str.maketrans("", "", "\\^$"))


@pytest.mark.skipif(version("genai-prices") != shipped().made_from.split()[1], reason="another genai-prices")
@pytest.mark.parametrize("vendor", shipped().vendors)
def test_names_find_the_models_that_they_find_at_the_source(vendor: str) -> None:
    provider = next(each for each in genai_prices.data_snapshot.get_snapshot().providers if each.id == VENDORS[vendor])
    texts = {text for model in provider.models for text in (model.id, *_texts(model.match))}
    ends = ("", "-20251001", "-2025-10-01", "-latest", "-preview", "-tts", "-tts-1", "-x", "@20250101")

    for name in sorted(text + end for text in texts for end in ends):
        theirs = provider.find_model(name)
        if theirs is not None and _is_served(vendor, theirs.id):
            line = shipped().line(vendor, name)
            assert line is not None
            assert (name, line["id"]) == (name, theirs.id)
        elif theirs is None:
            assert shipped().find(vendor, name) is None


@pytest.mark.parametrize(
    ("vendor", "name", "model"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-5-nano-2025-08-07", "gpt-5-nano"),
        ("openai", "gpt-6-luna-2026-09-01", "gpt-6-luna"),
        ("openai", "gpt-6-luna-20260901", "gpt-6-luna"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-latest"),
        ("gemini", "gemini-2.5-pro-preview-06-05", "gemini-2.5-pro"),
        ("gemini", "gemini-flash-latest", "gemini-3.8-flash"),
        ("xai", "grok-latest", "grok-4.5"),
    ],
)
def test_a_dated_name_and_an_alias_find_their_model(vendor: str, name: str, model: str) -> None:
    by_name = found(vendor, name)

    assert by_name.id == name
    assert by_name.price == found(vendor, model).price is not None


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("openai", "gpt-4o-2031-01-01"),
        ("openai", "gpt-6-luna-mini"),
        ("gemini", "gemini-2.5-pro-tts"),
        ("gemini", "claude-opus-4-5"),
        ("openrouter", "gpt-4o"),
        ("anthropic", ""),
    ],
)
def test_a_name_that_nobody_listed_is_unknown(vendor: str, name: str) -> None:
    known = shipped().find(vendor, name)

    assert known is None or known.price != found("gemini", "gemini-2.5-pro").price


def test_prices_have_their_steps_and_tiers() -> None:
    haiku = found("anthropic", "claude-haiku-5-5").price
    luna = found("openai", "gpt-6-luna").price
    assert haiku is not None
    assert luna is not None

    assert (haiku.input, haiku.steps[0].above, haiku.steps[0].price.input) == (100_000, 100_000, 500_000)
    assert haiku.tiers["batch"].steps[0].price.output == 1_250_000
    assert {"batch", "flex", "priority", "fast"} <= set(luna.tiers)
    assert cost_of(Usage(input_tokens=100_000, output_tokens=0), haiku) == 10_000_000
    assert cost_of(Usage(input_tokens=100_001, output_tokens=0), haiku) == 50_000_500


def test_a_price_that_will_not_last_says_until_when() -> None:
    argon = found("gemini", "gemini-4-argon").price

    assert argon is not None
    assert argon.source.endswith("until 2026-12-01")


def test_what_is_known_beside_prices_says_where_it_was_read() -> None:
    mini, opus = found("openai", "gpt-4o-mini"), found("anthropic", "claude-opus-5-5")

    assert mini.tokenizer == "o200k_base"
    assert "tiktoken" in mini.source
    assert opus.refuses == {"temperature", "top_p"}
    assert found("anthropic", "claude-haiku-4-5").refuses is None
    assert found("openai", "text-embedding-3-small").capabilities == {"embeddings"}


def test_nothing_is_read_before_a_vendors_model_is_asked_for() -> None:
    code = """
import planar
from planar.catalog import _snapshot
from planar.testing import ScriptedProvider
planar.Planar(providers=[ScriptedProvider("Ebro.")])
print(_snapshot.shipped.cache_info().currsize, end=" ")
planar.Planar(providers=[planar.OpenAI(api_key="sk-test")])
print(_snapshot.shipped.cache_info().currsize)
"""

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "0 1\n"


@pytest.mark.parametrize(
    ("provider", "vendor"),
    [
        (planar.OpenAI(api_key="k"), "openai"),
        (planar.OpenAI(api_key="k", name="mine"), "openai"),
        (planar.OpenAI(api_key="k", base_url="https://eu.api.openai.com/v1"), None),
        (planar.OpenAI(api_key="k", base_url="http://localhost:8080/v1"), None),
        (planar.Anthropic(api_key="k"), "anthropic"),
        (planar.Anthropic(api_key="k", base_url="https://proxy.example"), None),
        (planar.Gemini(api_key="k"), "gemini"),
        (planar.OpenAICompatible(api_key="k", dialect="groq"), "groq"),
        (planar.OpenAICompatible(base_url="https://api.deepseek.com", api_key="k"), "deepseek"),
        (planar.OpenAICompatible(api_key="k", dialect="openrouter"), None),
        (planar.Ollama(), None),
    ],
)
def test_a_provider_names_a_vendor_only_at_the_vendors_own_address(
    provider: planar.Provider, vendor: str | None
) -> None:
    assert isinstance(provider, KnowsVendor)
    assert provider.vendor == vendor


def test_a_client_knows_what_a_call_to_a_vendor_costs_at_most() -> None:
    client = planar.Planar(
        providers=[planar.OpenAI(api_key="k"), planar.OpenAI(api_key="k", base_url="https://x.y", name="z")]
    )

    (known,) = client.plan("A river?", model="openai:gpt-4o-mini", max_tokens=100).order
    (unknown,) = client.plan("A river?", model="z:gpt-4o-mini", max_tokens=100).order

    assert known.info.price is not None
    assert known.cost_bound == cost_bound(known.info.price, input_tokens=known.input_tokens_bound, output_tokens=100)
    assert (unknown.info.price, unknown.cost_bound) == (None, None)


def test_of_each_figure_the_first_that_is_known_holds(tmp_path: Path) -> None:
    file = tmp_path / "planar.toml"
    file.write_text('[catalog."openai:gpt-4o"]\nregion = "file"\ncontext_window = 7\nmax_output_tokens = 7\n')
    own = ModelInfo(id="gpt-4o", region="own", max_output_tokens=6, quality=5.0)
    code = {"openai:gpt-4o": ModelInfo(id="gpt-4o", region="code")}

    info = Catalog.from_toml(file, models=code).describe("openai", "gpt-4o", own=own, vendor="openai")

    assert (info.region, info.context_window, info.max_output_tokens, info.quality) == ("code", 7, 7, 5.0)
    assert info.price == found("openai", "gpt-4o").price
    assert info.tokenizer == "o200k_base"


def test_the_snapshot_can_be_left_out() -> None:
    assert Catalog(snapshot=False).describe("openai", "gpt-4o", vendor="openai") == ModelInfo(id="gpt-4o")
    assert Catalog().describe("openai", "gpt-4o") == ModelInfo(id="gpt-4o"), "not asked at the vendor's own address"


def test_refreshed_prices_are_those_of_the_installed_package_and_the_operators_still_win() -> None:
    mine = Price(input=1, output=2)
    catalog = Catalog(prices={"openai:gpt-4o": mine}).refreshed()

    fresh = catalog.describe("openai", "gpt-4o-mini", vendor="openai")
    ours = catalog.describe("openai", "gpt-4o", vendor="openai")

    assert fresh.price is not None
    assert fresh.price.input == 150_000
    assert fresh.tokenizer == "o200k_base"
    assert ours.price == mine


def test_prices_of_a_form_that_is_not_known_here_are_refused_and_not_read_in_part() -> None:
    known = genai_prices.data_snapshot.get_snapshot()
    (openai,) = [provider for provider in known.providers if provider.id == "openai"]
    strange = dataclasses.replace(openai.models[0], match=types.ClauseRegex(regex="^gpt-(a|b)$"))
    changed = dataclasses.replace(openai, models=[strange])
    fetched = genai_prices.data_snapshot.DataSnapshot(providers=[changed], from_auto_update=True)
    genai_prices.data_snapshot.set_custom_snapshot(fetched)

    try:
        with pytest.raises(planar.ConfigurationError, match="install a newer Planar"):
            Catalog().refreshed()
    finally:
        genai_prices.data_snapshot.set_custom_snapshot(None)


def test_a_price_that_is_not_known_any_more_does_not_fall_back_to_the_old_one() -> None:
    catalog = Catalog()
    line = {"id": "gpt-4o", "names": ["gpt-4o"]}
    vendors = {"openai": {"source": "https://a.page", "models": [line]}}
    catalog._fresh = Snapshot({"day": "2027-01-01", "made_from": "it", "left_out": {}, "vendors": vendors})

    info = catalog.describe("openai", "gpt-4o", vendor="openai")

    assert (info.price, info.context_window) == (None, 128_000)


def test_a_local_provider_is_what_it_says_of_itself() -> None:
    client = planar.Planar(providers=[ScriptedProvider("Ebro.", name="openai", models=["gpt-4o"])])

    (candidate,) = client.plan("A river?", model="openai:gpt-4o").order

    assert candidate.info.price == Price.FREE


def test_a_price_with_a_step_may_be_written_as_vendors_list_it() -> None:
    long = Price.per_million(input=4, output="18", cached_input="0.40", cache_write_1h=8)

    price = Price.per_million(
        input=2, output=12, steps=[PriceStep(above=200_000, price=long)], tiers={"flex": Price(input=1, output=6)}
    )

    assert price.steps[0].price.cache_write_1h == 8_000_000
    assert price.tiers["flex"].output == 6
