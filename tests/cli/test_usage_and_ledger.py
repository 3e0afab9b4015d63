"""`planar usage` and `planar ledger`: what they print, in this process and as one of their own."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from planar.cli import main
from planar.cli._books import Span, print_usage, write_ledger
from planar.errors import InvalidRequestError
from planar.protocols import QuotaStore
from planar.quotas import MemoryQuotaStore, open_store
from planar.quotas.export import read_json_lines
from planar.testing import FakeClock
from planar.types import Amount, Charge, LeaseId, LedgerEntry

EVERYBODY = Span(tenant=None, since=None, until=None, tz="UTC")
DAY = 86_400


async def book(store: QuotaStore, number: int, tenant: str, deployment: str, nano_usd: int | None) -> None:
    amount = Amount(input_tokens=10, output_tokens=5, nano_usd=nano_usd)
    lease = await store.reserve(LeaseId(f"id-{number}"), tenant, hold=amount, ttl=60, deployment=deployment)
    await store.settle(lease, charge=Charge(amount=amount, metadata={"name": "Zoë"}))


async def book_four(store: QuotaStore) -> None:
    await book(store, 1, "acme/search", "openai:x", 1_500_000)
    await book(store, 2, "acme/search", "local:y", 0)
    await book(store, 3, "acme/chat", "openai:x", 500_000)
    await book(store, 4, "globex", "openai:\x1b[31mred", None)


@pytest.fixture
async def store() -> QuotaStore:
    store = MemoryQuotaStore(clock=FakeClock())
    await book_four(store)
    return store


@pytest.mark.anyio
async def test_usage_in_a_pipe_is_lines_with_tabs(store: QuotaStore, capsys: pytest.CaptureFixture[str]) -> None:
    await print_usage(store, EVERYBODY, by=("tenant", "deployment"), as_json=False)

    assert capsys.readouterr().out.splitlines() == [
        "tenant\tdeployment\trequests\tinput_tokens\toutput_tokens\tusd\tunpriced",
        "acme/chat\topenai:x\t1\t10\t5\t0.0005\t0",
        "acme/search\tlocal:y\t1\t10\t5\t0\t0",
        "acme/search\topenai:x\t1\t10\t5\t0.0015\t0",
        "globex\topenai:?[31mred\t1\t10\t5\t0\t1",
    ]


@pytest.mark.anyio
async def test_the_sum_alone_is_one_line(store: QuotaStore, capsys: pytest.CaptureFixture[str]) -> None:
    await print_usage(store, Span(tenant="acme", since=None, until=None, tz="UTC"), by=(), as_json=False)

    assert capsys.readouterr().out.splitlines()[1:] == ["3\t30\t15\t0.002\t0"]


@pytest.mark.anyio
async def test_everybodys_usage_is_that_of_each(store: QuotaStore, capsys: pytest.CaptureFixture[str]) -> None:
    spans = [EVERYBODY, *(Span(tenant=root, since=None, until=None, tz="UTC") for root in ("acme", "globex"))]

    for span in spans:
        await print_usage(store, span, by=("day",), as_json=True)

    everybody, *roots = map(json.loads, capsys.readouterr().out.splitlines())
    for name in ("requests", "input_tokens", "output_tokens", "nano_usd", "unpriced"):
        assert everybody[name] == sum(root[name] for root in roots)
    assert (everybody["tenant"], everybody["usd"], everybody["unpriced"]) == (None, "0.002", 1)
    assert len(everybody["groups"]) == 1


@pytest.mark.anyio
async def test_the_ledger_is_written_as_asked(store: QuotaStore) -> None:
    lines, table, events = io.BytesIO(), io.BytesIO(), io.BytesIO()
    acme = Span(tenant="acme", since=None, until=None, tz="UTC")

    await write_ledger(store, EVERYBODY, lines, format="jsonl")
    await write_ledger(store, acme, table, format="csv")
    await write_ledger(store, acme, events, format="cloudevents", source="https://example.com/1")

    lines.seek(0)
    assert list(read_json_lines(lines)) == [row async for row in store.ledger()]
    records = list(csv.DictReader(io.StringIO(table.getvalue().decode(), newline="")))
    assert [record["nano_usd"] for record in records] == ["1500000", "0", "500000"]
    assert {json.loads(event)["source"] for event in events.getvalue().splitlines()} == {"https://example.com/1"}


@pytest.mark.parametrize(
    ("text", "tz", "moment"),
    [
        ("2026-11-01", "UTC", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01", "Europe/Madrid", datetime(2026, 10, 31, 23, tzinfo=UTC)),
        ("2026-11-01T08:30", "Asia/Kathmandu", datetime(2026, 11, 1, 2, 45, tzinfo=UTC)),
        ("2026-11-01T08:30:00Z", "Asia/Kathmandu", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_that_of_the_zone(text: str, tz: str, moment: datetime) -> None:
    span = Span.of(argparse.Namespace(tenant=None, since=text, until=None, tz=tz))

    assert span.since == moment.timestamp()


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="yesterday"):
        Span.of(argparse.Namespace(tenant=None, since="yesterday", until=None, tz="UTC"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store in a file in which four requests are booked."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/planar.db"

    async def fill() -> None:
        store = open_store(url)
        await book_four(store)
        await store.aclose()

    anyio.run(fill)
    return url


def planar(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "planar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)


def test_usage_reads_a_store_that_was_written_by_another_process(url: str) -> None:
    done = planar("usage", "--store", url, "--tenant", "acme", "--by", "model,day", "--json")

    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["requests"], data["nano_usd"], data["usd"]) == (3, 2_000_000, "0.002")
    assert [(group["deployment"], group["nano_usd"]) for group in data["groups"]] == [
        ("local:y", 0),
        ("openai:x", 2_000_000),
    ]
    assert {group["day"] for group in data["groups"]} <= {str(datetime.now(UTC).date()), _yesterday()}


def _yesterday() -> str:
    return str(datetime.fromtimestamp(datetime.now(UTC).timestamp() - DAY, UTC).date())


def test_a_ledger_in_a_file_is_whole_or_not_there(url: str, tmp_path: Path) -> None:
    target = tmp_path / "ledger.jsonl"

    done = planar("ledger", "--store", url, "-o", str(target))
    refused = planar("ledger", "--store", url, "--tenant", "acme/", "-o", str(tmp_path / "refused"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with target.open(encoding="utf-8") as file:
        rows: list[LedgerEntry] = list(read_json_lines(file))
    assert [row.lease_id for row in rows] == ["id-1", "id-2", "id-3", "id-4"]
    assert rows[0].metadata == {"name": "Zoë"}
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("planar: 'acme/' is not a tenant")
    assert os.listdir(tmp_path) == ["ledger.jsonl"]


def test_a_ledger_goes_to_standard_output_in_utf_8(url: str) -> None:
    done = planar("ledger", "--store", url, "--format", "csv", "--tenant", "acme")

    records = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert [json.loads(record["metadata"])["name"] for record in records] == ["Zoë"] * 3
    assert done.stderr == ""


def test_a_reader_that_has_had_enough_is_no_failure(url: str) -> None:
    command = f"{sys.executable} -m planar ledger --store {url} | true; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_times_cut_the_ledger(url: str) -> None:
    later = planar("ledger", "--store", url, "--since", "2100-01-01", "--tz", "Europe/Madrid")
    earlier = planar("ledger", "--store", url, "--until", "2020-01-01T08:00:00Z", "--format", "csv")

    assert (later.returncode, later.stdout) == (0, "")
    assert len(earlier.stdout.splitlines()) == 1


def test_in_a_terminal_usage_is_a_table_with_its_sum(url: str) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "planar", "usage", "--store", url, "--by", "tenant"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}

    done = subprocess.run(command, stdout=follower, env=environ, timeout=60, check=False)
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)

    assert done.returncode == 0
    assert "input tokens" in shown
    assert "acme/search" in shown
    assert "total" in shown
    assert "0.002" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["usage", "--store", "nowhere://x"], "planar: "),
        (["usage", "--store", "sqlite:///planar.db"], "there is no file planar.db"),
        (["ledger", "--store", "sqlite:////no/such/folder/planar.db"], "there is no file /no/such"),
        (["ledger", "--store", "sqlite:///planar.db", "-o", "no/such/folder/file"], "cannot be written"),
        (["usage", "--store", "sqlite:///planar.db", "--since", "yesterday"], "not a time"),
        (["usage", "--store", "sqlite:///planar.db", "--tz", "Mars/Olympus", "--since", "2026-11-01"], "time zone"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    code = main(arguments)

    shown = capsys.readouterr()
    assert (code, shown.out) == (1, "")
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_usage_by_something_else_is_a_mistake_in_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["usage", "--store", "sqlite:///planar.db", "--by", "colour"])

    assert ended.value.code == 2
    assert "tenant, model and day" in capsys.readouterr().err
