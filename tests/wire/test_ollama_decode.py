"""What the decoders of Ollama's wire do with bodies that were not recorded: by hand, or by Hypothesis."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import fold
from effort import examples
from planar.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderProtocolError,
    ProviderServerError,
    TruncatedStreamError,
)
from planar.events import Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart
from planar.types import ResponseInfo, TokenLogprob
from planar.wire._base import MAX_EVENT
from planar.wire.ollama_chat import ChatDecoder, WholeDecoder, decode_embeddings, decode_models, error_from

END = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}


def lines(*documents: object) -> bytes:
    return "".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in documents).encode()


def said(**message: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", **message}, "done": False}


def called(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": fields.pop("arguments", {"a": 1})}, **fields}


def decoded(body: bytes) -> list[Event]:
    decoder = ChatDecoder(ResponseInfo(), "p")
    return [*decoder.feed(body), *decoder.feed(b""), *decoder.close()]


def test_calls_come_whole_and_get_an_id_where_they_have_none() -> None:
    events = decoded(lines(said(tool_calls=[called(), called("g", id="call_x")]), said(tool_calls=[called()]), END))

    assert events == [
        ToolCallStart(0, "call_0", "f"),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallEnd(0, "call_0", "f", '{"a":1}'),
        ToolCallStart(1, "call_x", "g"),
        ToolCallDelta(1, '{"a":1}'),
        ToolCallEnd(1, "call_x", "g", '{"a":1}'),
        ToolCallStart(2, "call_2", "f"),
        ToolCallDelta(2, '{"a":1}'),
        ToolCallEnd(2, "call_2", "f", '{"a":1}'),
        Finish("tool_calls", "stop"),
    ]


def test_thinking_and_text_are_told_apart() -> None:
    assert decoded(lines(said(thinking="Hm."), said(content="Ebro"), END)) == [
        ReasoningDelta("Hm."),
        TextDelta("Ebro"),
        Finish("stop", "stop"),
    ]


def test_what_generate_says_is_read_too() -> None:
    body = lines({"response": "Ebro", "thinking": "Hm.", "done": False}, {"done": True, "done_reason": "length"})

    assert decoded(body) == [ReasoningDelta("Hm."), TextDelta("Ebro"), Finish("length", "length")]


def test_logprobs_come_with_their_text() -> None:
    logprob = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1}]}

    events = decoded(lines({**said(content="a"), "logprobs": [logprob]}, END))

    assert events[0] == TextDelta("a", (TokenLogprob(token="a", logprob=-0.5, top=(("b", -1.0),)),))


@pytest.mark.parametrize(
    ("raw", "calls", "reason"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("length", True, "length"),
        ("load", False, "other"),
        ("unload", False, "other"),
        ("something new", False, "other"),
        (None, False, "other"),
        (None, True, "tool_calls"),
    ],
)
def test_every_end_has_our_word_and_keeps_its_own(raw: str | None, calls: bool, reason: Any) -> None:
    body = lines(*([said(tool_calls=[called()])] if calls else []), {**END, "done_reason": raw})

    assert decoded(body)[-1] == Finish(reason, raw)


def test_thinking_is_part_of_the_answer_and_an_absent_count_stays_absent() -> None:
    """Ollama counts thinking inside `eval_count`, and nothing of a prompt that it had cached."""
    response = ResponseInfo()

    ChatDecoder(response, "p").feed(lines(said(thinking="Hm."), {**END, "eval_count": 5, "total_duration": 9}))

    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.reasoning_tokens) == (
        None,
        5,
        None,
    )
    assert response.usage.raw == {"eval_count": 5, "total_duration": 9}


def test_an_impossible_count_is_marked() -> None:
    response = ResponseInfo()

    ChatDecoder(response, "p").feed(lines({**END, "prompt_eval_count": -1}))

    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.suspect) == (None, True)


def test_an_error_in_the_same_read_does_not_swallow_the_deltas_before_it() -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    assert decoder.feed(lines(said(content="Eb"), {"error": "the runner died"}, END)) == [TextDelta("Eb")]
    for again in (lambda: decoder.feed(b""), decoder.close):
        with pytest.raises(ProviderServerError, match="the runner died"):
            again()


def test_a_body_without_its_last_line_was_cut() -> None:
    with pytest.raises(TruncatedStreamError):
        decoded(lines(said(content="a")))
    with pytest.raises(TruncatedStreamError):
        decoded(lines(said(content="a"), END)[:-3])
    assert decoded(lines(said(content="a"), END)[:-1])[-1] == Finish("stop", "stop")


def test_nothing_after_the_end_is_read() -> None:
    assert decoded(lines(END, said(content="b"), END)) == [Finish("stop", "stop")]


def test_what_is_no_answer_is_a_protocol_error() -> None:
    for body in (b"<html>\n", b"data: {}\n"):
        with pytest.raises(ProviderProtocolError):
            decoded(body)
    decoder = WholeDecoder(ResponseInfo(), "p")
    decoder.feed(b'{"models":[]}')
    with pytest.raises(ProviderProtocolError):
        decoder.close()


def test_a_line_without_end_is_refused() -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    with pytest.raises(ProviderProtocolError):
        for _ in range(MAX_EVENT // 65536 + 2):
            decoder.feed(b"x" * 65536)


def test_a_whole_answer_that_says_it_is_not_whole_is_none() -> None:
    decoder = WholeDecoder(ResponseInfo(), "p")
    decoder.feed(json.dumps(said(content="a")).encode())

    with pytest.raises(TruncatedStreamError):
        decoder.close()


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, b'{"error":"model \'x\' not found"}', ModelNotFoundError, "model 'x' not found"),
        (400, b'{"error":"bad"}', InvalidRequestError, "bad"),
        (400, b'{"error":"the input length exceeds the context length"}', ContextLengthError, "the input length"),
        (401, b'{"error":"unauthorized"}', ProviderAuthError, "unauthorized"),
        (503, b'{"error":"server busy"}', OverloadedError, "server busy"),
        (500, b'{"error":{"message":"deep","code":"x"}}', ProviderServerError, "deep"),
        (502, b"<html>Bad gateway</html>", ProviderServerError, "HTTP 502: <html>Bad gateway"),
        (500, b"", ProviderServerError, "HTTP 500, without a word"),
    ],
)
def test_a_refusal_has_its_class_and_its_words(
    status: int, body: bytes, error: type[PlanarError], message: str
) -> None:
    found = error_from(status, {}, body, now=0.0)

    assert type(found) is error
    assert found.message.startswith(message)
    assert found.status == status


def test_embeddings_must_be_as_many_as_the_inputs() -> None:
    body = b'{"model":"all-minilm","embeddings":[[0.5,1],[2,3]],"prompt_eval_count":4}'

    found = decode_embeddings(body, provider="p", model="m", count=2)

    assert (found.vectors, found.model) == (((0.5, 1.0), (2.0, 3.0)), "all-minilm")
    assert found.usage is not None
    assert found.usage.input_tokens == 4
    for wrong, count in ((body, 3), (b"{}", None), (b'{"embeddings":[["a"]]}', None)):
        with pytest.raises(ProviderProtocolError):
            decode_embeddings(wrong, provider="p", model="m", count=count)
    with pytest.raises(ProviderServerError):
        decode_embeddings(b'{"error":"no"}', provider="p", model="m")


def test_a_list_of_models_is_one_or_refused() -> None:
    assert [model.id for model in decode_models(b'{"models":[{"name":"a:b"},{},{"model":"c"}]}', provider="p")] == [
        "a:b",
        "c",
    ]
    with pytest.raises(ProviderProtocolError):
        decode_models(b'{"data":[]}', provider="p")
    with pytest.raises(ProviderServerError):
        decode_models(b'{"error":"no"}', provider="p")


KEYS = (
    *("model", "message", "role", "content", "thinking", "tool_calls", "function", "name", "arguments", "done", "id"),
    *("done_reason", "prompt_eval_count", "eval_count", "error", "response", "logprobs", "token", "logprob", "models"),
    *("embeddings", "embedding"),
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
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
    for decoder in (ChatDecoder, WholeDecoder):
        survives(decoder(ResponseInfo(), "p"), body)
    survives(ChatDecoder(ResponseInfo(), "p"), body + b"\n" + lines(END))


@examples(300)
@given(junk=st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=6))
def test_any_json_gives_events_or_our_error(junk: dict[str, Any]) -> None:
    body = json.dumps(junk).encode()

    survives(ChatDecoder(ResponseInfo(), "p"), body + b"\n" + lines(END))
    survives(WholeDecoder(ResponseInfo(), "p"), body)
    for read in (lambda: decode_models(body, provider="p"), lambda: decode_embeddings(body, provider="p", model="m")):
        try:
            read()
        except PlanarError:
            continue


BODY = lines(said(thinking="Jalón ✓"), said(content="Duero ✓"), said(tool_calls=[called()]), {**END, "eval_count": 3})


@examples(100)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=8))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[start:end] for start, end in itertools.pairwise(places)]

    assert survives(ChatDecoder(ResponseInfo(), "p"), *pieces) == survives(ChatDecoder(ResponseInfo(), "p"), BODY)
    assert fold(decoded(BODY), ResponseInfo()).text == "Duero ✓"
