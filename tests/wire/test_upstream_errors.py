"""Refusals of every shape become one of our errors, keep their status, and never show a key."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.errors import (
    ContentFilteredError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderPermissionError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    UnsupportedError,
)
from planar.types import Secret
from planar.wire._errors import MAX_BODY, Words, class_of, error_of, rate_limits, request_id, retry_after, words_of
from planar.wire.openai_chat import error_from


def refused(status: int, body: bytes = b"", **headers: str) -> Any:
    return error_from(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, now=1000.0)


@pytest.mark.parametrize(
    ("status", "words", "error"),
    [
        (400, Words(), InvalidRequestError),
        (400, Words(code="context_length_exceeded"), ContextLengthError),
        (400, Words(type="invalid_request_error", message="prompt is too long: 9 > 8"), ContextLengthError),
        (400, Words(message="This model's maximum context length is 8192 tokens"), ContextLengthError),
        (400, Words(message="The input token count (9) exceeds the maximum"), ContextLengthError),
        (400, Words(code="content_filter"), ContentFilteredError),
        (400, Words(code="content_policy_violation"), ContentFilteredError),
        (400, Words(type="INVALID_ARGUMENT", code="API_KEY_INVALID"), ProviderAuthError),
        (401, Words(), ProviderAuthError),
        (402, Words(), ProviderQuotaError),
        (403, Words(), ProviderPermissionError),
        (404, Words(), ModelNotFoundError),
        (405, Words(), InvalidRequestError),
        (408, Words(), ProviderTimeoutError),
        (409, Words(type="conflict_error"), ProviderServerError),
        (413, Words(code="rate_limit_exceeded"), ContextLengthError),
        (422, Words(), InvalidRequestError),
        (429, Words(), RateLimitedError),
        (429, Words(code="rate_limit_exceeded"), RateLimitedError),
        (429, Words(type="insufficient_quota"), ProviderQuotaError),
        (429, Words(code="credit_balance_exhausted"), ProviderQuotaError),
        (429, Words(code="enforced_spend_limit_reached", type="rate_limit_error"), ProviderQuotaError),
        (500, Words(), ProviderServerError),
        (500, Words(message="maximum context length"), ProviderServerError),
        (501, Words(), UnsupportedError),
        (502, Words(), ProviderServerError),
        (503, Words(), OverloadedError),
        (504, Words(), ProviderTimeoutError),
        (520, Words(), ProviderServerError),
        (529, Words(type="overloaded_error"), OverloadedError),
        (302, Words(), ProviderProtocolError),
        (None, Words(), ProviderServerError),
        (None, Words(type="overloaded_error"), OverloadedError),
        (None, Words(type="rate_limit_error"), RateLimitedError),
        (None, Words(type="invalid_request_error"), InvalidRequestError),
        (None, Words(code=429), RateLimitedError),
        (None, Words(code=7), ProviderServerError),
    ],
)
def test_words_and_status_have_one_class(status: int | None, words: Words, error: type[PlanarError]) -> None:
    assert class_of(status, words) is error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "m"}}', "m"),
        (b'{"error": "text"}', "Error code: 418"),
        (b'{"message": "m", "type": "t"}', "m"),
        (b'{"detail": "m"}', "Error code: 418"),
        (b'{"detail": [{"loc": ["body", "x"], "msg": "needed"}, {"msg": "odd"}]}', "body.x: needed; odd"),
        (b'[{"error": {"message": "m"}}]', "m"),
        (b'"m"', "m"),
        (b"<html><body>  Bad\n gateway</body></html>", "HTTP 418: <html><body> Bad gateway</body></html>"),
        (b"", "HTTP 418, without a word"),
        (b"{}", "HTTP 418: {}"),
        (b"\xff\xfe", "HTTP 418: \ufffd\ufffd"),
        (b"[" * 5_000, "HTTP 418: " + "[" * 200),
        (b"null", "HTTP 418: null"),
    ],
)
def test_a_body_of_any_shape_keeps_the_status(body: bytes, message: str) -> None:
    error = refused(418, body)

    assert error.status == 418
    assert error.message == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "0", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:17:10 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_the_hint_to_wait_is_understood_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1000.0) == pytest.approx(seconds)


@given(value=st.text(max_size=30))
def test_any_hint_is_a_number_of_seconds_or_nothing(value: str) -> None:
    seconds = retry_after({"retry-after": value}, now=0.0)

    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("status", "word", "retryable"),
    [(429, "false", False), (500, "false", False), (400, "true", True), (402, "true", False), (503, "maybe", True)],
)
def test_the_vendor_says_whether_to_retry_unless_it_is_about_money(status: int, word: str, retryable: bool) -> None:
    error = refused(status, x_should_retry=word)

    assert error.retryable is retryable
    assert pickle.loads(pickle.dumps(error)).retryable is retryable
    assert copy.copy(error).retryable is retryable


def test_the_ids_and_limits_of_every_vendor_are_found() -> None:
    headers = {
        "apim-request-id": "azure",
        "x-ratelimit-remaining-tokens": "5",
        "anthropic-ratelimit-requests-limit": "9",
        "x-ratelimit-reset": "1",
    }

    assert request_id(headers) == "azure"
    assert request_id({"x-request-id": "o", **headers}) == "o"
    assert request_id({}) is None
    assert rate_limits(headers) == {name: value for name, value in headers.items() if "ratelimit" in name}


def test_no_key_survives_in_message_or_body() -> None:
    own = Secret("hunter2hunter2")
    body = (
        b'{"error": {"message": "bad key hunter2hunter2 sk-proj-abcdefghijklmnopqrstuvwx AIzaSyabcdefghijklmnopqrstu'
        b' Bearer abcdefghijklmnopqrstuvwxyz"}}'
    )

    error = error_from(401, {}, body, now=0.0, secrets=[own])

    for text in (error.message, error.body or ""):
        for key in ("hunter2", "abcdefghijklmnop"):
            assert key not in text


def test_a_large_body_is_kept_in_part() -> None:
    error = refused(500, b"x" * 100_000)

    assert error.body is not None
    assert len(error.body) == MAX_BODY


def test_a_prompt_that_is_too_long_says_by_how_much_where_it_is_told() -> None:
    body = b'{"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}'

    error = refused(400, body)

    assert (error.tokens, error.limit) == (9, 8)


def test_the_bodys_own_hint_wins() -> None:
    error = error_of(Words(retry_after=37.0), status=429, headers={"retry-after": "1"}, body=b"", now=0.0)

    assert error.retry_after == 37.0


@given(body=st.binary(max_size=80), status=st.integers(300, 599))
def test_any_refusal_is_one_of_our_errors(body: bytes, status: int) -> None:
    error = refused(status, body)

    assert isinstance(error, PlanarError)
    assert error.status == status
    assert words_of(body, status=status) is not None
