"""`planar whatif`: a ledger under other prices, or as if other deployments had answered."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from planar.catalog import WhatIf, whatif, whatif_ledger
from planar.cli._books import Span, add_span, opened, print_rows
from planar.errors import ConfigurationError
from planar.quotas.export import read_json_lines
from planar.types import Price, usd

if TYPE_CHECKING:
    from planar.cli._chat import Commands

_COLUMNS = ("deployment", "priced_as", "rows", "booked", "from", "to", "change_from", "change_to", "unpriced")
_EXAMPLES = """
A price is USD per million tokens: input, output and, if there is one, cached input. Examples:
  planar whatif --store sqlite:///planar.db --since 2026-11-01 --price openai:gpt-6-luna=0.20,0.80,0.02
  planar whatif november.jsonl --move openai:gpt-6-luna=groq:llama-3.3-70b --price groq:llama-3.3-70b=0.59,0.79
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "whatif",
        help="what a ledger would have come to under other prices or at other deployments",
        description="Re-rate a ledger, offline. Nothing is written.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, help="JSON lines, as `planar ledger` writes them")
    add_span(parser, store_required=False)
    parser.add_argument("--price", action="append", type=_pair, default=[], metavar="DEPLOYMENT=PRICE")
    parser.add_argument(
        "--move", action="append", type=_pair, default=[], metavar="FROM=TO", help="provider:model twice"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with money as whole nano-USD")
    parser.set_defaults(run=_run)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"two sides of an = are needed, not {text!r}")
    return name, value


def _price(text: str) -> Price:
    rates = text.split(",")
    if len(rates) not in (2, 3):
        raise ConfigurationError(f"a price is input,output or input,output,cached in USD per million, not {text!r}")
    return Price.per_million(input=rates[0], output=rates[1], cached_input=rates[2] if rates[2:] else None)


def _run(arguments: argparse.Namespace) -> int:
    prices = {name: _price(value) for name, value in arguments.price}
    moved = dict(arguments.move)
    if (arguments.file is None) == (arguments.store is None):
        raise ConfigurationError("name either a file of JSON lines or the --store")
    if arguments.file is not None:
        if arguments.tenant or arguments.since or arguments.until:
            raise ConfigurationError("a file is read whole: choose tenant and time when it is exported")
        found = _of_file(arguments.file, prices, moved)
    else:
        found = anyio.run(_of_store, arguments.store, Span.of(arguments), prices, moved)
    print_whatif(found, as_json=arguments.json)
    return 0


def _of_file(path: Path, prices: dict[str, Price], moved: dict[str, str]) -> WhatIf:
    try:
        with path.open(encoding="utf-8") as file:
            return whatif(read_json_lines(file), prices=prices, moved=moved)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


async def _of_store(url: str, span: Span, prices: dict[str, Price], moved: dict[str, str]) -> WhatIf:
    async with opened(url) as store:
        rows = store.ledger(span.tenant, since=span.since, until=span.until)
        return await whatif_ledger(rows, prices=prices, moved=moved)


def print_whatif(found: WhatIf, *, as_json: bool) -> None:
    """Print JSON, a table in a terminal, and otherwise lines with tabs without their sum."""
    if as_json:
        print(found.to_json())
        return
    lines = [[str(cell) for cell in _cells(found, place)] for place in range(len(found.lines) + 1)]
    print_rows(_COLUMNS, lines[:-1], lines[-1])


def _cells(found: WhatIf, place: int) -> Sequence[object]:
    line = [*found.lines, found.total][place]
    money: Iterable[int] = (line.booked, line.low, line.high, line.change_low, line.change_high)
    names = ("total", "") if line.deployment is None else (line.deployment, line.target or "")
    return [*names, line.rows, *[f"{usd(figure):f}" for figure in money], line.unpriced]
