"""What an answer of Anthropic's Messages says, event by event or as a whole. The framing is the decoder's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from planar.errors import ProviderError, ProviderProtocolError, RequestError
from planar.events import (
    Citation,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import CitedSource, FinishReason, ResponseInfo, Usage
from planar.wire._errors import Words, error_of, words_in
from planar.wire._json import as_dict, as_list, as_text, dumps, loads
from planar.wire._openai_usage import Counter
from planar.wire._plain_text import plain_delta
from planar.wire._tool_calls import MAX_TOOL_CALLS, _is_json

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_overflow",
}
"""The vendor's words for the end of an answer, as ours; any other is `other`."""
KEPT = "anthropic.block"
"""The `type` under which a block that Planar does not read stands in `Reasoning.details`, to travel back as it came."""
MAX_BLOCKS = 4096
"""Most content blocks that are accepted in one answer (SECURITY T8)."""


@dataclass(slots=True)
class _Block:
    """One content block, as far as it has arrived.

    Attributes:
        pieces: Of its `input`, as JSON text.
        number: For a tool's call: which of the calls it is.
        whole: As it began; for a kind that is not read, with what came since.
        said: Something of a thought was told, so that its end must be.
    """

    kind: str
    whole: dict[str, Any] = field(default_factory=dict[str, Any])
    pieces: list[str] = field(default_factory=list[str])
    number: int = -1
    id: str = ""
    name: str = ""
    signature: str | None = None
    said: bool = False


