"""A well-formed answer on each vendor's wire, in the pieces in which a server sends it: what faults are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias

WireName: TypeAlias = Literal["openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama_chat"]
Counted: TypeAlias = Literal["told", "missing", "late"]
"""Where the usage is: where the vendor has it, nowhere, or after what ends the answer."""

MODEL = "fault-1"
WORDS = ("Ebro, ", "Tajo, ", "Duero, ", "Júcar.")
"""The answer, a delta each. One letter is two bytes of UTF-8, to be cut in half by a server that drips."""
TEXT = "".join(WORDS)
INPUT_TOKENS = 7
OUTPUT_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """An answer in the order in which it is sent.

    Attributes:
        opening: What comes before the first word.
        words: One for each of `WORDS`.
        ending: What comes after the last word, with what ends the answer.
    """

    opening: tuple[bytes, ...]
    words: tuple[bytes, ...]
    ending: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How one vendor answers.

    Attributes:
        content_type: Of its streams; a whole answer is JSON on every wire.
        ping: A keep-alive in its streams, which says nothing.
        stream: Its answer as a stream.
        document: Its answer as one document.
        wants_stream: Whether a request, by its target and its JSON, asks for a stream.
    """

    content_type: str
    ping: bytes
    stream: Callable[[Counted], Pieces]
    document: Callable[[Counted], Mapping[str, Any]]
    wants_stream: Callable[[str, Mapping[str, Any]], bool]

    def whole(self, counted: Counted) -> Pieces:
        """The document, cut around the words that stand in it. There is nothing after it for usage to be late in."""
        before, _, after = _json(self.document(counted)).partition(TEXT.encode())
        return Pieces(opening=(before,), words=tuple(word.encode() for word in WORDS), ending=(after,))


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _sse(document: Mapping[str, Any], event: str | None = None) -> bytes:
    name = b"" if event is None else b"event: %s\n" % event.encode()
    return b"%sdata: %s\n\n" % (name, _json(document))


def _typed(documents: Sequence[Mapping[str, Any]]) -> tuple[bytes, ...]:
    """Events that are named after the type they carry."""
    return tuple(_sse(document, str(document["type"])) for document in documents)


def _by_field(target: str, asked: Mapping[str, Any]) -> bool:
    return bool(asked.get("stream"))


# --- OpenAI's Chat Completions ------------------------------------------------------------------

_CHAT_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}


def _chat(kind: str, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
    envelope = {"id": "chatcmpl-fault", "object": kind, "created": 1_767_225_600, "model": MODEL}
    return {**envelope, "choices": list(choices), "usage": usage}


def _chat_stream(counted: Counted) -> Pieces:
    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        return _sse(_chat("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": reason}], None))

    usage, done = _sse(_chat("chat.completion.chunk", [], _CHAT_USAGE)), b"data: [DONE]\n\n"
    last = {"told": (usage, done), "missing": (done,), "late": (done, usage)}[counted]
    return Pieces(
        opening=(chunk({"role": "assistant", "content": ""}),),
        words=tuple(chunk({"content": word}) for word in WORDS),
        ending=(chunk({}, "stop"), *last),
    )


def _chat_document(counted: Counted) -> Mapping[str, Any]:
    said = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return _chat("chat.completion", [said], _CHAT_USAGE if counted == "told" else None)


# --- OpenAI's Responses -------------------------------------------------------------------------

_RESPONSES_USAGE = {
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}
_PART = {"type": "output_text", "text": TEXT, "annotations": list[Any]()}
_ITEM = {"type": "message", "id": "msg_fault", "role": "assistant", "status": "completed", "content": [_PART]}


