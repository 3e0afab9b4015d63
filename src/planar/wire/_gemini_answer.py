"""What an answer of Gemini says, chunk by chunk or as a whole. The framing is the decoder's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
from planar.types import CitedSource, FinishReason, ResponseInfo, TokenLogprob, Usage
from planar.wire._errors import error_of
from planar.wire._gemini_errors import words_of_error
from planar.wire._gemini_partial import PartialArguments
from planar.wire._json import as_dict, as_list, as_text, dumps
from planar.wire._openai_usage import Counter
from planar.wire._tool_calls import MAX_TOOL_CALLS

FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MALFORMED_RESPONSE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
    "CONTINUATION": "paused",
}
"""The vendor's words for the end of an answer, as ours; any other is `other`."""
KEPT = "gemini.part"
"""The `type` under which a part that Planar does not read stands in `Reasoning.details`, to travel back as it came."""
THOUGHT = "gemini.thought"
"""The `type` of the mark in `Reasoning.details` of this vendor's thoughts: their signatures prove nothing elsewhere."""
NO_ID = "gemini-call-"
"""How an id begins that was made here because the vendor gave none. It is not sent back."""
MAX_CITATIONS = 4096
"""Most citations that are told of one answer (SECURITY T8)."""


@dataclass(slots=True)
class _Call:
    number: int
    id: str
    name: str
    signature: str | None
    arguments: PartialArguments = field(default_factory=PartialArguments)


