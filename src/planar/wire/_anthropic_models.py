"""What Anthropic's models take, told by their names: a table of generations.

Source: the types of the `anthropic` package 2.12.0 and platform.claude.com, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from planar.types import Effort

Thinking: TypeAlias = Literal["none", "budget", "effort"]

_BUDGETS: Mapping[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32000,
    "max": 32000,
}
_EFFORTS: Mapping[Effort, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What one model takes.

    Attributes:
        max_tokens: Sent where the caller names none: the wire demands one.
        thinking: Asked for with a budget, with an effort, or not at all.
        budgets: It takes a budget in tokens.
        efforts: Our efforts to its words.
        sampling: It takes temperature and the like, if the version of the API does.
        one_of_sampling: It takes temperature or top_p, not both.
        claude: It is one of Anthropic's own, for whom the version of the API decides.
        system_inside: It takes a system message in the middle of a conversation.
    """

    max_tokens: int = 64_000
    thinking: Thinking = "effort"
    budgets: bool = False
    efforts: Mapping[Effort, str]
    sampling: bool = False
    one_of_sampling: bool = False
    claude: bool = True
    system_inside: bool = True


_NEWEST = Habits(efforts=_EFFORTS)
_MIXED = replace(_NEWEST, budgets=True, sampling=True, one_of_sampling=True, efforts={**_EFFORTS, "xhigh": "max"})
_BUDGETED = replace(_MIXED, thinking="budget", efforts={}, system_inside=False)
_OPUS_4 = replace(_BUDGETED, max_tokens=32_000)
_OLD = replace(_BUDGETED, thinking="none", budgets=False, one_of_sampling=False, max_tokens=8192)
_FIRST = replace(_OLD, max_tokens=4096)
_FOREIGN = replace(_BUDGETED, max_tokens=4096, one_of_sampling=False, claude=False)

_NAME = re.compile(r"claude(?:-(opus|sonnet|haiku|[a-z]+))?(?:-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?)?")


def habits_of(model: str) -> Habits:
    """What `model` takes. A Claude without a number is new; a name without Claude in it is somebody else's model."""
    found = _NAME.search(model)
    if found is None:
        return _FOREIGN
    if found[2] is None:
        return _FIRST if found[1] == "instant" else _NEWEST
    generation = (int(found[2]), int(found[3] or 0))
    if generation < (3, 5):
        return _FIRST
    if generation < (3, 7):
        return _OLD
    if generation < (4, 6):
        return _OPUS_4 if found[1] == "opus" and generation < (4, 5) else _BUDGETED
    return _MIXED if generation < (4, 7) else _NEWEST


def budget_of(effort: Effort) -> int:
    """How many tokens an effort is worth to a model that takes only budgets."""
    return _BUDGETS[effort]
