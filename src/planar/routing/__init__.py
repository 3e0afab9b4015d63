"""Filter, score, order: which deployments are tried, in which order, and why. Pure functions.

And what decides it from one call to the next: how deployments are doing, how long answers are, what the caches
have, what tenants have left, and how much may be asked again. Those are state machines that read no clock.
"""

from planar.routing._breaker import Breaker
from planar.routing._budgets import HedgeBudget, RetryBudget, backoff
from planar.routing._caches import CacheBoard, Topic, Warmth
from planar.routing._estimates import Estimates, quality_of
from planar.routing._fair import FairPlaces, NoRoom, Ticket
from planar.routing._headroom import HeadroomBoard
from planar.routing._health import HealthBoard, Place, Watch
from planar.routing._lengths import ASSUMED, Kind, LengthBoard, Lengths
from planar.routing._quality import GradedPrompt, QualityTable
from planar.routing._replay import replay
from planar.routing._router import CostRouter
from planar.routing._strategies import (
    Balanced,
    Cascade,
    Cheapest,
    Fastest,
    Ordered,
    Pinned,
    Quality,
    Ranking,
    Sticky,
    Strategy,
    Weighted,
)
from planar.routing._verdicts import Judgement, verdict_of

__all__ = [
    "ASSUMED",
    "Balanced",
    "Breaker",
    "CacheBoard",
    "Cascade",
    "Cheapest",
    "CostRouter",
    "Estimates",
    "FairPlaces",
    "Fastest",
    "GradedPrompt",
    "HeadroomBoard",
    "HealthBoard",
    "HedgeBudget",
    "Judgement",
    "Kind",
    "LengthBoard",
    "Lengths",
    "NoRoom",
    "Ordered",
    "Pinned",
    "Place",
    "Quality",
    "QualityTable",
    "Ranking",
    "RetryBudget",
    "Sticky",
    "Strategy",
    "Ticket",
    "Topic",
    "Warmth",
    "Watch",
    "Weighted",
    "backoff",
    "quality_of",
    "replay",
    "verdict_of",
]