class GenerateAnswer:
    """Folds the chunks of a stream, or a whole response, into ours. `response` is filled on the way.

    Attributes:
        finished: `Finish` was given.
    """

    def __init__(self, response: ResponseInfo, provider: str) -> None:
        self._response = response
        self._provider = provider
        self._calls = 0
        self._open: _Call | None = None  # a call whose arguments come in pieces
        self._thinking = False
        self._reason: str | None = None
        self._blocked = False
        self._cited: set[tuple[str | None, int | None, int | None]] = set()
        self._grounding: dict[str, Any] = {}
        self._noticed: set[str] = set()
        self.finished = False

    # --- What the framing calls ---------------------------------------------------------------

    def event(self, name: str | None, fields: dict[str, Any], events: list[Event]) -> None:
        """Take one chunk, which has the form of a whole response."""
        if fields.get("error"):
            raise failure_of(fields, self._provider)
        self._envelope(fields)
        for item in as_list(fields.get("candidates")):
            candidate = as_dict(item)
            if candidate.get("index"):
                self._notice(events, "choices_ignored", "the provider sent several answers; only the first is read")
            else:
                self._candidate(candidate, events)
        if "promptFeedback" in fields:
            self._feedback(as_dict(fields["promptFeedback"]), events)

    def _feedback(self, feedback: dict[str, Any], events: list[Event]) -> None:
        if blocked := as_text(feedback.get("blockReason")):
            self._blocked = True
            said = as_text(feedback.get("blockReasonMessage")) or "the provider's filter refused the prompt"
            self._notice(events, "prompt_blocked", f"{said} ({blocked})", feedback)

    def document(self, document: object, events: list[Event]) -> None:
        """Take a whole response, the error that came in its place, or the list of chunks of a stream without SSE."""
        chunks = [as_dict(chunk) for chunk in as_list(document)] or [as_dict(document)]
        for chunk in chunks:
            self.event(None, chunk, events)
        if not any(_ANSWERS & chunk.keys() for chunk in chunks):
            raise ProviderProtocolError("the provider sent an answer without candidates", provider=self._provider)
        self.done(events)

    def done(self, events: list[Event]) -> None:
        """Say that the answer is whole."""
        if self._open is not None:
            self._end_call(self._open, events, incomplete=True)
        self._cite_grounding(events)
        told = self._response.usage
        if told is not None:
            self._response.usage = usage_of_response(told.raw or {})
            events.append(UsageReported(self._response.usage))
        events.append(Finish(self._neutral(), self._reason))
        self.finished = True

    def ended(self, events: list[Event]) -> bool:
        """No event ends this wire's streams: the body does, once a reason was given or the prompt was blocked."""
        if self._reason is not None or self._blocked:
            self.done(events)
        return self.finished

    def _neutral(self) -> FinishReason:
        if self._reason is None:
            return "content_filter" if self._blocked else "other"
        reason = FINISH_REASONS.get(self._reason, "other")
        return "tool_calls" if reason == "stop" and self._calls else reason

    def _notice(self, events: list[Event], code: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        if code not in self._noticed:
            self._noticed.add(code)
            events.append(Notice(code, message, data or {}))

    # --- The envelope -------------------------------------------------------------------------

    def _envelope(self, chunk: dict[str, Any]) -> None:
        response = self._response
        response.response_id = as_text(chunk.get("responseId")) or response.response_id
        response.model = as_text(chunk.get("modelVersion")) or response.model
        usage = as_dict(chunk.get("usageMetadata"))
        if usage:  # cumulative: the last one counts
            response.usage = usage_of_response(usage, detailed=False)
            response.service_tier = as_text(usage.get("serviceTier")) or response.service_tier

    def _candidate(self, candidate: dict[str, Any], events: list[Event]) -> None:
        for item in as_list(as_dict(candidate.get("content")).get("parts")):
            self._part(as_dict(item), events)
        if candidate.keys() & _BESIDE:
            self._beside(candidate, events)
        reason = as_text(candidate.get("finishReason"))
        if reason is not None:
            self._reason = reason
        if reason not in (None, "STOP") and (said := as_text(candidate.get("finishMessage"))):
            self._notice(events, "finish_message", said)

    def _beside(self, candidate: dict[str, Any], events: list[Event]) -> None:
        """What stands beside the parts in few chunks."""
        if tokens := _logprobs(as_dict(candidate.get("logprobsResult"))):
            events.append(TextDelta("", tokens))
        cited = as_dict(candidate.get("citationMetadata"))
        for source in as_list(cited.get("citations")) or as_list(cited.get("citationSources")):
            self._cite(_source(as_dict(source)), events)
        self._grounding.update(as_dict(candidate.get("groundingMetadata")))

    # --- Parts --------------------------------------------------------------------------------

    def _part(self, part: dict[str, Any], events: list[Event]) -> None:
        signature = _signature(part)
        text = part.get("text")
        if len(part) == 1 and isinstance(text, str):  # most parts of most streams
            if text:
                self._thinking = False
                events.append(TextDelta(text))
        elif "functionCall" in part:
            self._thinking = False
            self._call(as_dict(part["functionCall"]), signature, events)
        elif isinstance(text, str) and not _DATA & part.keys():
            if part.get("thought") is True:
                self._thought(text, signature, events)
            elif text or signature:
                self._thinking = False
                events.append(TextDelta(text, signature=signature))
        elif part.keys() - {"thoughtSignature", "thought", "text"}:
            self._keep(part, signature, events)
        elif signature:
            self._thinking = False
            events.append(TextDelta("", signature=signature))

    def _thought(self, text: str, signature: str | None, events: list[Event]) -> None:
        mark = () if self._thinking else ({"type": THOUGHT},)
        if text or signature:
            self._thinking = signature is None
            events.append(ReasoningDelta(text, signature=signature, details=mark, final=signature is not None))

    def _keep(self, part: dict[str, Any], signature: str | None, events: list[Event]) -> None:
        """What the provider ran itself, a picture or sound it made, or a kind made later: handed back as it came."""
        if self._thinking:
            self._thinking = False
            events.append(ReasoningDelta(final=True))
        kinds = sorted(part.keys() - {"thoughtSignature", "thought"})
        details = ({"type": KEPT, "part": part},)
        events.append(ReasoningDelta(signature=signature, details=details, final=True))
        message = f"the answer has a part of {', '.join(kinds)}, which goes back as it came in the next turn"
        events.append(Notice("item_kept", message, {"item": part}))

    def _call(self, said: dict[str, Any], signature: str | None, events: list[Event]) -> None:
        name = as_text(said.get("name"))
        call = self._open
        if call is not None and name is not None:
            self._end_call(call, events, incomplete=True)
            call = None
        if call is None:
            call = self._begin_call(name or "unknown", as_text(said.get("id")), signature, events)
        call.signature = call.signature or signature
        for partial in as_list(said.get("partialArgs")):
            call.arguments.add(as_dict(partial))
        call.arguments.whole.update(as_dict(said.get("args")))
        if said.get("willContinue") is True:
            self._open = call
        else:
            self._end_call(call, events, incomplete=False)

    def _begin_call(self, name: str, id: str | None, signature: str | None, events: list[Event]) -> _Call:
        if self._calls >= MAX_TOOL_CALLS:
            message = f"the provider sent more than {MAX_TOOL_CALLS} tool calls in one answer"
            raise ProviderProtocolError(message, provider=self._provider)
        made = f"{NO_ID}{self._response.response_id or 'answer'}-{self._calls}"
        call = _Call(self._calls, id or made, name, signature)
        self._calls += 1
        events.append(ToolCallStart(call.number, call.id, call.name))
        return call

    def _end_call(self, call: _Call, events: list[Event], *, incomplete: bool) -> None:
        self._open = None
        arguments = dumps(call.arguments.whole).decode()
        events.append(ToolCallDelta(call.number, arguments))
        events.append(
            ToolCallEnd(call.number, call.id, call.name, arguments, incomplete=incomplete, signature=call.signature)
        )

    # --- Sources ------------------------------------------------------------------------------

    def _cite(self, source: CitedSource, events: list[Event]) -> None:
        key = (source.url or source.title, source.start, source.end)
        if key not in self._cited and len(self._cited) < MAX_CITATIONS:
            self._cited.add(key)
            events.append(Citation(source))

    def _cite_grounding(self, events: list[Event]) -> None:
        """What was searched, once it is whole: each statement with each of its sources, or the sources alone."""
        chunks = as_list(self._grounding.get("groundingChunks"))
        supports = as_list(self._grounding.get("groundingSupports"))
        for item in supports:
            support = as_dict(item)
            for place in as_list(support.get("groundingChunkIndices")):
                if type(place) is int and 0 <= place < len(chunks):
                    self._cite(_grounded(as_dict(chunks[place]), as_dict(support.get("segment"))), events)
        if not supports:
            for chunk in chunks:
                self._cite(_grounded(as_dict(chunk), {}), events)


_ANSWERS = frozenset({"candidates", "promptFeedback", "usageMetadata"})
_BESIDE = frozenset({"logprobsResult", "citationMetadata", "groundingMetadata"})
_DATA = frozenset({"inlineData", "fileData", "executableCode", "codeExecutionResult", "functionResponse"})


# Both alphabets of base64 say the same bytes; the SDK gives them on in the common one.
_COMMON = str.maketrans("-_", "+/")


def _signature(part: dict[str, Any]) -> str | None:
    signature = as_text(part.get("thoughtSignature"))
    return None if signature is None else signature.translate(_COMMON)


def _source(said: dict[str, Any]) -> CitedSource:
    return CitedSource(
        url=as_text(said.get("uri")),
        title=as_text(said.get("title")),
        start=_place(said.get("startIndex")),
        end=_place(said.get("endIndex")),
        raw=said,
    )


def _grounded(chunk: dict[str, Any], segment: dict[str, Any]) -> CitedSource:
    kind = next((name for name in ("web", "retrievedContext", "maps") if chunk.get(name)), "")
    place = as_dict(chunk.get(kind))
    return CitedSource(
        url=as_text(place.get("uri")),
        title=as_text(place.get("title")),
        quote=as_text(segment.get("text")),
        start=_place(segment.get("startIndex")),
        end=_place(segment.get("endIndex")),
        raw=chunk,
    )


def _place(value: object) -> int | None:
    return value if type(value) is int else None


def _logprobs(result: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    tops = as_list(result.get("topCandidates"))
    tokens: list[TokenLogprob] = []
    for number, item in enumerate(as_list(result.get("chosenCandidates"))):
        chosen = _weighed(as_dict(item))
        if chosen is None:
            continue
        listed = as_list(as_dict(tops[number]).get("candidates")) if number < len(tops) else []
        top = tuple(pair for pair in (_weighed(as_dict(other)) for other in listed) if pair is not None)
        tokens.append(TokenLogprob(token=chosen[0], logprob=chosen[1], top=top))
    return tuple(tokens)


def _weighed(said: dict[str, Any]) -> tuple[str, float] | None:
    token, weight = said.get("token"), said.get("logProbability", 0.0)
    if isinstance(token, str) and isinstance(weight, int | float) and not isinstance(weight, bool):
        return token, float(weight)
    return None


def failure_of(document: dict[str, Any], provider: str) -> ProviderError | RequestError:
    """The error that came with a good status: in a stream, or in place of a whole response."""
    # Nothing in a body carries a date, so that the clock is not needed for one.
    words, kind = words_of_error(document, status=None)
    return kind(error_of(words, status=None, headers={}, body=b"", now=0.0, provider=provider))


def usage_of_response(raw: Mapping[str, Any], *, detailed: bool = True) -> Usage:
    """The `usageMetadata` of a response. Cached tokens are part of the prompt; thoughts stand beside the candidates.

    Args:
        raw: As it came.
        detailed: Split by modality too; nobody needs that of counts that the next chunk replaces.
    """
    counter = Counter()
    prompt, tools = counter.read(raw, "promptTokenCount"), counter.read(raw, "toolUsePromptTokenCount")
    said, thoughts = counter.read(raw, "candidatesTokenCount"), counter.read(raw, "thoughtsTokenCount")
    inputs = None if prompt is None and tools is None else (prompt or 0) + (tools or 0)
    outputs = None if said is None and thoughts is None else (said or 0) + (thoughts or 0)
    heard = seen = spoken = kept = drawn = None
    if detailed:
        prompts = [*as_list(raw.get("promptTokensDetails")), *as_list(raw.get("toolUsePromptTokensDetails"))]
        heard, seen = _of("AUDIO", prompts, counter), _of("IMAGE", prompts, counter)
        answers = as_list(raw.get("candidatesTokensDetails"))
        spoken, drawn = _of("AUDIO", answers, counter), _of("IMAGE", answers, counter)
        kept = _of("AUDIO", as_list(raw.get("cacheTokensDetails")), counter)
    return Usage(
        input_tokens=inputs,
        cached_input_tokens=counter.part(counter.read(raw, "cachedContentTokenCount"), inputs),
        output_tokens=outputs,
        reasoning_tokens=counter.part(thoughts, outputs),
        audio_input_tokens=counter.part(heard, inputs),
        audio_output_tokens=counter.part(spoken, outputs),
        image_input_tokens=counter.part(seen, inputs),
        cached_audio_input_tokens=counter.part(kept, heard),
        image_output_tokens=counter.part(drawn, outputs),
        raw=raw,
        suspect=counter.suspect,
    )


def _of(modality: str, details: list[Any], counter: Counter) -> int | None:
    entries = (as_dict(entry) for entry in details)
    counts = [counter.read(entry, "tokenCount") for entry in entries if entry.get("modality") == modality]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
