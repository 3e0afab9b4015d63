"""A telemetry that raises, wherever it does, hurts no call: it is logged once and counted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType

import pytest

import planar
from planar.protocols import RequestContext, RequestObserver
from planar.telemetry import NOBODY, Guard, _null, guarded
from planar.testing import ScriptedProvider, reply
from planar.types import Completion, Route

STEPS = (
    "request",
    "__enter__",
    "routed",
    "attempt_started",
    "first_token",
    "attempt_ended",
    "finished",
    "__exit__",
)


class Brittle:
    """A telemetry that raises in the steps that it was told, and writes down the others."""

    def __init__(self, *broken: str, error: type[BaseException] = ZeroDivisionError) -> None:
        self.broken = broken
        self.error = error
        self.heard: list[str] = []

    def _step(self, name: str) -> None:
        if name in self.broken:
            raise self.error(f"sk-secret in {name}")
        self.heard.append(name)

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        self._step("request")
        return self

    def __enter__(self) -> RequestObserver:
        self._step("__enter__")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._step("__exit__")

    def routed(self, route: Route) -> None:
        self._step("routed")

    def attempt_started(self, number: int, deployment: str) -> None:
        self._step("attempt_started")

    def first_token(self, seconds: float) -> None:
        self._step("first_token")

    def attempt_ended(self, number: int, error: planar.PlanarError | None) -> None:
        self._step("attempt_ended")

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        self._step("finished")


class Spanning:
    """A telemetry whose request is a generator's block, which sees the call's error and lets it through."""

    def __init__(self) -> None:
        self.seen: list[BaseException] = []

    @contextmanager
    def request(self, context: RequestContext) -> Iterator[RequestObserver]:
        try:
            yield NOBODY
        except BaseException as error:
            self.seen.append(error)
            raise


def client_of(telemetry: planar.protocols.Telemetry, provider: ScriptedProvider | None = None) -> planar.Planar:
    provider = provider or ScriptedProvider(reply("Ebro"))
    return planar.Planar(providers=[provider], models={"fast": ["scripted:default"]}, telemetry=telemetry)


@pytest.mark.anyio
@pytest.mark.parametrize("step", STEPS)
async def test_a_telemetry_that_raises_hurts_no_call(step: str, caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Brittle(step)
    guard = Guard(telemetry)
    client = client_of(guard)

    answers = [(await client.infer("Rivers?", model="fast")).text for _ in range(2)]

    assert answers == ["Ebro", "Ebro"]
    assert guard.dropped == 2
    [record] = caplog.records
    assert (record.name, record.levelno) == ("planar.telemetry", logging.WARNING)
    assert f"Brittle raised in {step}" in record.message
    assert len([entry async for entry in client.quotas.ledger()]) == 2
    if step not in ("request", "__enter__"):
        assert sorted(set(telemetry.heard)) == sorted(set(STEPS) - {step})


@pytest.mark.anyio
async def test_the_client_puts_the_guard_there_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(Brittle(*STEPS[1:]))

    completion = await client.infer("Rivers?", model="fast")

    assert completion.text == "Ebro"
    assert [record.name for record in caplog.records] == ["planar.telemetry"]


@pytest.mark.anyio
async def test_a_call_that_fails_fails_with_its_own_error() -> None:
    telemetry = Brittle(*STEPS[2:])
    client = client_of(telemetry, ScriptedProvider([planar.OverloadedError("busy")]))

    with pytest.raises(planar.OverloadedError, match="busy"):
        await client.infer("Rivers?", model="fast")


@pytest.mark.anyio
async def test_leaving_early_settles_although_the_telemetry_raises() -> None:
    client = client_of(Brittle("attempt_ended", "finished", "__exit__"))

    async with client.stream("Rivers?", model="fast") as stream:
        await anext(stream)

    [entry] = [entry async for entry in client.quotas.ledger()]
    assert "cut" in entry.flags


@pytest.mark.anyio
async def test_a_block_that_lets_the_calls_error_through_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Spanning()
    guard = Guard(telemetry)
    client = client_of(guard, ScriptedProvider([planar.OverloadedError("busy")]))

    with pytest.raises(planar.OverloadedError) as caught:
        await client.infer("Rivers?", model="fast")

    assert telemetry.seen == [caught.value]
    assert (guard.dropped, caplog.records) == (0, [])


def test_what_is_no_exception_is_not_held_back() -> None:
    guard = Guard(Brittle("routed", error=KeyboardInterrupt))
    context = RequestContext(request_id="1", tenant="acme", operation="chat", model="fast", streamed=True)

    with guard.request(context) as observer, pytest.raises(KeyboardInterrupt):
        observer.routed(client_of(guard).plan("Rivers?", model="fast"))

    assert guard.dropped == 0


@pytest.mark.anyio
async def test_nobody_watches_by_default_and_nobody_is_told_anything() -> None:
    called: list[str] = []
    client = planar.Planar(providers=[ScriptedProvider(reply("Ebro"))], models={"fast": ["scripted:default"]})
    await client.infer("Rivers?", model="fast")

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == _null.__file__:
            called.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        await client.infer("Rivers?", model="fast")
    finally:
        sys.setprofile(None)

    assert not called


def test_one_guard_is_enough_and_none_where_nothing_can_raise() -> None:
    nothing, guard = planar.NullTelemetry(), Guard(Brittle())

    assert guarded(nothing) is nothing
    assert guarded(guard) is guard
    assert isinstance(guarded(Brittle()), Guard)
    assert repr(guard) == "Guard(Brittle, dropped=0)"
