"""One table for every vendor's refusals: from its words to our classes.

A wire reads its own body into `Words` and hands them to `error_of`; what the words mean is decided here alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, cast

from planar.errors import (
    ContentFilteredError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderError,
    ProviderPermissionError,
    ProviderProtocolError,
    ProviderQuotaError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    RequestError,
    UnsupportedError,
)
from planar.types import Secret
from planar.wire._json import loads

Upstream: TypeAlias = ProviderError | RequestError
MAX_BODY = 4096
"""How much of a refusal's body an error keeps, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a refusal says, in the vendor's own words. Absent ones are `None`.

    Attributes:
        code: The most precise word, such as OpenAI's `code` or Anthropic's `details.error_code`.
        retry_after: Seconds, where the body (not the headers) carries the hint.
        tokens, limit: For a prompt that is too long: how many it has, and how many fit.
    """

    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    retry_after: float | None = None
    tokens: int | None = None
    limit: int | None = None


# Words that decide alone, whatever the status: PROVIDERS section 9 and the words seen in recorded bodies.
_BY_WORD: Mapping[str, type[Upstream]] = {
    "insufficient_quota": ProviderQuotaError,
    "credit_balance_exhausted": ProviderQuotaError,
    "organization_spend_limit_exceeded": ProviderQuotaError,
    "project_spend_limit_exceeded": ProviderQuotaError,
    "organization_usage_limit_exceeded": ProviderQuotaError,
    "enforced_spend_limit_reached": ProviderQuotaError,
    "contract_spend_limit_reached": ProviderQuotaError,
    "billing_error": ProviderQuotaError,
    "billing_not_active": ProviderQuotaError,
    "billing_hard_limit_reached": ProviderQuotaError,
    "context_length_exceeded": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,
    "too_many_prompt_tokens": ContextLengthError,
    "request_too_large": ContextLengthError,
    "model_context_window_exceeded": ContextLengthError,
    "content_filter": ContentFilteredError,
    "content_policy_violation": ContentFilteredError,
    "responsibleaipolicyviolation": ContentFilteredError,
    "model_not_found": ModelNotFoundError,
    "invalid_api_key": ProviderAuthError,
    "api_key_invalid": ProviderAuthError,
    "overloaded_error": OverloadedError,
    "server_is_overloaded": OverloadedError,
    "service_unavailable_error": OverloadedError,
    "not_supported_error": UnsupportedError,
}

# Words that decide where no status does: an error in the middle of a stream.
_WITHOUT_STATUS: Mapping[str, type[Upstream]] = {
    "rate_limit_exceeded": RateLimitedError,
    "rate_limit_error": RateLimitedError,
    "slow_down": RateLimitedError,
    "resource_exhausted": RateLimitedError,
    "authentication_error": ProviderAuthError,
    "unauthenticated": ProviderAuthError,
    "permission_error": ProviderPermissionError,
    "permission_denied": ProviderPermissionError,
    "not_found_error": ModelNotFoundError,
    "not_found": ModelNotFoundError,
    "invalid_request_error": InvalidRequestError,
    "invalid_prompt": InvalidRequestError,
    "invalid_argument": InvalidRequestError,
    "failed_precondition": InvalidRequestError,
    "bio_policy": ContentFilteredError,
    "data_residency_mismatch": InvalidRequestError,
    "invalid_image": InvalidRequestError,
    "invalid_image_format": InvalidRequestError,
    "invalid_base64_image": InvalidRequestError,
    "invalid_image_url": InvalidRequestError,
    "invalid_image_mode": InvalidRequestError,
    "image_too_large": InvalidRequestError,
    "image_too_small": InvalidRequestError,
    "image_parse_error": InvalidRequestError,
    "image_file_too_large": InvalidRequestError,
    "image_file_not_found": InvalidRequestError,
    "unsupported_image_media_type": InvalidRequestError,
    "empty_image_file": InvalidRequestError,
    "failed_to_download_image": InvalidRequestError,
    "vector_store_timeout": ProviderTimeoutError,
    "misalignment_policy_violation": ContentFilteredError,
    "image_content_policy_violation": ContentFilteredError,
    "unavailable": OverloadedError,
    "timeout_error": ProviderTimeoutError,
    "deadline_exceeded": ProviderTimeoutError,
}

_BY_STATUS: Mapping[int, type[Upstream]] = {
    400: InvalidRequestError,
    401: ProviderAuthError,
    402: ProviderQuotaError,
    403: ProviderPermissionError,
    404: ModelNotFoundError,
    408: ProviderTimeoutError,
    409: ProviderServerError,
    413: ContextLengthError,
    422: InvalidRequestError,
    429: RateLimitedError,
    499: ProviderConnectionError,
    501: UnsupportedError,
    503: OverloadedError,
    504: ProviderTimeoutError,
    529: OverloadedError,
}

# The only place where text decides: vendors that have no word of their own for a prompt that is too long.
_TOO_LONG = re.compile(
    r"prompt is too long|prompt too long|maximum context length|exceed\w* (?:the )?(?:available |max(?:imum)? )?context"
    r"|input token count|context window|too many (?:input |prompt )?tokens",
    re.IGNORECASE,
)
_KEYS = re.compile(
    r"\b(?:sk|gsk|xai|pplx|hf|fw|nvapi|r8|tgp|csk)[-_][A-Za-z0-9_\-]{16,}|\bAIza[A-Za-z0-9_\-]{16,}"
    r"|\beyJ[A-Za-z0-9_\-]{16,}(?:\.[A-Za-z0-9_\-]+)*|(?<=[Bb]earer )[A-Za-z0-9_\-.~+/=]{16,}"
)
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id", "x-generation-id")


def class_of(status: int | None, words: Words) -> type[Upstream]:
    """Which of our errors a refusal is. `status` is `None` inside a stream that began well."""
    named = [str(word).lower() for word in (words.code, words.type) if word is not None]
    for word in named:
        if word in _BY_WORD:
            return _BY_WORD[word]
    if status is None:
        if isinstance(words.code, int) and 400 <= words.code <= 599:
            return class_of(words.code, Words(message=words.message, type=words.type))
        for word in named:
            if word in _WITHOUT_STATUS:
                return _told_apart(_WITHOUT_STATUS[word], words)
        return ProviderServerError
    if status < 400:
        return ProviderProtocolError
    return _told_apart(_BY_STATUS.get(status, ProviderServerError if status >= 500 else InvalidRequestError), words)


def _told_apart(found: type[Upstream], words: Words) -> type[Upstream]:
    too_long = found is InvalidRequestError and _TOO_LONG.search(words.message or "")
    return ContextLengthError if too_long else found


def error_of(
    words: Words,
    *,
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    provider: str | None = None,
    deployment: str | None = None,
    secrets: Iterable[Secret] = (),
) -> Upstream:
    """The error to raise for a refusal.

    Args:
        words: What the body says.
        status: HTTP status; `None` for an error inside a stream.
        headers: Names in lower case.
        body: As it came; at most `MAX_BODY` bytes of it are kept.
        now: Seconds since the epoch, for a `retry-after` that is a date.
        secrets: Keys that must not survive in message or body, whatever they look like.
    """
    cls = class_of(status, words)
    hidden = tuple(secret.reveal() for secret in secrets)
    details: dict[str, Any] = {
        "provider": provider,
        "deployment": deployment,
        "status": status,
        "type": words.type,
        "code": words.code,
        "param": words.param,
        "request_id": request_id(headers),
        "retry_after": retry_after(headers, now=now) if words.retry_after is None else words.retry_after,
        "body": redacted(body[: 2 * MAX_BODY].decode(errors="replace"), hidden)[:MAX_BODY] or None,
    }
    if cls is ProviderTimeoutError:
        details["phase"] = "first_token"
    elif cls is ContextLengthError:
        details |= {"tokens": words.tokens, "limit": words.limit}
    error = cls(redacted(words.message or _plain_message(status, body), hidden), **details)
    _obey_should_retry(error, headers)
    return error


def _obey_should_retry(error: Upstream, headers: Mapping[str, str]) -> None:
    """`x-should-retry` overrules the class, except where the account is out of money."""
    word = headers.get("x-should-retry")
    if word in ("true", "false") and not isinstance(error, ProviderQuotaError):
        vars(error)["retryable"] = word == "true"


def _plain_message(status: int | None, body: bytes) -> str:
    text = " ".join(body[:MAX_BODY].decode(errors="replace").split())[:200]
    where = "the provider failed in the middle of its answer" if status is None else f"HTTP {status}"
    return f"{where}: {text}" if text else f"{where}, without a word"


def words_of(body: bytes, *, status: int | None) -> Words:
    """What an OpenAI-shaped refusal says, or anything else that a proxy may have put in its place.

    Understands `{"error": {...}}`, `{"error": "text"}`, the same fields without `error`, FastAPI's
    `{"detail": ...}`, a list around any of them, a bare string, HTML and nothing.
    """
    try:
        document = loads(body)
    except ValueError:
        return Words()
    return words_in(document, status=status)


def words_in(document: object, *, status: int | None) -> Words:
    """`words_of` for a body that is parsed already."""
    if isinstance(document, list):
        items = cast("list[object]", document)
        return words_in(items[0], status=status) if items else Words()
    if isinstance(document, str):
        return Words(message=document or None)
    if not isinstance(document, dict):
        return Words()
    body = cast("dict[str, Any]", document)
    inner = body.get("error", body)
    if isinstance(inner, dict):
        return _words_from(cast("dict[str, Any]", inner), status)
    # The official SDK reads only objects here. Its message is ours; the text itself is in `error.body`.
    return Words(message=f"Error code: {status}" if status is not None else _text(inner))


def _words_from(fields: dict[str, Any], status: int | None) -> Words:
    code, detail = fields.get("code"), fields.get("detail")
    # The same for a sentence in `detail`: the official SDK does not read it.
    unread = isinstance(detail, str) and status is not None
    return Words(
        message=_text(fields.get("message")) or (f"Error code: {status}" if unread else _detail(detail)),
        type=_text(fields.get("type")),
        code=code if isinstance(code, int) and not isinstance(code, bool) else _text(code),
        param=_text(fields.get("param")),
        tokens=_count(fields.get("n_prompt_tokens")),
        limit=_count(fields.get("n_ctx")),
    )


def _detail(detail: object) -> str | None:
    """FastAPI's `detail`: a sentence, or a list of `{"loc": [...], "msg": "..."}`."""
    if not isinstance(detail, list):
        return _text(detail)
    lines: list[str] = []
    for item in cast("list[object]", detail):
        if isinstance(item, dict):
            place = cast("dict[str, Any]", item)
            path = ".".join(str(step) for step in place.get("loc") or ())
            lines.append(f"{path}: {place.get('msg')}" if path else str(place.get("msg")))
        else:
            lines.append(str(item))
    return "; ".join(lines) or None


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without anything that looks like a provider's key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _KEYS.sub("***", text)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by the vendor's word, never negative; `None` where it says nothing that can be understood.

    Args:
        headers: Names in lower case. `retry-after-ms` wins over `retry-after`, which is seconds or an HTTP date.
        now: Seconds since the epoch.
    """
    said = [
        _hint(headers[name], scale, now)
        for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0))
        if name in headers
    ]
    hints = [seconds for seconds in said if seconds is not None]
    # Azure sends `retry-after-ms: 0` beside a real `retry-after`.
    return next((seconds for seconds in hints if seconds > 0), 0.0 if hints else None)


def _hint(value: str, scale: float, now: float) -> float | None:
    try:
        seconds = float(value) * scale
    except ValueError:
        seconds = _until(value, now)
    return seconds if 0 <= seconds < float("inf") else None


def _until(date: str, now: float) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return -1.0


def request_id(headers: Mapping[str, str]) -> str | None:
    """The id that the vendor's support desk asks for. Names in lower case."""
    for name in _REQUEST_IDS:
        if headers.get(name):
            return headers[name]
    return None


def rate_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """What the headers say about the vendor's own limits, names in lower case, values as sent."""
    return {name: value for name, value in headers.items() if "ratelimit-" in name}
