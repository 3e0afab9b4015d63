"""Who asks, when, and how long prompt and answer are: a recorded hour of a conversation service."""

from __future__ import annotations

import csv
import gzip
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from planar.types import Constraints

SHARED = Path(os.environ.get("PLANAR_SHARED", Path(__file__).parents[3] / "shared"))
TRACE = SHARED / "data" / "routing" / "azure_llm_2023_conv.csv.gz"
"""Arrivals and lengths: github.com/Azure/AzurePublicDataset, CC-BY 4.0 (Splitwise, ISCA 2024)."""

TENANTS: dict[str, Constraints] = {
    "anywhere": Constraints(),
    "europe": Constraints(regions=frozenset({"eu"})),
    "careful": Constraints(excluded_vendors=frozenset({"dime", "brisk"})),
}
_SHARES = (70, 15, 15)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call of the trace. Times are seconds from the beginning of the part that is played."""

    index: int
    at: float
    input_tokens: int
    output_tokens: int
    tenant: str


def arrivals(*, begin: float, seconds: float, seed: int, path: Path = TRACE) -> list[Arrival]:
    """The calls of a contiguous part of the hour, in order; the seed decides which tenant asks."""
    random = Random(f"tenants {seed}")
    found: list[Arrival] = []
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        first: datetime | None = None
        for stamp, prompt, answer in rows:
            when = datetime.fromisoformat(stamp[:26])
            first = first or when
            at = (when - first).total_seconds() - begin
            if 0 <= at < seconds:
                (tenant,) = random.choices(list(TENANTS), _SHARES)
                found.append(Arrival(len(found), at, int(prompt), int(answer), tenant))
    return found
