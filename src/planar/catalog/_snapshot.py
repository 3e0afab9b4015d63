"""What is known of vendors' models on a certain day, as data, and how a model is found by any of its names.

The data is made by `tools/snapshot.py`. A model's line says which names are its own: alternatives, each of them of
patterns that must all fit, with `*` and `[0-9]` as in file names and `!` for one that must not. The first line that
fits a name holds, as at the source of the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from planar.types import ModelInfo, Price, PriceStep

_SPECIAL = re.compile(r"[\s!\[?]|\*.")
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")


class Snapshot:
    """Descriptions of models by vendor and name. Immutable; a model's line is read when it is asked for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.day: str = document["day"]
        self.made_from: str = document["made_from"]
        self.left_out: Mapping[str, str] = document["left_out"]
        self._vendors: Mapping[str, Mapping[str, Any]] = document["vendors"]

    @property
    def vendors(self) -> tuple[str, ...]:
        """Those of whose models something is known."""
        return tuple(self._vendors)

    def models(self, vendor: str) -> tuple[str, ...]:
        """The names of its models, one for each, in order."""
        known = self._vendors.get(vendor)
        return () if known is None else tuple(line["id"] for line in known["models"])

    def find(self, vendor: str, model: str) -> ModelInfo | None:
        """What is known of the model that a vendor knows by this name: an id, an alias or a dated form of one."""
        line = self.line(vendor, model)
        return None if line is None else self._described(line, model, self._vendors[vendor]["source"])

    def line(self, vendor: str, model: str) -> Mapping[str, Any] | None:
        """The line of the data that this name finds."""
        known = self._vendors.get(vendor)
        if known is None:
            return None
        name = model.lower()
        line = _fitting(known["models"], name)
        if line is None and (dashed := _COMPACT_DATE.sub(r"-\1-\2-\3", name)) != name:
            line = _fitting(known["models"], dashed)
        return line

    def _described(self, line: Mapping[str, Any], model: str, url: str) -> ModelInfo:
        source = f"{url} ({self.made_from})"
        if "until" in line:
            source += f", until {line['until']}"
        rates = line.get("price")
        capabilities, refuses = line.get("capabilities"), line.get("refuses")
        return ModelInfo(
            id=model,
            context_window=line.get("window"),
            max_output_tokens=line.get("max_output"),
            capabilities=None if capabilities is None else frozenset(capabilities),
            price=None if rates is None else _price(rates, source, self.day),
            refuses=None if refuses is None else frozenset(refuses),
            tokenizer=line.get("tokenizer"),
            deprecated=line.get("deprecated"),
            source="; ".join((source, *line.get("noted", ()))),
            as_of=self.day,
        )


def _fitting(lines: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((line for line in lines if any(_fits(name, pattern) for pattern in line["names"])), None)


def _fits(name: str, patterns: str) -> bool:
    if not _SPECIAL.search(patterns):  # most are names or beginnings of names
        return name.startswith(patterns[:-1]) if patterns.endswith("*") else name == patterns
    for pattern in patterns.split():
        unwanted = pattern.startswith("!")
        if fnmatchcase(name, pattern[unwanted:]) == unwanted:
            return False
    return True


def _price(rates: Mapping[str, Any], source: str, day: str) -> Price:
    plain = {name: rate for name, rate in rates.items() if name not in ("steps", "tiers")}
    return Price(
        **plain,
        steps=tuple(
            [
                PriceStep(above=above, price=Price(**step, source=source, as_of=day))
                for above, step in rates.get("steps", ())
            ]
        ),
        tiers={word: _price(tier, source, day) for word, tier in rates.get("tiers", {}).items()},
        source=source,
        as_of=day,
    )


@cache
def shipped() -> Snapshot:
    """The one in the package; read when it is first asked for. A race reads it twice and changes nothing."""
    return Snapshot(json.loads(Path(__file__).with_name("snapshot.json").read_bytes()))
