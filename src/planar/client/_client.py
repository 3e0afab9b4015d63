"""The client: providers, router, quotas and telemetry behind one way to ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, Unpack

from planar.catalog import Catalog
from planar.client._alerts import Herald, OnAlert
from planar.client._core import Core, plan
from planar.client._counting import count_tokens
from planar.client._deployments import Deployments
from planar.client._embed import checked_inputs, embed
from planar.client._environment import providers_from
from planar.client._ids import new_id
from planar.client._loops import shielded, steady_now
from planar.client._options import CallOptions, merged
from planar.client._order import Order, Prompt, order, sent_back
from planar.client._places import Queues
from planar.client._policies import Policies, checked
from planar.client._stream import Stream
from planar.errors import ClosedError, ConfigurationError, InvalidRequestError, OutputInvalidError
from planar.protocols import Clock, Provider, QualityModel, QuotaStore, Router, Telemetry, UsesTransport
from planar.quotas import MemoryQuotaStore, open_store
from planar.routing import CostRouter, HealthBoard, HedgeBudget
from planar.telemetry import NullTelemetry, guarded
from planar.transport import TRANSPORTS, TransportName
from planar.types import (
    AbortPolicy,
    BreakerPolicy,
    Completion,
    Embeddings,
    EmbedRequest,
    HedgePolicy,
    QueuePolicy,
    RetryPolicy,
    Route,
    RoutingPolicy,
    TokenCount,
    Wire,
)

_CLOSE_SECONDS = 10.0


class Planar:
    """Asks models, wherever they are, for whoever pays.

    Cheap and lazy: made anywhere, before or outside an event loop, and used from several loops and threads;
    nothing is opened before the first call. Close it with `async with` or `await client.aclose()`, which closes
    its providers and its quota store too.

    Args:
        providers: Who serves. Their names are the prefixes in `provider:model`.
        models: Aliases, each for deployments in the order in which they are to be tried. `*` in a deployment stands for
            the known models that match; `*` in an alias, as in `{"gpt-*": ["openai:gpt-*"]}`, for whatever is asked
            for; an alias that begins with `re:` is a regex. A plain name comes before a wildcard, and that before a
            regex. With aliases, `model="auto"` means what they name and nothing else.
        router: Chooses among an alias's deployments; by default `CostRouter()`, which follows the alias's order where
            neither it nor the call names a strategy.
        quotas: What tenants may spend and have spent: a store, or the URL of one, such as `sqlite:///planar.db`; in
            memory, without limits, unless told otherwise.
        telemetry: Who watches; nobody, unless told otherwise. What it raises hurts no call.
        catalog: Prices and descriptions of models, the operator's own figures first.
        quality: How well each deployment will answer a prompt, such as a `planar.QualityTable`. It is asked with the
            last message of the user, and with `metadata["label"]` if there is one; strategies then go by what it says
            instead of by `ModelInfo.quality`.
        transport: The HTTP library for providers that were not given a client of the caller's own.
        retry: How often a call is tried, and how long it waits in between.
        breaker: When a deployment that keeps failing is left alone, and for how long.
        hedging: When a call with `hedge=True` asks a second deployment, and what that may cost.
        aborts: By provider name, what follows when a caller leaves an answer early; without one its connection is
            closed at once, and what the vendor has not counted is estimated.
        on_alert: Called when a call has brought a budget to one of its `Limit.alerts`, once per window; it must return
            at once. Each is logged as a warning of `planar.quotas`, too. An alert that an expired lease caused stands
            only in the ledger.
        queues: By deployment or provider name, how many requests it is asked at a time and who waits for a place; one
            that is not named is asked as often as calls come.
        policy: What the platform may use, whoever asks, and its strategy where nobody names one.
        tenants: By tenant, what it may use; it narrows what the platform and the wider scopes of its path allow.
        clock, new_id: Where time and ids come from, for tests.

    Raises:
        ConfigurationError: No provider, two with one name, or an alias, a policy or a queue for what none of them
            serves. Of aliases and policies the message has everything that is wrong. What may be wrong, such as a
            model that nobody has heard of, is logged as a warning of `planar.client`.

    Example:
        ```python
        async with planar.Planar(providers=[planar.LlamaCpp("model.gguf")]) as client:
            async for token in client.stream("Three rivers in Spain?", tenant="acme"):
                print(token, end="", flush=True)
        ```
    """

    def __init__(
        self,
        *,
        providers: Sequence[Provider],
        models: Mapping[str, Sequence[str]] | None = None,
        router: Router | None = None,
        quotas: QuotaStore | str | None = None,
        telemetry: Telemetry | None = None,
        catalog: Catalog | None = None,
        quality: QualityModel | None = None,
        transport: TransportName = "httpx",
        retry: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
        hedging: HedgePolicy | None = None,
        aborts: Mapping[str, AbortPolicy] | None = None,
        on_alert: OnAlert | None = None,
        queues: Mapping[str, QueuePolicy] | None = None,
        policy: RoutingPolicy | None = None,
        tenants: Mapping[str, RoutingPolicy] | None = None,
        clock: Clock | None = None,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        if transport not in TRANSPORTS:
            raise ConfigurationError(f"transport must be {' or '.join(map(repr, TRANSPORTS))}, not {transport!r}")
        deployments = Deployments(providers, models or {}, catalog or Catalog())
        router = router or CostRouter()
        policies = Policies(deployments, router, policy, tenants, graded=quality is not None)
        checked(policies, deployments.own)
        self._core = Core(
            deployments=deployments,
            policies=policies,
            router=router,
            quotas=open_store(quotas) if isinstance(quotas, str) else quotas or MemoryQuotaStore(),
            telemetry=None if telemetry is None or type(telemetry) is NullTelemetry else guarded(telemetry),
            clock=clock,
            new_id=new_id,
            health=HealthBoard(breaker or BreakerPolicy()),
            retry=retry or RetryPolicy(),
            hedging=hedging or HedgePolicy(),
            hedges=HedgeBudget(hedging or HedgePolicy()),
            aborts=dict(aborts or {}),
            herald=Herald(on_alert),
            quality=quality,
        )
        strangers = sorted(set(self._core.aborts) - set(self._core.deployments.providers))
        if strangers:
            known = ", ".join(self._core.deployments.providers)
            raise ConfigurationError(f"aborts names {strangers[0]!r}, but the providers are {known}")
        if queues:
            self._core.queues = Queues(queues, self._core.deployments)
        self._defaults = CallOptions()
        for provider in providers:
            if isinstance(provider, UsesTransport):
                provider.use_transport(transport)

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        models: Mapping[str, Sequence[str]] | None = None,
        router: Router | None = None,
        quotas: QuotaStore | str | None = None,
        telemetry: Telemetry | None = None,
        catalog: Catalog | None = None,
        quality: QualityModel | None = None,
        transport: TransportName = "httpx",
        retry: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
        hedging: HedgePolicy | None = None,
        aborts: Mapping[str, AbortPolicy] | None = None,
        on_alert: OnAlert | None = None,
        queues: Mapping[str, QueuePolicy] | None = None,
        policy: RoutingPolicy | None = None,
        tenants: Mapping[str, RoutingPolicy] | None = None,
    ) -> Planar:
        """A client of every vendor whose key, and every local model whose file, the environment names.

        Reads the vendors' own variables (`OPENAI_API_KEY`, `GROQ_API_KEY`, ...) and `PLANAR_LOCAL_MODELS`
        (`name=path.gguf`, several separated as in PATH). Opens nothing.

        Args:
            environ: Read instead of `os.environ`.

        Raises:
            ConfigurationError: Nothing was found, or a value cannot be right.
        """
        return cls(
            providers=providers_from(os.environ if environ is None else environ),
            models=models,
            router=router,
            quotas=quotas,
            telemetry=telemetry,
            catalog=catalog,
            quality=quality,
            transport=transport,
            retry=retry,
            breaker=breaker,
            hedging=hedging,
            aborts=aborts,
            on_alert=on_alert,
            queues=queues,
            policy=policy,
            tenants=tenants,
        )

    def __repr__(self) -> str:
        return (
            f"Planar(providers={list(self._core.deployments.providers)}, models={list(self._core.deployments.aliases)})"
        )

    @property
    def quotas(self) -> QuotaStore:
        """The store, for limits, usage and the ledger."""
        return self._core.quotas

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The providers by name."""
        return dict(self._core.deployments.providers)

    @property
    def models(self) -> Mapping[str, tuple[str, ...]]:
        """The aliases, each with its deployments in order, those of this client's own tenant among them.

        One with a pattern has what was written.
        """
        return dict(self._core.policies.of(self._defaults.get("tenant") or "default").deployments.aliases)

    def set_policy(self, tenant: str | None, policy: RoutingPolicy | None) -> None:
        """Give a tenant another policy, from the next call on; those that have begun keep what they began with.

        It holds for all copies of this client, in this process. Callable from any thread. Does no I/O.

        Args:
            tenant: Whose; `None` is the platform.
            policy: `None` takes the tenant's away, and leaves it what wider scopes allow.

        Raises:
            ConfigurationError: The policy, or with it another one, cannot be right. Nothing was changed.
        """
        core = self._core
        with core.changing:
            core.policies = checked(core.policies.with_policy(tenant, policy))

    def with_options(self, **options: Unpack[CallOptions]) -> Planar:
        """A frozen copy that shares everything and has other defaults. Cheap: make one per tenant or per task.

        Raises:
            InvalidRequestError: An option does not exist or cannot have this value.
        """
        copy = object.__new__(Planar)
        copy._core = self._core
        copy._defaults = merged(self._defaults, options)
        return copy

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Stream:
        """Ask, and get the answer as it arrives. Checks everything, does no I/O, never blocks.

        Args:
            prompt: A text, a `planar.Message`, or a list of messages or OpenAI-shaped dicts.
            options: See `planar.CallOptions`; what is left out is the client's default.

        Raises:
            RequestError: The call cannot be right; nothing was started.
            UnknownTenantError: `tenant` is not a tenant's name.
            ClosedError: The client was closed.
        """
        return Stream(self._core, self._order(prompt, options, whole=False))

    async def infer(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Completion:
        """Ask, and get the whole answer: `stream` folded up, with the same arguments.

        Raises:
            PlanarError: As `stream`, and whatever reading the stream raises.
            OutputInvalidError: The answer does not have the shape that `output=` asked for, `repairs=` included.
        """
        asked = self._order(prompt, options, whole=True)
        for left in range(asked.repairs, -1, -1):
            async with Stream(self._core, asked) as stream:
                try:
                    return await stream.completion()
                except OutputInvalidError as error:
                    if left == 0:
                        raise
                    asked = sent_back(asked, error)
        raise AssertionError("the last try returns or raises")

    def plan(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Route:
        """A dry run: which deployments would be asked, in which order, why, and what it would cost at most. No I/O.

        Raises:
            RequestError: The call cannot be right, or no deployment may serve it.
        """
        asked = self._order(prompt, options, whole=False)
        return plan(self._core, asked, now=self._now())[0]

    async def count_tokens(
        self, prompt: Prompt, *, ask_vendor: bool = False, **options: Unpack[CallOptions]
    ) -> TokenCount:
        """How many tokens a prompt has, without asking for an answer: counted where that can be, else estimated.

        It counts for one model: the one that would be asked first. A model in this process counts with its own
        vocabulary, and is loaded for it. For another no network is used, unless `ask_vendor` is given: its texts
        are counted by `tiktoken` if that is installed and has the model's vocabulary on this machine, and estimated if
        not; `how` says which it was.

        Args:
            prompt: As for `infer`; tools and `output=` count too.
            ask_vendor: Ask the vendor's own endpoint, where it has one. That takes a request, is free at Anthropic,
                Google and OpenAI, and counts in no tenant's quota.
            options: See `planar.CallOptions`.

        Raises:
            RequestError: The call cannot be right, or no deployment may serve it.
            ProviderError: The vendor was asked, and cannot be reached or refused.

        Example:
            ```python
            count = await client.count_tokens("Three rivers in Spain?", model="fast")
            print(count.tokens, count.bound, count.how)
            ```
        """
        asked = self._order(prompt, options, whole=True)
        # What nobody may send there is not sent there to be counted either.
        route, deployments = plan(self._core, asked, now=self._now())
        first = deployments[route.order[0].deployment]
        return await count_tokens(self._core.counting, first, asked.request, ask_vendor=ask_vendor)

    async def embed(
        self,
        inputs: str | Sequence[str],
        *,
        dimensions: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Embeddings:
        """Turn texts into vectors, one each, in their order.

        Args:
            inputs: A text or several; none may be empty.
            dimensions: A shorter vector, where the model can make one.
            options: Of `planar.CallOptions`, those that have a meaning without an answer.

        Raises:
            PlanarError: As `infer`; `UnsupportedError` where the provider has no embeddings.
        """
        texts = checked_inputs(inputs)
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise InvalidRequestError(f"dimensions must be a whole number of at least 1, not {dimensions!r}")
        asked = self._order("\n".join(texts), options, whole=True)
        # A vector is no text that could become longer, and is sent without a tier.
        bounded = replace(asked.request, max_tokens=1, service_tier=None)
        asked = replace(asked, request=bounded, needs=frozenset(("embeddings",)))
        request = EmbedRequest(inputs=texts, dimensions=dimensions, extra_body=asked.request.extra_body)
        return await embed(self._core, asked, request)

    def _now(self) -> float:
        return steady_now() if self._core.clock is None else self._core.clock.monotonic()

    def _order(self, prompt: Prompt, options: CallOptions, *, whole: bool) -> Order:
        if self._core.closed:
            raise ClosedError("the client was closed: make a new one")
        checked = merged(self._defaults, options)
        # Only a stream has a first token to wait for, a stall to notice, and a beginning to go on from.
        watched = "timeouts" in checked or "resume" in checked or bool(checked.get("hedge"))
        wire: Wire = "whole" if whole and not watched else "streamed"
        return order(prompt, checked, wire=wire)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what is running, settle it, and close the providers and the store. Idempotent."""
        if self._core.closed:
            return
        self._core.closed = True
        await shielded(self._close_all, seconds=_CLOSE_SECONDS)

    async def _close_all(self) -> None:
        if self._core.queues is not None:
            self._core.queues.close()
        for run in tuple(self._core.runs):
            if not run.is_here:
                run.abandon()  # its own loop closes it
            elif not run.busy:
                await run.close()
        for provider in self._core.deployments.providers.values():
            await provider.aclose()
        await self._core.counting.aclose()
        await self._core.quotas.aclose()
