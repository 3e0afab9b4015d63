"""How many tokens a prompt has, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

CountedBy: TypeAlias = Literal["vocabulary", "vendor", "tiktoken", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """How many tokens a prompt has for one model, and how that is known.

    Attributes:
        tokens: The figure to work with.
        bound: Never fewer than will be charged, as far as vendors publish how they count.
        exact: `tokens` is what `usage.input_tokens` will say. Only a model that runs in this process promises that: a
            vendor puts words of its own around what it is sent, and Anthropic calls even its own count an estimate.
        how: By the model's own `vocabulary` in this process; by the `vendor`, who was asked; by `tiktoken` with the
            vocabulary of the model's texts, where what stands around them, pictures and tools are estimated; or an
            `estimate` from the characters.
        deployment: Whose tokens they are, `provider:model`.
    """

    tokens: int
    bound: int
    exact: bool
    how: CountedBy
    deployment: str
