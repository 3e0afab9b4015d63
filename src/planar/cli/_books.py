"""`planar usage` and `planar ledger`: what a store has booked."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

import anyio

from planar.errors import ConfigurationError, InvalidRequestError, MissingExtraError
from planar.quotas import open_store
from planar.quotas._calendar import zone
from planar.quotas._usage import UsageSums
from planar.quotas.export import SOURCE, ExportFormat, export_ledger
from planar.types import GroupBy, UsageGroup, UsageReport

if TYPE_CHECKING:
    from planar.cli._chat import Commands
    from planar.protocols import QuotaStore

_WORDS: Mapping[str, GroupBy] = {"tenant": "tenant", "model": "deployment", "deployment": "deployment", "day": "day"}
_TIMES = """\
A time is a date, which is its first moment in the zone of --tz, or a date with a time: 2026-11-01, 2026-11-01T08:30,
2026-11-01T08:30:00Z. The store's URL is that of your application: sqlite:///planar.db, redis://..., postgresql://...
"""
_USAGE = """
  planar usage --store sqlite:///planar.db --tenant acme --by model,day --since 2026-11-01
"""
_LEDGER = """
  planar ledger --store sqlite:///planar.db --since 2026-11-01 --format csv -o november.csv
"""


def add_to(commands: Commands) -> None:
    """Add both commands to the parser."""
    usage = commands.add_parser(
        "usage",
        help="what tenants used, from a store's ledger",
        description="Add up what tenants used.",
        epilog=_TIMES + _USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_span(usage)
    usage.add_argument(
        "--by",
        type=_words,
        default=("tenant",),
        metavar="WORDS",
        help="tell apart by tenant, model and day, joined by commas (default: tenant); '' for the sum alone",
    )
    usage.add_argument("--json", action="store_true", help="print JSON instead of text")
    usage.set_defaults(run=_run_usage)
    ledger = commands.add_parser(
        "ledger",
        help="the rows of a store's ledger, as JSON lines, CSV or CloudEvents",
        description="Write every row of the ledger, oldest first.",
        epilog=_TIMES + _LEDGER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_span(ledger)
    ledger.add_argument("--format", choices=get_args(ExportFormat), default="jsonl", help="default: jsonl")
    ledger.add_argument("--source", default=SOURCE, metavar="URI", help="of CloudEvents: a URI that names this ledger")
    ledger.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    ledger.set_defaults(run=_run_ledger)


def add_span(parser: argparse.ArgumentParser, *, store_required: bool = True) -> None:
    """Add what says which rows of which store."""
    help_text = "the store's URL, such as sqlite:///planar.db"
    parser.add_argument("--store", required=store_required, metavar="URL", help=help_text)
    parser.add_argument("--tenant", help="this tenant and its children (default: everybody)")
    parser.add_argument("--since", metavar="TIME", help="from this time on")
    parser.add_argument("--until", metavar="TIME", help="up to this time, which is not included")
    parser.add_argument("--tz", default="UTC", metavar="ZONE", help="time zone of dates and days (default: UTC)")


def _words(text: str) -> tuple[GroupBy, ...]:
    try:
        return tuple(_WORDS[word.strip()] for word in text.split(",") if word.strip())
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"tenant, model and day are known, not {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whose rows, and from when until when, in seconds since the epoch."""

    tenant: str | None
    since: float | None
    until: float | None
    tz: str

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Span:
        """What the command line asks for."""
        return cls(
            tenant=arguments.tenant,
            since=_seconds(arguments.since, tz=arguments.tz),
            until=_seconds(arguments.until, tz=arguments.tz),
            tz=arguments.tz,
        )


def _seconds(text: str | None, *, tz: str) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(f"{text!r} is not a time: write 2026-11-01 or 2026-11-01T08:30:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone(tz))).timestamp()


def _store_at(url: str) -> QuotaStore:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        raise ConfigurationError(f"there is no file {path}")  # whoever only reads makes no empty one
    return open_store(url)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[QuotaStore]:
    """The store of a URL, for as long as the block runs."""
    store = _store_at(url)
    try:
        yield store
    finally:
        await store.aclose()


def _run_usage(arguments: argparse.Namespace) -> int:
    async def run() -> int:
        span = Span.of(arguments)
        async with opened(arguments.store) as store:
            await print_usage(store, span, by=arguments.by, as_json=arguments.json)
        return 0

    return anyio.run(run)


async def print_usage(store: QuotaStore, span: Span, *, by: Sequence[GroupBy], as_json: bool) -> None:
    """Print sums as JSON, as a table in a terminal, and otherwise as lines with tabs."""
    total, groups = await _usage(store, span, by=by)
    if as_json:
        span_data = {"tenant": span.tenant, "since": span.since, "until": span.until}
        parts = [{**_words_of(group, by), **_sums(group), "nano_usd": group.nano_usd} for group in groups]
        print(json.dumps({**span_data, **_sums(total), "nano_usd": total.nano_usd, "groups": parts}))
        return
    rows = [[*_words_of(group, by).values(), *map(str, _sums(group).values())] for group in groups]
    sums = [str(figure) for figure in _sums(total).values()]
    footer = [*["total", *[""] * len(by)][: len(by)], *sums]
    print_rows([*by, *_sums(total)], rows if by else [sums], footer)


async def _usage(
    store: QuotaStore, span: Span, *, by: Sequence[GroupBy]
) -> tuple[UsageReport | UsageGroup, tuple[UsageGroup, ...]]:
    if span.tenant is not None:
        report = await store.usage(span.tenant, since=span.since, until=span.until, by=by, tz=span.tz)
        return report, report.groups
    sums = UsageSums(by=by, tz=span.tz)
    async for row in store.ledger(since=span.since, until=span.until):
        sums.add(row)
    return sums.total(), sums.groups()


def _words_of(group: UsageGroup, by: Sequence[GroupBy]) -> dict[str, str]:
    return {word: str(getattr(group, word)) for word in by}


def _sums(part: UsageReport | UsageGroup) -> dict[str, Any]:
    return {
        "requests": part.requests,
        "input_tokens": part.input_tokens,
        "output_tokens": part.output_tokens,
        "usd": f"{part.cost_usd:f}",
        "unpriced": part.unpriced,
    }


def _shown(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str]], footer: Sequence[str]) -> None:
    """A terminal gets a table with the sum below it; a pipe gets what `cut` and `sort` understand."""
    if sys.stdout.isatty():
        try:
            from planar.cli._tables import print_table
        except MissingExtraError:
            pass  # a table is a comfort, not a need
        else:
            print_table(header, rows, footer)
            return
    for row in [header, *rows]:
        print("\t".join(_shown(cell) for cell in row))


def _run_ledger(arguments: argparse.Namespace) -> int:
    async def run(sink: IO[bytes]) -> None:
        span = Span.of(arguments)
        async with opened(arguments.store) as store:
            await write_ledger(store, span, sink, format=arguments.format, source=arguments.source)

    try:
        with _sink(arguments.output) as sink:
            anyio.run(run, sink)
    except BrokenPipeError:  # whoever read had enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def write_ledger(
    store: QuotaStore, span: Span, sink: IO[bytes], *, format: ExportFormat, source: str = SOURCE
) -> None:
    """Write the rows as UTF-8."""
    rows = store.ledger(span.tenant, since=span.since, until=span.until)
    async for line in export_ledger(rows, format=format, source=source):
        sink.write(line.encode())
    sink.flush()


@contextmanager
def _sink(path: Path | None) -> Generator[IO[bytes]]:
    """Where the lines go. A file has its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        return
    part = path.with_name(path.name + ".part")
    try:
        file = part.open("wb")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
