"""Every error, made as it is made in earnest: what it carries survives, and whose move it is can be told."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import Any

import pytest

from planar import errors
from planar.errors import PlanarError, Upstream
from planar.types import (
    Attempt,
    Candidate,
    Completion,
    Message,
    ModelInfo,
    Price,
    Route,
    RouteRequest,
    Timings,
    ToolCall,
    Usage,
    Verdict,
)

UPSTREAM: Upstream = {
    "provider": "openai",
    "deployment": "openai:gpt-6-luna",
    "status": 429,
    "type": "tokens",
    "code": "rate_limit_exceeded",
    "param": "messages",
    "request_id": "req_1",
    "retry_after": 1.5,
    "body": '{"error": {"message": "slow down"}}',
}
CANDIDATE = Candidate(
    deployment="openai:gpt-6-luna",
    provider="openai",
    model="gpt-6-luna",
    info=ModelInfo(id="gpt-6-luna", price=Price.per_million(input="0.5", output=2)),
    cost_bound=12,
)
ROUTE = Route(
    request=RouteRequest(model="fast", tenant="acme/search"),
    router="ordered",
    verdicts=(
        Verdict(candidate=CANDIDATE, position=None, dropped_by="region", detail="us is not in eu", score={"cost": 1.5}),
    ),
)
USAGE = Usage(input_tokens=9, output_tokens=4, raw={"prompt_tokens": 9})
FAILED = Attempt(
    number=1,
    deployment="openai:gpt-6-luna",
    lease_id="lease-1",
    error=errors.OverloadedError("no room", **UPSTREAM),
    usage=USAGE,
    cost_usd=Decimal("0.000012"),
    seconds=0.25,
)
PARTIAL = Completion(
    text="Ebro",
    finish_reason="error",
    raw_finish_reason=None,
    usage=USAGE,
    cost_usd=Decimal("0.000012"),
    provider="openai",
    model="gpt-6-luna",
    route=ROUTE,
    attempts=(FAILED,),
    timings=Timings(queued=0.0, ttft=0.1, total=0.5, tokens_per_second=40.0),
    message=Message("assistant", (ToolCall(id="call_1", name="weather", arguments='{"city": "Ávila"}'),)),
    rate_limits={"x-ratelimit-remaining-tokens": "0"},
)

SAMPLES: list[PlanarError] = [
    errors.PlanarError("something is wrong"),
    errors.ConfigurationError("Planar needs a provider"),
    errors.MissingExtraError("llama_cpp", extra="llamacpp"),
    errors.ModelFileError("model.gguf is not there", path="model.gguf"),
    errors.UnknownPriceError("no price for local:a", deployment="local:a", scope="acme"),
    errors.ClosedError("the client was closed: make a new one"),
    errors.RequestError("the request is wrong", **UPSTREAM),
    errors.InvalidRequestError("max_tokens must be at least 1", param="max_tokens"),
    errors.UnsupportedError("no tools here", **UPSTREAM),
    errors.ContextLengthError("too long", tokens=9000, limit=8192, **UPSTREAM),
    errors.UnknownModelError("there is no 'fst'", model="fst", known=("fast", "best")),
    errors.NoRouteError("no deployment may serve this", route=ROUTE),
    errors.DeadlineExceededError("the deadline passed", partial=PARTIAL),
    errors.OutputInvalidError("not of the shape", text="{", problems=("it is no JSON",)),
    errors.TenantError("the tenant must act"),
    errors.UnknownTenantError("'' is not a tenant", tenant=""),
    errors.QuotaExceededError(
        scope="acme",
        dimension="nano_usd",
        limit=10**9,
        remaining=1,
        requested=2,
        kind="busy",
        retry_after=2.5,
        partial=PARTIAL,
    ),
    errors.ProviderError("it failed", **UPSTREAM),
    errors.ProviderAuthError("the key is not accepted", **UPSTREAM),
    errors.ProviderPermissionError("the key may not do this", **UPSTREAM),
    errors.ModelNotFoundError("no such model", **UPSTREAM),
    errors.ContentFilteredError("filtered", **UPSTREAM),
    errors.RateLimitedError("slow down", **UPSTREAM),
    errors.ProviderQuotaError("no money", **UPSTREAM),
    errors.OverloadedError("no room", **UPSTREAM),
    errors.NoPlaceError(
        "the queue is full", tenant="acme", queue="openai", reason="tenant_full", waiting=20, **UPSTREAM
    ),
    errors.ProviderServerError("it broke", **UPSTREAM),
    errors.ProviderTimeoutError("no answer in time", phase="first_token", **UPSTREAM),
    errors.ProviderConnectionError("the connection broke", broke=True, **UPSTREAM),
    errors.ProviderProtocolError("that is not its protocol", **UPSTREAM),
    errors.StreamInterruptedError("it broke off", partial=PARTIAL, usage=USAGE, **UPSTREAM),
    errors.TruncatedStreamError("the body ended", partial=PARTIAL, usage=USAGE, **UPSTREAM),
    errors.AnswerRejectedError("it will not do", text="No idea", **UPSTREAM),
    errors.RouteExhaustedError("all 1 attempts failed", attempts=(FAILED,)),
    errors.StoreError("the store cannot be reached"),
]
WHO_ACTS = {
    errors.ConfigurationError,
    errors.RequestError,
    errors.TenantError,
    errors.ProviderError,
    errors.StoreError,
}


def public_errors() -> set[type[PlanarError]]:
    return {
        value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and not name.startswith("_")
    }


def carried(error: PlanarError) -> dict[str, Any]:
    """What it carries, to be compared: two errors are never equal, so those inside are told by their words."""
    return {name: repr(value) for name, value in vars(error).items()}


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_a_pickle(error: PlanarError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), again.message, again.retryable) == (str(error), error.message, error.retryable)
        assert carried(again) == carried(error)


def test_no_error_is_left_out_of_the_table() -> None:
    assert {type(error) for error in SAMPLES} == public_errors()
    assert len(SAMPLES) == len(public_errors())


def test_an_error_inside_an_error_survives_with_what_it_carries() -> None:
    again = pickle.loads(pickle.dumps(errors.RouteExhaustedError("all failed", attempts=(FAILED,))))

    inner = again.attempts[0].error
    assert type(inner) is errors.OverloadedError
    assert {name: getattr(inner, name) for name in UPSTREAM} == UPSTREAM


@pytest.mark.parametrize("kind", sorted(public_errors() - {PlanarError}, key=lambda kind: kind.__name__))
def test_of_every_error_it_is_known_who_has_to_act(kind: type[PlanarError]) -> None:
    assert issubclass(kind, PlanarError)
    assert len([base for base in WHO_ACTS if issubclass(kind, base)]) == 1
