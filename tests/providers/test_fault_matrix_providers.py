"""Each provider x each fault: the right error or a served fallback, one ledger row per attempt, and nothing left open.

What is expected stands beside each fault in `planar.testing.FAULTS`. Time is real here, and short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import pytest
import sniffio

import planar
from planar.events import AttemptStarted, Event, TextDelta
from planar.testing import FAULTS, Fault, FaultServer
from planar.testing.faults import INPUT_TOKENS, OUTPUT_TOKENS, TEXT, WORDS, Outcome, WireName, drip, stall_at, storm

pytestmark = pytest.mark.anyio

KEY = "sk-hunter2hunter2hunter2"
QUIET = 0.1
"""Seconds of silence that are too many, where silence is what the fault is made of; elsewhere nothing is hurried."""
PATIENT = 20.0
PROVIDERS: dict[str, tuple[WireName, Callable[[str], Any]]] = {
    "openai": ("openai_responses", lambda url: planar.OpenAI(base_url=url, api_key=KEY, name="p")),
    "openai-chat": ("openai_chat", lambda url: planar.OpenAI(base_url=url, api_key=KEY, api="chat", name="p")),
    "compatible": ("openai_chat", lambda url: planar.OpenAICompatible(base_url=url, api_key=KEY, name="p")),
    "anthropic": ("anthropic_messages", lambda url: planar.Anthropic(base_url=url, api_key=KEY, name="p")),
    "gemini": ("gemini", lambda url: planar.Gemini(base_url=url, api_key=KEY, name="p")),
    "ollama": ("ollama_chat", lambda url: planar.Ollama(base_url=url, api_key=KEY, name="p")),
}
SAID = {
    Fault.DUPLICATE_DELTAS: "".join(word * 2 for word in WORDS),
    Fault.OUT_OF_ORDER: WORDS[0] + WORDS[2] + WORDS[1] + WORDS[3],
}
"""What a stream says where it is not `TEXT`."""
FINAL = (planar.ContentFilteredError, planar.InvalidRequestError)
"""What no other deployment is asked about."""
LATE_BUT_READ = {"gemini"}
"""Where usage that comes after the reason to stop is still part of the answer."""

each_provider = pytest.mark.parametrize("provider", PROVIDERS)
each_form = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
each_fault = pytest.mark.parametrize("fault", Fault)
silent_faults = [fault for fault in Fault if FAULTS[fault].streamed.error is planar.ProviderTimeoutError]

Transport = Literal["httpx", "httpx2", "aiohttp"]


def client_of(
    server: FaultServer, provider: str, transport: Transport = "httpx", *, attempts: int = 1, wait: float = 0.05
) -> planar.Planar:
    retry = planar.RetryPolicy(attempts=attempts, base=0.001, cap=0.001, max_wait=wait)
    return planar.Planar(providers=[PROVIDERS[provider][1](server.url)], transport=transport, retry=retry)


def clocks_for(outcome: Outcome) -> planar.Timeouts:
    if outcome.error is not planar.ProviderTimeoutError:
        return planar.Timeouts(connect=PATIENT, first_token=PATIENT, stall=PATIENT)
    first_token = PATIENT if outcome.words else QUIET
    return planar.Timeouts(connect=QUIET, first_token=first_token, stall=QUIET)


@dataclass
class Call:
    """What the caller of one call saw."""

    events: list[Event] = field(default_factory=list)
    error: planar.PlanarError | None = None
    completion: planar.Completion | None = None

    @property
    def attempts(self) -> int:
        return sum(isinstance(event, AttemptStarted) for event in self.events)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def cause(self) -> BaseException | None:
        """The provider's own error, whatever the client put around it."""
        error: BaseException | None = self.error
        if isinstance(error, planar.RouteExhaustedError):
            error = error.attempts[-1].error
        return error.__cause__ if type(error) is planar.StreamInterruptedError else error


async def call(client: planar.Planar, *, streamed: bool, model: str = "p:m", **options: Any) -> Call:
    seen = Call()
    try:
        async with client.stream("Rivers?", model=model, wire="streamed" if streamed else "whole", **options) as stream:
            async for event in stream.events():
                seen.events.append(event)
            seen.completion = await stream.completion()
    except planar.PlanarError as error:
        seen.error = error
    return seen


def threads_of_ours() -> set[threading.Thread]:
    # The runner of the tests on trio waits for its sockets in a thread of trio's.
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}


async def until_closed(server: FaultServer) -> None:
    with anyio.fail_after(5):
        while server.open_connections:
            await anyio.sleep(0.001)


