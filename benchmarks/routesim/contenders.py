"""Who plays: the rules of others with what their homes give them, and ours with its defaults."""

from __future__ import annotations

from collections.abc import Callable

import planar
from planar.protocols import Router

from .rules import FINAGLE, OTHERS, PeakEwma
from .simulation import Contender


def _ours(strategy: str) -> Callable[[int, Callable[[], float]], Router]:
    return lambda _seed, _now: planar.CostRouter(strategy)


THEIRS = tuple(Contender(name=name, make=rule, breaker=rule.home) for name, rule in OTHERS.items())
OURS = (
    Contender(name="planar: cheapest", make=_ours("cheapest")),
    Contender(name="planar: balanced", make=_ours("balanced"), hedge=True),
    Contender(name="planar: fastest", make=_ours("fastest"), hedge=True),
)
APART = (
    Contender(name="planar: cheapest, hedged", make=_ours("cheapest"), hedge=True),
    Contender(name="planar: balanced, not hedged", make=_ours("balanced")),
    Contender(name="planar: fastest, not hedged", make=_ours("fastest")),
    Contender(name="P2C peak EWMA, hedged by us", make=PeakEwma, breaker=FINAGLE, hedge=True),
)
"""What is due to hedging, and what to the order."""
EVERYBODY = (*THEIRS, *OURS, *APART)
