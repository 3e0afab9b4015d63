"""What an answer of OpenAI's Responses says, event by event or as a whole. The framing is the decoder's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from planar.errors import ProviderError, ProviderProtocolError, RequestError
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
from planar.types import CitedSource, FinishReason, ResponseInfo, TokenLogprob, Usage
from planar.wire._errors import Words, error_of, words_in
from planar.wire._json import as_dict, as_list, as_text
from planar.wire._openai_answer import _logprobs
from planar.wire._openai_usage import Counter
from planar.wire._tool_calls import MAX_TOOL_CALLS, _is_json

STATUSES: Mapping[str, FinishReason] = {"completed": "stop", "cancelled": "cancelled", "failed": "error"}
"""How a response stands at its end, as ours; `incomplete` has reasons of its own, any other is `other`."""
INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
    "steered": "cancelled",
}
"""Why a response is incomplete, as ours; any other is `other`."""
MAX_ITEMS = 4096
"""Most output items that are accepted in one answer (SECURITY T8)."""

_Channel: TypeAlias = Literal["text", "refusal", "summary", "thought"]
_KNOWN_ITEMS = frozenset({"message", "reasoning", "function_call"})


@dataclass(slots=True)
class _Item:
    """One output item, as far as it has arrived.

    Attributes:
        phase: A message's, until it was told.
        seen: Characters that were told already, by channel and place of the part.
        cited: Annotations that were told already.
        number: For a call: which of the calls it is.
        last: For reasoning: the item as it was at its end, until that was told.
    """

    id: str = ""
    kind: str = ""
    phase: str | None = None
    seen: dict[tuple[_Channel, int], int] = field(default_factory=dict[tuple[_Channel, int], int])
    cited: int = 0
    number: int = -1
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list[str])
    started: bool = False
    ended: bool = False
    last: dict[str, Any] | None = None


class ResponsesAnswer:
    """Folds the events of a stream, or a whole response, into ours. `response` is filled on the way.

    Events are correlated by `output_index`, not by `item_id`: some servers make up a new id for every event.

    A streamed reasoning item is told twice: where it stands, by its id, and at the end of the answer, with what must
    travel back. The encrypted content that the stream gave before is superseded by that of the terminal event.

    Attributes:
        usage: What was counted, once the provider has said it.
        finished: `Finish` was given.
    """

    __slots__ = ("_calls", "_items", "_provider", "_refused", "_response", "finished", "usage")

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        self._response = response
        self._provider = provider
        self._items: dict[int | str, _Item] = {}
        self._calls = 0
        self._refused = False
        self.usage: Usage | None = None
        self.finished = False

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one event of a stream; one that is not known says nothing.

        Raises:
            ProviderError, RequestError: It reports a failure. `events` holds what came before it.
        """
        kind = fields.get("type")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None and not self.finished:
            handler(self, fields, events)

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole answer.

        Raises:
            ProviderProtocolError: It is no answer.
            ProviderError, RequestError: The response failed. `events` holds what it said until then.
        """
        fields = as_dict(document)
        if not fields.get("error") and not isinstance(fields.get("output"), list):
            raise ProviderProtocolError("the provider sent an answer without output", provider=self._provider)
        self._whole(fields, events)

    def done(self, events: list[Event]) -> None:
        """Take a `[DONE]`, which OpenAI itself does not send: the answer ends here, if it has not yet."""
        if not self.finished:
            self._settle(events)
            self._finish(None, None, events)

    def ended(self, events: list[Event]) -> bool:
        """The body is at its end: nothing but a terminal event makes the answer whole."""
        return self.finished

    def _whole(self, document: dict[str, Any], events: list[Event]) -> None:
        """A whole response: one that came as a document, or in the terminal event."""
        self._envelope(document)
        for place, said in enumerate(as_list(document.get("output"))):
            self._whole_item(place, as_dict(said), events)
        self._settle(events)
        if raw := as_dict(document.get("usage")):
            self.usage = self._response.usage = usage_of_response(raw)
            events.append(UsageReported(self.usage))
        status = as_text(document.get("status"))
        if status == "failed" or document.get("error"):
            raise self._failure(document.get("error"))
        self._finish(status, as_text(as_dict(document.get("incomplete_details")).get("reason")), events)

    def _finish(self, status: str | None, why: str | None, events: list[Event]) -> None:
        reason = INCOMPLETE.get(why or "", "other") if status == "incomplete" else STATUSES.get(status or "", "other")
        if reason == "stop" and self._refused:
            reason = "refusal"
        elif reason == "stop" and self._calls:
            reason = "tool_calls"
        self.finished = True
        events.append(Finish(reason, status))

    def _failure(self, said: object) -> ProviderError | RequestError:
        words = words_in({"error": said}, status=None) if said else Words(message="the provider's answer failed")
        # Nothing in a body carries a date, so that the clock is not needed for one.
        body = str(said or "").encode(errors="replace")
        return error_of(words, status=None, headers={}, body=body, now=0.0, provider=self._provider)

    # --- The envelope -------------------------------------------------------------------------

    def _envelope(self, document: dict[str, Any]) -> None:
        response = self._response
        response.response_id = as_text(document.get("id")) or response.response_id
        response.model = as_text(document.get("model")) or response.model
        # The tier of the last event is what was billed; that of the first was only asked for.
        response.service_tier = as_text(document.get("service_tier")) or response.service_tier

    def _begun(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._envelope(as_dict(fields.get("response")))

    def _ended(self, fields: dict[str, Any], events: list[Event]) -> None:
        document = as_dict(fields.get("response"))
        if not as_text(document.get("status")):
            document = {**document, "status": str(fields["type"]).removeprefix("response.")}
        self._whole(document, events)

    def _failed(self, fields: dict[str, Any], events: list[Event]) -> None:
        """The event `error`: its words stand in an object of their own, or beside its type."""
        raise self._failure(fields.get("error") or {**fields, "type": None})

    # --- Items --------------------------------------------------------------------------------

    def _item(self, fields: dict[str, Any], item_id: object = None) -> _Item:
        place = fields.get("output_index")
        key = place if type(place) is int else as_text(fields.get("item_id")) or as_text(item_id) or ""
        item = self._items.get(key)
        if item is None:
            if len(self._items) >= MAX_ITEMS:
                message = f"the provider sent more than {MAX_ITEMS} items in one answer"
                raise ProviderProtocolError(message, provider=self._provider)
            item = self._items[key] = _Item()
        return item

    def _added(self, fields: dict[str, Any], events: list[Event]) -> None:
        said = as_dict(fields.get("item"))
        item = self._item(fields, said.get("id"))
        self._identify(item, said)
        if item.kind == "function_call":
            self._start(item, events)

    def _identify(self, item: _Item, said: dict[str, Any]) -> None:
        item.kind = item.kind or as_text(said.get("type")) or ""
        item.id = item.id or as_text(said.get("id")) or ""
        item.call_id = item.call_id or as_text(said.get("call_id")) or ""
        item.name = item.name or as_text(said.get("name")) or ""
        if item.kind == "message" and not item.seen:
            item.phase = as_text(said.get("phase")) or item.phase

    def _whole_item(self, place: int, said: dict[str, Any], events: list[Event]) -> None:
        item = self._items.get(place) or self._items.get(as_text(said.get("id")) or "")
        if item is None:
            item = self._item({"output_index": place})
        self._end(item, said, events)
        if item.kind == "reasoning" and said.get("type") == "reasoning":
            item.last = said

    def _done(self, fields: dict[str, Any], events: list[Event]) -> None:
        said = as_dict(fields.get("item"))
        item = self._item(fields, said.get("id"))
        self._end(item, said, events)
        if item.kind == "reasoning" and item.id:
            events.append(ReasoningDelta(id=item.id, final=True))

    def _end(self, item: _Item, said: dict[str, Any], events: list[Event]) -> None:
        """Tell what of an item has not been told; nothing if it had ended."""
        if item.ended:
            return
        self._identify(item, said)
        match item.kind:
            case "message":
                self._message(item, said, events)
            case "reasoning":
                for place, part in enumerate(as_list(said.get("summary"))):
                    self._tell(item, "summary", place, as_dict(part).get("text"), events)
                for place, part in enumerate(as_list(said.get("content"))):
                    self._tell(item, "thought", place, as_dict(part).get("text"), events)
                item.last = said
            case "function_call":
                self._finish_call(item, said.get("arguments"), events)
            case "":
                return
            case _:
                self._keep(item, said, events)
        item.ended = True

    def _settle(self, events: list[Event]) -> None:
        """At the end of the answer: what must travel back, and calls that were never closed."""
        for item in self._items.values():
            if item.last is not None:
                encrypted = as_text(item.last.get("encrypted_content"))
                events.append(ReasoningDelta(encrypted=encrypted, id=item.id or None, details=(item.last,), final=True))
                item.last = None
            elif item.kind == "function_call" and not item.ended:
                self._finish_call(item, None, events)
                item.ended = True

    def _keep(self, item: _Item, said: dict[str, Any], events: list[Event]) -> None:
        """An item of a tool that the provider runs itself, or of a kind made later: handed back as it came."""
        events.append(ReasoningDelta(id=item.id or None, details=(said,), final=True))
        message = f"the answer has an item of type {item.kind!r}, which goes back as it came in the next turn"
        events.append(Notice("item_kept", message, {"item": said}))

    # --- Text, refusals, reasoning ------------------------------------------------------------

    def _message(self, item: _Item, said: dict[str, Any], events: list[Event]) -> None:
        cited = 0
        for place, entry in enumerate(as_list(said.get("content"))):
            part = as_dict(entry)
            if part.get("type") == "refusal":
                self._tell(item, "refusal", place, part.get("refusal"), events)
                continue
            told = item.seen.get(("text", place))
            self._tell(item, "text", place, part.get("text"), events, None if told else part.get("logprobs"))
            for annotation in as_list(part.get("annotations")):
                cited += 1
                if cited > item.cited:
                    events.append(Citation(_source(as_dict(annotation))))
        item.cited = max(item.cited, cited)

    def _tell(
        self, item: _Item, channel: _Channel, place: int, text: object, events: list[Event], logprobs: object = None
    ) -> None:
        """Tell what a whole part says beyond what its deltas have said."""
        if isinstance(text, str):
            seen = item.seen.get((channel, place), 0)
            if len(text) > seen:
                self._say(item, channel, place, text[seen:], events, logprobs)

    def _say(
        self, item: _Item, channel: _Channel, place: int, text: str, events: list[Event], logprobs: object = None
    ) -> None:
        key = (channel, place)
        item.seen[key] = item.seen.get(key, 0) + len(text)
        if channel == "text":
            if item.phase is not None:
                # It has to travel back on the message, which has no place for it but this.
                skeleton = {"type": "message", "role": "assistant", "id": item.id, "phase": item.phase}
                events.append(ReasoningDelta(details=(skeleton,), final=True))
                item.phase = None
            events.append(TextDelta(text, _tokens(logprobs) if logprobs else ()))
        elif channel == "refusal":
            self._refused = True
            events.append(RefusalDelta(text))
        else:
            events.append(ReasoningDelta(text))

    def _text_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._delta(fields, "text", "content_index", events, fields.get("logprobs"))

    def _refusal_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._delta(fields, "refusal", "content_index", events)

    def _summary_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._delta(fields, "summary", "summary_index", events)

    def _thought_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._delta(fields, "thought", "content_index", events)

    def _delta(
        self, fields: dict[str, Any], channel: _Channel, index: str, events: list[Event], logprobs: object = None
    ) -> None:
        text = fields.get("delta")
        if isinstance(text, str) and (text or logprobs):
            self._say(self._item(fields), channel, _place(fields, index), text, events, logprobs)

    def _text_done(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._tell(self._item(fields), "text", _place(fields, "content_index"), fields.get("text"), events)

    def _refusal_done(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._tell(self._item(fields), "refusal", _place(fields, "content_index"), fields.get("refusal"), events)

    def _annotated(self, fields: dict[str, Any], events: list[Event]) -> None:
        self._item(fields).cited += 1
        events.append(Citation(_source(as_dict(fields.get("annotation")))))

    # --- Calls --------------------------------------------------------------------------------

    def _start(self, item: _Item, events: list[Event]) -> None:
        if item.started or not item.name:
            return
        if self._calls >= MAX_TOOL_CALLS:
            message = f"the provider sent more than {MAX_TOOL_CALLS} tool calls in one answer"
            raise ProviderProtocolError(message, provider=self._provider)
        item.started, item.number = True, self._calls
        self._calls += 1
        item.call_id = item.call_id or item.id or f"call_{item.number}"
        events.append(ToolCallStart(item.number, item.call_id, item.name))
        if item.pieces:  # arguments that came before the name
            events.append(ToolCallDelta(item.number, "".join(item.pieces)))

    def _arguments_delta(self, fields: dict[str, Any], events: list[Event]) -> None:
        item, piece = self._item(fields), as_text(fields.get("delta"))
        if piece is not None and not item.ended:
            item.kind = item.kind or "function_call"
            item.pieces.append(piece)
            if item.started:
                events.append(ToolCallDelta(item.number, piece))

    def _finish_call(self, item: _Item, whole: object, events: list[Event]) -> None:
        said = "".join(item.pieces)
        if isinstance(whole, str) and len(whole) > len(said):
            item.pieces.append(whole[len(said) :])
            if item.started:
                events.append(ToolCallDelta(item.number, item.pieces[-1]))
            said = "".join(item.pieces)
        if not item.started:
            item.name = item.name or "unknown"
            self._start(item, events)
        events.append(ToolCallEnd(item.number, item.call_id, item.name, said, incomplete=not _is_json(said)))
        item.pieces.clear()


def _place(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int else 0


def _tokens(logprobs: object) -> tuple[TokenLogprob, ...]:
    return _logprobs({"content": logprobs})


def _source(annotation: dict[str, Any]) -> CitedSource:
    start, end = annotation.get("start_index"), annotation.get("end_index")
    return CitedSource(
        url=as_text(annotation.get("url")),
        title=as_text(annotation.get("title")) or as_text(annotation.get("filename")),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        raw=annotation,
    )


def usage_of_response(raw: Mapping[str, Any]) -> Usage:
    """The `usage` object of a response. Cached tokens are part of the input, reasoning is part of the output.

    xAI's reasoning may stand beside `output_tokens` instead, and it counts the tools that it ran: the total tells.
    """
    counter = Counter()
    prompt, answer = as_dict(raw.get("input_tokens_details")), as_dict(raw.get("output_tokens_details"))
    inputs, outputs = counter.read(raw, "input_tokens"), counter.read(raw, "output_tokens")
    reasoning, total = counter.read(answer, "reasoning_tokens"), counter.read(raw, "total_tokens")
    if reasoning and None not in (inputs, outputs, total) and (inputs or 0) + (outputs or 0) + reasoning == total:
        outputs = (outputs or 0) + reasoning
    return Usage(
        input_tokens=inputs,
        cached_input_tokens=counter.part(counter.read(prompt, "cached_tokens"), inputs),
        cache_write_tokens=counter.part(counter.read(prompt, "cache_write_tokens"), inputs),
        output_tokens=outputs,
        reasoning_tokens=counter.part(reasoning, outputs),
        audio_input_tokens=counter.part(counter.read(prompt, "audio_tokens"), inputs),
        audio_output_tokens=counter.part(counter.read(answer, "audio_tokens"), outputs),
        image_input_tokens=counter.part(counter.read(prompt, "image_tokens"), inputs),
        server_tool_calls=counter.read(raw, "num_server_side_tools_used"),
        raw=raw,
        suspect=counter.suspect,
    )


_Handler: TypeAlias = Callable[[ResponsesAnswer, dict[str, Any], list[Event]], None]
_HANDLERS: Mapping[str, _Handler] = {
    "response.output_text.delta": ResponsesAnswer._text_delta,
    "response.output_text.done": ResponsesAnswer._text_done,
    "response.output_text.annotation.added": ResponsesAnswer._annotated,
    "response.refusal.delta": ResponsesAnswer._refusal_delta,
    "response.refusal.done": ResponsesAnswer._refusal_done,
    "response.reasoning_summary_text.delta": ResponsesAnswer._summary_delta,
    "response.reasoning_text.delta": ResponsesAnswer._thought_delta,
    "response.reasoning.delta": ResponsesAnswer._thought_delta,
    "response.function_call_arguments.delta": ResponsesAnswer._arguments_delta,
    "response.output_item.added": ResponsesAnswer._added,
    "response.output_item.done": ResponsesAnswer._done,
    "response.created": ResponsesAnswer._begun,
    "response.queued": ResponsesAnswer._begun,
    "response.in_progress": ResponsesAnswer._begun,
    "response.completed": ResponsesAnswer._ended,
    "response.incomplete": ResponsesAnswer._ended,
    "response.failed": ResponsesAnswer._ended,
    "response.cancelled": ResponsesAnswer._ended,
    "error": ResponsesAnswer._failed,
}
