"""The table of what is tried again, in `docs/explanation/failures.md`, says what the client does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from planar import errors
from planar.client._ends import another_may_serve
from planar.errors import (
    ContextLengthError,
    NoPlaceError,
    PlanarError,
    ProviderError,
    RouteExhaustedError,
    UnsupportedError,
)
from planar.routing import verdict_of

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "failures.md"
WORDS = {
    "failure": "failure",
    "auth": "asked last for 30 s",
    "busy": "held back",
    "ignored": "not counted",
    "success": "a success",
}


def rows() -> Iterator[tuple[str, str, str, str]]:
    section = PAGE.read_text(encoding="utf-8").split("## What is tried again")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            named, another, again, health = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`(\w+Error)`", named):
                yield name, another, again, health


@pytest.mark.parametrize(("name", "another", "again", "health"), list(rows()), ids=lambda cell: str(cell)[:24])
def test_a_row_says_what_is_done(name: str, another: str, again: str, health: str) -> None:
    kind: type[PlanarError] = getattr(errors, name)
    error = kind.__new__(kind)

    serves = another_may_serve(error)

    assert another.startswith("yes") == serves
    queued = kind is NoPlaceError  # by the caller, later: the call itself has waited
    assert again.startswith("yes") == (serves and error.retryable and not queued)
    if health != "the same":
        assert health.startswith(WORDS[verdict_of(error)])


def test_no_error_that_is_followed_by_another_attempt_is_left_out() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ProviderError)]

    missing = {kind.__name__ for kind in (*kinds, UnsupportedError, ContextLengthError)} - {row[0] for row in rows()}

    assert missing == {ProviderError.__name__, RouteExhaustedError.__name__}
