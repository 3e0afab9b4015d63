"""Every error that Planar raises, sorted by who has to act.

`ConfigurationError`: the developer. `RequestError`: the caller. `TenantError`: the tenant.
`ProviderError`: the provider. `StoreError`: whoever runs the quota store. Retry on `error.retryable`,
never on the text.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from planar.types import Attempt, Completion, Dimension, Phase, Route, Usage


def _rebuild(cls: type[PlanarError], message: str, data: dict[str, Any]) -> PlanarError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class PlanarError(Exception):
    """Something that Planar could not do, with the data to decide what to do next.

    Attributes:
        retryable: The same request may succeed later.
    """

    retryable: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0]) if self.args else type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


# --- The developer ----------------------------------------------------------------------------


class ConfigurationError(PlanarError):
    """The client was set up in a way that cannot work."""


class MissingExtraError(ConfigurationError):
    """A feature needs a package that is not installed. The message is the line to type.

    Attributes:
        package: The module that was not found.
        extra: The extra of `planar-inference` that brings it.
    """

    def __init__(self, package: str, *, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed: pip install 'planar-inference[{extra}]'")


class ModelFileError(ConfigurationError):
    """A local model's file is missing or is not what its provider reads.

    Attributes:
        path: The file as it was given.
    """

    def __init__(self, message: str, *, path: str) -> None:
        self.path = path
        super().__init__(message)


class UnknownPriceError(ConfigurationError):
    """A money limit applies and nobody knows what the model costs. Set a price for it.

    Attributes:
        deployment: The one without a price.
        scope: Whose money limit is in the way, where there is one.
    """

    def __init__(self, message: str, *, deployment: str | None = None, scope: str | None = None) -> None:
        self.deployment = deployment
        self.scope = scope
        super().__init__(message)


class ClosedError(ConfigurationError):
    """The client was closed; make a new one."""


# --- The caller -------------------------------------------------------------------------------


class Upstream(TypedDict, total=False):
    """What an upstream said, as the errors below take it; their attributes of the same names say what each is."""

    provider: str | None
    deployment: str | None
    status: int | None
    type: str | None
    code: str | int | None
    param: str | None
    request_id: str | None
    retry_after: float | None
    body: str | None


class _UpstreamError(PlanarError):
    """What an upstream said, where an upstream was the one to say it.

    Attributes:
        provider, deployment: Who; `deployment` is `provider:model`.
        status: HTTP status; `None` for an error inside a stream or before any response.
        type, code, param: The vendor's own words, as sent.
        request_id: The vendor's id for its support desk.
        retry_after: Seconds to wait, by the vendor's word.
        body: At most 4 KiB of the answer, credentials redacted.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        deployment: str | None = None,
        status: int | None = None,
        type: str | None = None,
        code: str | int | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
    ) -> None:
        self.provider = provider
        self.deployment = deployment
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        super().__init__(message)


class RequestError(_UpstreamError):
    """The request must change before it can succeed."""


class InvalidRequestError(RequestError):
    """A value is wrong. `param` names it."""


class UnsupportedError(RequestError):
    """The deployment cannot do what was asked, and leaving it out would change the answer."""


class ContextLengthError(RequestError):
    """Prompt and answer do not fit the model's context window.

    Attributes:
        tokens: How many the prompt needs, where known.
        limit: How many there is room for, where known.
    """

    def __init__(
        self, message: str, *, tokens: int | None = None, limit: int | None = None, **upstream: Unpack[Upstream]
    ) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(message, **upstream)


class UnknownModelError(RequestError):
    """No alias and no deployment has this name.

    Attributes:
        model: What was asked for.
        known: What could have been.
    """

    def __init__(self, message: str, *, model: str, known: tuple[str, ...] = ()) -> None:
        self.model = model
        self.known = known
        super().__init__(message, param="model")


class NoRouteError(RequestError):
    """Every candidate was dropped by a constraint. `route.explain()` says which by which.

    Attributes:
        route: The record of the decision.
    """

    def __init__(self, message: str, *, route: Route) -> None:
        self.route = route
        super().__init__(message)


class DeadlineExceededError(RequestError):
    """The caller's own deadline passed. It is never counted against a provider.

    Attributes:
        partial: What had arrived, or `None` if nothing had.
    """

    def __init__(self, message: str, *, partial: Completion | None = None) -> None:
        self.partial = partial
        super().__init__(message)


class OutputInvalidError(RequestError):
    """The answer does not have the shape that `output=` asked for.

    Attributes:
        text: The answer as it came.
        problems: What is wrong with it, a line each.
    """

    def __init__(self, message: str, *, text: str, problems: tuple[str, ...]) -> None:
        self.text = text
        self.problems = problems
        super().__init__(message)


# --- The tenant -------------------------------------------------------------------------------


class TenantError(PlanarError):
    """The tenant must act: wait, pay, or be let in."""


