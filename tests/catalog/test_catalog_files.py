"""What an operator writes of models in a file: read whole, or refused with every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import planar
from planar.catalog import Catalog
from planar.types import ModelInfo, Price, PriceStep

WHOLE = """
[tenants]
acme = "nobody looks at this here"

[catalog."openai:gpt-6-luna"]
context_window = 400_000
max_output_tokens = 64_000
capabilities = ["tools", "sampling"]
refuses = ["seed"]
region = "eu"
quality = 71.5
quality_source = "our own questions, 2026-11-20"
tokenizer = "o200k_base"
deprecated = false
source = "our contract"
as_of = "2026-11-01"

[catalog."openai:gpt-6-luna".price]
input = "0.15"
cached_input = "0.015"
cache_write = "0.1875"
output = "0.60"
call = "0.0001"
source = "our contract"
as_of = "2026-11-01"

[[catalog."openai:gpt-6-luna".price.steps]]
above = 200_000
input = "0.30"
output = "0.90"

[catalog."openai:gpt-6-luna".price.tiers.flex]
input = "0.075"
output = "0.30"

[[catalog."openai:gpt-6-luna".price.tiers.flex.steps]]
above = 200_000
input = "0.15"
output = "0.45"

[catalog."local:default".price]
input = 0
output = 0
compute_second = "0.0002"
compute_ms_per_token = 50
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "planar.toml"
    file.write_text(text)
    return file


def test_a_file_says_all_that_code_could_say(tmp_path: Path) -> None:
    catalog = Catalog.from_toml(written(tmp_path, WHOLE))

    luna, local = catalog.describe("openai", "gpt-6-luna"), catalog.describe("local", "default")

    flat = Price(
        input=150_000,
        cached_input=15_000,
        cache_write=187_500,
        output=600_000,
        call=100_000,
        source="our contract",
        as_of="2026-11-01",
        steps=(PriceStep(above=200_000, price=Price(input=300_000, output=900_000)),),
        tiers={
            "flex": Price(
                input=75_000,
                output=300_000,
                steps=(PriceStep(above=200_000, price=Price(input=150_000, output=450_000)),),
            )
        },
    )
    assert luna == ModelInfo(
        id="gpt-6-luna",
        context_window=400_000,
        max_output_tokens=64_000,
        capabilities=frozenset({"tools", "sampling"}),
        refuses=frozenset({"seed"}),
        region="eu",
        quality=71.5,
        quality_source="our own questions, 2026-11-20",
        tokenizer="o200k_base",
        deprecated=False,
        source="our contract",
        as_of="2026-11-01",
        price=flat,
    )
    assert local.price == Price(input=0, output=0, compute_second=200_000, compute_ms_per_token=50)
    assert catalog.models_of("openai") == ("gpt-6-luna",)


def test_a_file_without_models_says_nothing(tmp_path: Path) -> None:
    catalog = Catalog.from_toml(written(tmp_path, "[tenants]\n"), prices={"a:b": Price.FREE})

    assert catalog.describe("a", "b").price == Price.FREE
    assert catalog.models_of("a") == ()


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
[catalog.gpt]
[catalog."openai:a"]
context_window = "many"
contextwindow = 5
capabilities = ["tools", "singing"]
quality = 101
[catalog."openai:a".price]
input = 0.15
tokens = 3
[catalog."openai:b".price]
input = "1"
output = "-2"
steps = [{ above = "2k", input = "1", output = "x" }]
tiers = 5
[catalog."openai:c"]
region = 5
price = "cheap"
""",
    )

    with pytest.raises(planar.ConfigurationError) as caught:
        Catalog.from_toml(file)

    said = str(caught.value)
    assert said.startswith(f"{file}: ")
    for problem in (
        'catalog."gpt": the key is provider:model',
        'catalog."openai:a".context_window: it is a whole number',
        "has no key 'contextwindow'",
        'catalog."openai:a".capabilities: singing is none',
        'catalog."openai:a".quality: it is a number from 0 to 100',
        'catalog."openai:a".price.input: a price of 0.15',
        "has no key 'tokens'",
        'catalog."openai:a".price needs output',
        'catalog."openai:b".price.output: a price of',
        'catalog."openai:b".price.steps[1] needs above',
        'catalog."openai:b".price.steps[1].output',
        'catalog."openai:b".price.tiers must be a table',
        'catalog."openai:c".region: it is a text',
        'catalog."openai:c".price must be a table',
    ):
        assert problem in said


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("compute_second = '1'", "compute_ms_per_token"),
        ("steps = [{above=9, input='1', output='1'}, {above=5, input='1', output='1'}]", "ascend"),
        ("tiers.flex = {input='1', output='1', tiers={}}", "has no key 'tiers'"),
        ("call = 0.5", "a text, such as '0.01'"),
        ("steps = 'two'", "must be a list of tables"),
        ("source = 5", "it is a text"),
    ],
)
def test_a_price_that_cannot_be_is_refused(tmp_path: Path, price: str, said: str) -> None:
    file = written(tmp_path, f'[catalog."a:b".price]\ninput = "1"\noutput = "1"\n{price}\n')

    with pytest.raises(planar.ConfigurationError, match=said):
        Catalog.from_toml(file)


@pytest.mark.parametrize("text", ["[catalog", "catalog = 5"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)

    with pytest.raises(planar.ConfigurationError, match=r"planar\.toml"):
        Catalog.from_toml(file)
    with pytest.raises(planar.ConfigurationError, match="elsewhere"):
        Catalog.from_toml(tmp_path / "elsewhere.toml")


@pytest.mark.parametrize("field", ["deprecated = 'no'", "capabilities = 'tools'", "quality = 'good'"])
def test_a_value_of_the_wrong_form_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(planar.ConfigurationError, match=field.split()[0]):
        Catalog.from_toml(written(tmp_path, f'[catalog."a:b"]\n{field}\n'))
