"""The recorded exchanges of any provider, and what an answer says once it is folded up."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from planar.events import (
    Citation,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import ResponseInfo, Usage
from planar.wire._base import Decoder
from shared import shared


@dataclass(frozen=True)
class Exchange:
    path: Path

    @cached_property
    def recorded(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @cached_property
    def expected(self) -> dict[str, Any]:
        return json.loads(self.path.with_name(f"{self.path.stem}.expected.json").read_text(encoding="utf-8"))

    @property
    def body(self) -> bytes:
        return self.recorded["response"]["body_raw"].encode()

    @property
    def status(self) -> int:
        return self.recorded["response"]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return self.recorded["response"]["headers"]

    @property
    def outcome(self) -> str:
        return self.expected["outcome"]

    @property
    def endpoint(self) -> str:
        return self.recorded["endpoint"]

    @property
    def said(self) -> dict[str, Any]:
        return self.expected.get("result") or self.expected.get("partial") or {}

    def cuts(self, count: int) -> list[int]:
        """Offsets to cut the body at, the same ones on every run."""
        choose = random.Random(self.path.stem)
        return sorted(choose.randrange(len(self.body) + 1) for _ in range(count))

    def truncations(self) -> list[int]:
        """Every offset of a small body, 200 of a larger one."""
        return list(range(len(self.body))) if len(self.body) <= 4096 else self.cuts(200)


def named(case: Exchange) -> str:
    return case.path.stem


def exchanges(folder: str, keep: Callable[[Exchange], bool]) -> list[Exchange]:
    """The exchanges of a folder that an authority has read, as far as they are wanted."""
    paths = [path for path in sorted(shared("wire").glob(f"{folder}/*")) if not path.name.endswith(".expected.json")]
    return [case for case in map(Exchange, paths) if case.expected["authority"] and keep(case)]


@dataclass
class Folded:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    signatures: tuple[str, ...] = ()
    urls: tuple[str | None, ...] = ()
    notices: tuple[str, ...] = ()
    usage: Usage | None = None
    finish: Finish | None = None
    response: ResponseInfo = field(default_factory=ResponseInfo)


def fold(events: Iterable[Event], response: ResponseInfo) -> Folded:
    folded = Folded(response=response)
    pieces: dict[int, list[str]] = {}
    for event in events:
        assert folded.finish is None, "nothing follows Finish"
        match event:
            case TextDelta():
                folded.text += event.text
                folded.signatures += _digests(event.signature)
            case ReasoningDelta():
                folded.reasoning += event.text
                folded.signatures += _digests(event.signature, event.encrypted)
            case RefusalDelta():
                folded.refusal += event.text
            case ToolCallStart():
                assert event.index not in pieces
                pieces[event.index] = []
            case ToolCallDelta():
                pieces[event.index].append(event.arguments)
            case ToolCallEnd():
                assert "".join(pieces[event.index]) == event.arguments
                folded.calls += ((event.id, event.name, event.arguments),)
                folded.signatures += _digests(event.signature)
            case Citation():
                folded.urls += (event.source.url,)
            case Notice():
                folded.notices += (event.code,)
            case UsageReported():
                assert folded.usage is None, "usage is told once"
                folded.usage = event.usage
            case Finish():
                folded.finish = event
            case _:
                raise AssertionError(f"a decoder made {event!r}")
    return folded


def _digests(*signatures: str | None) -> tuple[str, ...]:
    return tuple(hashlib.sha256(text.encode()).hexdigest()[:16] for text in signatures if text is not None)


def run(decoder: Decoder, pieces: Sequence[bytes], response: ResponseInfo) -> Folded:
    """What a body says, fed in these pieces."""
    events: list[Event] = []
    for piece in pieces:
        events.extend(decoder.feed(piece))
    events.extend(decoder.close())
    return fold(events, response)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def assert_parts_fit(usage: Usage) -> None:
    """No sub-count is larger than its total."""
    for part, total in (
        (usage.cached_input_tokens, usage.input_tokens),
        (usage.cache_write_tokens, usage.input_tokens),
        (usage.reasoning_tokens, usage.output_tokens),
    ):
        assert part is None or total is None or 0 <= part <= total
