"""Our decoders of the Responses wire against what OpenAI's own SDK made of the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from corpus import Exchange, Folded, assert_parts_fit, exchanges, fold, named, run, without_nulls
from planar.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderQuotaError,
    TruncatedStreamError,
)
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire.openai_responses import ChatDecoder, WholeDecoder, error_from

FOLDER = "openai.responses"
ANSWERS = exchanges(FOLDER, lambda case: case.outcome == "ok")
REFUSALS = exchanges(FOLDER, lambda case: case.outcome == "http_error")
FAILURES = exchanges(FOLDER, lambda case: case.outcome == "stream_error")
NEUTRAL = {"completed": "stop", "incomplete": "length", "queued": "other"}
FAILED: dict[str, type[PlanarError]] = {
    "server_is_overloaded": OverloadedError,
    "insufficient_quota": ProviderQuotaError,
}


def decoder_for(case: Exchange, response: ResponseInfo) -> ChatDecoder | WholeDecoder:
    return (ChatDecoder if case.recorded["stream"] else WholeDecoder)(response, case.recorded["upstream"])


def decode(case: Exchange, pieces: Sequence[bytes]) -> Folded:
    response = ResponseInfo()
    return run(decoder_for(case, response), pieces, response)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_says_what_the_sdk_says(case: Exchange) -> None:
    want = case.said

    got = decode(case, [case.body])

    assert (got.text, got.reasoning, got.refusal) == (want["text"], want["reasoning"], want["refusal"])
    assert list(got.calls) == [(call["id"], call["name"], call["arguments_raw"]) for call in want["tool_calls"]]
    assert list(got.signatures) == [signature["sha256_16"] for signature in want["signatures"]]
    assert len(got.notices) == len(want["other_output_items"])
    assert (got.response.response_id, got.response.model) == (want["response_id"], want["model"])
    assert got.finish is not None
    assert got.finish.raw_reason == want["finish_reason"]
    expected = "tool_calls" if want["tool_calls"] else "refusal" if want["refusal"] else "stop"
    assert got.finish.reason == (expected if want["finish_reason"] == "completed" else NEUTRAL[want["finish_reason"]])
    assert (got.usage is None) == (want["usage"] is None)
    if got.usage is not None and got.usage.raw is not None:
        assert without_nulls(dict(got.usage.raw)) == without_nulls(want["usage"])
        assert got.usage.input_tokens == want["usage"]["input_tokens"]
        assert_parts_fit(got.usage)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_does_not_depend_on_where_it_is_cut(case: Exchange) -> None:
    body = case.body
    whole = decode(case, [body])

    byte_by_byte = decode(case, [body[place : place + 1] for place in range(len(body))])

    assert byte_by_byte == whole
    for cut in case.cuts(200):
        assert decode(case, [body[:cut], body[cut:]]) == whole


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_a_truncated_answer_is_the_whole_one_or_an_error(case: Exchange) -> None:
    whole = decode(case, [case.body])

    for cut in case.truncations():
        try:
            got = decode(case, [case.body[:cut]])
        except TruncatedStreamError:
            continue
        assert got == whole, f"cut at {cut} of {len(case.body)}"


@pytest.mark.parametrize("case", REFUSALS, ids=named)
def test_a_refusal_carries_the_words_of_the_sdk_in_our_class(case: Exchange) -> None:
    want = case.expected["error"]

    error = error_from(case.status, case.headers, case.body, now=0.0, provider="p", deployment="p:m")

    named_model = want["code"] == "model_not_found"
    classes = {400: ModelNotFoundError if named_model else InvalidRequestError, 401: ProviderAuthError}
    assert type(error) is classes[case.status]
    assert (error.status, error.type, error.code, error.param, error.message) == (
        want["status"],
        want["type"],
        want["code"],
        want["param"],
        want["message"],
    )
    assert error.request_id == want["request_id"] or want["request_id"] is None


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failure_in_the_stream_is_raised_after_what_came_before_it(case: Exchange) -> None:
    want, response = case.expected["error"], ResponseInfo()
    decoder = decoder_for(case, response)
    events: list[Event] = []

    with pytest.raises(FAILED[want["code"]]) as caught:
        events.extend(decoder.feed(case.body))

    assert (caught.value.status, caught.value.type, caught.value.code, caught.value.message) == (
        None,
        want["type"],
        want["code"],
        want["message"],
    )
    assert fold(events, response).text == case.said["text"]
    assert response.response_id == case.said["response_id"]


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failing_stream_never_ends_well_wherever_it_is_truncated(case: Exchange) -> None:
    for cut in case.cuts(200):
        with pytest.raises((TruncatedStreamError, OverloadedError, ProviderQuotaError)):
            decode(case, [case.body[:cut]])
