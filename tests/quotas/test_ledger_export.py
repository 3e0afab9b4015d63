from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from urllib.parse import unquote

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import TEXTS, entries

from effort import examples
from planar.errors import InvalidRequestError
from planar.quotas import MemoryQuotaStore
from planar.quotas.export import (
    CSV_COLUMNS,
    SOURCE,
    ExportFormat,
    cloud_event,
    export_ledger,
    json_line,
    read_json_lines,
)
from planar.types import Alert, Amount, Charge, LeaseId, LedgerEntry, Price, TenantPath, Usage

ROW = LedgerEntry(
    lease_id=LeaseId("0198-7"),
    kind="settled",
    tenant=TenantPath("acme/search"),
    deployment="openai:x",
    input_tokens=90,
    output_tokens=10,
    nano_usd=600,
    time=1_700_000_000.25,
    usage=Usage(input_tokens=90, output_tokens=10, cached_input_tokens=64, raw={"prompt_tokens": 90}),
    price=Price(input=5_000, output=15_000, as_of="2026-11-01"),
    flags=frozenset({"estimated", "cut"}),
    metadata={"ticket": "7"},
    alerts=(Alert(scope="acme", dimension="nano_usd", window="day", amount=700, since=1_699_920_000.0, percent=80),),
)
HALF = re.compile(r"[\ud800-\udfff]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What is listed as the beginning of a formula, the wide forms included, and what may stand before it.
DANGEROUS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n", "\0")
PLAIN_TEXTS = TEXTS.filter(lambda text: not HALF.search(text))
CELLS = PLAIN_TEXTS | st.builds(
    "{}{}{}".format, st.sampled_from(("", "'", "''", " ", "\xa0", "'\0 ")), st.sampled_from(DANGEROUS), PLAIN_TEXTS
)


class Rows:
    def __init__(self, rows: Sequence[LedgerEntry]) -> None:
        self._rows = iter(rows)

    def __aiter__(self) -> AsyncIterator[LedgerEntry]:
        return self

    async def __anext__(self) -> LedgerEntry:
        for row in self._rows:
            return row
        raise StopAsyncIteration


def exported(rows: Sequence[LedgerEntry], *, format: ExportFormat, source: str = SOURCE) -> list[str]:
    async def collect() -> list[str]:
        return [line async for line in export_ledger(Rows(rows), format=format, source=source)]

    return anyio.run(collect)


def read_csv(lines: Sequence[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(lines), newline=""), strict=True))


@examples(60)
@given(rows=st.lists(entries(), max_size=5))
def test_json_lines_are_read_back_as_they_were(rows: list[LedgerEntry]) -> None:
    lines = exported(rows, format="jsonl")

    assert list(read_json_lines(lines)) == rows
    assert list(read_json_lines([line.encode() for line in lines])) == rows
    assert [line.count("\n") for line in lines] == [1] * len(rows)


@examples(100)
@given(entry=entries())
def test_a_json_line_says_money_and_time_for_other_readers_too(entry: LedgerEntry) -> None:
    data = json.loads(json_line(entry), parse_constant=pytest.fail)

    assert data["nano_usd"] == entry.nano_usd
    assert (data["usd"] is None) == (entry.nano_usd is None)
    if entry.nano_usd is not None:
        assert Decimal(data["usd"]).scaleb(9) == entry.nano_usd
        assert "E" not in data["usd"]
    assert abs(datetime.fromisoformat(data["at"]).timestamp() - entry.time) < 2e-6


def test_lines_that_are_no_rows_are_named() -> None:
    lines = [json_line(ROW), "\n", json_line(ROW), '{"lease_id": 1}\n']
    rows = read_json_lines(lines)

    assert [next(rows), next(rows)] == [ROW, ROW]
    with pytest.raises(InvalidRequestError, match="line 4 is not a ledger row"):
        next(rows)


def test_the_header_of_the_csv_and_its_cells_are_these() -> None:
    header, line = exported([ROW], format="csv")

    assert header == (
        '"time","lease_id","kind","tenant","deployment","input_tokens","output_tokens","nano_usd","usd","flags",'
        '"reason","metadata","usage","price","alerts"\n'
    )
    assert line == (
        '"2023-11-14T22:13:20.250000Z","0198-7","settled","acme/search","openai:x",90,10,600,"0.0000006",'
        '"cut estimated","","{""ticket"":""7""}",'
        '"{""input_tokens"":90,""cached_input_tokens"":64,""output_tokens"":10}",'
        '"{""input"":5000,""output"":15000,""as_of"":""2026-11-01""}",'
        '"acme:nano_usd:day:1699920000:700:80"\n'
    )


