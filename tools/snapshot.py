"""Makes src/planar/catalog/snapshot.json: `nox -s prices`, or `python tools/snapshot.py [YYYY-MM-DD]`.

Prices and context windows are those of the package `genai-prices`, on the day that is given (today in UTC, or with
`--check` the snapshot's own day). What it does not have is in `FACTS` below, each with where it was read. Quality is
nobody's fact: no public, dated table covers these models, so the snapshot has none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from planar.catalog._prices import snapshot

PLACE = Path(__file__).parents[1] / "src/planar/catalog/snapshot.json"

SAMPLED = ["temperature", "top_p"]
TIKTOKEN = "the table of models in tiktoken 0.14.0"
CLAUDE = "platform.claude.com, of the API version 2026-10-21"
CLAUDE_PAGES = "platform.claude.com/docs/en/models"
GATEWAY = "vercel.com/ai-gateway/models"
RUNWARE = "runware.ai/docs/models"
BOX = "developer.box.com/guides/box-ai/ai-models"
COMMUNITY = "community.openai.com/t/1110750"
NAMES = "the vendor's list of models: what is called so makes vectors"

FACTS: Sequence[tuple[str, str, str, dict[str, Any]]] = (
    # vendor, pattern of the id, where it was read, what is so
    ("openai", "gpt-5*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "gpt-4o*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "chatgpt-4o-*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "ft:gpt-4o*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "gpt-4.[15]*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "o[13]", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "o[13]-*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "o4-mini*", TIKTOKEN, {"tokenizer": "o200k_base"}),
    ("openai", "gpt-4", TIKTOKEN, {"tokenizer": "cl100k_base"}),
    ("openai", "gpt-4-*", TIKTOKEN, {"tokenizer": "cl100k_base"}),
    ("openai", "gpt-3.5-turbo*", TIKTOKEN, {"tokenizer": "cl100k_base"}),
    ("openai", "ft:gpt-3.5-turbo*", TIKTOKEN, {"tokenizer": "cl100k_base"}),
    ("openai", "text-embedding-*", TIKTOKEN, {"tokenizer": "cl100k_base"}),
    ("openai", "text-embedding-*", NAMES, {"capabilities": ["embeddings"]}),
    ("gemini", "gemini-embedding-*", NAMES, {"capabilities": ["embeddings"]}),
    ("mistral", "*-embed*", NAMES, {"capabilities": ["embeddings"]}),
    # Models from 4.7 on take the default of these and nothing else, whatever the version of the API.
    ("anthropic", "claude-opus-4-[78]", CLAUDE, {"refuses": SAMPLED}),
    ("anthropic", "claude-*-5*", CLAUDE, {"refuses": SAMPLED}),
    ("anthropic", "claude-opus-5", CLAUDE_PAGES, {"max_output": 128_000}),
    ("anthropic", "claude-opus-5-5", CLAUDE_PAGES, {"max_output": 128_000}),
    ("anthropic", "claude-sonnet-5", CLAUDE_PAGES, {"max_output": 128_000}),
    ("anthropic", "claude-sonnet-5-5", CLAUDE_PAGES, {"max_output": 128_000}),
    ("anthropic", "claude-fable-5-[12]", CLAUDE_PAGES, {"max_output": 128_000}),
    # The makers' own pages of these were not at hand; these are of services that sell or serve the model.
    ("openai", "gpt-5.4", BOX, {"max_output": 128_000}),
    ("openai", "gpt-5.6-luna", RUNWARE, {"max_output": 128_000}),
    ("openai", "gpt-6-luna", GATEWAY, {"max_output": 128_000}),
    ("openai", "o1", COMMUNITY, {"refuses": [*SAMPLED, "logprobs"]}),
    ("openai", "o1-mini", COMMUNITY, {"refuses": [*SAMPLED, "logprobs"]}),
    ("openai", "o1-preview", COMMUNITY, {"refuses": [*SAMPLED, "logprobs"]}),
    ("openai", "o3-mini", COMMUNITY, {"refuses": [*SAMPLED, "logprobs"]}),
)
EXCEPT = ("claude-*-4-5", "claude-3-5-*")


def made(day: datetime) -> dict[str, Any]:
    """The document, with what we know beside the package's figures."""
    document = snapshot(day)
    for vendor, pattern, source, facts in FACTS:
        for line in document["vendors"][vendor]["models"]:
            if fnmatchcase(line["id"], pattern) and not any(fnmatchcase(line["id"], other) for other in EXCEPT):
                line.update(facts)
                line.setdefault("noted", []).append(source)
    return document


def written(document: dict[str, Any]) -> str:
    """One model a line, so that a difference can be read."""
    parts = [f'{{"day":{_line(document["day"])},"made_from":{_line(document["made_from"])},', '"vendors":{']
    vendors = document["vendors"]
    for name in sorted(vendors):
        parts.append(f'{_line(name)}:{{"source":{_line(vendors[name]["source"])},"models":[')
        parts.append(",\n".join(map(_line, vendors[name]["models"])))
        parts.append("]}" if name == max(vendors) else "]},")
    parts.append("},")
    parts.append(f'"left_out":{json.dumps(document["left_out"], sort_keys=True, indent=0)}}}')
    return "\n".join(parts) + "\n"


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def main(arguments: Sequence[str]) -> int:
    """Write it, or with `--check` say whether it would be the same."""
    there = PLACE.read_text() if PLACE.exists() else ""
    check = "--check" in arguments
    days = [argument for argument in arguments if argument != "--check"]
    day = days[0] if days else json.loads(there)["day"] if check else str(datetime.now(tz=UTC).date())
    text = written(made(datetime.fromisoformat(f"{day}T12:00:00+00:00")))
    if check:
        print("the same" if text == there else "not the same")
        return int(text != there)
    PLACE.write_text(text)
    print(f"{PLACE.name}: {len(text)} bytes, {len(json.loads(text)['left_out'])} without a price")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
