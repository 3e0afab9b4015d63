"""Filter, score, order: which deployments are tried, in which order, and why. Pure functions."""

from planar.routing._filters import refusal_of
from planar.routing._ordered import OrderedRouter

__all__ = ["OrderedRouter", "refusal_of"]
