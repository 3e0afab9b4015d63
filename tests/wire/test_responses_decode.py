"""What the decoders of the Responses wire do with bodies that were not recorded: by hand, or by Hypothesis."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import fold
from effort import examples
from planar.client._fold import Fold
from planar.errors import (
    ContentFilteredError,
    InvalidRequestError,
    OverloadedError,
    PlanarError,
    ProviderProtocolError,
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
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import ChatRequest, Message, ResponseInfo, TokenLogprob
from planar.wire._responses_answer import usage_of_response
from planar.wire.openai_responses import ChatDecoder, WholeDecoder, decode_count, encode_chat

USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def completed(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "model": "m", "status": status, "output": list(output), "usage": USAGE, **fields}
    return {"type": f"response.{status}", "response": response}


def added(place: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def done(place: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def delta(kind: str, place: int, text: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": place, "delta": text, **fields}


def message(*texts: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content, **fields}


def called(call_id: str = "call_1", arguments: str = '{"a":1}', **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc", "call_id": call_id, "name": "f", "arguments": arguments, **fields}


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}


def decoded(body: bytes) -> list[Event]:
    decoder = ChatDecoder(ResponseInfo(), "p")
    return [*decoder.feed(body), *decoder.feed(b""), *decoder.close()]


def whole(document: dict[str, Any]) -> list[Event]:
    decoder = WholeDecoder(ResponseInfo(), "p")
    return [*decoder.feed(json.dumps(document).encode()), *decoder.close()]


# --- What is told, and how often --------------------------------------------------------------


def test_text_that_came_in_deltas_is_told_once() -> None:
    body = sse(
        added(0, type="message", id="msg_1"),
        delta("output_text", 0, "Eb", content_index=0, item_id="a"),
        delta("output_text", 0, "ro", content_index=0, item_id="b"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Ebro"},
        done(0, **message("Ebro")),
        completed(message("Ebro")),
    )

    assert [event for event in decoded(body) if isinstance(event, TextDelta)] == [TextDelta("Eb"), TextDelta("ro")]


def test_what_no_delta_has_said_is_told_from_the_items_end_or_the_answers() -> None:
    at_end_of_text = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Ebro"}

    for events in (
        [at_end_of_text, completed()],
        [done(0, **message("Ebro")), completed()],
        [completed(message("Ebro"))],
        [delta("output_text", 0, "Eb"), completed(message("Ebro"))],
    ):
        assert fold(decoded(sse(*events)), ResponseInfo()).text == "Ebro"


def test_two_messages_are_told_in_their_order() -> None:
    body = sse(delta("output_text", 0, "a"), delta("output_text", 1, "b"), completed(message("a"), message("b", "c")))

    assert fold(decoded(body), ResponseInfo()).text == "abc"


def test_logprobs_come_with_their_text() -> None:
    logprob = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1}]}
    want = TextDelta("a", (TokenLogprob(token="a", logprob=-0.5, top=(("b", -1.0),)),))
    part = {"type": "output_text", "text": "a", "logprobs": [logprob]}

    assert decoded(sse(delta("output_text", 0, "a", logprobs=[logprob]), completed()))[0] == want
    assert whole({"output": [{"type": "message", "content": [part]}], "status": "completed"})[0] == want


def test_a_source_is_told_once() -> None:
    source = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 1, "end_index": 2}
    item = message("x")
    item["content"][0]["annotations"] = [source, {"type": "file_citation", "file_id": "f", "filename": "a.pdf"}]
    annotated = {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": source}

    events = decoded(sse(delta("output_text", 0, "x"), annotated, done(0, **item), completed(item)))

    sources = [event.source for event in events if isinstance(event, Citation)]
    assert [(source.url, source.title, source.start, source.end) for source in sources] == [
        ("https://a.example", "A", 1, 2),
        (None, "a.pdf", None, None),
    ]


def test_a_refusal_ends_as_one() -> None:
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}

    events = decoded(sse(delta("refusal", 0, "I can"), done(0, **item), completed(item)))

    assert [event for event in events if isinstance(event, RefusalDelta)] == [
        RefusalDelta("I can"),
        RefusalDelta("not."),
    ]
    assert events[-1] == Finish("refusal", "completed")


# --- Calls ------------------------------------------------------------------------------------


def test_parallel_calls_are_told_apart_though_their_pieces_interleave() -> None:
    body = sse(
        added(1, **called("call_1", "")),
        added(2, **called("call_2", "")),
        delta("function_call_arguments", 2, '{"b"'),
        delta("function_call_arguments", 1, "{}"),
        delta("function_call_arguments", 2, ":2}"),
        done(1, **called("call_1", "{}")),
        done(2, **called("call_2", '{"b":2}')),
        completed(),
    )

    assert decoded(body)[:-2] == [
        ToolCallStart(0, "call_1", "f"),
        ToolCallStart(1, "call_2", "f"),
        ToolCallDelta(1, '{"b"'),
        ToolCallDelta(0, "{}"),
        ToolCallDelta(1, ":2}"),
        ToolCallEnd(0, "call_1", "f", "{}"),
        ToolCallEnd(1, "call_2", "f", '{"b":2}'),
    ]
    assert decoded(body)[-1] == Finish("tool_calls", "completed")


def test_arguments_that_come_before_the_name_are_not_lost() -> None:
    events = decoded(sse(delta("function_call_arguments", 0, '{"a"'), done(0, **called()), completed()))

    assert fold(events, ResponseInfo()).calls == (("call_1", "f", '{"a":1}'),)


def test_a_call_that_was_cut_says_so() -> None:
    body = sse(
        added(0, **called(arguments="")),
        delta("function_call_arguments", 0, '{"a"'),
        completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    )

    events = decoded(body)

    assert ToolCallEnd(0, "call_1", "f", '{"a"', incomplete=True) in events
    assert events[-1] == Finish("length", "incomplete")


# --- What must travel back --------------------------------------------------------------------


def test_a_streamed_answer_goes_back_as_the_items_of_its_end() -> None:
    first, last = {**THOUGHT, "encrypted_content": "early"}, {**THOUGHT, "encrypted_content": "late"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    body = sse(
        added(0, type="reasoning", id="rs_1", summary=[]),
        delta("reasoning_summary_text", 0, "Hm.", summary_index=0),
        done(0, **first),
        done(1, **search),
        added(2, type="message", id="msg_1", phase="commentary"),
        delta("output_text", 2, "Let me look."),
        done(2, **message("Let me look.", phase="commentary")),
        done(3, **called("call_1")),
        done(4, **called("call_2", "")),
        completed(last, search, message("Let me look.", phase="commentary"), called("call_1"), called("call_2", "")),
    )
    folded = Fold()
    for event in decoded(body):
        folded.add(event)

    request = ChatRequest(messages=(Message("user", "Well?"), folded.message()))
    items = json.loads(encode_chat(request, model="gpt-5.6-luna").body)["input"]

    assert folded.reasoning == "Hm."
    assert items[1:] == [
        last,
        search,
        {"type": "message", "role": "assistant", "content": "Let me look.", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "call_2", "name": "f", "arguments": "{}"},
    ]


def test_a_server_that_makes_up_new_ids_is_followed_by_the_place_of_its_items() -> None:
    last = {**THOUGHT, "id": "rs_other", "encrypted_content": "x"}
    body = sse(done(0, **THOUGHT), done(1, **message("a")), completed(last, message("a", id="msg_other")))
    folded = Fold()
    for event in decoded(body):
        folded.add(event)

    request = ChatRequest(messages=(folded.message(),))

    assert json.loads(encode_chat(request, model="gpt-5").body)["input"][0] == last
    assert folded.text == "a"


def test_the_whole_form_says_what_the_streamed_form_says() -> None:
    items = [{**THOUGHT, "encrypted_content": "x"}, message("a", "b"), called(), called("call_2", "{}")]
    streamed, document = ResponseInfo(), ResponseInfo()

    told = fold(decoded(sse(completed(*items))), streamed)
    read = fold(whole(completed(*items)["response"]), document)

    assert (told.text, told.reasoning, told.calls, told.signatures, told.finish) == (
        read.text,
        read.reasoning,
        read.calls,
        read.signatures,
        read.finish,
    )


def test_an_item_of_a_kind_made_later_is_handed_back_as_it_came() -> None:
    item = {"type": "telepathy_call", "id": "t", "thought": [1]}

    events = decoded(sse(done(0, **item), {"type": "response.telepathy.delta", "delta": "x"}, completed(item)))

    assert events[0] == ReasoningDelta(id="t", details=(item,), final=True)
    assert [event.code for event in events if isinstance(event, Notice)] == ["item_kept"]


# --- How it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "why", "reason"),
    [
        ("completed", None, "stop"),
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "max_messages", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("incomplete", "steered", "cancelled"),
        ("incomplete", "something new", "other"),
        ("incomplete", None, "other"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_every_end_has_our_word_and_keeps_its_own(status: str, why: str | None, reason: Any) -> None:
    end = completed(message("a"), status=status, incomplete_details=why and {"reason": why})

    assert decoded(sse(end))[-1] == Finish(reason, status)
    assert whole(end["response"])[-1] == Finish(reason, status)


def test_a_background_response_that_is_not_done_yet_ends_as_other() -> None:
    assert whole({"status": "queued", "output": []}) == [Finish("other", "queued")]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("server_error", ProviderServerError),
        ("rate_limit_exceeded", RateLimitedError),
        ("invalid_prompt", InvalidRequestError),
        ("image_too_large", InvalidRequestError),
        ("bio_policy", ContentFilteredError),
        ("something_new", ProviderServerError),
    ],
)
def test_a_failed_response_is_raised_in_its_class(code: str, error: type[PlanarError]) -> None:
    end = completed(status="failed", error={"code": code, "message": "No."})

    for read in (lambda: decoded(sse(end)), lambda: whole(end["response"])):
        with pytest.raises(error, match=r"No\.") as caught:
            read()
        assert caught.value.code == code  # type: ignore[attr-defined]


def test_a_failed_response_without_a_word_is_a_failure_too() -> None:
    with pytest.raises(ProviderServerError):
        whole({"status": "failed", "output": []})


@pytest.mark.parametrize(
    "failure",
    [
        {"type": "error", "code": "server_is_overloaded", "message": "No.", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"code": "server_is_overloaded", "message": "No.", "type": "x"}},
    ],
)
def test_an_error_in_the_same_read_does_not_swallow_the_deltas_before_it(failure: dict[str, Any]) -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    events = decoder.feed(sse(delta("output_text", 0, "Eb"), failure, completed()))

    assert events == [TextDelta("Eb")]
    for again in (lambda: decoder.feed(b""), decoder.close):
        with pytest.raises(OverloadedError, match=r"No\."):
            again()


def test_usage_of_a_failed_response_is_told_before_its_error() -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    events = decoder.feed(sse(completed(status="failed", error={"code": "server_error", "message": "No."})))

    assert [type(event) for event in events] == [UsageReported]
    with pytest.raises(ProviderServerError):
        decoder.feed(b"")


def test_the_answer_ends_where_it_says_so_and_nothing_after_it_is_read() -> None:
    body = sse(completed(message("a")), delta("output_text", 0, "b"), completed()) + b"data: [DONE]\n\n"

    assert fold(decoded(body), ResponseInfo()).text == "a"


def test_a_done_without_a_terminal_event_ends_as_other() -> None:
    assert decoded(sse(delta("output_text", 0, "a")) + b"data: [DONE]\n\n")[-1] == Finish("other", None)


def test_a_body_without_its_terminal_event_was_cut() -> None:
    with pytest.raises(TruncatedStreamError):
        decoded(sse(delta("output_text", 0, "a"), done(0, **message("a"))))


def test_a_document_in_place_of_a_stream_is_read_as_one() -> None:
    document = json.dumps(completed(message("a"))["response"]).encode()

    assert fold(decoded(document), ResponseInfo()).text == "a"
    with pytest.raises(RateLimitedError):
        decoded(b'{"error": {"code": "rate_limit_exceeded", "message": "slow down"}}')


def test_what_is_no_answer_is_a_protocol_error() -> None:
    for document in ({}, {"output": None}, {"id": "x", "choices": []}):
        with pytest.raises(ProviderProtocolError):
            whole(document)
    with pytest.raises(ProviderProtocolError):
        decoded(b"data: {nonsense\n\n")


def test_the_tier_and_the_model_of_the_end_are_the_ones_that_count() -> None:
    response = ResponseInfo()
    decoder = ChatDecoder(response, "p")
    created = {"id": "resp_1", "model": "m", "service_tier": "auto"}

    decoder.feed(sse({"type": "response.created", "response": created}, completed(model="m-2026", service_tier="flex")))

    assert (response.response_id, response.model, response.service_tier) == ("resp_1", "m-2026", "flex")


# --- Usage ------------------------------------------------------------------------------------


def test_cached_and_written_tokens_are_inside_the_input_and_reasoning_inside_the_output() -> None:
    raw = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 20},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 40},
        "total_tokens": 150,
    }

    usage = usage_of_response(raw)

    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (100, 80, 20)
    assert (usage.output_tokens, usage.reasoning_tokens) == (50, 40)
    assert (usage.raw, usage.suspect, usage.server_tool_calls) == (raw, False, None)


def test_reasoning_that_the_total_counts_beside_the_output_is_added_to_it() -> None:
    raw = {"input_tokens": 9, "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 15}

    usage = usage_of_response(raw)

    assert (usage.output_tokens, usage.reasoning_tokens) == (6, 5)


def test_impossible_figures_are_marked() -> None:
    usage = usage_of_response({"input_tokens": 1, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": -1})

    assert (usage.cached_input_tokens, usage.output_tokens, usage.suspect) == (1, None, True)


def test_a_count_is_read_or_refused() -> None:
    assert decode_count(b'{"object":"response.input_tokens","input_tokens":31}', provider="p") == 31
    for body in (b"{}", b'{"input_tokens":"3"}', b"[]"):
        with pytest.raises(ProviderProtocolError):
            decode_count(body, provider="p")
    with pytest.raises(TruncatedStreamError):
        decode_count(b'{"input_tok', provider="p")


# --- Anything at all --------------------------------------------------------------------------

KEYS = (
    *("type", "response", "item", "output", "content", "text", "delta", "status", "id", "call_id", "name", "summary"),
    *(
        "arguments",
        "refusal",
        "annotations",
        "output_index",
        "content_index",
        "summary_index",
        "usage",
        "error",
        "phase",
    ),
    *("input_tokens", "input_tokens_details", "cached_tokens", "logprobs", "token", "logprob", "incomplete_details"),
)
KINDS = (
    *("response.completed", "response.output_item.added", "response.output_item.done", "response.output_text.delta"),
    *("response.function_call_arguments.delta", "response.failed", "error", "message", "reasoning", "function_call"),
    *("response.refusal.done", "response.output_text.done", "response.reasoning_text.delta", "output_text"),
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


def survives(decoder: ChatDecoder | WholeDecoder, *pieces: bytes) -> list[Event] | str:
    events: list[Event] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.close()
    except PlanarError as error:
        return type(error).__name__
    assert isinstance(events[-1], Finish)
    return events


@examples(150)
@given(body=st.binary(max_size=200))
def test_any_bytes_give_events_or_our_error(body: bytes) -> None:
    survives(ChatDecoder(ResponseInfo(), "p"), body)
    survives(ChatDecoder(ResponseInfo(), "p"), b"data: " + body + b"\n\ndata: [DONE]\n\n")
    survives(WholeDecoder(ResponseInfo(), "p"), body)


@examples(300)
@given(junk=st.lists(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=6), max_size=4), kind=st.sampled_from(KINDS))
def test_any_json_gives_events_or_our_error(junk: list[dict[str, Any]], kind: str) -> None:
    survives(ChatDecoder(ResponseInfo(), "p"), sse(*junk, *({**one, "type": kind} for one in junk), completed(*junk)))
    for document in ({"output": junk, "status": "completed"}, *junk):
        survives(WholeDecoder(ResponseInfo(), "p"), json.dumps(document).encode())


BODY = sse(
    {"type": "response.created", "response": {"id": "resp_1", "model": "m"}},
    done(0, **{**THOUGHT, "encrypted_content": "x"}),
    delta("output_text", 1, "Duero, Jalón ✓"),
    done(2, **called()),
    completed({**THOUGHT, "encrypted_content": "y"}, message("Duero, Jalón ✓"), called()),
).replace(b"\n\ndata", b"\r\n\r\ndata")


@examples(100)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=8))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[start:end] for start, end in itertools.pairwise(places)]

    assert survives(ChatDecoder(ResponseInfo(), "p"), *pieces) == survives(ChatDecoder(ResponseInfo(), "p"), BODY)
