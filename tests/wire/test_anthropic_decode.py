"""Anthropic's answers where no recording shows them: odd orders, failures, bounds, and arbitrary bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus import fold, run
from effort import examples
from planar.errors import (
    ContextLengthError,
    InvalidRequestError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderPermissionError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Event, Notice, ReasoningDelta, TextDelta, ToolCallEnd
from planar.types import ResponseInfo
from planar.wire._anthropic_answer import usage_of_message
from planar.wire.anthropic_messages import ChatDecoder, WholeDecoder, decode_count, decode_models, error_from

USAGE = {"input_tokens": 10, "output_tokens": 1}


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def start(**message: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [], "usage": USAGE, **message}}


def begun(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def stopped(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None = "end_turn", *, usage: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    said = {"stop_reason": reason, **fields}
    return {"type": "message_delta", "delta": said, "usage": usage or {"output_tokens": 5}}


STOP = {"type": "message_stop"}
TEXT = (begun(0, type="text", text=""), delta(0, type="text_delta", text="Ebro"), stopped(0))


def decoded(body: bytes, form: Callable[[ResponseInfo, str], Any] = ChatDecoder) -> list[Event]:
    decoder = form(ResponseInfo(), "p")
    return [*decoder.feed(body), *decoder.close()]


def test_cached_tokens_are_counted_beside_the_input_and_added_to_it() -> None:
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    }

    usage = usage_of_message(raw)

    assert usage.input_tokens == 1110
    assert (usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (100, 1000, 600)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.server_tool_calls) == (50, 20, 3)
    assert usage.raw == raw


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({}, None),
        ({"service_tier": "standard"}, "standard"),
        ({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, "standard"),
        ({"service_tier": "standard", "inference_geo": "not_available"}, "standard"),
        ({"service_tier": "priority", "inference_geo": None}, "priority"),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"service_tier": "standard", "inference_geo": "us"}, "us"),
        ({"service_tier": "standard", "speed": "fast", "inference_geo": "us"}, "fast-us"),
        ({"service_tier": "priority", "inference_geo": "us"}, "priority-us"),
    ],
)
def test_what_has_a_price_of_its_own_is_told_as_the_tier(said: dict[str, Any], tier: str | None) -> None:
    response = ResponseInfo()

    run(ChatDecoder(response, "p"), [sse(start(usage={**USAGE, **said}), *TEXT, ended(), STOP)], response)

    assert response.service_tier == tier


def test_numbers_that_are_absent_or_impossible_are_none() -> None:
    empty = usage_of_message({})
    lied = usage_of_message({"input_tokens": -5, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}})

    assert (empty.input_tokens, empty.cached_input_tokens, empty.output_tokens) == (None, None, None)
    assert empty.suspect is False
    assert (lied.input_tokens, lied.reasoning_tokens, lied.suspect) == (None, 5, True)


def test_later_counts_replace_earlier_ones_and_keep_what_they_do_not_name() -> None:
    later = {"output_tokens": 9, "input_tokens": 12, "cache_read_input_tokens": None}
    body = sse(start(usage={**USAGE, "cache_read_input_tokens": 3}), *TEXT, ended(), ended(usage=later), STOP)
    response = ResponseInfo()

    got = run(ChatDecoder(response, "p"), [body], response)

    assert got.usage is not None
    assert (got.usage.input_tokens, got.usage.cached_input_tokens, got.usage.output_tokens) == (15, 3, 9)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "paused"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_overflow"),
        ("made_later", "other"),
        (None, "other"),
    ],
)
def test_every_reason_to_stop_has_a_neutral_word(raw: str | None, reason: str) -> None:
    events = decoded(sse(start(), *TEXT, ended(raw), STOP))

    finish = fold(events, ResponseInfo()).finish
    assert finish is not None
    assert (finish.reason, finish.raw_reason) == (reason, raw)


def test_why_an_answer_was_refused_is_told() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}

    events = decoded(sse(start(), ended("refusal", stop_details=details), STOP))

    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert (notice.code, notice.message, notice.data) == ("refused", "Not this.", details)


def test_thinking_ends_with_its_signature_and_hidden_thinking_is_a_block_of_its_own() -> None:
    body = sse(
        start(),
        begun(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm."),
        delta(0, type="signature_delta", signature="Er+/="),
        stopped(0),
        begun(1, type="redacted_thinking", data="Ev+/="),
        stopped(1),
        ended(),
        STOP,
    )

    events = [event for event in decoded(body) if isinstance(event, ReasoningDelta)]

    assert events == [
        ReasoningDelta("Hm."),
        ReasoningDelta(signature="Er+/=", final=True),
        ReasoningDelta(encrypted="Ev+/=", final=True),
    ]


def test_arguments_are_given_exactly_as_sent_and_a_call_that_was_cut_is_marked() -> None:
    pieces = ['{"city" ', ': "Á', 'vila"']
    body = sse(
        start(),
        begun(0, type="tool_use", id="toolu_1", name="weather", input={}),
        *(delta(0, type="input_json_delta", partial_json=piece) for piece in pieces),
        ended("max_tokens"),
        STOP,
    )

    (end,) = [event for event in decoded(body) if isinstance(event, ToolCallEnd)]

    assert (end.arguments, end.incomplete) == ("".join(pieces), True)


def test_two_calls_may_come_in_turns() -> None:
    body = sse(
        start(),
        begun(0, type="tool_use", id="a", name="f", input={}),
        begun(1, type="tool_use", id="b", name="g", input={}),
        delta(1, type="input_json_delta", partial_json='{"y":'),
        delta(0, type="input_json_delta", partial_json='{"x":1}'),
        delta(1, type="input_json_delta", partial_json="2}"),
        stopped(0),
        stopped(1),
        ended("tool_use"),
        STOP,
    )

    got = fold(decoded(body), ResponseInfo())

    assert got.calls == (("a", "f", '{"x":1}'), ("b", "g", '{"y":2}'))


def test_what_is_not_known_is_skipped_or_kept_and_never_in_the_way() -> None:
    body = sse(
        start(),
        {"type": "ping"},
        {"type": "made_later", "index": 0},
        begun(0, type="hologram", shape="a"),
        delta(0, type="hologram_delta", shape="b", size=3),
        delta(0, type="text_delta", text="no text"),
        stopped(0),
        delta(9, type="made_later"),
        delta(8, type="text_delta", text="Ebro"),
        stopped(7),
        ended(),
        STOP,
        {"type": "error", "error": {"type": "too_late"}},
    )

    events = decoded(body)

    kept = {"type": "hologram", "shape": "ab", "size": 3, "text": "no text"}
    assert [event for event in events if isinstance(event, ReasoningDelta)] == [
        ReasoningDelta(details=({"type": "anthropic.block", "block": kept},), final=True)
    ]
    got = fold(events, ResponseInfo())
    assert (got.text, got.notices) == ("Ebro", ("item_kept",))


@pytest.mark.parametrize("name", ["error", "made_up"])
def test_a_failure_comes_after_what_was_said_in_the_same_read(name: str) -> None:
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    body = sse(start(), *TEXT) + f"event: {name}\ndata: {json.dumps(failure)}\n\n".encode()
    decoder = ChatDecoder(response := ResponseInfo(), "p")

    events = decoder.feed(body)

    assert events == [TextDelta("Ebro")]
    assert response.usage is not None
    for call in (lambda: decoder.feed(b""), decoder.close):
        with pytest.raises(OverloadedError) as caught:
            call()
    assert (caught.value.request_id, caught.value.status, caught.value.message) == ("req_1", None, "Overloaded")


@pytest.mark.parametrize("body", [b"data: {x}\n\n", b"data: [1\n\n", b"data: \xff\n\n"])
def test_an_event_that_is_no_json_comes_after_what_was_said(body: bytes) -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    assert decoder.feed(sse(start(), *TEXT) + body) == [TextDelta("Ebro")]
    with pytest.raises(ProviderProtocolError):
        decoder.feed(b"")


def test_a_stream_without_any_reason_to_stop_is_truncated_and_says_what_was_used() -> None:
    with pytest.raises(TruncatedStreamError) as caught:
        decoded(sse(start(), *TEXT))

    assert caught.value.usage is not None
    assert caught.value.usage.input_tokens == 10


def test_a_server_that_does_not_stream_or_fails_with_a_good_status_is_understood() -> None:
    message = {"id": "msg_1", "model": "m", "content": [{"type": "text", "text": "Ebro"}], "stop_reason": "end_turn"}
    failure = {"type": "error", "error": {"type": "api_error", "message": "Internal"}}

    got = fold(decoded(json.dumps(message).encode()), ResponseInfo())

    assert got.text == "Ebro"
    for form in (ChatDecoder, WholeDecoder):
        with pytest.raises(ProviderServerError):
            decoded(json.dumps(failure).encode(), form)
        with pytest.raises(ProviderProtocolError):
            decoded(b'{"id": 1}', form)


def test_nobody_can_send_blocks_or_calls_without_end() -> None:
    calls = sse(start(), *(begun(number, type="tool_use", id="a", name="f", input={}) for number in range(1100)))
    blocks = sse(start(), *(begun(number, type="text", text="") for number in range(5000)))

    for body in (calls, blocks):
        with pytest.raises(ProviderProtocolError, match="more than"):
            decoded(body)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"type": "invalid_request_error", "message": "x"}, InvalidRequestError),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}, ContextLengthError),
        (401, {"type": "authentication_error", "message": "x"}, ProviderAuthError),
        (402, {"type": "billing_error", "message": "x"}, ProviderQuotaError),
        (403, {"type": "permission_error", "message": "x"}, ProviderPermissionError),
        (413, {"type": "request_too_large", "message": "x"}, ContextLengthError),
        (429, {"type": "rate_limit_error", "message": "x"}, RateLimitedError),
        (
            429,
            {"type": "rate_limit_error", "message": "x", "details": {"error_code": "enforced_spend_limit_reached"}},
            ProviderQuotaError,
        ),
        (409, {"type": "conflict_error", "message": "x"}, ProviderServerError),
        (500, {"type": "api_error", "message": "x"}, ProviderServerError),
        (504, {"type": "timeout_error", "message": "x"}, ProviderTimeoutError),
        (529, {"type": "overloaded_error", "message": "x"}, OverloadedError),
    ],
)
def test_a_refusal_has_the_class_of_the_table(status: int, error: dict[str, Any], expected: type[PlanarError]) -> None:
    body = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()

    got = error_from(status, {"retry-after": "7", "request-id": "req_2"}, body, now=0.0, provider="p")

    assert type(got) is expected
    assert (got.status, got.type, got.message, got.retry_after) == (status, error["type"], error["message"], 7.0)
    assert got.code == error.get("details", {}).get("error_code")
    assert got.request_id == "req_2"
    assert error_from(status, {}, body, now=0.0).request_id == "req_1"


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"x"', b'{"error": null}', b'{"error": "x"}'])
def test_a_refusal_in_no_form_keeps_its_status(body: bytes) -> None:
    assert type(error_from(529, {}, body, now=0.0)) is OverloadedError


def test_pages_of_models_and_counts_are_read_and_nonsense_is_refused() -> None:
    page = {"data": [{"id": "a"}, {"x": 1}, {"id": "b", "max_tokens": 0}], "has_more": True, "last_id": "b"}

    models, after = decode_models(json.dumps(page).encode(), provider="p")

    assert ([model.id for model in models], after) == (["a", "b"], "b")
    assert (models[0].capabilities, models[1].max_output_tokens) == (None, None)
    for read in (decode_models, decode_count):
        for body in (b"{}", b'{"data": 1, "input_tokens": -1}', b"[1]", b"<html>"):
            with pytest.raises(ProviderProtocolError):
                read(body, provider="p")
        with pytest.raises(TruncatedStreamError):
            read(b'{"data": [', provider="p")


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "index",
                    "delta",
                    "content_block",
                    "message",
                    "content",
                    "usage",
                    "text",
                    "thinking",
                    "signature",
                    "input",
                    "id",
                    "name",
                    "error",
                    "partial_json",
                    "citation",
                    "stop_reason",
                    "input_tokens",
                    "output_tokens",
                    "data",
                    "details",
                    "server_tool_use",
                    "to",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
        "error",
        "text",
        "thinking",
        "tool_use",
        "redacted_thinking",
        "text_delta",
        "input_json_delta",
        "signature_delta",
        "x",
    ]
)


@st.composite
def odd_events(draw: st.DrawFn) -> bytes:
    fields = draw(st.dictionaries(st.sampled_from(["index", "delta", "content_block", "message", "usage"]), JSONISH))
    for inner in ("delta", "content_block"):
        if isinstance(fields.get(inner), dict):
            fields[inner]["type"] = draw(TYPES)
    return f"data: {json.dumps({'type': draw(TYPES), **fields})}\n\n".encode()


BODIES = (
    st.binary(max_size=200) | st.lists(odd_events(), max_size=8).map(b"".join) | JSONISH.map(json.dumps).map(str.encode)
)


@examples(300)
@given(body=BODIES, form=st.sampled_from([ChatDecoder, WholeDecoder]))
@example(body=b'data: {"type": "message_start", "message": {"content": [{"type": []}]}}\n\n', form=ChatDecoder)
def test_whatever_arrives_gives_events_or_our_error(body: bytes, form: Callable[[ResponseInfo, str], Any]) -> None:
    try:
        events = decoded(body, form)
    except PlanarError:
        return
    assert fold(events, ResponseInfo()).finish is not None


@examples(200)
@given(body=BODIES, cuts=st.lists(st.integers(0, 400), max_size=4))
def test_events_do_not_depend_on_where_the_bytes_are_cut(body: bytes, cuts: list[int]) -> None:
    assert _outcome([body]) == _outcome(_pieces(body, cuts))


def _pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[one:other] for one, other in pairwise(places)]


def _outcome(pieces: list[bytes]) -> tuple[list[Event], str | None]:
    decoder, events = ChatDecoder(ResponseInfo(), "p"), list[Event]()
    try:
        for piece in pieces:
            events.extend(decoder.feed(piece))
        events.extend(decoder.close())
    except PlanarError as error:
        return events, f"{type(error).__name__}: {error}"
    return events, None


@examples(100)
@given(status=st.integers(400, 599), body=st.binary(max_size=60) | JSONISH.map(json.dumps).map(str.encode))
def test_whatever_a_refusal_says_it_is_our_error(status: int, body: bytes) -> None:
    error = error_from(status, {}, body, now=0.0)

    assert isinstance(error, PlanarError)
    assert error.message
