"""What an OpenAI-shaped answer says, chunk by chunk, as events. The framing around it is the decoder's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planar.events import (
    Citation,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    UsageReported,
)
from planar.types import CitedSource, FinishReason, ResponseInfo, TokenLogprob, Usage
from planar.wire._json import as_dict, as_list, as_text
from planar.wire._openai_usage import usage_of
from planar.wire._plain_text import plain_chunk
from planar.wire._tool_calls import ToolCalls

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "abort": "cancelled",
    "error": "error",
    "insufficient_system_resource": "error",
}
"""The vendors' words for the end of an answer, as ours; any other is `other`."""


class Answer:
    """Folds chunks into events. `response` is filled on the way.

    Attributes:
        text: Reads a chunk that is a piece of text and nothing else, while such chunks come.
        usage: The last counts that were reported; they are told once, at the end.
        whole: A finish reason was seen, and counts with it or after it.
        finished: `Finish` was given.
    """

    __slots__ = (
        "_calls",
        "_cited",
        "_named",
        "_noticed",
        "_plain",
        "_raw_reason",
        "_reasoned",
        "_refused",
        "_response",
        "finished",
        "reason_seen",
        "text",
        "usage",
        "whole",
    )

    def __init__(self, response: ResponseInfo, provider: str | None) -> None:
        self._response = response
        self._calls = ToolCalls(provider)
        self._named = False
        self._refused = False
        self._reasoned = ""  # the field that reasoning comes in, once one was seen
        self._raw_reason: str | None = None
        self._cited: list[str] = []
        self._noticed: set[str] = set()
        self._plain = plain_chunk()
        self.text: Callable[[bytes], str | None] | None = None
        self.usage: Usage | None = None
        self.reason_seen = False
        self.whole = False
        self.finished = False

    def chunk(self, chunk: dict[str, Any], events: list[Event], *, key: str = "delta") -> None:
        """Take one chunk of a stream, or (with `key="message"`) a whole answer."""
        if not self._named:
            self._envelope(chunk)
        # `__class__ is` rather than `isinstance`: no calls on the path that every token takes.
        choices: Any = chunk.get("choices")
        if choices.__class__ is list:
            for choice in choices:
                if choice.__class__ is not dict:
                    continue
                said = choice.get(key)
                if said.__class__ is dict and len(said) == 1 and choice.get("finish_reason") is None:
                    content = said.get("content")
                    # Most chunks of most streams: a piece of text and nothing else.
                    if content.__class__ is str and not choice.get("logprobs") and not choice.get("index"):
                        if content:
                            events.append(TextDelta(content))
                            self._expect_text()
                        continue
                self._choice(choice, key, events)
        if chunk.get("usage") or "x_groq" in chunk:
            self._count(chunk)
        if "citations" in chunk:
            self._cite_urls(chunk["citations"])

    def _text(self, block: bytes) -> str | None:
        assert self._plain is not None
        read, others = self._plain
        try:
            if not block.isascii():
                block.decode()  # what is not built is not checked
            text: str = read(block).choices[0].delta.content
        except others:
            self.text = None
            return None
        return text

    def _choice(self, choice: dict[str, Any], key: str, events: list[Event]) -> None:
        if choice.get("index"):
            self._notice(events, "choices_ignored", "the provider sent several answers; only the first is read")
            return
        said: Any = choice.get(key)
        logprobs = choice.get("logprobs")
        if said.__class__ is dict and said:
            self._said(said, logprobs, events)
        reason = choice.get("finish_reason")
        if reason is not None:
            self.reason_seen = True
            self._raw_reason = reason if isinstance(reason, str) else str(reason)

    def _envelope(self, chunk: dict[str, Any]) -> None:
        response = self._response
        response.response_id = response.response_id or as_text(chunk.get("id"))
        response.model = response.model or as_text(chunk.get("model"))
        response.service_tier = as_text(chunk.get("service_tier")) or response.service_tier
        self._named = response.response_id is not None and response.model is not None
        self._expect_text()

    def _expect_text(self) -> None:
        if self._named and self._plain is not None:
            self.text = self._text

    def _count(self, chunk: dict[str, Any]) -> None:
        raw = as_dict(chunk.get("usage")) or as_dict(as_dict(chunk.get("x_groq")).get("usage"))
        if not raw:
            return
        self.usage = self._response.usage = usage_of(raw)
        self.whole = self.whole or self.reason_seen
        # What was billed is said at the end; the tier of the first chunk was the one asked for.
        tier = as_text(chunk.get("service_tier")) or as_text(raw.get("service_tier"))
        self._response.service_tier = tier or self._response.service_tier

    def _said(self, said: dict[str, Any], logprobs: object, events: list[Event]) -> None:
        content = said.get("content")
        self._reasoning(said, events)
        tokens = _logprobs(logprobs) if logprobs else ()
        if isinstance(content, str) or tokens:
            if content or tokens:
                events.append(TextDelta(content if isinstance(content, str) else "", tokens))
        elif content:
            self._parts(as_list(content), events)
        self._rest(said, events)

    def _reasoning(self, said: dict[str, Any], events: list[Event]) -> None:
        thoughts = as_list(said.get("reasoning_details"))
        details = tuple(as_dict(item) for item in thoughts) if thoughts else ()
        text = ""
        # Some servers send the same thought under two names: the first one seen is the one that is read.
        for name in (self._reasoned,) if self._reasoned else ("reasoning_content", "reasoning"):
            value = as_text(said.get(name))
            if value is not None:
                self._reasoned, text = name, value
                break
        # The items travel back as they came. Their text is not read out: the vendor's SDK shows none of it either.
        if text or details:
            events.append(ReasoningDelta(text, details=details))

    def _parts(self, parts: list[Any], events: list[Event]) -> None:
        """Content as a list: Mistral's thinking chunks, and text."""
        for part in parts:
            fields = as_dict(part)
            kind = fields.get("type")
            if kind == "thinking":
                thought = as_text(fields.get("thinking")) or _joined(fields.get("thinking"))
                signature = as_text(fields.get("signature"))
                if thought or signature:
                    events.append(ReasoningDelta(thought, signature=signature))
            elif text := as_text(fields.get("text")):
                events.append(TextDelta(text))
            elif refusal := as_text(fields.get("refusal")):
                self._refused = True
                events.append(RefusalDelta(refusal))
            elif kind != "text":
                self._notice(events, "part_ignored", f"the answer has a part of type {kind!r}, which is not read")

    def _rest(self, said: dict[str, Any], events: list[Event]) -> None:
        if refusal := as_text(said.get("refusal")):
            self._refused = True
            events.append(RefusalDelta(refusal))
        if calls := said.get("tool_calls"):
            self._calls.add(as_list(calls), events)
        legacy = as_dict(said.get("function_call"))
        if legacy and (legacy.get("name") or legacy.get("arguments")):
            self._calls.add([{"index": 0, "function": legacy}], events)
        if annotations := as_list(said.get("annotations")):
            events.extend(Citation(_source(as_dict(item))) for item in annotations)
        if not (audio := as_dict(said.get("audio"))):
            return
        if audio.get("data") or audio.get("transcript") or audio.get("id"):
            self._notice(events, "part_ignored", "the answer has audio, which is not read")

    def _cite_urls(self, citations: object) -> None:
        """Perplexity repeats its list of addresses on every chunk: it is told once, at the end."""
        urls = [url for url in as_list(citations) if isinstance(url, str)]
        self._cited = urls or self._cited

    def _notice(self, events: list[Event], code: str, message: str) -> None:
        if message not in self._noticed:
            self._noticed.add(message)
            events.append(Notice(code, message))

    def finish(self, events: list[Event]) -> None:
        """Say that the answer is whole."""
        if self.finished:
            return
        self.finished = True
        self.text = None
        self._calls.end(events)
        events.extend(Citation(CitedSource(url=url)) for url in self._cited)
        self.report(events)
        events.append(Finish(self._reason(), self._raw_reason))

    def report(self, events: list[Event]) -> None:
        """Tell what was used, if the provider has said."""
        if self.usage is not None:
            events.append(UsageReported(self.usage))

    def _reason(self) -> FinishReason:
        reason = FINISH_REASONS.get(self._raw_reason or "", "other")
        if reason == "stop" and self._refused:
            return "refusal"
        # OpenAI says `stop` after a call that `tool_choice` forced, and some servers after any.
        return "tool_calls" if reason == "stop" and self._calls else reason


def _joined(pieces: object) -> str:
    return "".join(as_text(as_dict(piece).get("text")) or "" for piece in as_list(pieces))


def _logprobs(logprobs: object) -> tuple[TokenLogprob, ...]:
    tokens: list[TokenLogprob] = []
    for item in as_list(as_dict(logprobs).get("content")):
        fields = as_dict(item)
        token, logprob = fields.get("token"), fields.get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            tokens.append(TokenLogprob(token=token, logprob=float(logprob), top=_alternatives(fields)))
    return tuple(tokens)


def _alternatives(fields: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    pairs = [(as_dict(top).get("token"), as_dict(top).get("logprob")) for top in as_list(fields.get("top_logprobs"))]
    return tuple(
        (token, float(value)) for token, value in pairs if isinstance(token, str) and isinstance(value, int | float)
    )


def _source(annotation: dict[str, Any]) -> CitedSource:
    cited = as_dict(annotation.get("url_citation")) or annotation
    start, end = cited.get("start_index"), cited.get("end_index")
    return CitedSource(
        url=as_text(cited.get("url")),
        title=as_text(cited.get("title")),
        quote=as_text(cited.get("content")),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        raw=annotation,
    )