class MessagesAnswer:
    """Folds the events of a stream, or a whole message, into ours. `response` is filled on the way.

    Attributes:
        finished: `Finish` was given.
        text: Reads an event that is a piece of text of the same block as the last, while such events come.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        self._response = response
        self._provider = provider
        self._open: dict[int, _Block] = {}
        self._blocks = 0
        self._calls = 0
        self._begun = False
        self._counts: dict[str, Any] = {}
        self._reason: str | None = None
        self._details: dict[str, Any] = {}
        self.finished = False
        self._plain = plain_delta()
        self._index_of_text = 0
        self.text: Callable[[bytes], str | None] | None = None

    # --- What the framing calls ---------------------------------------------------------------

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one event. Its own `type` says what it is; the name of its block only where it has none."""
        kind = as_text(fields.get("type")) or ("error" if "error" in fields else name)
        handler = _HANDLERS.get(kind or "")
        if handler is not None:
            handler(self, fields, events)

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole message, or the error that came in its place."""
        message = as_dict(document)
        if message.get("error") or message.get("type") == "error":
            raise failure_of(message, self._provider)
        if not isinstance(message.get("content"), list):
            raise ProviderProtocolError("the provider sent an answer without content", provider=self._provider)
        self._envelope(message)
        for number, block in enumerate(as_list(message["content"])):
            self._start(number, as_dict(block), events)
            self._end(number, events)
        self._reason = as_text(message.get("stop_reason"))
        self._details = as_dict(message.get("stop_details"))
        self.done(events)

    def done(self, events: list[Event]) -> None:
        """Say that the answer is whole."""
        for number in list(self._open):
            self._end(number, events)
        if self._reason == "refusal" and self._details:
            said = as_text(self._details.get("explanation")) or "the provider declined to answer"
            events.append(Notice("refused", said, self._details))
        if self._response.usage is not None:
            events.append(UsageReported(self._response.usage))
        events.append(Finish(FINISH_REASONS.get(self._reason or "", "other"), self._reason))
        self.finished = True
        self.text = None

    def ended(self, events: list[Event]) -> bool:
        """A reason to stop comes with the last counts: an answer that has one lacks only `message_stop`."""
        if self._reason is not None:
            self.done(events)
        return self.finished

    # --- The envelope -------------------------------------------------------------------------

    def _envelope(self, message: dict[str, Any]) -> None:
        response = self._response
        response.response_id = as_text(message.get("id")) or response.response_id
        response.model = as_text(message.get("model")) or response.model
        self._count(as_dict(message.get("usage")))

    def _count(self, usage: dict[str, Any]) -> None:
        """Counts are cumulative: a later one replaces an earlier one, and one that is absent does not."""
        if not usage:
            return
        self._counts.update({name: value for name, value in usage.items() if value is not None})
        self._response.usage = usage_of_message(self._counts)
        self._response.service_tier = _tier_of(self._counts) or self._response.service_tier

    def _message_start(self, fields: dict[str, Any], events: list[Event]) -> None:
        message = as_dict(fields.get("message"))
        self._envelope(message)
        if not self._begun:
            self._begun = True
            for number, block in enumerate(as_list(message.get("content"))):
                self._start(number, as_dict(block), events)
                self._end(number, events)

    def _message_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        delta = as_dict(fields.get("delta"))
        self._reason = as_text(delta.get("stop_reason")) or self._reason
        self._details = as_dict(delta.get("stop_details")) or self._details
        self._count(as_dict(fields.get("usage")))

    def _message_stop(self, fields: dict[str, Any], events: list[Event]) -> None:
        self.done(events)

    def _failed(self, fields: dict[str, Any], events: list[Event]) -> None:
        raise failure_of(fields, self._provider)

    # --- Blocks -------------------------------------------------------------------------------

    def _block_start(self, fields: dict[str, Any], events: list[Event]) -> None:
        index = self._index(fields, otherwise=self._blocks)
        if index in self._open:
            self._end(index, events)
        self._start(index, as_dict(fields.get("content_block")), events)

    def _block_stop(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._end(self._index(fields, otherwise=self._last()), events)

    def _last(self) -> int:
        return next(reversed(self._open), 0)

    def _index(self, fields: dict[str, Any], *, otherwise: int) -> int:
        index = fields.get("index")
        return index if type(index) is int else otherwise

    def _start(self, index: int, said: dict[str, Any], events: list[Event]) -> None:
        self._blocks += 1
        if self._blocks > MAX_BLOCKS:
            message = f"the provider sent more than {MAX_BLOCKS} blocks in one answer"
            raise ProviderProtocolError(message, provider=self._provider)
        block = self._open[index] = _Block(as_text(said.get("type")) or "", said)
        match block.kind:
            case "text":
                self._text(block, {"text": said.get("text")}, events)
                events.extend(Citation(_source(as_dict(citation))) for citation in as_list(said.get("citations")))
            case "thinking":
                self._thought(block, said, events)
                self._signed(block, said, events)
            case "tool_use":
                self._call(block, events)
            case _:
                block.whole = dict(said)
                if block.kind == "fallback":  # another model answers from here on
                    self._response.model = as_text(as_dict(said.get("to")).get("model")) or self._response.model

    def _call(self, block: _Block, events: list[Event]) -> None:
        if self._calls >= MAX_TOOL_CALLS:
            message = f"the provider sent more than {MAX_TOOL_CALLS} tool calls in one answer"
            raise ProviderProtocolError(message, provider=self._provider)
        block.number = self._calls
        self._calls += 1
        block.id = as_text(block.whole.get("id")) or f"call_{block.number}"
        block.name = as_text(block.whole.get("name")) or "unknown"
        events.append(ToolCallStart(block.number, block.id, block.name))

    def _end(self, index: int, events: list[Event]) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        match block.kind:
            case "text" | "":
                return
            case "thinking":
                if block.said or block.signature is not None:
                    events.append(ReasoningDelta(signature=block.signature, final=True))
            case "redacted_thinking":
                if data := as_text(block.whole.get("data")):
                    events.append(ReasoningDelta(encrypted=data, final=True))
            case "tool_use":
                self._end_call(block, events)
            case _:
                self._keep(block, events)

    def _end_call(self, block: _Block, events: list[Event]) -> None:
        whole = as_dict(block.whole.get("input"))
        if whole and not block.pieces:
            block.pieces.append(dumps(whole).decode())
            events.append(ToolCallDelta(block.number, block.pieces[0]))
        arguments = "".join(block.pieces)
        events.append(ToolCallEnd(block.number, block.id, block.name, arguments, incomplete=not _is_json(arguments)))

    def _keep(self, block: _Block, events: list[Event]) -> None:
        """A block of a tool that the provider runs itself, or of a kind made later: handed back as it came."""
        if block.pieces:
            block.whole["input"] = _input_of("".join(block.pieces))
        events.append(ReasoningDelta(details=({"type": KEPT, "block": block.whole},), final=True))
        message = f"the answer has a block of type {block.kind!r}, which goes back as it came in the next turn"
        events.append(Notice("item_kept", message, {"item": block.whole}))

    # --- Deltas -------------------------------------------------------------------------------

    def _block_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        delta = as_dict(fields.get("delta"))
        kind = as_text(delta.get("type")) or ""
        index = fields.get("index")
        if type(index) is not int:
            index = self._last()
        block = self._open.get(index)
        if block is not None and kind == "text_delta" and block.kind == "text":  # most events of most streams
            self._text(block, delta, events)
            self._index_of_text = index
            self.text = None if self._plain is None else self._text_of
            return
        if block is None:
            if kind not in _BEGIN:
                return
            self._start(index, {"type": _BEGIN[kind]}, events)
            block = self._open[index]
        known = _DELTAS.get((block.kind, kind))
        if known is not None:
            known(self, block, delta, events)
        elif kind == "input_json_delta":
            if (piece := as_text(delta.get("partial_json"))) is not None:
                block.pieces.append(piece)
        elif block.kind not in _READ:
            _merge(block.whole, delta)

    def _text_of(self, event: bytes) -> str | None:
        assert self._plain is not None
        read, others = self._plain
        try:
            if not event.isascii():
                event.decode()  # what is not built is not checked
            found = read(event)
        except others:
            found = None
        if found is None or found.index != self._index_of_text:
            self.text = None
            return None
        text: str = found.delta.text
        return text

    def _text(self, block: _Block, delta: dict[str, Any], events: list[Event]) -> None:
        if (text := as_text(delta.get("text"))) is not None:
            events.append(TextDelta(text))

    def _cited(self, block: _Block, delta: dict[str, Any], events: list[Event]) -> None:
        events.append(Citation(_source(as_dict(delta.get("citation")))))

    def _thought(self, block: _Block, delta: dict[str, Any], events: list[Event]) -> None:
        if (text := as_text(delta.get("thinking"))) is not None:
            block.said = True
            events.append(ReasoningDelta(text))

    def _signed(self, block: _Block, delta: dict[str, Any], events: list[Event]) -> None:
        block.signature = as_text(delta.get("signature")) or block.signature

    def _arguments(self, block: _Block, delta: dict[str, Any], events: list[Event]) -> None:
        if (piece := as_text(delta.get("partial_json"))) is not None:
            block.pieces.append(piece)
            events.append(ToolCallDelta(block.number, piece))


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """A piece of a block that is not read: texts grow, anything else is replaced."""
    for name, value in delta.items():
        if name == "type":
            continue
        before = whole.get(name)
        whole[name] = before + value if isinstance(before, str) and isinstance(value, str) else value


def _input_of(text: str) -> Any:
    try:
        return loads(text.encode(errors="surrogatepass"))
    except ValueError:
        return text


def _source(citation: dict[str, Any]) -> CitedSource:
    return CitedSource(
        url=as_text(citation.get("url")) or as_text(citation.get("source")),
        title=as_text(citation.get("title")) or as_text(citation.get("document_title")),
        quote=as_text(citation.get("cited_text")),
        start=_place(citation, "start"),
        end=_place(citation, "end"),
        raw=citation,
    )


def _place(citation: dict[str, Any], which: str) -> int | None:
    """Where in its document: by character, page or block, as `raw` tells."""
    for unit in ("char_index", "page_number", "block_index"):
        value = citation.get(f"{which}_{unit}")
        if type(value) is int:
            return value
    return None


def words_of_error(document: object, *, status: int | None) -> tuple[Words, str | None]:
    """What a refusal says, and the request's id that stands beside it."""
    words = words_in(document, status=status)
    body = as_dict(document)
    code = as_text(as_dict(as_dict(body.get("error")).get("details")).get("error_code"))
    if code is not None:
        words = Words(message=words.message, type=words.type, code=code, param=words.param)
    return words, as_text(body.get("request_id"))


