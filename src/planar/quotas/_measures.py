"""What all counters share: the dimensions, the bounds of what is counted, and how a refusal is put."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from planar.types import Dimension, Limit

Costs: TypeAlias = tuple[int, int, int, int, int, int]
"""Of one request: requests, input tokens, output tokens, tokens, nano-USD, places among the concurrent ones."""

DIMENSIONS: tuple[Dimension, ...] = ("requests", "input_tokens", "output_tokens", "tokens", "nano_usd", "concurrency")
REQUESTS, OUTPUT, TOKENS, MONEY = 0, 2, 3, 4
FOREVER = 2**63 - 1
MOST = 2**53
"""What every store can count to without rounding."""
BUCKETS = 60


@dataclass(frozen=True, slots=True)
class Hold:
    """What one live lease holds of a cell, and until when."""

    expires: int
    reserved_at: int
    amount: int
    dispatched: bool


Holds: TypeAlias = Callable[[str], Sequence[Hold]]
"""What the living leases of a scope hold of the cell's dimension, first to expire first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a cell has no room.

    Attributes:
        wait: In microseconds; `None` if waiting will not help.
        limit: What there would be if nothing were used.
        child: Whose share of the limit it was that had no room.
    """

    kind: Literal["spent", "busy"]
    remaining: int
    wait: int | None
    limit: int
    child: str | None = None


def threshold(limit: Limit, percent: int) -> int:
    """From where on so many percent of a limit are used."""
    return -(-limit.amount * percent // 100)


def bound_of(limit: Limit) -> int:
    """What stops a request: the limit, or nothing that can be counted to."""
    return limit.amount if limit.overage == "stop" else FOREVER


def wait_for(freed: Sequence[tuple[int, int]], short: int, now: int) -> int:
    """Microseconds until `short` is free again; where not all is known that is in the way, until the last we know."""
    last = now
    for at, amount in freed:
        last = at
        short -= amount
        if short <= 0:
            break
    return max(0, last - now)
