"""What is known of models, as data, and what follows from it: bounds before a call, the cost after it."""

from planar.catalog._cost import cost_bound, cost_of, expected_cost, expected_costs
from planar.catalog._models import Catalog
from planar.catalog._tokens import InputBound, input_bound, likely_tokens, texts_of
from planar.catalog._vocabularies import VOCABULARIES, Vocabulary
from planar.catalog._whatif import Assumptions, WhatIf, WhatIfLine, whatif, whatif_ledger

__all__ = [
    "VOCABULARIES",
    "Assumptions",
    "Catalog",
    "InputBound",
    "Vocabulary",
    "WhatIf",
    "WhatIfLine",
    "cost_bound",
    "cost_of",
    "expected_cost",
    "expected_costs",
    "input_bound",
    "likely_tokens",
    "texts_of",
    "whatif",
    "whatif_ledger",
]
