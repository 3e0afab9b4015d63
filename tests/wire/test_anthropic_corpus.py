"""Our decoders of Anthropic's Messages against what Anthropic's own SDK made of the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from pydantic_core import from_json

from corpus import Exchange, Folded, assert_parts_fit, exchanges, fold, named, run, without_nulls
from planar.errors import (
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    RateLimitedError,
    TruncatedStreamError,
)
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire.anthropic_messages import ChatDecoder, WholeDecoder, decode_count, decode_models, error_from
from shared import shared

FOLDER = "anthropic.messages"
ANSWERS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint == "messages")
REFUSALS = exchanges(FOLDER, lambda case: case.outcome == "http_error")
FAILURES = exchanges(FOLDER, lambda case: case.outcome == "stream_error")
COUNTS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint == "count_tokens")
LISTS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint == "models")
NEUTRAL = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "refusal",
}
BY_STATUS: dict[int, type[PlanarError]] = {
    401: ProviderAuthError,
    404: ModelNotFoundError,
    429: RateLimitedError,
    529: OverloadedError,
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

    assert (got.text, got.reasoning, got.refusal) == (want["text"], want["reasoning"], "")
    assert [call[:2] for call in got.calls] == [(call["id"], call["name"]) for call in want["tool_calls"]]
    for (_, _, arguments), call in zip(got.calls, want["tool_calls"], strict=True):
        assert from_json(arguments or "{}", allow_partial=True) == call["arguments"]
    kept = [kind for kind in want["other_blocks"] if kind != "redacted_thinking"]
    assert got.notices.count("item_kept") == len(kept)
    hidden = len(want["other_blocks"]) - len(kept)
    assert len(got.signatures) == len(want["signatures"]) + hidden
    assert set(got.signatures) >= {signature["sha256_16"] for signature in want["signatures"]}
    assert len(got.urls) == want["citations"]
    assert (got.response.response_id, got.response.model) == (want["response_id"], want["model"])
    assert got.finish is not None
    assert (got.finish.raw_reason, got.finish.reason) == (want["finish_reason"], NEUTRAL[want["finish_reason"]])


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_usage_is_what_the_sdk_says_with_the_cache_added_to_the_input(case: Exchange) -> None:
    want = without_nulls(case.said["usage"])

    usage = decode(case, [case.body]).usage

    assert usage is not None
    assert usage.raw is not None
    assert without_nulls(dict(usage.raw)) == want
    read, written = want.get("cache_read_input_tokens"), want.get("cache_creation_input_tokens")
    assert usage.input_tokens == want["input_tokens"] + (read or 0) + (written or 0)
    assert (usage.cached_input_tokens, usage.cache_write_tokens) == (read, written)
    assert usage.output_tokens == want["output_tokens"]
    assert_parts_fit(usage)


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

    assert type(error) is BY_STATUS[case.status]
    assert (error.status, error.type, error.code, error.message) == (
        want["status"],
        want["type"],
        want["code"],
        want["message"],
    )
    assert error.request_id == (want["request_id"] or json.loads(case.body).get("request_id"))


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failure_in_the_stream_is_raised_after_what_came_before_it(case: Exchange) -> None:
    want, response = case.expected["error"], ResponseInfo()
    decoder = decoder_for(case, response)
    events: list[Event] = []

    with pytest.raises(OverloadedError) as caught:
        events.extend(decoder.feed(case.body))
        decoder.feed(b"")

    assert (caught.value.status, caught.value.type, caught.value.message) == (None, want["type"], want["message"])
    assert fold(events, response).text == case.said["text"]
    assert response.response_id == case.said["response_id"]
    for cut in case.truncations():
        with pytest.raises((TruncatedStreamError, OverloadedError)):
            decode(case, [case.body[:cut]])


@pytest.mark.parametrize("case", COUNTS, ids=named)
def test_a_count_of_tokens_is_the_one_of_the_sdk(case: Exchange) -> None:
    assert decode_count(case.body, provider="p") == case.said["input_tokens"]


@pytest.mark.parametrize("case", LISTS, ids=named)
def test_the_list_of_models_is_the_one_of_the_sdk(case: Exchange) -> None:
    models, after = decode_models(case.body, provider="p")

    assert len(models) == case.said["count"]
    assert [model.id for model in models[:5]] == case.said["ids_head"]
    assert after is None
    assert models[0].context_window == 1_000_000
    assert models[0].max_output_tokens == 128_000
    assert models[0].capabilities is not None
    assert {"json_schema", "reasoning", "image", "file", "tools"} <= models[0].capabilities


def test_a_gateway_that_ends_with_a_foreign_terminal_is_read_although_the_sdk_cannot() -> None:
    # The SDK tries to read its last event, `[DONE]`, as JSON and fails; all that was said came before it.
    path = shared("wire") / FOLDER / "an.anthropic.gateway-message-delta-metadata.73f95bf4.json"
    case = Exchange(path)

    got = decode(case, [case.body])

    assert case.expected["authority"] is None
    assert got.text.startswith("A solar eclipse occurs when the Moon passes")
    assert got.finish is not None
    assert (got.finish.reason, got.finish.raw_reason) == ("length", "max_tokens")
    assert got.usage is not None
    assert (got.usage.input_tokens, got.usage.output_tokens) == (32, 16)
