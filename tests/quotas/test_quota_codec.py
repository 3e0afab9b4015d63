from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import entries, limits

from effort import examples
from planar.errors import StoreError
from planar.quotas._codec import (
    entry_from_dict,
    entry_to_dict,
    from_dict,
    from_json,
    limit_from_dict,
    limit_to_dict,
    to_dict,
    to_json,
)
from planar.types import Amount, Charge, LeaseId, LedgerEntry, Limit, Price, TenantPath, Usage

ROW = LedgerEntry(
    lease_id=LeaseId("0198-7"),
    kind="settled",
    tenant=TenantPath("acme/search"),
    deployment="openai:x",
    input_tokens=90,
    output_tokens=10,
    nano_usd=None,
    time=1_700_000_000.25,
    flags=frozenset({"cut", "estimated"}),
)


@examples(150)
@given(entry=entries())
def test_a_ledger_row_comes_back_from_its_text_as_it_was(entry: LedgerEntry) -> None:
    text = to_json(entry_to_dict(entry))

    again = entry_from_dict(from_json(text))

    assert again == entry
    assert type(again.tenant) is TenantPath
    assert to_json(entry_to_dict(again)) == text
    assert "\n" not in text


@examples(150)
@given(limit=limits())
def test_a_limit_comes_back_from_its_text_as_it_was(limit: Limit) -> None:
    text = to_json(limit_to_dict(limit))

    again = limit_from_dict(from_json(text))

    assert again == limit


@given(entry=entries(), later=st.dictionaries(st.text(min_size=25), st.none() | st.integers() | st.lists(st.text())))
@examples(50)
def test_what_a_newer_version_added_is_passed_over(entry: LedgerEntry, later: dict[str, Any]) -> None:
    data = {**later, **entry_to_dict(entry)}

    assert entry_from_dict(data) == entry


def test_the_text_is_short_and_its_order_is_that_of_the_fields() -> None:
    text = to_json(entry_to_dict(ROW))

    assert text == (
        '{"lease_id":"0198-7","kind":"settled","tenant":"acme/search","deployment":"openai:x","input_tokens":90,'
        '"output_tokens":10,"nano_usd":null,"time":1700000000.25,"flags":["cut","estimated"]}'
    )
    assert to_json(limit_to_dict(Limit.concurrency(8))) == '{"dimension":"concurrency","amount":8,"window":"none"}'


def test_a_charge_and_an_amount_of_unknown_price_come_back_too() -> None:
    charge = Charge(
        amount=Amount(input_tokens=1, nano_usd=None),
        usage=Usage(input_tokens=0, raw={"deep": {"er": [1, None, "é"]}}),
        price=Price(input=1, output=2),
        flags=frozenset({"failed"}),
        metadata=MappingProxyType({"a": "b"}),
    )

    again = from_dict(Charge, from_json(to_json(to_dict(charge))))

    assert again == charge


def test_what_json_has_no_place_for_in_a_providers_own_object_is_kept_as_text() -> None:
    raw = {"exact": Decimal("1.10"), "view": MappingProxyType({"a": 1}), "speeds": [float("inf"), (float("nan"), 1.5)]}
    charge = Charge(amount=Amount(), usage=Usage(raw=raw))

    again = from_dict(Charge, from_json(to_json(to_dict(charge))))

    assert again.usage == Usage(raw={"exact": "1.10", "view": {"a": 1}, "speeds": ["inf", ["nan", 1.5]]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Kinds of fields that the rows do not have yet."""

    exact: Decimal = Decimal(0)
    percents: tuple[int, ...] = ()
    parts: tuple[Amount, ...] = ()


@given(exact=st.decimals(allow_nan=False), percents=st.lists(st.integers()).map(tuple))
@examples(50)
def test_decimals_and_lists_of_data_are_exact(exact: Decimal, percents: tuple[int, ...]) -> None:
    later = Later(exact=exact, percents=percents, parts=(Amount(nano_usd=2**53), Amount(nano_usd=None)))

    again = from_dict(Later, from_json(to_json(to_dict(later))))

    assert again == later


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "../acme"},
        {"kind": "gift"},
        {"input_tokens": "90"},
        {"input_tokens": True},
        {"time": "now"},
        {"time": float("nan")},
        {"time": 10**400},
        {"nano_usd": 1.5},
        {"flags": "cut"},
        {"flags": [1]},
        {"metadata": []},
        {"usage": 3},
        {"price": {"input": 1}},
    ],
    ids=str,
)
def test_what_is_not_a_row_is_refused(change: dict[str, Any]) -> None:
    data = {**entry_to_dict(ROW), **change}

    with pytest.raises(StoreError, match="not a LedgerEntry"):
        entry_from_dict(data)


def test_a_row_without_a_field_that_it_needs_is_refused() -> None:
    data = entry_to_dict(ROW)
    del data["deployment"]

    with pytest.raises(StoreError, match="deployment"):
        entry_from_dict(data)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a":1}x', "[" * 100_000])
def test_text_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(StoreError):
        from_json(text)


def test_a_limit_that_makes_no_sense_or_is_of_an_unknown_kind_is_refused() -> None:
    known = limit_to_dict(Limit.usd("5"))

    for change in ({"amount": -1}, {"dimension": "watts"}, {"window": "year"}, {"window": "rate"}):
        with pytest.raises(StoreError, match="not a Limit"):
            limit_from_dict({**known, **change})


def test_a_whole_second_is_read_from_a_writer_that_leaves_the_point_out() -> None:
    data = json.loads(to_json(entry_to_dict(ROW)).replace("1700000000.25", "1700000000"))

    again = entry_from_dict(data)

    assert (again.time, type(again.time)) == (1_700_000_000.0, float)
