"""What Ollama answers, line by line or as one document, as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from planar.errors import ProviderError, ProviderProtocolError, RequestError, TruncatedStreamError
from planar.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import FinishReason, ResponseInfo, Usage
from planar.wire._errors import Words, error_of, words_in
from planar.wire._framing import WholeFraming
from planar.wire._json import as_dict, as_list, as_text, dumps, loads
from planar.wire._openai_answer import _logprobs
from planar.wire._openai_usage import Counter
from planar.wire._tool_calls import MAX_TOOL_CALLS, _is_json
from planar.wire.ndjson import NDJSONParser

FINISH_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}
"""Ollama's words for the end of an answer, as ours; any other (`load`, `unload`) is `other`."""
_COUNTS = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


class _Answer:
    """Folds lines into events. `response` is filled on the way."""

    __slots__ = ("_calls", "_provider", "_response", "finished")

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        self._response = response
        self._provider = provider
        self._calls = 0
        self.finished = False

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one line of a stream, or a whole answer, of `/api/chat` or `/api/generate`."""
        if "error" in fields:
            raise failure_of(fields, self._provider)
        if self._response.model is None:
            self._response.model = as_text(fields.get("model"))
        said = as_dict(fields.get("message"))
        # `/api/generate` has no message around what it says.
        if thought := as_text(said.get("thinking")) or as_text(fields.get("thinking")):
            events.append(ReasoningDelta(thought))
        text = as_text(said.get("content")) or as_text(fields.get("response")) or ""
        logprobs = _logprobs({"content": fields["logprobs"]}) if fields.get("logprobs") else ()
        if text or logprobs:
            events.append(TextDelta(text, logprobs))
        for call in as_list(said.get("tool_calls")):
            self._call(as_dict(call), events)
        if fields.get("done") is True:
            self._end(fields, events)

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole answer.

        Raises:
            ProviderProtocolError: It is no answer.
            TruncatedStreamError: It says that it is not whole.
            ProviderError, RequestError: It is a failure that came with a good status.
        """
        fields = as_dict(document)
        if not fields.keys() & {"error", "message", "response"}:
            raise ProviderProtocolError("the provider sent an answer without a message", provider=self._provider)
        self.event(None, fields, events)
        if not self.finished:
            raise TruncatedStreamError("the provider's answer says that it is not whole", provider=self._provider)

    def done(self, events: list[Event]) -> None:
        """`[DONE]` is not of this wire: it says nothing."""

    def ended(self, events: list[Event]) -> bool:
        """The body is at its end: nothing but the line that says `done` makes the answer whole."""
        return self.finished

    def _call(self, call: dict[str, Any], events: list[Event]) -> None:
        """Calls arrive whole, their arguments as an object, and from older servers without an id."""
        if self._calls >= MAX_TOOL_CALLS:
            message = f"the provider sent more than {MAX_TOOL_CALLS} tool calls in one answer"
            raise ProviderProtocolError(message, provider=self._provider)
        function = as_dict(call.get("function"))
        number, name = self._calls, as_text(function.get("name")) or ""
        said = function.get("arguments")
        arguments = said if isinstance(said, str) else "{}" if said is None else self._written(said)
        call_id = as_text(call.get("id")) or f"call_{number}"
        self._calls += 1
        events.append(ToolCallStart(number, call_id, name))
        events.append(ToolCallDelta(number, arguments))
        events.append(ToolCallEnd(number, call_id, name, arguments, incomplete=not _is_json(arguments)))

    def _written(self, said: object) -> str:
        try:
            return dumps(said).decode()
        except ValueError as error:  # a number that no float holds
            message = f"the provider sent arguments that are not JSON: {error}"
            raise ProviderProtocolError(message, provider=self._provider) from None

    def _end(self, line: dict[str, Any], events: list[Event]) -> None:
        self.finished = True
        if usage := usage_of(line):
            self._response.usage = usage
            events.append(UsageReported(usage))
        raw = as_text(line.get("done_reason"))
        reason = FINISH_REASONS.get(raw or "", "other")
        # Ollama says `stop` after a call, and its first versions said nothing at all.
        if self._calls and (raw is None or reason == "stop"):
            reason = "tool_calls"
        events.append(Finish(reason, raw))


class ChatDecoder:
    """Turns the streamed answer of `/api/chat` or `/api/generate`, cut anywhere, into events. Does no I/O.

    The answer has ended with the line that says `done`; without one, `close()` raises.

    Args:
        response: Filled while the answer arrives.
        provider: Named in errors.

    Source: https://github.com/ollama/ollama/blob/main/docs/api.md (newline-delimited JSON), November 2026
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        self._provider = provider
        self._response = response
        self._parser = NDJSONParser(provider)
        self._answer = _Answer(response, provider)
        self._held: ProviderError | RequestError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            ProviderError, RequestError: The stream reports a failure, or is not what the wire allows. What came
                before it in the same bytes is returned first, and the next call raises.
        """
        if self._held is not None:
            raise self._held
        events: list[Event] = []
        try:
            for line in self._parser.feed(data):
                self._line(line, events)
        except (ProviderError, RequestError) as error:
            self._held = error
            if not events:
                raise
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended.

        Raises:
            TruncatedStreamError: The answer had not ended.
            ProviderError, RequestError: As by `feed`.
        """
        if self._held is not None:
            raise self._held
        events: list[Event] = []
        for line in self._parser.close():
            self._line(line, events)
        if not self._answer.finished:
            raise TruncatedStreamError("the provider's answer ended before it was whole", provider=self._provider)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._answer.finished:
            return
        try:
            fields: object = loads(line)
        except ValueError as error:
            message = f"the provider sent a line that is not JSON: {error}"
            raise ProviderProtocolError(message, provider=self._provider) from None
        if isinstance(fields, dict):
            self._answer.event(None, cast("dict[str, Any]", fields), events)


class WholeDecoder(WholeFraming):
    """Turns the whole answer of `/api/chat` or `/api/generate` into the events of its streamed form.

    Args:
        response: Filled when the answer is whole.
        provider: Named in errors.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        super().__init__(_Answer(response, provider), response, provider)


def failure_of(document: Mapping[str, Any], provider: str) -> ProviderError | RequestError:
    """The error for a failure that came with a good status."""
    said = str(document.get("error")).encode(errors="replace")
    return error_of(ollama_words(document), status=None, headers={}, body=said, now=0.0, provider=provider)


def ollama_words(document: object) -> Words:
    """What a refusal says: Ollama's `{"error": "text"}`, or anything that a proxy may have put in its place."""
    said = as_dict(document).get("error")
    return Words(message=said) if isinstance(said, str) and said else words_in(document, status=None)


def usage_of(line: Mapping[str, Any]) -> Usage | None:
    """The counts of the last line; thinking is part of the answer. A prompt that was cached may have no count.

    `None` where nothing was counted.
    """
    raw = {name: line[name] for name in _COUNTS if line.get(name) is not None}
    if not raw:
        return None
    counter = Counter()
    return Usage(
        input_tokens=counter.read(raw, "prompt_eval_count"),
        output_tokens=counter.read(raw, "eval_count"),
        raw=raw,
        suspect=counter.suspect,
    )