def _response(status: str, output: Sequence[Mapping[str, Any]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
    envelope = {"id": "resp_fault", "object": "response", "created_at": 1_767_225_600, "model": MODEL, "error": None}
    return {**envelope, "status": status, "output": list(output), "usage": usage}


def _responses_stream(counted: Counted) -> Pieces:
    numbers = count()

    def events(*said: Mapping[str, Any]) -> tuple[bytes, ...]:
        return _typed([{**one, "sequence_number": next(numbers)} for one in said])

    def of(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", **fields}

    def completed(usage: Mapping[str, Any] | None) -> dict[str, Any]:
        return of("completed", response=_response("completed", [_ITEM], usage))

    begun = _response("in_progress", [], None)
    item = {"item_id": "msg_fault", "output_index": 0}
    part = {**item, "content_index": 0}
    last = {"told": (_RESPONSES_USAGE,), "missing": (None,), "late": (None, _RESPONSES_USAGE)}[counted]
    return Pieces(
        opening=events(
            of("created", response=begun),
            of("in_progress", response=begun),
            of("output_item.added", output_index=0, item={**_ITEM, "status": "in_progress", "content": []}),
            of("content_part.added", **part, part={**_PART, "text": ""}),
        ),
        words=events(*(of("output_text.delta", **part, delta=word) for word in WORDS)),
        ending=events(
            of("output_text.done", **part, text=TEXT),
            of("content_part.done", **part, part=_PART),
            of("output_item.done", output_index=0, item=_ITEM),
            *(completed(usage) for usage in last),
        ),
    )


def _responses_document(counted: Counted) -> Mapping[str, Any]:
    return _response("completed", [_ITEM], _RESPONSES_USAGE if counted == "told" else None)


# --- Anthropic's Messages -----------------------------------------------------------------------


def _message(content: Sequence[Mapping[str, Any]], reason: str | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    envelope = {"id": "msg_fault", "type": "message", "role": "assistant", "model": MODEL, "stop_sequence": None}
    return {**envelope, "content": list(content), "stop_reason": reason, **usage}


def _anthropic_stream(counted: Counted) -> Pieces:
    begun = {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}} if counted == "told" else {}
    usage = {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}}
    stopped = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    stop = {"type": "message_stop"}
    last: Sequence[Mapping[str, Any]] = {
        "told": ({**stopped, **usage}, stop),
        "missing": (stopped, stop),
        "late": (stopped, stop, {**stopped, **usage}),
    }[counted]
    return Pieces(
        opening=_typed(
            [
                {"type": "message_start", "message": _message([], None, begun)},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            ]
        ),
        words=_typed(
            [
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in WORDS
            ]
        ),
        ending=_typed([{"type": "content_block_stop", "index": 0}, *last]),
    )


def _anthropic_document(counted: Counted) -> Mapping[str, Any]:
    usage = {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}} if counted == "told" else {}
    return _message([{"type": "text", "text": TEXT}], "end_turn", usage)


# --- Gemini -------------------------------------------------------------------------------------

_GEMINI_USAGE = {
    "usageMetadata": {
        "promptTokenCount": INPUT_TOKENS,
        "candidatesTokenCount": OUTPUT_TOKENS,
        "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
    }
}


def _candidate(text: str, reason: str | None, usage: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if reason is not None:
        said["finishReason"] = reason
    return {"candidates": [said], **usage, "modelVersion": MODEL, "responseId": "fault"}


def _gemini_stream(counted: Counted) -> Pieces:
    late = ({**_GEMINI_USAGE, "modelVersion": MODEL, "responseId": "fault"},) if counted == "late" else ()
    finish = _candidate("", "STOP", _GEMINI_USAGE if counted == "told" else {})
    return Pieces(
        opening=(),
        words=tuple(_sse(_candidate(word, None, {})) for word in WORDS),
        ending=tuple(_sse(chunk) for chunk in (finish, *late)),
    )


def _gemini_document(counted: Counted) -> Mapping[str, Any]:
    return _candidate(TEXT, "STOP", _GEMINI_USAGE if counted == "told" else {})


# --- Ollama's own -------------------------------------------------------------------------------

_OLLAMA_USAGE = {"prompt_eval_count": INPUT_TOKENS, "eval_count": OUTPUT_TOKENS, "total_duration": 5_000_000}


def _line(text: str, *, done: bool = False, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
    said = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}}
    return {**said, "done": done, **({"done_reason": "stop"} if done else {}), **(usage or {})}


def _ollama_stream(counted: Counted) -> Pieces:
    last = {"told": (_OLLAMA_USAGE,), "missing": (None,), "late": (None, _OLLAMA_USAGE)}[counted]
    return Pieces(
        opening=(),
        words=tuple(_json(_line(word)) + b"\n" for word in WORDS),
        ending=tuple(_json(_line("", done=True, usage=usage)) + b"\n" for usage in last),
    )


def _ollama_document(counted: Counted) -> Mapping[str, Any]:
    return _line(TEXT, done=True, usage=_OLLAMA_USAGE if counted == "told" else None)


# ------------------------------------------------------------------------------------------------

_SSE = "text/event-stream"
_COMMENT = b": keep-alive\n\n"
WIRES: Mapping[WireName, Wire] = {
    "openai_chat": Wire(
        content_type=_SSE, ping=_COMMENT, stream=_chat_stream, document=_chat_document, wants_stream=_by_field
    ),
    "openai_responses": Wire(
        content_type=_SSE, ping=_COMMENT, stream=_responses_stream, document=_responses_document, wants_stream=_by_field
    ),
    "anthropic_messages": Wire(
        content_type=_SSE,
        ping=b'event: ping\ndata: {"type":"ping"}\n\n',
        stream=_anthropic_stream,
        document=_anthropic_document,
        wants_stream=_by_field,
    ),
    "gemini": Wire(
        content_type=_SSE,
        ping=_COMMENT,
        stream=_gemini_stream,
        document=_gemini_document,
        wants_stream=lambda target, _: ":streamGenerateContent" in target,
    ),
    "ollama_chat": Wire(
        content_type="application/x-ndjson",
        ping=b"\n",
        stream=_ollama_stream,
        document=_ollama_document,
        wants_stream=lambda _, asked: asked.get("stream", True) is not False,
    ),
}
