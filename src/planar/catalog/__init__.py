"""What is known of models, as data, and what follows from it: bounds before a call, the cost after it."""

from planar.catalog._cost import cost_bound, cost_of, expected_cost, expected_costs
from planar.catalog._models import Catalog
from planar.catalog._tokens import InputBound, input_bound, likely_tokens, texts_of
from planar.catalog._vocabularies import VOCABULARIES, Vocabulary

__all__ = [
    "VOCABULARIES",
    "Catalog",
    "InputBound",
    "Vocabulary",
    "cost_bound",
    "cost_of",
    "expected_cost",
    "expected_costs",
    "input_bound",
    "likely_tokens",
    "texts_of",
]
