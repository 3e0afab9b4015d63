"""Simulated endpoints: how fast they are under load, what they bill, and how they fail."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Literal, Protocol, Self

from planar.errors import (
    PlanarError,
    ProviderConnectionError,
    ProviderServerError,
    ProviderTimeoutError,
    RateLimitedError,
    TruncatedStreamError,
    UnsupportedError,
)
from planar.events import Event, Finish, TextDelta, UsageReported
from planar.protocols import Call
from planar.types import ChatRequest, Embeddings, EmbedRequest, Health, ModelInfo, Price, Usage

Kind = Literal["down", "hang", "flaky", "slow errors", "drip"]
"""Refuses connections; accepts and never answers; three calls in ten fail; fails after 8 s; begins late, then drips."""

ROUND_TRIP = 0.08
FLAKY = 0.3
ERROR_SECONDS = 8.0
DRIP_BEGINS = 4.0
DRIP_RATE = 2.0
STALLED = 0.005
_TEXT = "word" * 4096
_STEP = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One vendor's offer of the same model.

    Attributes:
        ttft: Median seconds to the first token of an empty prompt at an idle endpoint.
        spread: Sigma of the log-normal factor on it.
        prefill, speed: Tokens per second, of the prompt and of the answer.
        slots: Calls of ours at a time that double its time to first token.
        per_minute: Calls that it takes per minute; `None` for any number.
        cut: Share of its answers that break off.
    """

    name: str
    region: str
    price: Price
    ttft: float
    spread: float
    prefill: float
    speed: float
    slots: int
    per_minute: int | None = None
    cut: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an endpoint, in seconds from the beginning."""

    endpoint: str
    kind: Kind
    begin: float
    end: float


class Listener(Protocol):
    """A rule with a memory. Told what happens at each endpoint; `now` is seconds from the beginning."""

    def began(self, name: str, now: float) -> None: ...
    def spoke(self, name: str, now: float, seconds: float) -> None: ...
    def ended(self, name: str, now: float, seconds: float, error: PlanarError | None) -> None: ...


@dataclass(slots=True)
class Bill:
    """What a vendor charges, whatever we think of it: pico-USD."""

    pico: int = 0
    calls: int = 0
    asked_against_policy: int = 0


@dataclass(slots=True)
class Upstream:
    """A `planar.protocols.Provider` of one endpoint.

    What is left to chance depends on the seed, the call and the attempt alone, so that every rule that asks this
    endpoint with this call meets the same luck.
    """

    endpoint: Endpoint
    faults: Sequence[Fault]
    seed: int
    now: Callable[[], float]
    may: Callable[[str, Endpoint], bool]
    listener: Listener | None = None
    resumes: bool = False
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    bill: Bill = field(default_factory=Bill)
    active: int = 0
    _allowance: float = math.nan
    _counted: float = 0.0
    _weather: list[float] = field(default_factory=list[float])

    @property
    def name(self) -> str:
        return self.endpoint.name

    def describe(self, model: str) -> ModelInfo | None:
        return ModelInfo(id=model, price=self.endpoint.price, region=self.endpoint.region, context_window=131_072)

    def default_models(self) -> Sequence[str]:
        return ("chat",)

    def continues(self, model: str) -> bool:
        return self.resumes

    def stream(self, request: ChatRequest, *, model: str, call: Call) -> Answer:
        self.bill.calls += 1
        self.bill.asked_against_policy += not self.may(call.tenant, self.endpoint)
        return Answer(self, call, said=sum(len(m.text) for m in request.messages if m.role == "assistant") // 4)

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        raise UnsupportedError("no embeddings here", provider=self.name)

    async def models(self) -> Sequence[ModelInfo]:
        return ()

    async def check(self) -> Health:
        return Health()

    async def aclose(self) -> None:
        """There is nothing to close."""

    def fault(self, now: float) -> Kind | None:
        for fault in self.faults:
            if fault.begin <= now < fault.end and fault.endpoint == self.name:
                return fault.kind
        return None

    def wait_for_room(self, now: float) -> float | None:
        """Seconds that this call comes too early; `None` if it is let in."""
        limit = self.endpoint.per_minute
        if limit is None:
            return None
        burst = max(1.0, limit / 6)  # ten seconds' worth
        allowance = burst if math.isnan(self._allowance) else self._allowance
        self._allowance = min(burst, allowance + (now - self._counted) * limit / 60)
        self._counted = now
        if self._allowance >= 1:
            self._allowance -= 1
            return None
        return math.ceil((1 - self._allowance) * 60 / limit)

    def weather(self, now: float) -> float:
        """How the load of everybody else changes its speed: a slow wander around 1."""
        if not self._weather:
            random, log = Random(f"weather {self.seed} {self.name}"), 0.0
            for _ in range(400):
                self._weather.append(math.exp(log))
                log = 0.9 * log + random.gauss(0.0, 0.1)
        place = min(max(now, 0.0) / _STEP, 398.0)
        before = int(place)
        return self._weather[before] + (place - before) * (self._weather[before + 1] - self._weather[before])


class Answer:
    """One answer of an upstream, or its failure."""

    def __init__(self, upstream: Upstream, call: Call, *, said: int) -> None:
        assert call.idempotency_key is not None
        self._upstream = upstream
        self._call = call
        self._random = Random(f"{upstream.seed} {upstream.name} {call.idempotency_key} {call.attempt}")
        self._input, self._output = upstream.lengths[call.idempotency_key]
        self._input += said
        self._output = max(1, self._output - said)
        self._began = self._first = self._rate = 0.0
        self._billed = self._over = False
        self._step = 0
        self._error: PlanarError | None = None

    async def __aenter__(self) -> Self:
        upstream = self._upstream
        self._began = upstream.now()
        upstream.active += 1
        if upstream.listener is not None:
            upstream.listener.began(upstream.name, self._began)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        upstream, now = self._upstream, self._upstream.now()
        upstream.active -= 1
        price = upstream.endpoint.price
        if self._billed:
            # Leaving early saves what had not been generated. The prompt is billed, even if nothing was said yet.
            made = 0 if not self._first else min(self._output, 1 + int((now - self._first) * self._rate))
            upstream.bill.pico += self._input * price.input + made * price.output
            if not self._over:
                self._call.response.usage = Usage(input_tokens=self._input, output_tokens=made)
        if upstream.listener is not None:
            upstream.listener.ended(upstream.name, now, now - self._began, self._error)

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        self._step += 1
        try:
            if self._step == 1:
                return await self._begin()
            if self._step == 2:
                return await self._rest()
        except PlanarError as error:
            self._error = error
            raise
        raise StopAsyncIteration

    async def _begin(self) -> Sequence[Event]:
        upstream, endpoint, random = self._upstream, self._upstream.endpoint, self._random
        noise, stall, luck = random.lognormvariate(0.0, endpoint.spread), random.random(), random.random()
        kind = upstream.fault(self._began)
        if kind == "down":
            await asyncio.sleep(ROUND_TRIP)
            raise ProviderConnectionError("connection refused", provider=endpoint.name)
        wait = upstream.wait_for_room(self._began)
        if wait is not None:
            await asyncio.sleep(ROUND_TRIP)
            raise RateLimitedError("too many requests", provider=endpoint.name, status=429, retry_after=wait)
        if kind == "hang":
            await self._silence(math.inf)
        if kind == "slow errors" or (kind == "flaky" and luck < FLAKY):
            await self._silence(ERROR_SECONDS if kind == "slow errors" else 4 * ROUND_TRIP)
            raise ProviderServerError("it broke", provider=endpoint.name, status=500)
        pressure = (upstream.active / endpoint.slots) ** 2
        seconds = (endpoint.ttft + self._input / endpoint.prefill) * upstream.weather(self._began) * noise
        seconds *= (1 + pressure) * (DRIP_BEGINS if kind == "drip" else 1)
        if stall < STALLED:
            seconds += min(60.0, 2.0 * random.paretovariate(1.1))
        self._billed = True
        await self._silence(seconds)
        self._rate = DRIP_RATE if kind == "drip" else endpoint.speed / (1 + pressure / 2)
        self._first = upstream.now()
        if upstream.listener is not None:
            upstream.listener.spoke(upstream.name, self._first, self._first - self._began)
        return (TextDelta("word"),)

    async def _silence(self, seconds: float) -> None:
        patience = self._call.timeouts.first_token
        if patience is not None and seconds > patience:
            await asyncio.sleep(patience)
            raise ProviderTimeoutError("no first token", phase="first_token", provider=self._upstream.name)
        await asyncio.sleep(seconds)

    async def _rest(self) -> Sequence[Event]:
        random, rest = self._random, self._output - 1
        cut = random.random() < self._upstream.endpoint.cut
        if cut:
            rest = int(rest * random.random())
        await asyncio.sleep(rest / self._rate)
        if cut:
            raise TruncatedStreamError("the body ended before the answer did", provider=self._upstream.name)
        self._over = True
        usage = Usage(input_tokens=self._input, output_tokens=self._output)
        return (TextDelta(_TEXT[: 4 * rest]), UsageReported(usage), Finish("stop", "stop"))