def failure_of(document: dict[str, Any], provider: str) -> ProviderError | RequestError:
    """The error that came with a good status: in a stream, or in place of a whole message."""
    words, request_id = words_of_error(document if "error" in document else {"error": document}, status=None)
    # Nothing in a body carries a date, so that the clock is not needed for one.
    error = error_of(words, status=None, headers={}, body=b"", now=0.0, provider=provider)
    error.request_id = request_id
    return error


def usage_of_message(raw: Mapping[str, Any]) -> Usage:
    """The `usage` object of a message. What was read from or written to the cache stands beside `input_tokens`."""
    counter = Counter()
    fresh, outputs = counter.read(raw, "input_tokens"), counter.read(raw, "output_tokens")
    read = counter.read(raw, "cache_read_input_tokens")
    written = counter.read(raw, "cache_creation_input_tokens")
    inputs = None if fresh is None else fresh + (read or 0) + (written or 0)
    tools = [counter.read(as_dict(raw.get("server_tool_use")), name) for name in as_dict(raw.get("server_tool_use"))]
    calls = [count for count in tools if count is not None]
    return Usage(
        input_tokens=inputs,
        cached_input_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=counter.part(
            counter.read(as_dict(raw.get("cache_creation")), "ephemeral_1h_input_tokens"), inputs
        ),
        output_tokens=outputs,
        reasoning_tokens=counter.part(
            counter.read(as_dict(raw.get("output_tokens_details")), "thinking_tokens"), outputs
        ),
        server_tool_calls=sum(calls) if calls else None,
        raw=dict(raw),
        suspect=counter.suspect,
    )


