"""Gemini's answers where no recording shows them: parts, failures, bounds, and arbitrary bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import fold, run
from effort import examples
from planar.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Citation, Event, Notice, ReasoningDelta, TextDelta, ToolCallEnd
from planar.types import ResponseInfo, TokenLogprob
from planar.wire._gemini_answer import FINISH_REASONS, usage_of_response
from planar.wire.gemini import ChatDecoder, WholeDecoder, decode_count, decode_embeddings, decode_models, error_from


def chunk(*parts: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate | fields.pop("candidate", {})], **fields}


def sse(*chunks: dict[str, Any]) -> bytes:
    return "".join(f"data: {json.dumps(item)}\r\n\r\n" for item in chunks).encode()


def decoded(body: bytes, form: Callable[[ResponseInfo, str], Any] = ChatDecoder) -> list[Event]:
    decoder = form(ResponseInfo(), "p")
    return [*decoder.feed(body), *decoder.close()]


def test_thoughts_are_counted_beside_the_candidates_and_the_cache_inside_the_prompt() -> None:
    raw = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}, {"modality": "AUDIO", "tokenCount": 40}],
        "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}, {"modality": "IMAGE", "tokenCount": 11}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 15}, {"modality": "TEXT", "tokenCount": 45}],
    }

    usage = usage_of_response(raw)

    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (107, 60, None)
    assert (usage.output_tokens, usage.reasoning_tokens) == (50, 30)
    assert (usage.audio_input_tokens, usage.audio_output_tokens, usage.image_input_tokens) == (40, 9, 3)
    assert (usage.cached_audio_input_tokens, usage.image_output_tokens) == (15, 11)
    assert usage.raw == raw


def test_numbers_that_are_absent_or_impossible_are_none() -> None:
    empty = usage_of_response({"trafficType": "ON_DEMAND"})
    thoughts = usage_of_response({"promptTokenCount": 5, "thoughtsTokenCount": 8, "cachedContentTokenCount": 9})

    assert (empty.input_tokens, empty.output_tokens, empty.reasoning_tokens) == (None, None, None)
    assert (thoughts.output_tokens, thoughts.cached_input_tokens, thoughts.suspect) == (8, 5, True)


@pytest.mark.parametrize(("raw", "reason"), [*FINISH_REASONS.items(), ("OTHER", "other"), ("MADE_LATER", "other")])
def test_every_finish_reason_has_a_neutral_word(raw: str, reason: str) -> None:
    finish = fold(decoded(sse(chunk({"text": "a"}, reason=raw))), ResponseInfo()).finish

    assert finish is not None
    assert (finish.reason, finish.raw_reason) == (reason, raw)


def test_a_call_makes_a_stop_one_for_tools_and_nothing_else() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}

    for raw, reason in (("STOP", "tool_calls"), ("MAX_TOKENS", "length"), ("UNEXPECTED_TOOL_CALL", "error")):
        finish = fold(decoded(sse(chunk(call, reason=raw))), ResponseInfo()).finish

        assert finish is not None
        assert finish.reason == reason


def test_a_prompt_that_is_blocked_ends_the_answer_and_says_why() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "Not this."}

    events = decoded(sse({"promptFeedback": feedback}))

    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert (notice.code, notice.message) == ("prompt_blocked", "Not this. (PROHIBITED_CONTENT)")
    finish = fold(events, ResponseInfo()).finish
    assert finish is not None
    assert (finish.reason, finish.raw_reason) == ("content_filter", None)


def test_thoughts_are_marked_as_this_vendors_and_carry_their_signature() -> None:
    body = sse(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": ".", "thought": True, "thoughtSignature": "Er+/"}, {"text": "Ebro", "thoughtSignature": "a-_b"}),
        chunk(reason="STOP"),
    )

    events = decoded(body)

    mark = ({"type": "gemini.thought"},)
    assert events[:3] == [
        ReasoningDelta("Hm", details=mark),
        ReasoningDelta(".", signature="Er+/", final=True),
        TextDelta("Ebro", signature="a+/b"),
    ]


def test_arguments_in_pieces_are_put_together_whatever_their_shape() -> None:
    pieces = [
        {"name": "f", "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a.b", "stringValue": "Eb", "willContinue": True}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a.b", "stringValue": "ro"}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.list[0].n", "numberValue": 1}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.list[1]", "boolValue": False}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$['odd key']", "nullValue": "NULL_VALUE"}], "willContinue": True},
        {},
    ]
    body = sse(*(chunk({"functionCall": piece}) for piece in pieces), chunk(reason="STOP"))

    (end,) = [event for event in decoded(body) if isinstance(event, ToolCallEnd)]

    assert json.loads(end.arguments) == {"a": {"b": "Ebro"}, "list": [{"n": 1}, False], "odd key": None}
    assert (end.name, end.incomplete) == ("f", False)


def test_arguments_in_pieces_that_never_end_are_marked() -> None:
    pieces = [{"name": "f", "willContinue": True}, {"name": "g", "willContinue": True}]
    body = sse(*(chunk({"functionCall": piece}) for piece in pieces), chunk(reason="MAX_TOKENS"))

    ends = [event for event in decoded(body) if isinstance(event, ToolCallEnd)]

    assert [(end.name, end.incomplete) for end in ends] == [("f", True), ("g", True)]


@pytest.mark.parametrize("path", ["", "$", "a..b", "$.a[9]", "$[0]", "$.a" + ".a" * 70, "$.a[99999999]", 7, None])
def test_a_piece_without_a_place_is_refused(path: object) -> None:
    piece = {"name": "f", "partialArgs": [{"jsonPath": path, "stringValue": "x"}], "willContinue": True}

    with pytest.raises(ProviderProtocolError):
        decoded(sse(chunk({"functionCall": piece}), chunk(reason="STOP")))


def test_logprobs_come_with_their_alternatives() -> None:
    result = {
        "chosenCandidates": [{"token": "E", "logProbability": -0.5}, {"token": "bro"}, {"x": 1}],
        "topCandidates": [
            {"candidates": [{"token": "E", "logProbability": -0.5}, {"token": "T", "logProbability": -2}]}
        ],
    }

    events = decoded(sse(chunk({"text": "Ebro"}, reason="STOP", candidate={"logprobsResult": result})))

    assert events[1] == TextDelta(
        "",
        (
            TokenLogprob(token="E", logprob=-0.5, top=(("E", -0.5), ("T", -2.0))),
            TokenLogprob(token="bro", logprob=0.0),
        ),
    )


def test_what_was_searched_is_cited_by_statement() -> None:
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"retrievedContext": {"uri": "gs://b", "title": "B"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": 4, "text": "Ebro"}, "groundingChunkIndices": [0, 1, 9]},
        ],
    }
    cited = {
        "citations": [
            {"uri": "https://c", "startIndex": 1, "endIndex": 3},
            {"uri": "https://c", "startIndex": 1, "endIndex": 3},
        ]
    }

    events = decoded(
        sse(
            chunk({"text": "Ebro"}, candidate={"citationMetadata": cited}),
            chunk(reason="STOP", candidate={"groundingMetadata": grounding}),
        )
    )

    sources = [event.source for event in events if isinstance(event, Citation)]
    assert [(source.url, source.title, source.quote, source.start, source.end) for source in sources] == [
        ("https://c", None, None, 1, 3),
        ("https://a", "A", "Ebro", 0, 4),
        ("gs://b", "B", "Ebro", 0, 4),
    ]


def test_sources_without_statements_are_cited_alone_and_other_answers_are_not_read() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"image": {}}]}
    first = chunk({"text": "Ebro"}, reason="STOP", candidate={"groundingMetadata": grounding})
    first["candidates"].append({"index": 1, "content": {"parts": [{"text": "Tajo"}]}})

    got = fold(decoded(sse(first)), ResponseInfo())

    assert (got.text, got.urls, got.notices) == ("Ebro", ("https://a", None), ("choices_ignored",))


def test_a_picture_that_the_model_made_is_kept_whole() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBO" * 500_000}}

    events = decoded(sse(chunk({"text": "Hm", "thought": True}, picture, reason="STOP")))

    assert events[1:3] == [
        ReasoningDelta(final=True),
        ReasoningDelta(details=({"type": "gemini.part", "part": picture},), final=True),
    ]


def test_the_tier_that_was_billed_and_the_names_are_told() -> None:
    usage = {"promptTokenCount": 1, "serviceTier": "flex"}
    body = sse(chunk({"text": "a"}, reason="STOP", usageMetadata=usage, modelVersion="m-1", responseId="r-1"))
    response = ResponseInfo()

    run(ChatDecoder(response, "p"), [body], response)

    assert (response.service_tier, response.model, response.response_id) == ("flex", "m-1", "r-1")


FAILURE = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "failure",
    [
        sse(FAILURE),
        json.dumps(FAILURE, indent=2).encode() + b"\n\n",
        b"data: " + json.dumps(FAILURE).encode() + b"\n\n",
    ],
)
def test_a_failure_comes_after_what_was_said_in_the_same_read(failure: bytes) -> None:
    decoder = ChatDecoder(ResponseInfo(), "p")

    assert decoder.feed(sse(chunk({"text": "Ebro"}, reason="STOP")) + failure) == [TextDelta("Ebro")]
    for call in (lambda: decoder.feed(b""), decoder.close):
        with pytest.raises(OverloadedError) as caught:
            call()
    assert (caught.value.status, caught.value.code, caught.value.type) == (None, 503, "UNAVAILABLE")


def test_a_body_that_ends_in_the_middle_of_an_event_is_truncated_even_after_a_reason() -> None:
    whole = sse(chunk({"text": "Ebro"}, reason="STOP"))

    assert decoded(whole)
    for more in (b"data: {", b'{"error": {', b"da"):
        with pytest.raises(TruncatedStreamError):
            decoded(whole + more)
    with pytest.raises(TruncatedStreamError):
        decoded(sse(chunk({"text": "Ebro"})))


def test_a_failure_with_a_good_status_and_a_document_that_is_no_answer_are_told_apart() -> None:
    for form in (ChatDecoder, WholeDecoder):
        with pytest.raises(OverloadedError):
            decoded(json.dumps(FAILURE).encode(), form)
        with pytest.raises(OverloadedError):
            decoded(json.dumps([chunk({"text": "a"}), FAILURE]).encode(), form)
        with pytest.raises(ProviderProtocolError):
            decoded(b'{"this": 1}', form)


def test_nobody_can_send_calls_without_end() -> None:
    calls = [{"functionCall": {"name": "f", "args": {}}}] * 1100

    with pytest.raises(ProviderProtocolError, match="more than"):
        decoded(sse(chunk(*calls, reason="STOP")))


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (400, "INVALID_ARGUMENT", InvalidRequestError),
        (400, "FAILED_PRECONDITION", InvalidRequestError),
        (401, "UNAUTHENTICATED", ProviderAuthError),
        (404, "NOT_FOUND", ModelNotFoundError),
        (409, "ABORTED", ProviderServerError),
        (429, "RESOURCE_EXHAUSTED", RateLimitedError),
        (500, "INTERNAL", ProviderServerError),
        (503, "UNAVAILABLE", OverloadedError),
        (504, "DEADLINE_EXCEEDED", ProviderTimeoutError),
    ],
)
def test_a_refusal_has_the_class_of_the_table(status: int, word: str, expected: type[PlanarError]) -> None:
    body = json.dumps([{"error": {"code": status, "message": "x", "status": word}}]).encode()

    error = error_from(status, {}, body, now=0.0, provider="p")

    assert type(error) is expected
    assert (error.status, error.type, error.message, error.code) == (status, word, "x", None)


def test_a_prompt_that_does_not_fit_is_told_by_its_message() -> None:
    message = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
    body = json.dumps({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}).encode()

    assert type(error_from(400, {}, body, now=0.0)) is ContextLengthError


def test_a_limit_by_the_day_is_no_rate_limit() -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayPerModel"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"},
    ]
    body = json.dumps({"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED", "details": details}})

    error = error_from(429, {}, body.encode(), now=0.0, provider="p", deployment="p:m")

    assert type(error) is ProviderQuotaError
    assert (error.status, error.retry_after, error.deployment, error.retryable) == (429, 37.0, "p:m", False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"x"', b'{"error": null}', b'{"error": "x"}'])
def test_a_refusal_in_no_form_keeps_its_status(body: bytes) -> None:
    assert type(error_from(503, {}, body, now=0.0)) is OverloadedError


def test_pages_of_models_are_read() -> None:
    page = {
        "models": [
            {"name": "models/gemini-3.5-pro", "inputTokenLimit": 10, "outputTokenLimit": 5},
            {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
            {"x": 1},
        ],
        "nextPageToken": "t",
    }

    models, after = decode_models(json.dumps(page).encode(), provider="p")

    assert ([model.id for model in models], after) == (["gemini-3.5-pro", "embed"], "t")
    assert (models[0].context_window, models[0].max_output_tokens, models[0].capabilities) == (10, 5, None)
    assert models[1].capabilities == {"embeddings"}
    assert decode_models(b"{}", provider="p") == ((), None)


def test_documents_that_are_none_are_refused() -> None:
    vectors = b'{"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 3}}'

    got = decode_embeddings(vectors, provider="p", model="m", count=1)

    assert got.usage is not None
    assert got.usage.input_tokens == 3
    with pytest.raises(ProviderProtocolError):
        decode_embeddings(vectors, provider="p", model="m", count=2)
    with pytest.raises(ProviderProtocolError):
        decode_models(b'{"models": 1}', provider="p")
    with pytest.raises(ProviderProtocolError):
        decode_count(b'{"totalTokens": -1}', provider="p")
    with pytest.raises(OverloadedError):
        decode_count(json.dumps(FAILURE).encode(), provider="p")


NAMES = [
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args", "id"),
    *("partialArgs", "jsonPath", "stringValue", "numberValue", "willContinue", "finishReason", "index", "error"),
    *("usageMetadata", "promptTokenCount", "promptTokensDetails", "modality", "tokenCount", "promptFeedback"),
    *("blockReason", "groundingMetadata", "groundingChunks", "groundingSupports", "groundingChunkIndices", "segment"),
    *("logprobsResult", "chosenCandidates", "topCandidates", "token", "citationMetadata", "citations", "details"),
]
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("$.a[0].b"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
PARTS = st.lists(st.dictionaries(st.sampled_from(NAMES[3:19]), JSONISH, max_size=4), max_size=3)
CHUNKS = st.builds(
    lambda parts, more: {"candidates": [{**more, "content": {"parts": parts}}]},
    PARTS,
    st.dictionaries(st.sampled_from(NAMES), JSONISH, max_size=3),
)
STREAMS = st.lists((CHUNKS | JSONISH).map(lambda item: f"data: {json.dumps(item)}\n\n".encode()), max_size=6)
BODIES = st.binary(max_size=200) | STREAMS.map(b"".join) | (CHUNKS | JSONISH).map(json.dumps).map(str.encode)


@examples(300)
@given(body=BODIES, form=st.sampled_from([ChatDecoder, WholeDecoder]))
def test_whatever_arrives_gives_events_or_our_error(body: bytes, form: Callable[[ResponseInfo, str], Any]) -> None:
    try:
        events = decoded(body, form)
    except PlanarError:
        return
    assert fold(events, ResponseInfo()).finish is not None


@examples(200)
@given(body=BODIES, cuts=st.lists(st.integers(0, 400), max_size=4))
def test_events_do_not_depend_on_where_the_bytes_are_cut(body: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    assert _outcome([body]) == _outcome([body[one:other] for one, other in pairwise(places)])


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
