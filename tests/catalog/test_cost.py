"""Money from token counts: exact after a call, never below it before. What nobody has stated stays unknown."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.catalog import Catalog, cost_bound, cost_of, expected_cost, input_bound
from planar.quotas._codec import from_dict, to_dict
from planar.types import (
    ChatRequest,
    File,
    Image,
    Message,
    ModelInfo,
    OutputSchema,
    Price,
    PriceStep,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

rates = st.integers(0, 10**8)
own_rates = st.none() | rates
RATES = {
    "input": rates,
    "output": rates,
    "cached_input": own_rates,
    "cache_write": own_rates,
    "cache_write_1h": own_rates,
    "reasoning": own_rates,
    "audio_input": own_rates,
    "cached_audio_input": own_rates,
    "audio_output": own_rates,
    "image_input": own_rates,
    "image_output": own_rates,
    "call": st.integers(0, 10**6),
}
prices = st.builds(Price, **RATES)
computed = st.builds(Price, **RATES, compute_second=st.integers(0, 10**9), compute_ms_per_token=st.integers(1, 1000))


def stepped(of: st.SearchStrategy[Price], **more: Any) -> st.SearchStrategy[Price]:
    """Prices with up to three steps."""
    above = st.lists(st.integers(0, 10**6), unique=True, max_size=3).map(sorted)
    steps = above.flatmap(
        lambda bounds: st.tuples(*(st.builds(PriceStep, above=st.just(at), price=of) for at in bounds))
    )
    return st.builds(replace, of, steps=steps, **more)


WORDS = ("flex", "priority", "batch")
whole_prices = stepped(prices | computed, tiers=st.dictionaries(st.sampled_from(WORDS), stepped(prices | computed)))
tiers_billed = st.sampled_from((None, "default", "standard", "auto", *WORDS, "scale"))
KINDS_IN = ("plain", "cached", "written", "written for an hour", "heard", "heard and cached", "seen")
KINDS_OUT = ("said", "thought", "spoken", "drawn")
counts = st.fixed_dictionaries({kind: st.integers(0, 10**6) for kind in (*KINDS_IN, *KINDS_OUT)})
any_count = st.none() | st.integers(0, 10**6)


def usage_of(count: dict[str, int]) -> Usage:
    """What a provider reports of so many tokens of each kind."""
    return Usage(
        input_tokens=sum(count[kind] for kind in KINDS_IN),
        cached_input_tokens=count["cached"] + count["heard and cached"],
        cache_write_tokens=count["written"] + count["written for an hour"],
        cache_write_1h_tokens=count["written for an hour"],
        audio_input_tokens=count["heard"] + count["heard and cached"],
        cached_audio_input_tokens=count["heard and cached"],
        image_input_tokens=count["seen"],
        output_tokens=sum(count[kind] for kind in KINDS_OUT),
        reasoning_tokens=count["thought"],
        audio_output_tokens=count["spoken"],
        image_output_tokens=count["drawn"],
    )


def rates_of(price: Price) -> dict[str, int]:
    """The rate of each kind; one without its own has that of the kind it is part of."""

    def first(*wanted: int | None) -> int:
        return next(rate for rate in wanted if rate is not None)

    return {
        "plain": price.input,
        "cached": first(price.cached_input, price.input),
        "written": first(price.cache_write, price.input),
        "written for an hour": first(price.cache_write_1h, price.cache_write, price.input),
        "heard": first(price.audio_input, price.input),
        "heard and cached": first(price.cached_audio_input, price.cached_input, price.input),
        "seen": first(price.image_input, price.input),
        "said": price.output,
        "thought": first(price.reasoning, price.output),
        "spoken": first(price.audio_output, price.output),
        "drawn": first(price.image_output, price.output),
    }


@given(counts, prices)
@examples(300)
def test_every_token_is_charged_once_at_its_own_rate_and_the_sum_rounded_up_once(
    count: dict[str, int], price: Price
) -> None:
    rate = rates_of(price)
    exact = Fraction(sum(count[kind] * rate[kind] for kind in count), 1000)

    cost = cost_of(usage_of(count), price)

    assert cost == math.ceil(exact) + price.call


@given(counts, whole_prices, st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**12))
@examples(100)
def test_a_bound_is_never_below_the_cost(
    count: dict[str, int], price: Price, less_in: int, less_out: int, milliseconds: int | None
) -> None:
    usage = replace(usage_of(count), compute_ms=milliseconds)
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None

    bound = cost_bound(price, input_tokens=usage.input_tokens + less_in, output_tokens=usage.output_tokens + less_out)

    assert 0 <= cost_of(usage, price) <= bound


@given(counts, whole_prices, tiers_billed, st.booleans())
@examples(100)
def test_a_bound_for_a_tier_holds_for_it_and_for_the_standard_one(
    count: dict[str, int], price: Price, tier: str | None, as_asked: bool
) -> None:
    usage = usage_of(count)
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None

    bounding = price.bounding(tier)
    cost = cost_of(usage, price, tier if as_asked else None)

    if bounding is None:
        assert tier not in price.tiers
    else:
        assert cost is not None
        assert cost <= cost_bound(bounding, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


@given(counts, whole_prices, tiers_billed, st.none() | st.integers(0, 10**7))
@examples(100)
def test_what_a_call_costs_is_what_the_flat_price_says_that_was_applied(
    count: dict[str, int], price: Price, tier: str | None, milliseconds: int | None
) -> None:
    usage = replace(usage_of(count), compute_ms=milliseconds)
    assert usage.input_tokens is not None

    applied = price.applied(input_tokens=usage.input_tokens, tier=tier)
    cost = cost_of(usage, price, tier)

    if applied is None:
        assert (cost, tier in price.tiers) == (None, False)
    else:
        assert (applied.steps, applied.tiers) == ((), {})
        assert cost == cost_of(usage, applied)
        assert applied.applied(input_tokens=usage.input_tokens) is applied, "it is flat already"


def test_a_prompt_above_a_step_is_charged_there_from_its_first_token_on() -> None:
    high = Price(input=4000, output=0)
    price = Price(input=1000, output=0, steps=(PriceStep(above=100, price=high),))

    costs = [cost_of(Usage(input_tokens=count, output_tokens=0), price) for count in (99, 100, 101)]

    assert costs == [99, 100, 404]


def test_no_more_compute_is_charged_than_was_bounded_and_unmeasured_compute_is_the_bound() -> None:
    price = Price(input=0, output=0, compute_second=1_000, compute_ms_per_token=10)
    usage = Usage(input_tokens=50, output_tokens=50)

    costs = [cost_of(replace(usage, compute_ms=ms), price) for ms in (0, 1, 999, 5_000, None)]

    assert costs == [0, 1, 999, 1_000, 1_000]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"input": -1}, "input must not be negative"),
        ({"output": 1.5}, "whole numbers, not 1.5"),
        ({"cached_input": "1"}, "whole numbers, not '1'"),
        ({"call": True}, "whole numbers, not True"),
        ({"tiers": {"flex": 3}}, "is a Price"),
        ({"steps": (PriceStep(above=9, price=cast("Price", None)),)}, "is a Price"),
        ({"compute_second": 5}, "needs compute_ms_per_token"),
        ({"steps": (PriceStep(above=9, price=Price.FREE), PriceStep(above=5, price=Price.FREE))}, "ascend"),
        ({"steps": (PriceStep(above=9, price=Price(input=1, output=1, tiers={"a": Price.FREE})),)}, "of its own"),
        ({"tiers": {"a": Price(input=1, output=1, tiers={"b": Price.FREE})}}, "'a' has tiers"),
    ],
)
def test_what_cannot_be_a_price_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(planar.ConfigurationError, match=said):
        replace(Price(input=1, output=1), **wrong)


@given(whole_prices)
@examples(50)
def test_a_price_comes_back_whole_from_a_ledger_and_from_a_pickle(price: Price) -> None:
    written = json.loads(json.dumps(to_dict(price)))

    assert from_dict(Price, written) == price
    assert pickle.loads(pickle.dumps(price)) == price
    assert from_dict(Price, written).bounding("auto") == price.bounding("auto")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), stepped(prices))
@examples(300)
def test_what_is_likely_is_what_such_a_call_costs(cached: int, fresh: int, said: int, price: Price) -> None:
    usage = Usage(input_tokens=cached + fresh, cached_input_tokens=cached, output_tokens=said)

    likely = expected_cost(price, input_tokens=cached + fresh, cached_tokens=cached, output_tokens=said)

    assert likely == cost_of(usage, price)


@given(
    st.builds(
        Usage,
        input_tokens=st.integers(0, 10**6),
        cached_input_tokens=any_count,
        cache_write_tokens=any_count,
        cache_write_1h_tokens=any_count,
        audio_input_tokens=any_count,
        image_input_tokens=any_count,
        cached_audio_input_tokens=any_count,
        output_tokens=st.integers(0, 10**6),
        reasoning_tokens=any_count,
        audio_output_tokens=any_count,
        image_output_tokens=any_count,
        compute_ms=any_count,
    ),
    whole_prices,
)
@examples(100)
def test_parts_that_exceed_their_total_cost_no_more_than_the_total_can(usage: Usage, price: Price) -> None:
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None

    cost = cost_of(usage, price)

    assert 0 <= cost <= cost_bound(price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


def test_parts_that_exceed_their_total_do_not_make_it_negative() -> None:
    usage = Usage(input_tokens=5, cached_input_tokens=9, output_tokens=0)

    assert cost_of(usage, Price(input=1000, output=0, cached_input=100)) == 1


@pytest.mark.parametrize("usage", [Usage(input_tokens=5), Usage(output_tokens=5), Usage()])
def test_a_missing_total_is_not_nothing(usage: Usage) -> None:
    with pytest.raises(planar.InvalidRequestError):
        cost_of(usage, Price.FREE)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_prompt_has_no_more_tokens_than_the_bound_says(texts: list[str]) -> None:
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)

    in_messages = input_bound(ChatRequest(messages=tuple(Message("user", text) for text in texts)))
    in_parts = input_bound(ChatRequest(messages=(Message("user", tuple(map(Text, texts))),)))

    assert in_messages.tokens >= size
    assert in_parts.tokens >= size


def test_tools_calls_results_and_shapes_count_in_the_bound() -> None:
    plain = ChatRequest(messages=(Message("user", "Rivers?"),))
    called = (
        Message("assistant", (ToolCall(id="1", name="river", arguments="x" * 100),)),
        Message("tool", (ToolResult(tool_call_id="1", content="y" * 100),)),
    )
    tool = Tool(name="river", description="z" * 100, parameters={"type": "object"})
    shape = OutputSchema(name="river", schema={"type": "object", "description": "w" * 100})

    fuller = ChatRequest(messages=(*plain.messages, *called), tools=(tool,), output=shape)

    assert input_bound(fuller).tokens >= input_bound(plain).tokens + 400


def test_what_nobody_described_is_unknown_and_never_free() -> None:
    assert Catalog().describe("groq", "llama") == ModelInfo(id="llama")
    assert Catalog().describe("groq", "llama").price is None


def test_the_operators_figures_come_first() -> None:
    ours = Price.per_million(input=1, output=2)
    theirs = ModelInfo(id="default", price=Price.FREE, local=True)
    catalog = Catalog(prices={"local:default": ours}, models={"local:other": ModelInfo(id="other", region="eu")})

    priced = catalog.describe("local", "default", own=theirs)
    described = catalog.describe("local", "other", own=theirs)

    assert (priced.price, priced.local) == (ours, True)
    assert (described.price, described.region) == (Price.FREE, "eu"), "what it leaves open, its provider says"
    assert catalog.models_of("local") == ("other",)
    assert catalog.models_of("loc") == ()


@pytest.mark.parametrize("key", ["", "gpt", ":gpt", "openai:"])
def test_a_key_that_names_no_deployment_is_refused(key: str) -> None:
    with pytest.raises(planar.ConfigurationError, match="provider:model"):
        Catalog(prices={key: Price.FREE})
    with pytest.raises(planar.ConfigurationError, match="provider:model"):
        Catalog(models={key: ModelInfo(id="m")})


@pytest.mark.parametrize("rate", [-1, "a lot", "NaN", "0.0000001"])
def test_a_price_that_is_no_whole_number_of_pico_usd_is_refused(rate: str | int) -> None:
    with pytest.raises(planar.ConfigurationError, match="pico-USD"):
        Price.per_million(input=rate, output=1)


def test_a_catalog_takes_nothing_else_for_a_price() -> None:
    with pytest.raises(planar.ConfigurationError, match="the price of a:small is a"):
        Catalog(prices={"a:small": cast("Price", 3)})


def test_a_local_model_is_free_and_says_that_it_was_not_priced(smollm2: str) -> None:
    a_million_of_each = usage_of(dict.fromkeys((*KINDS_IN, *KINDS_OUT), 10**6))

    info = planar.LlamaCpp(smollm2).describe("default")

    assert info is not None
    assert info.price is not None
    assert cost_of(a_million_of_each, info.price) == 0
    assert "set a price" in info.price.source


PICTURE = Image(data=b"\x89PNG", media_type="image/png")


@pytest.mark.parametrize(
    ("model", "detail", "most"),
    [
        # What the vendors publish for their largest pictures.
        ("gpt-4o", "high", 85 + 8 * 170),
        ("gpt-4o-mini", "high", 2_833 + 8 * 5_667),
        ("gpt-4o-mini", "low", 2_833),
        ("gpt-4.1-nano", "high", 1_536 * 2.46),
        ("gpt-6-luna", "original", 10_000 * 1.2),
        ("claude-opus-5-5", None, 4_784),
        ("gemini-3-pro", None, 2_240),
        ("gemini-2.5-flash", None, 16 * 258),
        ("qwen3-vl", None, 16_384),
    ],
)
def test_a_picture_has_no_more_tokens_than_its_vendor_publishes(model: str, detail: Any, most: float) -> None:
    request = ChatRequest(messages=(Message("user", ("Which river?", replace(PICTURE, detail=detail))),))

    bound = input_bound(request).of(ModelInfo(id=model))

    assert most <= bound <= most * 9 + 100


def test_pictures_in_the_results_of_tools_count_too() -> None:
    shown = Message("tool", (ToolResult(tool_call_id="1", content=(PICTURE,)),))

    bound = input_bound(ChatRequest(messages=(shown,)))

    assert bound.media == (PICTURE,)


def test_a_page_is_read_and_looked_at() -> None:
    page = b"%PDF-1.7 1 0 obj << /Type /Pages /Count 2 >> << /Type /Page /Parent 1 0 R >> <</Type/Page>>" + b"x" * 3_000
    pdf = File(data=page, media_type="application/pdf")
    claude = ModelInfo(id="claude-sonnet-5-5")

    bound = input_bound(ChatRequest(messages=(Message("user", (pdf,)),))).of(claude)

    # Two pages of text took 2,347 tokens each there: huggingface.co/datasets/JOHNISKING/pdf-token-cost, 2026-10-18.
    assert 2 * 2_347 <= 2 * 4_784 + len(page) <= bound <= 25_000


def test_no_prompt_is_larger_than_what_the_model_can_read() -> None:
    unseen = ChatRequest(messages=(Message("user", (File(file_id="file-1"),)),))

    assert input_bound(unseen).of(ModelInfo(id="x", context_window=200_000)) == 200_000
    assert input_bound(unseen).of(ModelInfo(id="x")) >= 1_000_000


@pytest.mark.anyio
async def test_a_local_model_can_be_charged_by_the_time_that_the_machine_worked(smollm2: str) -> None:
    an_hour = Price(input=0, output=0, compute_second=10**9, compute_ms_per_token=10_000)
    client = planar.Planar(providers=[planar.LlamaCpp(smollm2, price=an_hour)])

    completion = await client.infer("A river in Spain?", max_tokens=8)
    bound = client.plan("A river in Spain?", max_tokens=8).order[0].cost_bound
    await client.aclose()

    assert completion.usage is not None
    assert completion.usage.compute_ms
    assert completion.cost_usd == planar.types.usd(completion.usage.compute_ms * 10**6)
    assert bound is not None
    assert completion.cost_usd < planar.types.usd(bound)
