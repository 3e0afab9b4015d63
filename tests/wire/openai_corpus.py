"""The recorded exchanges of OpenAI and its compatible servers, and what an answer says once it is folded up."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from planar.events import (
    Citation,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import ResponseInfo, Usage
from planar.wire.dialects import DIALECTS, OPENAI, Dialect
from planar.wire.openai_chat import ChatDecoder, WholeDecoder
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
    def said(self) -> dict[str, Any]:
        return self.expected.get("result") or self.expected.get("partial") or {}

    @property
    def dialect(self) -> Dialect:
        return DIALECTS.get(self.recorded["upstream"], OPENAI)

    def decoder(self, response: ResponseInfo) -> ChatDecoder | WholeDecoder:
        form = ChatDecoder if self.recorded["stream"] else WholeDecoder
        return form(response, self.recorded["upstream"], self.dialect)

    def cuts(self, count: int) -> list[int]:
        """Offsets to cut the body at, the same ones on every run."""
        choose = random.Random(self.path.stem)
        return sorted(choose.randrange(len(self.body) + 1) for _ in range(count))


def exchanges(keep: Callable[[Exchange], bool]) -> list[Exchange]:
    paths = [path for name in ("openai.chat", "openai_compatible") for path in sorted(shared("wire").glob(f"{name}/*"))]
    cases = [Exchange(path) for path in paths if not path.name.endswith(".expected.json")]
    return [case for case in cases if case.expected["authority"] and keep(case)]


@dataclass
class Folded:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    urls: tuple[str | None, ...] = ()
    usage: Usage | None = None
    finish: Finish | None = None
    response_id: str | None = None
    model: str | None = None


def fold(events: Iterable[Event], response: ResponseInfo) -> Folded:
    folded = Folded(response_id=response.response_id, model=response.model)
    pieces: dict[int, list[str]] = {}
    for event in events:
        assert folded.finish is None, "nothing follows Finish"
        match event:
            case TextDelta():
                folded.text += event.text
            case ReasoningDelta():
                folded.reasoning += event.text
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
            case Citation():
                folded.urls += (event.source.url,)
            case UsageReported():
                assert folded.usage is None, "usage is told once"
                folded.usage = event.usage
            case Finish():
                folded.finish = event
            case _:
                pass
    return folded


def decode(case: Exchange, pieces: Sequence[bytes]) -> Folded:
    """What the body says, fed in these pieces."""
    response = ResponseInfo()
    decoder = case.decoder(response)
    events: list[Event] = []
    for piece in pieces:
        events.extend(decoder.feed(piece))
    events.extend(decoder.close())
    return fold(events, response)
