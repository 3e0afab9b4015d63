"""Our decoders against what the vendor's own SDK made of the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from openai_corpus import Exchange, decode, exchanges

from corpus import Folded, fold
from planar.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    PlanarError,
    ProviderAuthError,
    ProviderPermissionError,
    ProviderServerError,
    RateLimitedError,
    TruncatedStreamError,
    UnsupportedError,
)
from planar.events import Event
from planar.types import ResponseInfo, Usage
from planar.wire.openai_chat import decode_embeddings, decode_models, error_from

ANSWERS = exchanges(lambda case: case.expected["outcome"] == "ok" and case.recorded["endpoint"] == "chat")
REFUSALS = exchanges(lambda case: case.expected["outcome"] == "http_error")
FAILURES = exchanges(lambda case: case.expected["outcome"] == "stream_error")
VECTORS = exchanges(lambda case: case.expected["outcome"] == "ok" and case.recorded["endpoint"] == "embeddings")
LISTS = exchanges(lambda case: case.expected["outcome"] == "ok" and case.recorded["endpoint"] == "models")

# PROVIDERS section 9, for the refusals that were recorded.
BY_STATUS: dict[int, type[PlanarError]] = {
    400: InvalidRequestError,
    401: ProviderAuthError,
    403: ProviderPermissionError,
    404: ModelNotFoundError,
    413: ContextLengthError,
    429: RateLimitedError,
    500: ProviderServerError,
    501: UnsupportedError,
}
TOO_LONG = {
    "co.llamacpp.context-overflow-blocking.dba93145",
    "co.ollama.oss-120b-handles-context-length-exceeded-errors.259c86dc",
    "co.perplexity.ity-sonar-handles-context-length-exceeded-errors.59610a46",
}


def named(case: Exchange) -> str:
    return case.path.stem


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def assert_says_what_the_sdk_says(case: Exchange, got: Folded) -> None:
    want = case.said
    assert got.text == want["text"]
    assert got.reasoning == want["reasoning"]
    assert got.refusal == want["refusal"]
    assert [call[1:] for call in got.calls] == _named_and_argued(want)
    for call, expected in zip(got.calls, want["tool_calls"], strict=False):
        assert call[0] == expected["id"] or not expected["id"]
    assert got.finish is not None
    assert got.finish.raw_reason == want["finish_reason"]
    assert (got.response.response_id or "") == (want["response_id"] or "")
    assert (got.response.model or "") == (want["model"] or "")
    _assert_usage(got.usage, want["usage"] or want.get("usage_x_groq"))


def _named_and_argued(want: dict[str, Any]) -> list[tuple[str, str]]:
    custom = [call["raw"]["custom"] for call in want["tool_calls"] if "raw" in call]
    calls = [(call["name"], call["arguments_raw"] or "") for call in want["tool_calls"] if "raw" not in call]
    calls.extend((tool["name"], tool["input"]) for tool in custom)
    legacy = want.get("function_call")
    return [(legacy["name"], legacy["arguments"])] if legacy and legacy["name"] else calls


def _assert_usage(usage: Usage | None, want: dict[str, Any] | None) -> None:
    if want is None:
        assert usage is None
        return
    assert usage is not None
    assert usage.raw is not None
    assert without_nulls(dict(usage.raw)) == without_nulls(want)
    assert usage.input_tokens == want["prompt_tokens"]
    for part, total in (
        (usage.cached_input_tokens, usage.input_tokens),
        (usage.cache_write_tokens, usage.input_tokens),
        (usage.reasoning_tokens, usage.output_tokens),
    ):
        assert part is None or total is None or 0 <= part <= total


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_says_what_the_sdk_says(case: Exchange) -> None:
    got = decode(case, [case.body])

    assert_says_what_the_sdk_says(case, got)


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
    body = case.body
    whole = decode(case, [body])
    cuts = list(range(len(body))) if len(body) <= 4096 else case.cuts(200)

    for cut in cuts:
        try:
            got = decode(case, [body[:cut]])
        except TruncatedStreamError:
            continue
        assert got == whole, f"cut at {cut} of {len(body)}"


@pytest.mark.parametrize("case", REFUSALS, ids=named)
def test_a_refusal_carries_the_words_of_the_sdk_in_our_class(case: Exchange) -> None:
    want = case.expected["error"]

    error = error_from(case.status, case.headers, case.body, now=0.0, provider="p", deployment="p:m")

    assert type(error) is (ContextLengthError if named(case) in TOO_LONG else BY_STATUS[case.status])
    assert (error.status, error.type, error.code, error.param) == (
        want["status"],
        want["type"],
        want["code"],
        want["param"],
    )
    assert error.message == want["message"]
    assert error.request_id == want["request_id"] or want["request_id"] is None
    assert error.retry_after == (float(want["retry_after"]) if want["retry_after"] else None)


@pytest.mark.parametrize("case", REFUSALS, ids=named)
def test_a_refusal_whose_body_is_cut_keeps_its_status(case: Exchange) -> None:
    for cut in case.cuts(50):
        error = error_from(case.status, case.headers, case.body[:cut], now=0.0)

        assert error.status == case.status


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failure_in_the_stream_is_raised_after_what_came_before_it(case: Exchange) -> None:
    want, response = case.expected["error"], ResponseInfo()
    decoder = case.decoder(response)

    events: list[Event] = list(decoder.feed(case.body))
    with pytest.raises(InvalidRequestError) as caught:
        decoder.feed(b"")

    assert caught.value.status is None
    assert (caught.value.type, caught.value.code, caught.value.message) == (
        want["type"],
        want["code"],
        want["message"],
    )
    assert fold(events, response).reasoning == case.said["reasoning"]
    assert fold(events, response).text == case.said["text"]


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failing_stream_never_ends_well_wherever_it_is_truncated(case: Exchange) -> None:
    body = case.body
    end = body.rindex(b"}")

    for cut in [cut for cut in case.cuts(200) if cut < end]:
        with pytest.raises((TruncatedStreamError, InvalidRequestError)):
            decode(case, [body[:cut]])


@pytest.mark.parametrize("case", VECTORS, ids=named)
def test_vectors_are_those_of_the_sdk(case: Exchange) -> None:
    want = case.said

    got = decode_embeddings(case.body, provider="p", model="m")

    assert (len(got.vectors), got.model) == (want["count"], want["model"])
    assert sorted({len(vector) for vector in got.vectors}) == want["dimensions"]
    assert list(got.vectors[0][:3]) == pytest.approx(want["first_values"], abs=1e-6, rel=1e-6)
    assert got.usage is not None
    assert got.usage.input_tokens == want["usage"]["prompt_tokens"]


@pytest.mark.parametrize("case", LISTS, ids=named)
def test_models_are_those_of_the_sdk_in_its_order(case: Exchange) -> None:
    want = case.said

    got = decode_models(case.body, provider="p")

    assert len(got) == want["count"]
    assert [model.id for model in got][: len(want["ids_head"])] == want["ids_head"]


@pytest.mark.parametrize("case", VECTORS + LISTS, ids=named)
def test_a_truncated_document_is_the_whole_one_or_an_error(case: Exchange) -> None:
    whole = case.body.rstrip()

    for cut in [cut for cut in case.cuts(20) if cut < len(whole)]:
        with pytest.raises(TruncatedStreamError):
            if case in VECTORS:
                decode_embeddings(whole[:cut], provider="p", model="m")
            else:
                decode_models(whole[:cut], provider="p")