async def assert_nothing_is_held(client: planar.Planar, *, attempts: int) -> None:
    rows = [row async for row in client.quotas.ledger()]
    report = await client.quotas.usage("default")
    assert len(rows) == len({row.lease_id for row in rows}) == attempts
    assert (report.concurrent, report.held.tokens, report.held.nano_usd or 0) == (0, 0, 0)


def assert_as_expected(seen: Call, outcome: Outcome, provider: str, fault: Fault, *, streamed: bool) -> None:
    if outcome.error is None:
        assert seen.error is None
        assert_served(seen, provider, fault, streamed=streamed)
        return
    assert seen.completion is None
    assert type(seen.cause) is outcome.error
    assert (seen.cause.provider, seen.cause.deployment) == ("p", "p:m")
    assert KEY not in f"{seen.error!r} {seen.cause!r} { {**vars(seen.cause), 'partial': None} }"
    if outcome.words:
        assert isinstance(seen.error, planar.StreamInterruptedError)
        assert seen.error.partial is not None
        assert seen.error.partial.text == seen.text
        assert seen.text.startswith(WORDS[0])
    else:
        assert seen.text == ""


def assert_served(seen: Call, provider: str, fault: Fault, *, streamed: bool) -> None:
    assert seen.completion is not None
    said = SAID.get(fault, TEXT) if streamed else TEXT
    if fault is Fault.GIANT_EVENT:
        assert len(seen.text) > 1 << 20
    else:
        assert seen.text == seen.completion.text == said
    assert seen.completion.finish_reason == "stop"
    usage = seen.completion.usage
    assert usage is not None
    read_late = fault is Fault.LATE_USAGE and streamed and provider in LATE_BUT_READ
    if fault in (Fault.MISSING_USAGE, Fault.LATE_USAGE) and not read_late:
        assert usage.estimated
    else:
        assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (INPUT_TOKENS, OUTPUT_TOKENS, False)


async def the_fault(provider: str, fault: Fault, *, streamed: bool, transport: Transport = "httpx") -> None:
    outcome = FAULTS[fault].outcome(streamed=streamed)
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(fault)
        threads, tasks = threads_of_ours(), {task.id for task in anyio.get_running_tasks()}
        async with client_of(server, provider, transport, attempts=2) as client:
            seen = await call(client, streamed=streamed, timeouts=clocks_for(outcome))

            await assert_nothing_is_held(client, attempts=seen.attempts)
        await until_closed(server)

        assert_as_expected(seen, outcome, provider, fault, streamed=streamed)
        assert len(server.requests) == (0 if fault is Fault.REFUSED else seen.attempts)
        assert server.strays == []
        assert threads_of_ours() == threads
        assert {task.id for task in anyio.get_running_tasks()} == tasks


@each_form
@each_provider
@each_fault
async def test_each_provider_makes_of_each_fault_what_it_should(fault: Fault, provider: str, streamed: bool) -> None:
    await the_fault(provider, fault, streamed=streamed)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_form
@each_fault
async def test_so_it_does_over_aiohttp(anyio_backend: str, fault: Fault, streamed: bool) -> None:
    await the_fault("anthropic", fault, streamed=streamed, transport="aiohttp")


@pytest.mark.parametrize("streamed", [True], ids=["streamed"])
@each_fault
async def test_so_it_does_over_httpx2(fault: Fault, streamed: bool) -> None:
    await the_fault("compatible", fault, streamed=streamed, transport="httpx2")


@each_provider
@each_fault
async def test_before_the_first_word_another_deployment_serves_instead(fault: Fault, provider: str) -> None:
    outcome = FAULTS[fault].streamed
    falls_back = outcome.error is not None and not outcome.words and outcome.error not in FINAL
    with FaultServer(wire=PROVIDERS[provider][0]) as server, FaultServer(wire="openai_chat") as other:
        server.say(fault)
        providers = [
            PROVIDERS[provider][1](server.url),
            planar.OpenAICompatible(base_url=other.url, api_key=KEY, name="q"),
        ]
        # On a busy machine the other may be late too, where the clocks are short: then it is asked again.
        retry = planar.RetryPolicy(attempts=8, base=0.001, cap=0.001)
        async with planar.Planar(providers=providers, models={"any": ["p:m", "q:m"]}, retry=retry) as client:
            seen = await call(client, streamed=True, model="any", timeouts=clocks_for(outcome))

            await assert_nothing_is_held(client, attempts=seen.attempts)
        await until_closed(server)
        await until_closed(other)

    if falls_back:
        assert seen.completion is not None
        assert (seen.text, seen.completion.provider) == (TEXT, "q")
        assert all(isinstance(attempt.error, outcome.error) for attempt in seen.completion.attempts[:-1])
        assert other.requests
    else:
        assert other.requests == []
        assert (seen.error is None) == (outcome.error is None)


