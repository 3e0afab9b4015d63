"""`planar whatif`: what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from planar.cli import main
from planar.quotas import open_store
from planar.quotas.export import json_line
from planar.types import Amount, Charge, LeaseId, LedgerEntry, Price, Usage

PRICE = Price.per_million(input="10", output="30")


async def booked(url: str) -> list[LedgerEntry]:
    store = open_store(url)
    usage = Usage(input_tokens=1_000, output_tokens=100)
    amount = Amount(input_tokens=1_000, output_tokens=100, nano_usd=13_000_000)
    lease = await store.reserve(LeaseId("1"), "acme", hold=amount, ttl=60, deployment="openai:a")
    await store.settle(lease, charge=Charge(amount=amount, usage=usage, price=PRICE))
    rows = [row async for row in store.ledger()]
    await store.aclose()
    return rows


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/planar.db"


def test_a_store_is_priced_anew_in_lines_with_tabs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    anyio.run(booked, url)

    code = main(["whatif", "--store", url, "--tenant", "acme", "--price", "openai:a=1,3"])

    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        "deployment\tpriced_as\trows\tbooked\tfrom\tto\tchange_from\tchange_to\tunpriced",
        "openai:a\topenai:a\t1\t0.013\t0.0013\t0.0013\t-0.0117\t-0.0117\t0",
    ]


def test_an_export_is_priced_as_if_another_had_answered(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text("".join(map(json_line, anyio.run(booked, url))), encoding="utf-8")

    code = main(["whatif", str(file), "--move", "openai:a=groq:b", "--price", "groq:b=1,3,0.5", "--json"])

    total = json.loads(capsys.readouterr().out)["total"]
    assert code == 0
    assert total["booked"] == 13_000_000
    assert total["low"] < 1_300_000 < total["high"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("missing.jsonl",),
        ("missing.jsonl", "--store", "sqlite:///x.db"),
        ("missing.jsonl", "--tenant", "acme"),
        ("missing.jsonl", "--price", "openai:a=1"),
        ("missing.jsonl", "--price", "openai:a=x,y"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["whatif", *words])

    assert code == 1
    assert capsys.readouterr().err.startswith("planar: ")
