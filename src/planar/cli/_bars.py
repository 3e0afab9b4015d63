"""Progress bars for a terminal, by `rich` (extra `cli`)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from planar.errors import MissingExtraError

try:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
except ModuleNotFoundError as missing:
    raise MissingExtraError("rich", extra="cli") from missing


class Advance(Protocol):
    """Tells the bars how far something is."""

    def __call__(self, what: str, completed: int, total: int | None) -> None:
        """`total` is `None` for a step without a size."""
        ...


@contextmanager
def bars() -> Generator[Advance]:
    """A bar for each thing that is told of, on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, completed: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=completed, total=total)

        yield advance
