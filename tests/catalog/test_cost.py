"""Money from token counts: exact after a call, never below it before."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.catalog import Catalog, cost_bound, cost_of, input_bound
from planar.types import ChatRequest, Message, ModelInfo, Price, Usage

rates = st.integers(0, 10**8)
prices = st.builds(
    Price,
    input=rates,
    output=rates,
    cached_input=st.none() | rates,
    cache_write=st.none() | rates,
    cache_write_1h=st.none() | rates,
    reasoning=st.none() | rates,
    audio_input=st.none() | rates,
    call=st.integers(0, 10**6),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total, output = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    cached = draw(st.integers(0, total))
    written = draw(st.integers(0, total - cached))
    return Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        output_tokens=output,
        reasoning_tokens=draw(st.integers(0, output)),
    )


@given(usages(), prices)
@examples(300)
def test_a_bound_is_never_below_the_cost(usage: Usage, price: Price) -> None:
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None

    bound = cost_bound(price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)

    assert 0 <= cost_of(usage, price) <= bound


@given(usages(), prices)
@examples(300)
def test_every_token_is_charged_once_at_its_own_rate_and_the_sum_rounded_up_once(usage: Usage, price: Price) -> None:
    hour = usage.cache_write_1h_tokens or 0
    short = (usage.cache_write_tokens or 0) - hour
    cached = usage.cached_input_tokens or 0
    thought = usage.reasoning_tokens or 0
    write = price.input if price.cache_write is None else price.cache_write
    write_hour = write if price.cache_write_1h is None else price.cache_write_1h
    exact = Fraction(
        cached * (price.input if price.cached_input is None else price.cached_input)
        + short * write
        + hour * write_hour
        + ((usage.input_tokens or 0) - cached - short - hour) * price.input
        + thought * (price.output if price.reasoning is None else price.reasoning)
        + ((usage.output_tokens or 0) - thought) * price.output,
        1000,
    )

    cost = cost_of(usage, price) - price.call

    assert 0 <= cost - exact < 1


def test_parts_that_exceed_their_total_do_not_make_it_negative() -> None:
    usage = Usage(input_tokens=5, cached_input_tokens=9, output_tokens=0)

    assert cost_of(usage, Price(input=1000, output=0, cached_input=100)) == 1


def test_a_missing_total_is_not_nothing() -> None:
    with pytest.raises(planar.InvalidRequestError):
        cost_of(Usage(input_tokens=5), Price.FREE)


@given(st.text())
def test_a_prompt_has_no_more_tokens_than_the_bound_says(text: str) -> None:
    request = ChatRequest(messages=(Message("user", text),))

    assert input_bound(request) >= len(text.encode("utf-8", "surrogatepass"))


def test_what_nobody_described_is_unknown_and_never_free() -> None:
    assert Catalog().describe("groq", "llama") == ModelInfo(id="llama")
    assert Catalog().describe("groq", "llama").price is None


def test_the_operators_figures_come_first() -> None:
    ours = Price.per_million(input=1, output=2)
    catalog = Catalog(prices={"local:default": ours})

    found = catalog.describe("local", "default", own=ModelInfo(id="default", price=Price.FREE, local=True))

    assert (found.price, found.local) == (ours, True)


def test_a_local_model_is_free_and_says_that_it_was_not_priced() -> None:
    assert Price.FREE.input == 0
    assert "set a price" in Price.FREE.source
