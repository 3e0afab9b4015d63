"""The four things that can be exchanged, each by what it promises.

Nothing inherits from these: the type checker and the contract suites of `planar.testing` hold an implementation to
them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from planar.types._quick import quick

if TYPE_CHECKING:
    from planar.errors import PlanarError
    from planar.events import Event
    from planar.types import (
        Amount,
        Candidate,
        Charge,
        ChatRequest,
        Completion,
        Embeddings,
        EmbedRequest,
        GroupBy,
        Health,
        Lease,
        LeaseId,
        LeasePart,
        LedgerEntry,
        Limit,
        LimitCount,
        ModelInfo,
        Receipt,
        ResponseInfo,
        Route,
        RouteRequest,
        Timeouts,
        UsageReport,
    )


class Clock(Protocol):
    """Where time comes from. Tests pass `planar.testing.FakeClock`."""

    def monotonic(self) -> float:
        """Seconds that only grow, on the scale of `anyio.current_time()` inside an event loop."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one attempt may use.

    Attributes:
        deadline: On the clock of `anyio.current_time()`; `None` means without end.
        attempt: From 1, over the whole call.
        tenant: For fair queues in front of scarce providers; it never leaves the process.
        response: To be filled by the provider while the answer arrives.
    """

    clock: Clock
    timeouts: Timeouts
    response: ResponseInfo
    deadline: float | None = None
    idempotency_key: str | None = None
    attempt: int = 1
    tenant: str = "default"
    strict: bool = False


class Provider(Protocol):
    """Serves models. Its name is unique within a client."""

    @property
    def name(self) -> str:
        """The prefix in `name:model`."""
        ...

    def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]]:
        """Ask for one answer.

        Entering the block sends the request. The iterator gives one batch per read: only deltas, `Notice`,
        at most one `UsageReported`, and one `Finish` last; a batch may be empty (a keep-alive arrived).
        Leaving the block, however that comes about, stops the computation or closes the connection and
        fills `call.response.usage` where the provider knows what was used. It keeps no cancel scope or
        task group open between two batches, so that the block may be left from another task.

        Nothing is retried. `connect`, `first_token` and `stall` of `call.timeouts` are the provider's to
        keep; `deadline` is the client's.

        Raises:
            RequestError: This request cannot succeed here.
            ProviderError: The provider failed.
            ConfigurationError: The provider itself cannot work: its model's file is damaged, it was closed.
        """
        ...

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        """Turn texts into vectors, in their order.

        Raises:
            UnsupportedError: The provider has no embeddings.
        """
        ...

    async def models(self) -> Sequence[ModelInfo]:
        """The models it serves now."""
        ...

    async def check(self) -> Health:
        """Whether it can be reached and accepts our key. Never raises."""
        ...

    async def aclose(self) -> None:
        """Give back what it opened. It may be used again afterwards only by a new client."""
        ...


@runtime_checkable
class KnowsModels(Protocol):
    """A provider that can describe its models without asking anybody, such as a local one."""

    def describe(self, model: str) -> ModelInfo | None:
        """What is known of `model`; `None` if the provider certainly does not serve it.

        No network; a local provider may read the beginning of its model's file, once.
        """
        ...

    def default_models(self) -> Sequence[str]:
        """What `model="auto"` may use of it. No I/O."""
        ...


@runtime_checkable
class KnowsVendor(Protocol):
    """A provider that asks a vendor of whose models the catalog may know something."""

    @property
    def vendor(self) -> str | None:
        """The vendor by the catalog's name, such as `openai`; `None` unless the vendor itself is asked. No I/O."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A provider that can count a prompt exactly, such as a local one by its own vocabulary."""

    async def count_tokens(self, request: ChatRequest, *, model: str) -> int:
        """How many tokens the prompt of `request` has for `model`."""
        ...


@runtime_checkable
class CountsInput(Protocol):
    """A provider whose vendor counts a prompt when asked: `client.count_tokens(..., ask_vendor=True)` asks it."""

    async def count_input(self, request: ChatRequest, *, model: str) -> int:
        """How many tokens the prompt of `request` has for `model`, by the vendor's own count. Over the network."""
        ...


@runtime_checkable
class ContinuesAnswers(Protocol):
    """A provider that can go on with an answer that broke off elsewhere: `resume="continue"` asks it."""

    def continues(self, model: str) -> bool:
        """Whether `model` takes a request with `continues=True`, and gives the rest and not the beginning. No I/O."""
        ...