@each_provider
async def test_one_call_outlasts_a_storm_of_429(provider: str) -> None:
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(*storm(2, retry_after=0, retry_after_ms=10))
        async with client_of(server, provider, attempts=3) as client:
            seen = await call(client, streamed=True)

            await assert_nothing_is_held(client, attempts=3)
        await until_closed(server)

    assert (seen.text, len(server.requests)) == (TEXT, 3)
    assert server.requests[1].at - server.requests[0].at >= 0.01


@each_provider
async def test_a_storm_of_429_passes_and_every_attempt_is_booked(provider: str) -> None:
    seen: list[Call] = []
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(*storm(2, retry_after=0, retry_after_ms=10))
        async with client_of(server, provider) as client:
            while not seen or seen[-1].error is not None:
                seen.append(await call(client, streamed=True))

            await assert_nothing_is_held(client, attempts=3)
        await until_closed(server)

    assert (seen[-1].text, len(server.requests)) == (TEXT, 3)
    for refused in seen[:-1]:
        assert isinstance(refused.cause, planar.RateLimitedError)
        assert refused.cause.retry_after == 0.01


@each_provider
async def test_an_upstream_that_refused_and_is_back_is_asked_again(provider: str) -> None:
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(Fault.REFUSED)
        async with client_of(server, provider) as client:
            refused = await call(client, streamed=True)
            server.say(Fault.NONE)
            served = await call(client, streamed=True)
        await until_closed(server)

    assert isinstance(refused.cause, planar.ProviderConnectionError)
    assert served.text == TEXT


@pytest.mark.parametrize("fault", silent_faults)
@each_provider
async def test_the_callers_deadline_ends_every_silence(provider: str, fault: Fault) -> None:
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(fault)
        async with client_of(server, provider) as client:
            for left in (2, 1, 0):  # a busy machine may be late; three times in a row it is not the machine
                began = time.monotonic()
                seen = await call(client, streamed=True, timeouts=planar.Timeouts(total=QUIET))
                took = time.monotonic() - began
                if took <= QUIET + 0.05 or not left:
                    break
        await until_closed(server)

    assert isinstance(seen.error, planar.DeadlineExceededError)
    assert QUIET - 0.01 <= took <= QUIET + 0.05


@each_provider
@pytest.mark.parametrize("pings", [False, True], ids=["silent", "pinging"])
async def test_the_upstream_sees_the_close_at_once_when_the_block_is_left(provider: str, pings: bool) -> None:
    with FaultServer(wire=PROVIDERS[provider][0]) as server:
        server.say(stall_at(6, pings=pings) if provider == "openai" else stall_at(3, pings=pings))
        async with client_of(server, provider) as client:
            for left in (2, 1, 0):
                async with client.stream("Rivers?", model="p:m") as stream:
                    await anext(stream)
                    left_at = time.monotonic()
                await until_closed(server)
                closed_at = server.requests[-1].closed_at
                assert closed_at is not None
                if closed_at - left_at <= 0.1 or not left:
                    break
            await assert_nothing_is_held(client, attempts=len(server.requests))

    assert closed_at - left_at <= 0.1


@pytest.mark.parametrize("way", ["left", "closed", "cancelled"])
@pytest.mark.parametrize("flowing", [False, True], ids=["silent", "flowing"])
@pytest.mark.parametrize("transport", ["httpx", "httpx2", "aiohttp"])
async def test_so_it_does_whatever_the_way_and_the_transport(transport: Transport, flowing: bool, way: str) -> None:
    if transport == "aiohttp" and sniffio.current_async_library() == "trio":
        pytest.skip("aiohttp runs on asyncio only")
    waits: list[float] = []
    with FaultServer(wire="openai_chat") as server:
        server.say(drip(0.0005) if flowing else stall_at(3))
        async with client_of(server, "compatible", transport) as client:
            for _ in range(3):
                left_at = await left(client, way)
                await until_closed(server)
                closed_at = server.requests[-1].closed_at
                assert closed_at is not None
                waits.append(closed_at - left_at)
            await assert_nothing_is_held(client, attempts=3)

    assert min(waits) <= 0.1, "of three, for a busy machine may be late"


async def left(client: planar.Planar, way: str) -> float:
    """Leave a stream after its first word, in one of the ways; when that began."""
    stream = client.stream("Rivers?", model="p:m")
    with anyio.CancelScope() as scope:
        async with stream:
            await anext(stream)
            left_at = time.monotonic()
            if way == "closed":
                await stream.aclose()
            elif way == "cancelled":
                scope.cancel()
                await anext(stream)
    return left_at
