"""Whatever the rows and however they are told apart, the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from random import Random
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import TENANTS, entries

from effort import examples
from planar.errors import ConfigurationError, InvalidRequestError, UnknownTenantError
from planar.quotas._usage import UsageFold
from planar.types import Amount, GroupBy, LedgerEntry, UsageReport

SUMS = ("requests", "input_tokens", "output_tokens", "nano_usd", "unpriced")
ZONES = ("UTC", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Asia/Kathmandu")
words = st.lists(st.sampled_from(get_args(GroupBy)), max_size=4)
rows = st.lists(entries(), max_size=12)


def report_of(
    entries: Sequence[LedgerEntry], *, tenant: str = "acme", by: Sequence[GroupBy] = (), tz: str = "UTC"
) -> UsageReport:
    fold = UsageFold(tenant, by=by, tz=tz)
    for entry in entries:
        fold.add(entry)
    return fold.report(held=Amount(), concurrent=0)


@examples(150)
@given(rows=rows, by=words, tz=st.sampled_from(ZONES), tenant=st.sampled_from(TENANTS))
def test_the_groups_add_up_to_the_report_and_no_two_are_alike(
    rows: list[LedgerEntry], by: list[GroupBy], tz: str, tenant: str
) -> None:
    whole = report_of(rows, tenant=tenant)

    report = report_of(rows, tenant=tenant, by=by, tz=tz)

    for name in SUMS:
        assert getattr(report, name) == getattr(whole, name)
        if by:
            assert sum(getattr(group, name) for group in report.groups) == getattr(report, name)
    keys = [tuple(getattr(group, word) for word in by) for group in report.groups]
    assert keys == sorted(set(keys))
    for group in report.groups:
        for word in get_args(GroupBy):
            assert (getattr(group, word) is None) == (word not in by)


@examples(100)
@given(rows=rows)
def test_a_report_is_the_sum_of_the_rows_of_its_scope(rows: list[LedgerEntry]) -> None:
    own = [row for row in rows if f"{row.tenant}/".startswith("acme/")]

    report = report_of(rows)

    assert report.requests == len([row for row in own if row.kind in ("settled", "expired")])
    assert report.input_tokens == sum(row.input_tokens for row in own)
    assert report.output_tokens == sum(row.output_tokens for row in own)
    assert report.nano_usd == sum(row.nano_usd or 0 for row in own)
    assert report.unpriced == len([row for row in own if row.nano_usd is None])


@examples(100)
@given(rows=rows, by=words, order=st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows: list[LedgerEntry], by: list[GroupBy], order: Random) -> None:
    mixed = list(rows)
    order.shuffle(mixed)

    assert report_of(mixed, by=by) == report_of(rows, by=by)


@examples(100)
@given(rows=rows)
def test_a_scope_is_the_sum_of_its_children_and_itself(rows: list[LedgerEntry]) -> None:
    report = report_of(rows, by=["tenant"])

    own = [row for row in rows if row.tenant == "acme"]
    children = [report_of(rows, tenant=scope) for scope in ("acme/search", "acme/chat")]
    for name in SUMS:
        assert getattr(report, name) == sum(getattr(part, name) for part in [report_of(own), *children])


@examples(100)
@given(entry=entries())
def test_a_day_is_the_one_on_the_calendar(entry: LedgerEntry) -> None:
    report = report_of([entry], tenant=entry.tenant, by=["day"])

    exact = round(entry.time * 1_000_000)
    assert [group.day for group in report.groups] == [date(1970, 1, 1).fromordinal(719_163 + exact // 86_400_000_000)]
    assert abs(datetime.fromtimestamp(entry.time, tz=UTC).date() - report.groups[0].day).days <= 1


class Columns(NamedTuple):
    kind: str
    tenant: str
    deployment: str
    input_tokens: int
    output_tokens: int
    nano_usd: int | None
    time: float


def test_a_store_may_read_only_the_columns_that_count() -> None:
    fold = UsageFold("acme", by=["tenant"])

    fold.add(Columns("settled", "acme/a", "x", 3, 2, 5, 0.0))
    fold.add(Columns("refund", "acme/a", "x", 0, 0, -1, 0.0))

    [group] = fold.report(held=Amount(), concurrent=0).groups
    assert (group.tenant, group.requests, group.nano_usd, group.cost_usd) == ("acme/a", 1, 4, group.cost_usd)
    assert f"{group.cost_usd:f}" == "0.000000004"


def test_what_cannot_be_asked_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InvalidRequestError, match="tenant, deployment, day"):
        UsageFold("acme", by=["model"])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError):
        UsageFold("acme", by="day")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        UsageFold("acme", tz="Mars/Olympus")
    with pytest.raises(UnknownTenantError):
        UsageFold("acme/")
