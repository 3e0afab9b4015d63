"""How reasoning is asked for of Gemini's models, told by their names.

Source: the types of the `google-genai` package 3.4.0 and ai.google.dev, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from planar.types import Effort
from planar.wire._left_out import LeftOut

_NAME = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?")
_LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 24576,
}
_LEAST_OF_PRO = 128


def thinking_config(asked: Effort | int, model: str, left: LeftOut) -> dict[str, Any] | None:
    """The `thinkingConfig` of a request: a level from generation 3 on, a budget before it, nothing before 2.5."""
    generation = _generation(model)
    if generation < (2, 5):
        if asked not in ("none", 0):
            left.drop("reasoning", "this model does not think")
        return None
    if isinstance(asked, int):
        return _budget(asked)
    if generation < (3, 0):
        budget = _BUDGETS[asked]
        if budget == 0 and "pro" in model:
            left.drop("reasoning", f"this model always thinks; {_LEAST_OF_PRO} tokens is the least")
            budget = _LEAST_OF_PRO
        return _budget(budget)
    if asked == "none":
        left.drop("reasoning", "models from this generation on always think; the lowest level is asked for")
    return {"thinkingLevel": _LEVELS[asked], "includeThoughts": asked != "none"}


def _generation(model: str) -> tuple[int, int]:
    """A name without a number is that of the newest."""
    found = _NAME.search(model)
    return (99, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _budget(tokens: int) -> dict[str, Any]:
    return {"thinkingBudget": tokens, "includeThoughts": tokens != 0}
