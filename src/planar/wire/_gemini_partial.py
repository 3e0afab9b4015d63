"""Arguments that Gemini streams value by value, each with its place as a JSON path."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, TypeAlias, cast

from planar.errors import ProviderProtocolError

MAX_DEPTH = 64
"""Deepest place that is accepted (SECURITY T6)."""
_STEP = re.compile(r"""\.([A-Za-z_$][\w$-]*)|\[(\d{1,6})\]|\['([^']*)'\]|\["([^"]*)"\]""")
_Node: TypeAlias = list[Any] | dict[str, Any]
_VALUES = ("stringValue", "numberValue", "boolValue")


class PartialArguments:
    """Puts the pieces together.

    Attributes:
        whole: The arguments as far as they are known.
    """

    __slots__ = ("whole",)

    def __init__(self) -> None:
        self.whole: dict[str, Any] = {}

    def add(self, partial: dict[str, Any]) -> None:
        """Take one piece: a text is appended to what its place holds, anything else is put there.

        Raises:
            ProviderProtocolError: The path leads nowhere.
        """
        path = partial.get("jsonPath")
        steps = _steps(path) if isinstance(path, str) else []
        if not steps:
            raise ProviderProtocolError("the provider sent a piece of an argument without a place that can be read")
        here: _Node = self.whole
        for step, following in pairwise(steps):
            here = _enter(here, step, [] if isinstance(following, int) else {})
        before = _held(here, steps[-1])
        value: object = next((partial[name] for name in _VALUES if name in partial), None)
        if isinstance(before, str) and isinstance(value, str):
            value = before + value
        _put(here, steps[-1], value)


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    place = 1 if path.startswith("$") else 0
    while place < len(path):
        found = _STEP.match(path, place)
        if found is None or len(steps) >= MAX_DEPTH:
            return []
        dotted, number, single, double = found.groups()
        steps.append(int(number) if number is not None else next(t for t in (dotted, single, double) if t is not None))
        place = found.end()
    return steps


def _enter(here: _Node, step: str | int, empty: _Node) -> _Node:
    inner = _held(here, step)
    if isinstance(inner, list | dict):
        return cast("_Node", inner)
    _put(here, step, empty)
    return empty


def _held(here: _Node, step: str | int) -> object:
    if isinstance(here, dict):
        return here.get(step) if isinstance(step, str) else None
    return here[step] if isinstance(step, int) and step < len(here) else None


def _put(here: _Node, step: str | int, value: object) -> None:
    if isinstance(step, str) and isinstance(here, dict):
        here[step] = value
    elif isinstance(step, int) and isinstance(here, list) and step <= len(here):
        here[step : step + 1] = [value]
    else:
        raise ProviderProtocolError("the provider sent a piece of an argument for a place that does not exist")
