"""The many forms in which servers of OpenAI's wires report what was used, as one neutral count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planar.types import Usage
from planar.wire._json import as_dict

_ABSURD = 1_000_000_000
"""More tokens than any context window will hold: a figure above it is a fault."""


@dataclass(slots=True)
class Counter:
    """Reads figures from untrusted JSON and remembers whether one of them was impossible."""

    suspect: bool = False

    def read(self, fields: Mapping[str, Any], name: str, *others: str) -> int | None:
        """The first of these figures that is there; `None` where it is absent or impossible."""
        value = fields.get(name)
        # Most figures are what they should be.
        if type(value) is int and 0 <= value <= _ABSURD:
            return value
        if value is None:
            return self.read(fields, *others) if others else None
        if isinstance(value, float) and value.is_integer() and 0 <= value <= _ABSURD:
            return int(value)
        self.suspect = True
        return None

    def part(self, count: int | None, total: int | None) -> int | None:
        """A sub-count, cut down to its total if it claims more."""
        if count is None or total is None or count <= total:
            return count
        self.suspect = True
        return total


def usage_of(raw: Mapping[str, Any]) -> Usage:
    """OpenAI's `usage` object, and its relatives at DeepSeek, Groq, OpenRouter, Mistral, xAI and others.

    Cached tokens are part of the prompt and reasoning is part of the answer, on every one of them but for xAI's
    reasoning, which may stand beside `completion_tokens`: the total tells.
    """
    counter = Counter()
    prompt = as_dict(raw.get("prompt_tokens_details"))
    answer = as_dict(raw.get("completion_tokens_details"))
    written = as_dict(raw.get("cache_creation"))
    inputs = counter.read(raw, "prompt_tokens")
    outputs = counter.read(raw, "completion_tokens")
    reasoning = counter.read(answer, "reasoning_tokens")
    if reasoning is None:
        reasoning = counter.read(raw, "reasoning_tokens")
    total = counter.read(raw, "total_tokens")
    if reasoning and None not in (inputs, outputs, total) and (inputs or 0) + (outputs or 0) + reasoning == total:
        outputs = (outputs or 0) + reasoning
    cached = counter.read(prompt, "cached_tokens")
    if cached is None:
        cached = counter.read(raw, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    cache_write = counter.read(prompt, "cache_write_tokens")
    if cache_write is None:
        cache_write = counter.read(raw, "cache_creation_input_tokens")
    return Usage(
        input_tokens=inputs,
        cached_input_tokens=counter.part(cached, inputs),
        cache_write_tokens=counter.part(cache_write, inputs),
        cache_write_1h_tokens=counter.part(counter.read(written, "ephemeral_1h_input_tokens"), inputs),
        output_tokens=outputs,
        reasoning_tokens=counter.part(reasoning, outputs),
        audio_input_tokens=counter.part(counter.read(prompt, "audio_tokens"), inputs),
        audio_output_tokens=counter.part(counter.read(answer, "audio_tokens"), outputs),
        image_input_tokens=counter.part(counter.read(prompt, "image_tokens"), inputs),
        server_tool_calls=counter.read(as_dict(raw.get("server_tool_use_details")), "web_search_requests"),
        raw=raw,
        suspect=counter.suspect,
    )
