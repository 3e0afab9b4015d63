"""What Gemini says when it refuses: Google's common form of an error, with typed details."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from planar.errors import ProviderQuotaError
from planar.wire._errors import Upstream, Words
from planar.wire._json import as_dict, as_list, as_text

Judge: TypeAlias = Callable[[Upstream], Upstream]
"""Decides what an error is beyond what the common table can tell."""
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def words_of_error(document: object, *, status: int | None) -> tuple[Words, Judge]:
    """What an error says, and what it is beyond that.

    Google's `status` is our `type`; the `reason` of its details is our `code`. An error may stand alone in a list.
    """
    if isinstance(document, list):
        document = next(iter(as_list(cast("object", document))), None)
    body = as_dict(document)
    inner = body.get("error")
    error = as_dict(inner)
    details = [as_dict(entry) for entry in as_list(error.get("details"))]
    reason = next((text for entry in details if (text := as_text(entry.get("reason")))), None)
    number = error.get("code")
    words = Words(
        message=as_text(error.get("message")) or as_text(inner) or as_text(body.get("message")),
        type=as_text(error.get("status")),
        # Inside a stream the number is the only status there is.
        code=reason if reason is not None or status is not None else number if type(number) is int else None,
        retry_after=next((wait for entry in details if (wait := _wait(entry)) is not None), None),
    )
    return words, _quota_error if any(_is_daily(entry) for entry in details) else _as_it_is


def _wait(detail: dict[str, Any]) -> float | None:
    found = _SECONDS.fullmatch(as_text(detail.get("retryDelay")) or "")
    return None if found is None else float(found[1])


def _is_daily(detail: dict[str, Any]) -> bool:
    """A limit by the day: waiting as one does for a rate limit is of no use."""
    limits = (as_text(as_dict(entry).get("quotaId")) or "" for entry in as_list(detail.get("violations")))
    return any("PerDay" in limit for limit in limits)


def _as_it_is(error: Upstream) -> Upstream:
    return error


def _quota_error(error: Upstream) -> Upstream:
    return ProviderQuotaError(
        error.message,
        provider=error.provider,
        deployment=error.deployment,
        status=error.status,
        type=error.type,
        code=error.code,
        param=error.param,
        request_id=error.request_id,
        retry_after=error.retry_after,
        body=error.body,
    )
