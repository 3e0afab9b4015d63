"""How each vendor refuses: a status and a body for each reason, as PROVIDERS' pages of errors have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from planar.testing._wires import WireName

Reason: TypeAlias = Literal[
    "rate_limited", "no_money", "unauthorized", "context_overflow", "server_error", "unavailable", "overloaded"
]

STATUS: Mapping[Reason, int] = {
    "rate_limited": 429,
    "no_money": 429,
    "unauthorized": 401,
    "context_overflow": 400,
    "server_error": 500,
    "unavailable": 503,
    "overloaded": 529,
}

_SAID: Mapping[Reason, str] = {
    "rate_limited": "Rate limit reached.",
    "no_money": "You exceeded your current quota, please check your plan and billing details.",
    "unauthorized": "The key is not known.",
    "context_overflow": "The prompt is too long: 9000 tokens exceed the context window of 8192.",
    "server_error": "The server had an error.",
    "unavailable": "The service is not available.",
    "overloaded": "Overloaded.",
}

# OpenAI: `type` and `code`. Both of its APIs refuse in one form.
_OPENAI: Mapping[Reason, tuple[str, str | None]] = {
    "rate_limited": ("requests", "rate_limit_exceeded"),
    "no_money": ("insufficient_quota", "insufficient_quota"),
    "unauthorized": ("invalid_request_error", "invalid_api_key"),
    "context_overflow": ("invalid_request_error", "context_length_exceeded"),
    "server_error": ("server_error", None),
    "unavailable": ("service_unavailable_error", None),
    "overloaded": ("server_error", "server_is_overloaded"),
}

# Anthropic: `type`, and the `error_code` among the details.
_ANTHROPIC: Mapping[Reason, tuple[str, str | None]] = {
    "rate_limited": ("rate_limit_error", None),
    "no_money": ("rate_limit_error", "enforced_spend_limit_reached"),
    "unauthorized": ("authentication_error", None),
    "context_overflow": ("invalid_request_error", None),
    "server_error": ("api_error", None),
    "unavailable": ("api_error", None),
    "overloaded": ("overloaded_error", None),
}

_GEMINI: Mapping[Reason, str] = {
    "rate_limited": "RESOURCE_EXHAUSTED",
    "no_money": "RESOURCE_EXHAUSTED",
    "unauthorized": "UNAUTHENTICATED",
    "context_overflow": "INVALID_ARGUMENT",
    "server_error": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "overloaded": "UNAVAILABLE",
}
_OVERFLOW_AT_GEMINI = "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."
_DAILY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}


def refusal(wire: WireName, reason: Reason) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON body. Ollama has no word for an empty account but the status 402."""
    status, said = STATUS[reason], _SAID[reason]
    match wire:
        case "openai_chat" | "openai_responses":
            kind, code = _OPENAI[reason]
            return status, {"error": {"message": said, "type": kind, "param": None, "code": code}}
        case "anthropic_messages":
            kind, code = _ANTHROPIC[reason]
            precise = {} if code is None else {"details": {"error_code": code}}
            inner = {"type": kind, "message": said, **precise}
            return status, {"type": "error", "error": inner, "request_id": "req_fault"}
        case "gemini":
            words = _OVERFLOW_AT_GEMINI if reason == "context_overflow" else said
            details = [_DAILY] if reason == "no_money" else []
            error = {"code": status, "message": words, "status": _GEMINI[reason], "details": details}
            return status, {"error": error}
        case "ollama_chat":
            return 402 if reason == "no_money" else status, {"error": said}


def failure_inside(wire: WireName) -> bytes:
    """What a stream of this wire says when the server breaks in the middle of it."""
    match wire:
        case "openai_chat":
            return b'data: {"error":{"message":"The server had an error.","type":"server_error","code":null}}\n\n'
        case "openai_responses":
            fields = b'"code":"server_error","message":"The server had an error.","param":null,"sequence_number":99'
            return b'event: error\ndata: {"type":"error",%s}\n\n' % fields
        case "anthropic_messages":
            error = b'{"type":"api_error","message":"The server had an error."}'
            return b'event: error\ndata: {"type":"error","error":%s}\n\n' % error
        case "gemini":
            error = b'{"code":500,"message":"The server had an error.","status":"INTERNAL"}'
            return b'data: {"error":%s}\n\n' % error
        case "ollama_chat":
            return b'{"error":"The server had an error."}\n'
