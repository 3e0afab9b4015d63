"""Filter, score, order: which deployments are tried, in which order, and why. Pure functions.

And what decides it from one call to the next: how deployments are doing, and how much may be asked again. Those are
state machines that read no clock.
"""

from planar.routing._breaker import Breaker
from planar.routing._budgets import HedgeBudget, RetryBudget, backoff
from planar.routing._fair import FairPlaces, NoRoom, Ticket
from planar.routing._filters import refusal_of
from planar.routing._health import HealthBoard, Place, Watch
from planar.routing._ordered import OrderedRouter
from planar.routing._verdicts import Judgement, verdict_of

__all__ = [
    "Breaker",
    "FairPlaces",
    "HealthBoard",
    "HedgeBudget",
    "Judgement",
    "NoRoom",
    "OrderedRouter",
    "Place",
    "RetryBudget",
    "Ticket",
    "Watch",
    "backoff",
    "refusal_of",
    "verdict_of",
]
