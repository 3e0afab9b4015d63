"""What the decoders do with streams that were not recorded: made by hand, or by Hypothesis."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import fold
from effort import examples
from planar.errors import (
    InvalidRequestError,
    OverloadedError,
    PlanarError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    RateLimitedError,
    TruncatedStreamError,
)
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
from planar.types import ResponseInfo, Usage
from planar.wire._openai_usage import usage_of
from planar.wire.dialects import OPENAI
from planar.wire.openai_chat import ChatDecoder, WholeDecoder, decode_embeddings, decode_models

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def sse(*chunks: object, done: bool = True) -> bytes:
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return (body + ("data: [DONE]\n\n" if done else "")).encode()


def said(reason: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "x", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def called(*fragments: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return said(reason, tool_calls=list(fragments))


def decoded(body: bytes) -> list[Event]:
    decoder = ChatDecoder(ResponseInfo(), "p")
    return [*decoder.feed(body), *decoder.close()]


@pytest.mark.parametrize("before", [b"", b"\r\n ", b"\n" * 100])
def test_a_page_of_html_is_no_stream_that_was_cut(before: bytes) -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    with pytest.raises(ProviderProtocolError, match="page instead of an answer"):
        decoder.feed(before + b"<!DOCTYPE html>\n\n<p>data: {}</p>\n\n")
    with pytest.raises(ProviderProtocolError):
        decoder.feed(b"")


def calls_in(body: bytes) -> list[tuple[str, str, str]]:
    events = decoded(body)
    return list(fold(events, ResponseInfo()).calls)


# --- Tool calls -------------------------------------------------------------------------------


def test_a_call_in_pieces_starts_once_and_ends_whole() -> None:
    body = sse(
        called({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        called({"index": 0, "function": {"arguments": '{"x":'}}),
        called({"index": 0, "function": {"arguments": "1}"}}),
        said("tool_calls"),
    )

    assert decoded(body) == [
        ToolCallStart(0, "a", "f"),
        ToolCallDelta(0, '{"x":'),
        ToolCallDelta(0, "1}"),
        ToolCallEnd(0, "a", "f", '{"x":1}'),
        Finish("tool_calls", "tool_calls"),
    ]


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        pytest.param(
            [
                called({"id": "a", "function": {"name": "f", "arguments": "{}"}}),
                called({"id": "b", "function": {"name": "f", "arguments": "[]"}}),
            ],
            [("a", "f", "{}"), ("b", "f", "[]")],
            id="no index: by id",
        ),
        pytest.param(
            [
                called({"id": "a", "function": {"name": "f", "arguments": "{"}}),
                called({"id": "a", "function": {"arguments": "}"}}),
            ],
            [("a", "f", "{}")],
            id="no index: the id goes on",
        ),
        pytest.param(
            [
                called({"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "g", "arguments": "[]"}}),
            ],
            [("call_0", "f", "{}"), ("call_1", "g", "[]")],
            id="neither: by position",
        ),
        pytest.param(
            [
                called({"function": {"name": "f", "arguments": "{}"}}),
                called({"function": {"name": "f", "arguments": "[]"}}),
            ],
            [("call_0", "f", "{}"), ("call_1", "f", "[]")],
            id="neither: a second whole call",
        ),
        pytest.param(
            [
                called({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
                called({"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}}),
            ],
            [("a", "f", "{}")],
            id="id and name on every piece",
        ),
        pytest.param(
            [
                called({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
                called({"index": 0, "id": "b", "function": {"name": "g", "arguments": "[]"}}),
            ],
            [("a", "f", "{}"), ("b", "g", "[]")],
            id="every call has index 0",
        ),
        pytest.param(
            [
                called({"index": 0, "id": "a", "function": {"arguments": "{"}}),
                called({"index": 0, "function": {"name": "f", "arguments": "}"}}),
            ],
            [("a", "f", "{}")],
            id="the name comes later",
        ),
        pytest.param(
            [called({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": [1, "é"]}}})],
            [("a", "f", '{"x":[1,"é"]}')],
            id="arguments as an object",
        ),
        pytest.param(
            [called({"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "4 + 4"}})],
            [("a", "f", "4 + 4")],
            id="a custom tool",
        ),
        pytest.param(
            [said(function_call={"name": "f", "arguments": "{"}), said(function_call={"arguments": "}"})],
            [("call_0", "f", "{}")],
            id="the legacy form",
        ),
        pytest.param([called({"index": 0})], [("call_0", "", "")], id="nothing at all"),
    ],
)
def test_calls_are_put_together_however_they_are_labelled(
    chunks: list[dict[str, Any]], calls: list[tuple[str, str, str]]
) -> None:
    assert calls_in(sse(*chunks, said("tool_calls"))) == calls


def test_arguments_that_were_cut_are_marked() -> None:
    fragment = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}

    events = decoded(sse(called(fragment, reason="length")))

    assert events[-2:] == [ToolCallEnd(0, "a", "f", '{"x":', incomplete=True), Finish("length", "length")]


def test_a_signature_stays_with_its_call() -> None:
    fragment = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    signed = {**fragment, "extra_content": {"google": {"thought_signature": "s"}}}

    events = decoded(sse(called(signed, reason="stop")))

    assert ToolCallEnd(0, "a", "f", "{}", signature="s") in events
    assert events[-1] == Finish("tool_calls", "stop")


def test_too_many_calls_are_refused() -> None:
    fragments = [{"index": number, "id": str(number), "function": {"name": "f"}} for number in range(2_000)]

    decoder = ChatDecoder(ResponseInfo(), "p")
    decoder.feed(sse(called(*fragments)))

    with pytest.raises(ProviderProtocolError, match="tool calls"):
        decoder.feed(b"")


# --- Reasoning, citations, other choices ------------------------------------------------------


def test_reasoning_under_two_names_is_told_once() -> None:
    body = sse(said(reasoning_content="a", reasoning="a"), said(reasoning="b", reasoning_content="b"), said("stop"))

    assert fold(decoded(body), ResponseInfo()).reasoning == "ab"


def test_reasoning_details_are_kept_as_they_came() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}

    events = decoded(sse(said(reasoning_details=[detail], content=""), said("stop")))

    assert events[0] == ReasoningDelta("", details=(detail,))


def test_thinking_chunks_are_reasoning() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "ok"}]

    events = decoded(sse(said(content=content), said("stop")))

    assert events[:2] == [ReasoningDelta("hm"), TextDelta("ok")]


def test_other_choices_are_left_out_with_one_notice() -> None:
    body = sse(said(content="a"), said(content="x", index=1), said(content="y", index=2), said("stop"))

    events = decoded(body)

    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("a")]
    assert [event.code for event in events if isinstance(event, Notice)] == ["choices_ignored"]


def test_audio_is_left_out_with_a_notice() -> None:
    events = decoded(sse(said(audio={"id": "a", "data": "AAAA"}), said(audio={"data": "AAAA"}), said("stop")))

    assert [event.code for event in events if isinstance(event, Notice)] == ["part_ignored"]


def test_annotations_become_citations() -> None:
    cited = {"url": "https://e.org", "title": "E", "start_index": 1, "end_index": 4}

    events = decoded(
        sse(said(content="a", annotations=[{"type": "url_citation", "url_citation": cited}]), said("stop"))
    )

    (citation,) = [event for event in events if isinstance(event, Citation)]
    assert (citation.source.url, citation.source.start, citation.source.end) == ("https://e.org", 1, 4)


def test_a_refusal_ends_as_one() -> None:
    events = decoded(sse(said(refusal="I cannot"), said("stop")))

    assert fold(events, ResponseInfo()).refusal == "I cannot"
    assert events[-1] == Finish("refusal", "stop")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("abort", "cancelled"),
        ("error", "error"),
        ("insufficient_system_resource", "error"),
        ("something_new", "other"),
        ("", "other"),
    ],
)
def test_every_finish_reason_has_its_neutral_word_and_keeps_its_own(raw: str, reason: str) -> None:
    assert decoded(sse(said(raw, content="a")))[-1] == Finish(reason, raw)  # type: ignore[arg-type]


# --- The end ----------------------------------------------------------------------------------


def test_done_without_a_reason_ends_with_other() -> None:
    assert decoded(sse(said(content="a")))[-1] == Finish("other", None)


def test_a_reason_with_usage_is_an_end_without_done() -> None:
    events = decoded(sse(said("stop", content="a"), {"choices": [], "usage": USAGE}, done=False))

    assert events[-2:] == [
        UsageReported(Usage(input_tokens=3, output_tokens=2, raw=USAGE)),
        Finish("stop", "stop"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b": ping\n\n", id="a comment"),
        pytest.param(sse(said(content="a"), done=False), id="no reason"),
        pytest.param(sse(said("stop", content="a"), done=False), id="no usage"),
        pytest.param(sse({**said(content="a"), "usage": USAGE}, said("stop"), done=False), id="usage only before"),
    ],
)
def test_a_stream_that_just_ends_was_truncated(body: bytes) -> None:
    with pytest.raises(TruncatedStreamError):
        decoded(body)


def test_a_truncation_carries_the_usage_that_was_seen() -> None:
    with pytest.raises(TruncatedStreamError) as caught:
        decoded(sse({**said(content="a"), "usage": USAGE}, done=False))

    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 2


def test_nothing_is_read_after_the_end() -> None:
    body = sse(said("stop", content="a")) + sse(said("stop", content="b")) + b"data: nonsense\n\n"

    assert fold(decoded(body), ResponseInfo()).text == "a"


# --- Failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        ({"error": {"message": "m", "type": "server_error"}}, ProviderServerError),
        ({"error": {"message": "m", "type": "overloaded_error"}}, OverloadedError),
        ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimitedError),
        ({"error": {"message": "m", "code": "insufficient_quota"}}, ProviderQuotaError),
        ({"error": {"message": "m", "code": 402}}, ProviderQuotaError),
        ({"error": {"message": "m", "code": 502, "metadata": {}}, "choices": []}, ProviderServerError),
        ({"error": "m"}, ProviderServerError),
        ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, InvalidRequestError),
        ({"choices": [], "x_groq": {"error": "m"}}, ProviderServerError),
    ],
)
def test_a_failure_in_a_good_stream_has_its_class(chunk: dict[str, Any], error: type[PlanarError]) -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    events = decoder.feed(sse(said(content="a"), chunk))

    assert events == [TextDelta("a")]
    with pytest.raises(error) as caught:
        decoder.feed(b"")
    assert caught.value.message == "m"
    with pytest.raises(error):
        decoder.close()


def test_usage_beside_a_failure_is_told_before_it() -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    events = decoder.feed(sse({"error": {"message": "m", "code": 500}, "usage": USAGE, "choices": []}))

    assert [type(event) for event in events] == [UsageReported]
    with pytest.raises(ProviderServerError):
        decoder.feed(b"")


@pytest.mark.parametrize("lead", [b"", b"\n\n", b"  \n"])
def test_a_json_error_with_status_200_is_raised(lead: bytes) -> None:
    body = lead + b'{"error": {"message": "m", "type": "insufficient_quota"}}'

    with pytest.raises(ProviderQuotaError):
        decoded(body)


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    document = {"id": "x", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}

    assert decoded(json.dumps(document).encode()) == [TextDelta("a"), Finish("stop", "stop")]


@pytest.mark.parametrize(
    "data", [b"nonsense", b'{"a":' + b"[" * 5_000, b'{"a": "\xff"}'], ids=["text", "depth", "not UTF-8"]
)
def test_an_event_that_is_not_json_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        decoded(b"data: " + data + b"\n\n")


def test_an_answer_that_is_html_is_a_protocol_error() -> None:
    decoder = WholeDecoder(ResponseInfo(), "p")
    decoder.feed(b"<html>")

    with pytest.raises(ProviderProtocolError):
        decoder.close()


# --- Usage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (USAGE, Usage(input_tokens=3, output_tokens=2)),
        ({"prompt_tokens": 3}, Usage(input_tokens=3)),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
            Usage(input_tokens=9, output_tokens=1, cached_input_tokens=4),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 2},
            },
            Usage(
                input_tokens=9,
                output_tokens=5,
                cached_input_tokens=4,
                cache_write_tokens=2,
                audio_input_tokens=1,
                reasoning_tokens=3,
                audio_output_tokens=2,
            ),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(input_tokens=10, output_tokens=12, reasoning_tokens=7),
        ),
        ({"prompt_tokens": -3, "completion_tokens": 2}, Usage(output_tokens=2, suspect=True)),
        ({"prompt_tokens": 10**15, "completion_tokens": 2}, Usage(output_tokens=2, suspect=True)),
        ({"prompt_tokens": "many", "completion_tokens": 2.0}, Usage(output_tokens=2, suspect=True)),
        (
            {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}},
            Usage(input_tokens=3, output_tokens=2, cached_input_tokens=3, suspect=True),
        ),
    ],
)
def test_usage_is_neutral_and_absent_numbers_stay_none(raw: dict[str, Any], usage: Usage) -> None:
    assert usage_of(raw) == dataclasses.replace(usage, raw=raw)


def test_groqs_usage_is_found() -> None:
    events = decoded(sse(said("stop", content="a"), {"choices": [], "x_groq": {"id": "r", "usage": USAGE}}))

    assert any(isinstance(event, UsageReported) for event in events)


# --- Anything at all --------------------------------------------------------------------------

KEYS = (
    *("id", "model", "choices", "index", "delta", "message", "content", "tool_calls", "function", "name", "custom"),
    *("arguments", "reasoning", "reasoning_content", "reasoning_details", "refusal", "annotations", "audio", "usage"),
    *("logprobs", "top_logprobs", "token", "logprob", "prompt_tokens", "completion_tokens", "x_groq", "error", "code"),
    *("prompt_tokens_details", "type", "text", "thinking", "finish_reason", "function_call", "citations", "data"),
    *("embedding", "service_tier", "extra_content", "google"),
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def survives(decoder: ChatDecoder | WholeDecoder, body: bytes) -> None:
    try:
        events = [*decoder.feed(body), *decoder.close()]
    except PlanarError:
        return
    assert isinstance(events[-1], Finish)


@examples(150)
@given(body=st.binary(max_size=200))
def test_any_bytes_give_events_or_our_error(body: bytes) -> None:
    survives(ChatDecoder(ResponseInfo(), "p", OPENAI), body)
    survives(ChatDecoder(ResponseInfo(), "p", OPENAI), b"data: " + body + b"\n\ndata: [DONE]\n\n")
    survives(WholeDecoder(ResponseInfo(), "p", OPENAI), body)


@examples(150)
@given(junk=JUNK, inner=JUNK)
def test_any_json_gives_events_or_our_error(junk: object, inner: object) -> None:
    shaped = {"id": "x", "choices": [{"delta": inner, "message": inner, "finish_reason": "stop"}], "usage": junk}

    for document in (junk, shaped, {"choices": junk}, {"error": junk}, {"data": junk}):
        survives(ChatDecoder(ResponseInfo(), "p", OPENAI), sse(document))
        survives(WholeDecoder(ResponseInfo(), "p", OPENAI), json.dumps(document).encode())
        for read in (decode_embeddings, decode_models):
            try:
                read(
                    json.dumps(document).encode(), provider="p", **({"model": "m"} if read is decode_embeddings else {})
                )
            except PlanarError:
                continue
