"""Our decoders of Gemini's wire against what Google's own SDK made of the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from corpus import Exchange, Folded, assert_parts_fit, exchanges, fold, named, run, without_nulls
from planar.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderPermissionError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire._gemini_answer import FINISH_REASONS
from planar.wire.gemini import ChatDecoder, WholeDecoder, decode_count, decode_embeddings, error_from
from shared import shared

FOLDER = "gemini"
# The one exception to agreement with the authority: a body without any terminal, which the SDK reads as an answer.
NO_TERMINAL = "ge.vertex.streaming-failure-invalid-json.c435177e"
# Edited by its publisher so that every chunk has a finish reason: each prefix of it is a whole stream of this wire.
ALWAYS_FINISHED = "ge.vertex.streaming-failure-recitation-no-content.f59ae27f"
# Arguments in pieces: the SDK shows eight fragments, which are two calls.
IN_PIECES = "ge.gemini.google-stream-tool-call-arguments.f130df07"
CHATS = ("generateContent", "streamGenerateContent")
ANSWERS = exchanges(
    FOLDER, lambda case: case.outcome == "ok" and case.endpoint in CHATS and case.path.stem != NO_TERMINAL
)
REFUSALS = exchanges(FOLDER, lambda case: case.outcome == "http_error")
FAILURES = exchanges(FOLDER, lambda case: case.outcome == "stream_error")
COUNTS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint == "countTokens")
VECTORS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint == "embedContent")
BY_STATUS: dict[int, type[PlanarError]] = {
    400: InvalidRequestError,
    403: ProviderPermissionError,
    404: ModelNotFoundError,
    429: RateLimitedError,
    503: OverloadedError,
}


def recorded(name: str) -> Exchange:
    return Exchange(shared("wire") / FOLDER / f"{name}.json")


def decoder_for(case: Exchange, response: ResponseInfo) -> ChatDecoder | WholeDecoder:
    return (ChatDecoder if case.recorded["stream"] else WholeDecoder)(response, case.recorded["upstream"])


def decode(case: Exchange, pieces: Sequence[bytes]) -> Folded:
    response = ResponseInfo()
    return run(decoder_for(case, response), pieces, response)


def without_empty(value: Any) -> Any:
    """Also without what the SDK leaves out of its view."""
    return {key: item for key, item in without_nulls(value).items() if key != "serviceTier"}


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_says_what_the_sdk_says(case: Exchange) -> None:
    want = case.said

    got = decode(case, [case.body])

    assert (got.text, got.reasoning) == (want["text"], want["reasoning"])
    if case.path.stem != IN_PIECES:
        assert len(got.calls) == len(want["tool_calls"])
        for (call_id, name, arguments), call in zip(got.calls, want["tool_calls"], strict=True):
            assert call_id == call["id"] or (call["id"] is None and call_id.startswith("gemini-call-"))
            assert (name, json.loads(arguments)) == (call["name"], call["arguments"])
    assert list(got.signatures) == [signature["sha256_16"] for signature in want["signatures"]]
    assert got.notices.count("item_kept") == len([part for part in want["other_parts"] if part != "<empty>"])
    assert (got.response.response_id, got.response.model) == (want["response_id"], want["model"])
    assert got.finish is not None
    assert got.finish.raw_reason == want["finish_reason"]


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_the_neutral_reason_follows_the_table(case: Exchange) -> None:
    want = case.said

    finish = decode(case, [case.body]).finish

    assert finish is not None
    expected = FINISH_REASONS.get(want["finish_reason"] or "", "other")
    if want["block_reason"] and want["finish_reason"] is None:
        expected = "content_filter"
    if want["finish_reason"] == "STOP" and want["tool_calls"]:
        expected = "tool_calls"
    assert finish.reason == expected


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_usage_is_what_the_sdk_says_with_thoughts_added_to_the_output(case: Exchange) -> None:
    want = case.said["usage"]

    usage = decode(case, [case.body]).usage

    assert (usage is None) == (want is None)
    if usage is None or usage.raw is None:
        return
    assert without_empty(dict(usage.raw)) == without_empty(want)
    said, thoughts = want.get("candidatesTokenCount"), want.get("thoughtsTokenCount")
    assert (usage.output_tokens or 0) == (said or 0) + (thoughts or 0)
    assert (usage.input_tokens or 0) == (want.get("promptTokenCount") or 0) + (want.get("toolUsePromptTokenCount") or 0)
    assert usage.reasoning_tokens == thoughts
    assert usage.cached_input_tokens == want.get("cachedContentTokenCount")
    assert_parts_fit(usage)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_does_not_depend_on_where_it_is_cut(case: Exchange) -> None:
    body = case.body
    whole = decode(case, [body])

    byte_by_byte = decode(case, [body[place : place + 1] for place in range(len(body))])

    assert byte_by_byte == whole
    for cut in case.cuts(200):
        assert decode(case, [body[:cut], body[cut:]]) == whole


@pytest.mark.parametrize("case", [case for case in ANSWERS if case.path.stem != ALWAYS_FINISHED], ids=named)
def test_a_truncated_answer_is_the_whole_one_or_an_error(case: Exchange) -> None:
    whole = decode(case, [case.body])

    for cut in case.truncations():
        try:
            got = decode(case, [case.body[:cut]])
        except TruncatedStreamError:
            continue
        assert got == whole, f"cut at {cut} of {len(case.body)}"


def test_a_stream_that_ends_without_a_reason_is_truncated_although_the_sdk_calls_it_whole() -> None:
    case = recorded(NO_TERMINAL)

    with pytest.raises(TruncatedStreamError):
        decode(case, [case.body])


def test_arguments_in_pieces_become_two_whole_calls() -> None:
    got = decode(recorded(IN_PIECES), [recorded(IN_PIECES).body])

    assert [(name, json.loads(arguments)) for _, name, arguments in got.calls] == [
        ("getWeather", {"location": "Boston"}),
        ("getWeather", {"location": "San Francisco"}),
    ]
    assert len({call_id for call_id, _, _ in got.calls}) == 2
    assert got.finish is not None
    assert got.finish.reason == "tool_calls"


@pytest.mark.parametrize("case", REFUSALS, ids=named)
def test_a_refusal_carries_the_words_of_the_sdk_in_our_class(case: Exchange) -> None:
    want = case.expected["error"]

    error = error_from(case.status, case.headers, case.body, now=0.0, provider="p", deployment="p:m")

    bad_key = "API key not valid" in want["message"]
    assert type(error) is (ProviderAuthError if bad_key else BY_STATUS[case.status])
    assert (error.status, error.type, error.message) == (want["status"], want["type"], want["message"])
    # What the SDK leaves unread in the details is our code.
    assert error.code is None or f'"{error.code}"' in case.body.decode()
    assert error.code == "API_KEY_INVALID" or not bad_key


def test_the_delay_in_a_refusal_is_the_hint_to_wait() -> None:
    case = recorded("ge.gemini.google-429-retry-info.3b83c588")

    error = error_from(case.status, case.headers, case.body, now=0.0)

    assert type(error) is RateLimitedError
    assert error.retry_after == 34.4


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failure_in_the_stream_is_raised_after_what_came_before_it(case: Exchange) -> None:
    want, response = case.expected["error"], ResponseInfo()
    decoder = decoder_for(case, response)
    events: list[Event] = []

    with pytest.raises(ProviderConnectionError) as caught:
        events.extend(decoder.feed(case.body))
        decoder.close()

    assert (caught.value.status, caught.value.code) == (None, want["status"])
    assert (caught.value.type, caught.value.message) == (want["type"], want["message"])
    assert fold(events, response).text == case.said["text"]


@pytest.mark.parametrize("case", COUNTS, ids=named)
def test_a_count_of_tokens_is_the_one_of_the_sdk(case: Exchange) -> None:
    assert decode_count(case.body, provider="p") == case.said["total_tokens"]


@pytest.mark.parametrize("case", VECTORS, ids=named)
def test_vectors_are_those_of_the_sdk(case: Exchange) -> None:
    got = decode_embeddings(case.body, provider="p", model="m", count=case.said["count"])

    assert [len(vector) for vector in got.vectors] == case.said["dimensions"]
    assert [round(number, 6) for number in got.vectors[0][:3]] == case.said["first_values"]


@pytest.mark.parametrize(
    "name",
    [
        "ge.gemini.nested-model-optional.1c4cc6e0",
        "ge.gemini.prompt-with-pydantic-schema.4e82888a",
        "ge.gemini.tools-with-nested-pydantic-models.15335f58",
        "ge.gemini.tools.6d7a19ad",
    ],
)
def test_a_stream_without_sse_is_a_list_that_we_read_although_the_sdk_cannot(name: str) -> None:
    # Asked for without `alt=sse`, so that the body is one JSON list: the SDK reads only event streams.
    case = recorded(name)

    got = decode(case, [case.body])
    streamed = run(ChatDecoder(response := ResponseInfo(), "p"), [case.body], response)

    assert case.expected["authority"] is None
    assert got.finish is not None
    assert got.finish.raw_reason == "STOP"
    assert got.text or got.calls
    assert (streamed.text, streamed.finish) == (got.text, got.finish)


def test_a_signature_that_is_no_base64_is_carried_as_it_came_although_the_sdk_refuses_it() -> None:
    case = recorded("ge.gemini.stream-with-tools-1.99777362")

    got = decode(case, [case.body])

    assert case.expected["authority"] is None
    assert got.signatures
    assert got.finish is not None


@pytest.mark.parametrize(
    "name",
    [
        "ge.gemini.ls-text-embedding-004-embedcontent-post-ec826ebf.41b4b263",
        "ge.vertex.google-task-prefix-vertex.8da7701b",
    ],
)
def test_a_single_vector_is_read_although_the_sdk_asks_only_for_batches(name: str) -> None:
    case = recorded(name)

    got = decode_embeddings(case.body, provider="p", model="m", count=1)

    assert case.expected["authority"] is None
    assert len(got.vectors[0]) >= 768
