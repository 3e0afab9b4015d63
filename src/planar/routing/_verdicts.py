"""What an error says about the deployment that it came from: nothing, where the caller or the tenant caused it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from planar.errors import (
    AnswerRejectedError,
    ContentFilteredError,
    ModelNotFoundError,
    NoPlaceError,
    OutputInvalidError,
    OverloadedError,
    PlanarError,
    ProviderAuthError,
    ProviderError,
    ProviderPermissionError,
    ProviderQuotaError,
    RateLimitedError,
    RouteExhaustedError,
    StreamInterruptedError,
)

Judgement: TypeAlias = Literal["failure", "auth", "busy", "ignored", "success"]

VERDICTS: Mapping[type[PlanarError], Judgement] = MappingProxyType(
    {
        PlanarError: "ignored",  # the developer, the caller, the tenant or the store: not the deployment
        OutputInvalidError: "success",  # it answered, whole
        AnswerRejectedError: "success",  # whole, too, and only not good enough
        ProviderError: "failure",  # connection, server, time, protocol, a cut
        ProviderAuthError: "auth",
        ProviderPermissionError: "auth",
        ModelNotFoundError: "auth",
        ProviderQuotaError: "auth",  # the operator's account is out of money: no tenant can cause or mend it
        RateLimitedError: "busy",
        OverloadedError: "busy",
        NoPlaceError: "ignored",  # our own queue in front of it
        ContentFilteredError: "ignored",  # the prompt's fault
        RouteExhaustedError: "ignored",  # made of errors that were judged one by one
    }
)
"""By class; a class that is not listed is judged as what it derives from."""


def verdict_of(error: PlanarError) -> Judgement:
    """Whether a deployment is to blame for how an attempt ended.

    `failure`: an outage. `auth`: the operator has to mend the key, its rights or the account. `busy`: it has no room
    now. `success`: it did its part. `ignored`: it says nothing, for the caller or a tenant caused it.

    An answer that broke off is judged by what broke it, where that is known (`__cause__`).
    """
    cause = error.__cause__
    if isinstance(error, StreamInterruptedError) and isinstance(cause, PlanarError):
        error = cause
    return next(VERDICTS[each] for each in type(error).__mro__ if each in VERDICTS)
