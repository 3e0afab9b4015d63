"""Tables for a terminal, by `rich` (extra `cli`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planar.errors import MissingExtraError

try:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as missing:
    raise MissingExtraError("rich", extra="cli") from missing


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], footer: Sequence[str]) -> None:
    """Print rows below a header, and the sum below them. Columns that hold numbers are set to the right."""
    table = Table(show_footer=True)
    for name, total in zip(header, footer, strict=True):
        numbers = total not in ("", "total")
        table.add_column(name.replace("_", " "), footer=total, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as `Text`: names are no markup
    Console().print(table)
