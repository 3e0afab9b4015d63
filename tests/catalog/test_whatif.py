"""The ledger under another price table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.catalog import Assumptions, Catalog, WhatIfLine, cost_of, whatif, whatif_ledger
from planar.errors import ConfigurationError
from planar.types import LeaseId, LedgerEntry, Price, TenantPath, Usage

DEPLOYMENTS = ("openai:a", "groq:b", "local:c")
COUNTS = st.integers(0, 200_000)
RATES = st.integers(0, 80_000_000)
PRICES = st.builds(
    Price,
    input=RATES,
    output=RATES,
    cached_input=st.none() | RATES,
    reasoning=st.none() | RATES,
    call=st.integers(0, 10**7),
)
DEAR = Price.per_million(input="10", output="30")
CHEAP = Price.per_million(input="1", output="3")


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, answer = draw(COUNTS), draw(COUNTS)
    return Usage(
        input_tokens=prompt,
        output_tokens=answer,
        cached_input_tokens=draw(st.none() | st.integers(0, prompt)),
        reasoning_tokens=draw(st.none() | st.integers(0, answer)),
    )


def row(
    usage: Usage | None,
    price: Price | None,
    *,
    id: str = "1",
    kind: Literal["settled", "expired", "correction", "refund"] = "settled",
    deployment: str = "openai:a",
    nano_usd: int | Literal["by price"] | None = "by price",
    flags: frozenset[str] = frozenset(),
) -> LedgerEntry:
    counted = usage or Usage()
    if nano_usd == "by price":
        nano_usd = None if price is None or usage is None else cost_of(usage, price)
    return LedgerEntry(
        lease_id=LeaseId(id),
        kind=kind,
        tenant=TenantPath("acme"),
        deployment=deployment,
        input_tokens=counted.input_tokens or 0,
        output_tokens=counted.output_tokens or 0,
        nano_usd=nano_usd,
        time=0.0,
        usage=usage,
        price=price,
        flags=flags,
    )


FLAGS = st.sets(st.sampled_from(("estimated", "suspect", "cut", "failed"))).map(frozenset)
ROWS = st.builds(
    row,
    usages(),
    st.none() | PRICES,
    deployment=st.sampled_from(DEPLOYMENTS),
    flags=FLAGS,
    nano_usd=st.just("by price") | st.none() | st.integers(0, 10**12),
)
TABLES = st.dictionaries(st.sampled_from(DEPLOYMENTS), PRICES)
MOVES = st.dictionaries(st.sampled_from(DEPLOYMENTS), st.sampled_from(DEPLOYMENTS))


@given(rows=st.lists(st.builds(row, usages(), st.just(DEAR), flags=FLAGS, nano_usd=st.integers(0, 10**12)), max_size=8))
@examples(60)
def test_the_price_that_is_in_the_rows_changes_nothing(rows: list[LedgerEntry]) -> None:
    again = Price.per_million(input="10", output="30", source="read again", as_of="2026-11-25")

    found = whatif(rows, prices={"openai:a": again}).total

    assert (found.low, found.high) == (found.booked, found.booked)
    assert (found.change_low, found.change_high) == (0, 0)


@given(rows=st.lists(ROWS, max_size=8))
@examples(60)
def test_without_new_prices_everything_is_as_it_was_booked(rows: list[LedgerEntry]) -> None:
    found = whatif(rows).total

    assert found.low == found.high == found.booked == sum(each.nano_usd or 0 for each in rows)
    assert found.unpriced == found.unbooked == sum(each.nano_usd is None for each in rows)


@given(rows=st.lists(ROWS, max_size=8), prices=TABLES, moved=MOVES)
@examples(100)
def test_lines_add_up_to_the_total_and_no_range_is_upside_down(
    rows: list[LedgerEntry], prices: dict[str, Price], moved: dict[str, str]
) -> None:
    found = whatif(rows, prices=prices, moved=moved)

    for name in WhatIfLine.__slots__[2:]:
        assert getattr(found.total, name) == sum(getattr(line, name) for line in found.lines)
    assert all(line.low <= line.high and line.change_low <= line.change_high for line in found.lines)
    assert found.total.rows == len(rows)


@given(usage=usages(), old=PRICES, new=PRICES, flags=FLAGS)
@examples(150)
def test_the_range_holds_what_the_recorded_usage_costs(
    usage: Usage, old: Price, new: Price, flags: frozenset[str]
) -> None:
    found = whatif([row(usage, old, flags=flags)], prices={"openai:a": new}).total

    assert found.low <= cost_of(usage, new) <= found.high
    if not flags & {"estimated", "suspect"} or old == new:
        assert found.low == found.high


@given(
    usage=usages(),
    old=PRICES,
    new=PRICES,
    tokens=st.floats(0.8, 1.3),
    longer=st.floats(0.5, 2.0),
    finds_cache=st.booleans(),
)
@examples(150)
def test_the_range_of_a_moved_call_holds_every_usage_that_was_assumed_possible(
    usage: Usage, old: Price, new: Price, tokens: float, longer: float, finds_cache: bool
) -> None:
    new = Price(input=new.input, output=new.output, cached_input=new.cached_input, call=new.call)
    cached = usage.cached_input_tokens if finds_cache else None
    there = Usage(
        input_tokens=int((usage.input_tokens or 0) * tokens),
        output_tokens=int((usage.output_tokens or 0) * tokens * longer),
        cached_input_tokens=None if cached is None else int(cached * tokens),
    )

    found = whatif([row(usage, old)], prices={"groq:b": new}, moved={"openai:a": "groq:b"}).total

    slack = 2 + 2 * (new.input + new.output + (new.cached_input or 0)) // 1000  # the tokens above are rounded
    assert found.low - slack <= cost_of(there, new) <= found.high + slack


def test_a_row_of_another_service_tier_keeps_its_money_under_the_same_list() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    listed = replace(CHEAP, tiers={"priority": DEAR})
    rows = [row(usage, DEAR), row(usage, CHEAP, id="2")]

    found = whatif(rows, prices={"openai:a": listed}).total

    assert (found.booked, found.change_low, found.change_high) == (14_300_000, 0, 0)


def test_how_long_another_machine_works_is_a_range() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, compute_ms=500)
    machine = Price(input=0, output=0, compute_second=1_000_000, compute_ms_per_token=10)
    exactly = Assumptions(tokenizer=(1, 1), length=(1, 1))

    found = whatif([row(usage, DEAR)], prices={"local:c": machine}, moved={"openai:a": "local:c"}, assume=exactly).total

    assert (found.low, found.high) == (0, 1_100 * 10 * 1_000)


def test_half_the_price_is_half_the_money() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)

    found = whatif([row(usage, DEAR), row(usage, DEAR, id="2")], prices={"openai:a": CHEAP}).total

    assert (found.booked, found.low, found.high) == (26_000_000, 2_600_000, 2_600_000)
    assert (found.change_low, found.change_high) == (-23_400_000, -23_400_000)


def test_what_nobody_can_price_is_counted_and_never_zero() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    rows = [row(usage, None), row(usage, DEAR, id="2")]

    kept = whatif(rows).total
    moved = whatif(rows, moved={"openai:a": "groq:b"}).total
    priced = whatif(rows, prices={"openai:a": CHEAP}).total

    assert (kept.unpriced, kept.unbooked, kept.low) == (1, 1, 13_000_000)
    assert (moved.unpriced, moved.low, moved.high, moved.change_low) == (2, 0, 0, 0)
    assert (priced.unpriced, priced.unbooked, priced.low) == (0, 1, 2_600_000)
    assert priced.change_low == -11_700_000  # of the row of which both are known


def test_a_correction_brings_the_call_to_what_it_really_used() -> None:
    hold, real = Usage(input_tokens=5_000, output_tokens=4_000), Usage(input_tokens=1_000, output_tokens=100)
    first = row(None, None, kind="expired", nano_usd=cost_of(hold, DEAR), flags=frozenset({"estimated"}))
    delta = cost_of(real, DEAR) - cost_of(hold, DEAR)
    rows = [first, row(real, DEAR, kind="correction", nano_usd=delta)]

    cheap = whatif(rows, prices={"openai:a": CHEAP}).total
    same = whatif(rows, prices={"openai:a": DEAR}).total

    assert cheap.low == cheap.high == cost_of(real, CHEAP)
    assert (same.change_low, same.change_high) == (0, 0)


def test_a_correction_whose_first_row_is_not_there_cannot_be_priced_anew() -> None:
    real = Usage(input_tokens=1_000, output_tokens=100)

    found = whatif([row(real, DEAR, kind="correction", nano_usd=-5)], prices={"openai:a": CHEAP}).total

    assert (found.booked, found.unpriced, found.low, found.change_low) == (-5, 1, 0, 0)


def test_what_expired_is_between_nothing_and_all_that_was_held() -> None:
    held = Usage(input_tokens=5_000, output_tokens=4_000)
    expired = LedgerEntry(
        lease_id=LeaseId("1"),
        kind="expired",
        tenant=TenantPath("acme"),
        deployment="openai:a",
        input_tokens=5_000,
        output_tokens=4_000,
        nano_usd=cost_of(held, DEAR),
        time=0.0,
        flags=frozenset({"estimated"}),
    )

    found = whatif([expired], prices={"openai:a": CHEAP}).total

    assert found.low == 0
    assert found.high >= cost_of(held, CHEAP)


def test_a_refund_stays_what_it_was() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    rows = [row(usage, DEAR), row(None, DEAR, kind="refund", nano_usd=-4_000_000)]

    found = whatif(rows, prices={"openai:a": CHEAP}).total

    assert found.low == found.high == cost_of(usage, CHEAP) - 4_000_000


def test_what_was_not_booked_by_its_price_is_a_range() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)

    found = whatif([row(usage, DEAR, nano_usd=0, flags=frozenset({"failed"}))], prices={"openai:a": CHEAP}).total

    assert (found.low, found.high) == (0, cost_of(usage, CHEAP))


def test_prices_given_win_over_the_catalogs() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    catalog = Catalog(prices={"openai:a": DEAR, "groq:b": DEAR})
    rows = [row(usage, DEAR), row(usage, None, id="2", deployment="groq:b")]

    found = whatif(rows, prices={"openai:a": CHEAP}, catalog=catalog)

    assert [line.low for line in found.lines] == [cost_of(usage, DEAR), cost_of(usage, CHEAP)]


def test_it_explains_itself_and_is_json() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)

    found = whatif([row(usage, DEAR)], prices={"groq:b": CHEAP}, moved={"openai:a": "groq:b"})

    text = found.explain().splitlines()
    assert text[0].split()[:3] == ["deployment", "priced", "as"]
    assert text[1].split()[:4] == ["openai:a", "groq:b", "1", "0.013"]
    assert text[2].split()[:2] == ["total", "1"]
    data = json.loads(found.to_json())
    assert data["total"]["booked"] == 13_000_000
    assert data["lines"][0]["target"] == "groq:b"


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="provider:model"):
        whatif([], moved={"openai:a": "groq"})
    with pytest.raises(ConfigurationError, match="tokenizer"):
        Assumptions(tokenizer=(1.2, 0.8))
    with pytest.raises(ConfigurationError, match="estimated"):
        Assumptions(estimated=(1.1, 1.2))


@pytest.mark.anyio
async def test_the_rows_of_a_store_come_one_by_one() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    rows = [row(usage, DEAR), row(usage, DEAR, id="2")]

    async def stream() -> AsyncIterator[LedgerEntry]:
        for each in rows:
            yield each

    assert await whatif_ledger(stream(), prices={"openai:a": CHEAP}) == whatif(rows, prices={"openai:a": CHEAP})