def _tier_of(usage: Mapping[str, Any]) -> str | None:
    """What was billed. Fast mode and a place that was asked for have prices of their own, and stand beside the tier."""
    tier = as_text(usage.get("service_tier"))
    fast = "fast" if usage.get("speed") == "fast" else None if tier == "standard" else tier
    place = as_text(usage.get("inference_geo"))
    place = None if place in ("global", "not_available") else place
    return "-".join(word for word in (fast, place) if word) or tier


_Handler: TypeAlias = Callable[[MessagesAnswer, dict[str, Any], list[Event]], None]
_HANDLERS: Mapping[str, _Handler] = {
    "content_block_delta": MessagesAnswer._block_delta,
    "content_block_start": MessagesAnswer._block_start,
    "content_block_stop": MessagesAnswer._block_stop,
    "message_start": MessagesAnswer._message_start,
    "message_delta": MessagesAnswer._message_delta,
    "message_stop": MessagesAnswer._message_stop,
    "error": MessagesAnswer._failed,
}
_Delta: TypeAlias = Callable[[MessagesAnswer, _Block, dict[str, Any], list[Event]], None]
_DELTAS: Mapping[tuple[str, str], _Delta] = {
    ("text", "text_delta"): MessagesAnswer._text,
    ("text", "citations_delta"): MessagesAnswer._cited,
    ("thinking", "thinking_delta"): MessagesAnswer._thought,
    ("thinking", "signature_delta"): MessagesAnswer._signed,
    ("tool_use", "input_json_delta"): MessagesAnswer._arguments,
}
_READ = frozenset({kind for kind, _ in _DELTAS})
# A server that forgets to say that a block begins: what its first piece says.
_BEGIN: Mapping[str, str] = {"text_delta": "text", "thinking_delta": "thinking"}