class UnknownTenantError(TenantError):
    """Nobody set this tenant up, or its name is not a tenant's name."""

    def __init__(self, message: str, *, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(message)


class QuotaExceededError(TenantError):
    """A limit on the tenant's path has no room for this request. Nothing was held.

    Attributes:
        scope, dimension, limit, remaining: The binding limit and what it had left (nano-USD for money).
        child: The child of `scope` whose share it was that had no room; `limit` and `remaining` are the share's.
        requested: What this request needed of it.
        kind: `spent`, or `busy` where requests in flight hold what is left.
        retry_after: Seconds until there is room, or `None` if waiting will not help.
        partial: In the middle of a stream: what had arrived.
    """

    def __init__(
        self,
        *,
        scope: str,
        dimension: Dimension,
        limit: int,
        remaining: int,
        requested: int,
        kind: Literal["spent", "busy"],
        retry_after: float | None,
        child: str | None = None,
        partial: Completion | None = None,
    ) -> None:
        self.scope = scope
        self.child = child
        self.dimension = dimension
        self.limit = limit
        self.remaining = remaining
        self.requested = requested
        self.kind = kind
        self.retry_after = retry_after
        self.partial = partial
        when = "waiting will not help" if retry_after is None else f"try again in {_seconds(retry_after)}"
        whose = scope if child is None else f"{child}, of its share of {scope}"
        super().__init__(
            f"{whose}: {_amount(dimension, remaining)} of {_amount(dimension, limit)} left ({kind}),"
            f" this request needs {_amount(dimension, requested)}; {when}"
        )

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether waiting for `retry_after` seconds helps."""
        return self.retry_after is not None


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _amount(dimension: Dimension, value: int) -> str:
    if dimension == "nano_usd":
        return f"{Decimal(value).scaleb(-9).normalize():f} USD"
    return f"{value} {dimension.replace('_', ' ') if dimension != 'concurrency' else 'concurrent requests'}"


# --- The provider -----------------------------------------------------------------------------


class ProviderError(_UpstreamError):
    """The provider failed or refused."""


class ProviderAuthError(ProviderError):
    """The provider does not accept the key."""


class ProviderPermissionError(ProviderError):
    """The key may not do this."""


class ModelNotFoundError(ProviderError):
    """The provider has no such model, or the key may not see it."""


class ContentFilteredError(ProviderError):
    """The provider's filter refused the request."""


class RateLimitedError(ProviderError):
    """Too many requests or tokens for now; `retry_after` says for how long, where the provider does."""

    retryable = True


class ProviderQuotaError(ProviderError):
    """The account at the provider is out of money or over its spending limit. Waiting does not help."""


class OverloadedError(ProviderError):
    """The provider has no room now."""

    retryable = True


class NoPlaceError(OverloadedError):
    """A deployment with a queue had no place for this request, and no room to wait, or not in time.

    Nobody was asked, and nothing is held or booked. `retry_after` is estimated from how long places were kept.

    Attributes:
        tenant: Whose turn it would have been: the first name of the tenant's path.
        queue: The deployment or provider whose places they are.
        reason: `full` or `tenant_full`, where the queue or the tenant's part of it is; `too_long` after
            `QueuePolicy.max_wait`; `busy` where the request was not to wait.
        waiting: How many requests of all tenants wait there.
    """

    def __init__(
        self,
        message: str,
        *,
        tenant: str,
        queue: str,
        reason: Literal["full", "tenant_full", "too_long", "busy"],
        waiting: int,
        **upstream: Unpack[Upstream],
    ) -> None:
        self.tenant = tenant
        self.queue = queue
        self.reason = reason
        self.waiting = waiting
        super().__init__(message, **upstream)


class ProviderServerError(ProviderError):
    """The provider broke."""

    retryable = True


class ProviderTimeoutError(ProviderError):
    """The provider was too slow. `phase` says in what."""

    retryable = True

    def __init__(self, message: str, *, phase: Phase, **upstream: Unpack[Upstream]) -> None:
        self.phase = phase
        super().__init__(message, **upstream)


class ProviderConnectionError(ProviderError):
    """There is no connection to the provider, or it broke before the answer began.

    Attributes:
        broke: A connection stood, perhaps one that was kept from an earlier request, and broke before any answer.
    """

    retryable = True

    def __init__(self, message: str, *, broke: bool = False, **upstream: Unpack[Upstream]) -> None:
        self.broke = broke
        super().__init__(message, **upstream)


class ProviderProtocolError(ProviderError):
    """The provider sent what its protocol does not allow, or more than our bounds do."""


class StreamInterruptedError(ProviderError):
    """The answer broke off after it had begun. The cause is `__cause__`.

    Attributes:
        partial: What had arrived, `finish_reason` "error"; set once the client has folded it.
        usage: What had been used, as far as known.
    """

    def __init__(
        self,
        message: str,
        *,
        partial: Completion | None = None,
        usage: Usage | None = None,
        **upstream: Unpack[Upstream],
    ) -> None:
        self.partial = partial
        self.usage = usage
        super().__init__(message, **upstream)


class TruncatedStreamError(StreamInterruptedError):
    """The body ended before the answer did. Before the first delta it is worth another attempt."""

    retryable = True


class AnswerRejectedError(ProviderError):
    """The answer did not pass the check of a cascade, so the next deployment was asked.

    It is the error of an attempt (`completion.attempts`), and never what ends a call. The deployment did its part: its
    health does not suffer, and the answer costs what it costs.

    Attributes:
        text: The answer that was rejected.
    """

    def __init__(self, message: str, *, text: str, **upstream: Unpack[Upstream]) -> None:
        self.text = text
        super().__init__(message, **upstream)


class RouteExhaustedError(ProviderError):
    """Several deployments of the route were tried, and nobody else may be. The last failure is `__cause__`.

    Attributes:
        attempts: Those that failed, each with its error.
    """

    def __init__(self, message: str, *, attempts: tuple[Attempt, ...]) -> None:
        self.attempts = attempts
        super().__init__(message)

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether any of the attempts failed in a way that may pass."""
        return any(attempt.error is not None and attempt.error.retryable for attempt in self.attempts)


# --- The store --------------------------------------------------------------------------------


class StoreError(PlanarError):
    """The quota store cannot be reached or answered nonsense.

    Attributes:
        partial: In the middle of a stream: what had arrived.
    """

    retryable = True

    def __init__(self, message: str, *, partial: Completion | None = None) -> None:
        self.partial = partial
        super().__init__(message)