def test_an_empty_ledger_is_a_header_and_an_unknown_price_an_empty_cell() -> None:
    unpriced = LedgerEntry(
        lease_id=LeaseId("1"),
        kind="refund",
        tenant=TenantPath("acme"),
        deployment="x",
        input_tokens=-90,
        output_tokens=0,
        nano_usd=None,
        time=0.0,
    )

    [row] = read_csv(exported([unpriced], format="csv"))

    assert len(exported([], format="csv")) == 1
    assert (row["nano_usd"], row["usd"], row["usage"], row["price"]) == ("", "", "", "")
    assert (row["input_tokens"], row["metadata"]) == ("-90", "{}")


@examples(150)
@given(rows=st.lists(entries(), min_size=1, max_size=3))
def test_every_row_is_one_record_whose_cells_say_what_was_booked(rows: list[LedgerEntry]) -> None:
    records = read_csv(exported(rows, format="csv"))

    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        assert tuple(record) == CSV_COLUMNS
        assert (record["kind"], record["tenant"]) == (row.kind, row.tenant)
        assert (int(record["input_tokens"]), int(record["output_tokens"])) == (row.input_tokens, row.output_tokens)
        assert record["nano_usd"] == ("" if row.nano_usd is None else str(row.nano_usd))
        assert json.loads(record["metadata"]) == row.metadata
        assert "raw" not in record["usage"]


def with_text(text: str) -> LedgerEntry:
    return LedgerEntry(
        lease_id=LeaseId(text),
        kind="settled",
        tenant=TenantPath("acme"),
        deployment=text,
        input_tokens=-1,
        output_tokens=0,
        nano_usd=-1,
        time=0.0,
        flags=frozenset({text}),
        reason=text,
        metadata={text: text},
    )


@examples(200)
@given(text=CELLS)
def test_no_text_is_a_formula_to_a_spreadsheet(text: str) -> None:
    [row] = read_csv(exported([with_text(text)], format="csv"))

    for column in ("lease_id", "deployment", "flags", "reason"):
        assert not row[column].startswith(DANGEROUS)
        assert not row[column].lstrip(" \0\xa0").startswith(DANGEROUS[:8])
    assert json.loads(row["metadata"]) == {text: text}
    assert (row["input_tokens"], row["nano_usd"], row["usd"]) == ("-1", "-1", "-0.000000001")


@examples(200)
@given(one=CELLS, two=CELLS)
def test_two_texts_are_two_in_the_csv_too(one: str, two: str) -> None:
    rows = read_csv(exported([with_text(one), with_text(two), with_text(f"'{one}")], format="csv"))

    reasons = [row["reason"] for row in rows]
    assert (reasons[0] == reasons[1]) == (one == two)
    assert reasons[0] != reasons[2]
    assert reasons[0] in (one, f"'{one}")


@examples(100)
@given(entry=entries())
def test_a_cloud_event_has_what_version_one_asks_for(entry: LedgerEntry) -> None:
    [line] = exported([entry], format="cloudevents", source="https://example.com/ledger")
    event = json.loads(line)

    assert event == json.loads(json.dumps(cloud_event(entry, source="https://example.com/ledger")))
    assert set(event) == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    assert (event["specversion"], event["source"]) == ("1.0", "https://example.com/ledger")
    assert event["type"] == f"dev.planar.ledger.{entry.kind}"
    assert event["subject"] == entry.tenant
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert event["data"] == json.loads(json_line(entry))
    for name in set(event) - {"data"}:
        assert event[name]
        assert not CONTROL.search(event[name]), name


@examples(100)
@given(one=entries(), two=entries())
def test_two_events_have_one_id_if_they_are_about_one_row(one: LedgerEntry, two: LedgerEntry) -> None:
    same = (one.lease_id, one.kind) == (two.lease_id, two.kind)

    assert (cloud_event(one)["id"] == cloud_event(two)["id"]) == same
    lease_id, _, kind = cloud_event(one)["id"].rpartition("/")
    assert (unquote(lease_id, errors="surrogatepass"), kind) == (one.lease_id, one.kind)


@pytest.mark.parametrize("source", ["", "two words", "line\nbreak", "ümlaut"])
def test_a_source_is_a_uri(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        export_ledger(Rows([]), format="cloudevents", source=source)
    with pytest.raises(InvalidRequestError):
        cloud_event(ROW, source=source)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="jsonl, csv or cloudevents"):
        export_ledger(Rows([]), format="parquet")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_what_a_store_has_booked_is_exported() -> None:
    store = MemoryQuotaStore()
    hold = Amount(input_tokens=1, nano_usd=5)
    lease = await store.reserve(LeaseId("1"), "acme", hold=hold, ttl=60, deployment="x")
    await store.settle(lease, charge=Charge(amount=hold))
    await store.refund(lease.id, amount=Amount(nano_usd=2), reason="=broken")

    lines = [line async for line in export_ledger(store.ledger("acme"), format="jsonl")]

    assert list(read_json_lines(lines)) == [row async for row in store.ledger("acme")]
    assert [json.loads(line)["kind"] for line in lines] == ["settled", "refund"]