@runtime_checkable
class UsesTransport(Protocol):
    """A provider behind HTTP, which leaves the choice of the library to the client."""

    def use_transport(self, library: Literal["httpx", "httpx2", "aiohttp"]) -> None:
        """Use this library from the first request on. Without effect beside a caller's own HTTP client."""
        ...


class Router(Protocol):
    """Decides the order in which deployments are tried."""

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        """Filter, score and order. A pure function: no clock, no I/O, the same input gives the same route.

        Raises:
            InvalidRequestError: The strategy is not one that this router knows.
        """
        ...


@runtime_checkable
class ChecksAnswers(Protocol):
    """A strategy by which answers are looked at before the caller gets them, such as `planar.Cascade`."""

    @property
    def check(self) -> Callable[[Completion], bool | Awaitable[bool]]:
        """Says whether an answer will do. It is asked while there is another deployment to ask instead.

        It has until the deadline of the call. What it raises ends the call; what it takes is the caller's time.
        """
        ...


@runtime_checkable
class QualityModel(Protocol):
    """Knows how well deployments will answer a prompt. `planar.QualityTable` is one."""

    def predict(self, text: str, *, label: str | None = None) -> Mapping[str, float]:
        """The quality of each deployment's answer, 0 to 100; one that it knows nothing of is left out.

        Asked at plan time with what the caller wrote: no I/O, the same for the same, and a fraction of a millisecond.
        """
        ...


class QuotaStore(Protocol):
    """Remembers what each tenant has spent and what it has promised to spend.

    Each verb is one atomic step over every scope of the path and every dimension, and is idempotent by
    lease id: a repeated call has one effect and the first answer.
    """

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: The store takes only tenants that were set up, and this is none.
        """
        ...

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what is held, and live `ttl` seconds from now. Only the addition is checked.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
        """
        ...

    async def dispatched(self, lease: Lease) -> None:
        """The provider has been asked: from here on expiry charges instead of releasing."""
        ...

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step.

        After an expiry that charged, the difference becomes a correction row; so it does, once, where the first charge
        was flagged `estimated` and this one is not. Otherwise settling twice changes nothing.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked."""
        ...

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row.

        Raises:
            InvalidRequestError: More than was charged, or nothing was.
        """
        ...

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What a scope used between two times (seconds since the epoch, end excluded), children included.

        `by` tells it apart by tenant, deployment and day, in any combination; days are those of the time zone `tz`.
        """
        ...

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children, oldest first."""
        ...

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched."""
        ...

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        ...

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands now, in the order of `limits`."""
        ...

    async def aclose(self) -> None:
        """Give back what it opened."""
        ...


@runtime_checkable
class SplitsLeases(Protocol):
    """A quota store in which one lease can pay for many requests: `planar.SlabQuotaStore` asks for it."""

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        """Settle parts of what `lease` holds, each as a lease of its own; then hold no more than `keep`.

        All of it is one atomic step. A part replaces as much of the hold as was kept for it by what it used, in the
        windows in which `lease` was reserved, and gets a row under its own id: `settled`, or `expired` where nobody
        settled it. It is one request to budgets of requests; rates of requests and concurrency do not see it. From
        here on it is a lease that was settled. A part that has its row is treated as `settle` would. If `lease` has
        ended meanwhile, parts are booked all the same, as after a late settle.

        `keep` bounds what is still held, and leaves it as it is by default. If it is nothing the lease ends, without
        a row, even if it was dispatched: it was spent on its parts. If it had expired, and was charged, a correction
        takes that back.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
        """
        ...


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What telemetry is told when a request begins. Prompt and answer are not part of it."""

    request_id: str
    tenant: str
    operation: str
    model: str
    streamed: bool
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class RequestObserver(Protocol):
    """Watches one request. Every method returns at once and never raises."""

    def routed(self, route: Route) -> None:
        """The router has decided."""
        ...

    def attempt_started(self, number: int, deployment: str) -> None:
        """A deployment is being asked."""
        ...

    def first_token(self, seconds: float) -> None:
        """The first delta arrived, `seconds` after the call."""
        ...

    def attempt_ended(self, number: int, error: PlanarError | None) -> None:
        """An attempt is over."""
        ...

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        """The request is over; called exactly once."""
        ...


class Telemetry(Protocol):
    """Sees every request, and never hurts one."""

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        """Open for as long as the request runs. Never blocks, never raises."""
        ...
