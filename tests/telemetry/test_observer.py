"""What a telemetry hears of a call: route, attempts, first token, and the end exactly once, however it ends."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import anyio
import pytest

import planar
from planar.protocols import RequestContext, RequestObserver
from planar.testing import ScriptedProvider, reply
from planar.types import Completion, Route

pytestmark = pytest.mark.anyio


class Recorder:
    """A telemetry that writes down what it hears."""

    def __init__(self) -> None:
        self.contexts: list[RequestContext] = []
        self.heard: list[str] = []

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        self.contexts.append(context)
        return nullcontext(self)

    def routed(self, route: Route) -> None:
        self.heard.append(f"routed {len(route.order)}")

    def attempt_started(self, number: int, deployment: str) -> None:
        self.heard.append(f"started {number} {deployment}")

    def first_token(self, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append("first token")

    def attempt_ended(self, number: int, error: planar.PlanarError | None) -> None:
        self.heard.append(f"ended {number} {type(error).__name__}")

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        reason = None if completion is None else completion.finish_reason
        self.heard.append(f"finished {reason} {type(error).__name__}")


def client_of(recorder: Recorder, *providers: ScriptedProvider) -> planar.Planar:
    names = [f"{provider.name}:default" for provider in providers]
    return planar.Planar(providers=providers, models={"fast": names}, telemetry=recorder)


async def test_a_call_that_falls_back_is_heard_from_route_to_end() -> None:
    recorder = Recorder()
    broken = ScriptedProvider([planar.OverloadedError("busy")], name="a")
    client = client_of(recorder, broken, ScriptedProvider(reply("Ebro"), name="b"))

    await client.infer("Rivers?", model="fast", tenant="acme", metadata={"feature": "quiz"})

    assert recorder.heard == [
        "routed 2",
        "started 1 a:default",
        "ended 1 OverloadedError",
        "started 2 b:default",
        "first token",
        "ended 2 NoneType",
        "finished stop NoneType",
    ]
    [context] = recorder.contexts
    assert (context.tenant, context.model, dict(context.metadata)) == ("acme", "fast", {"feature": "quiz"})


async def test_a_call_that_is_left_ends_once() -> None:
    recorder = Recorder()
    client = client_of(recorder, ScriptedProvider([*reply("Ebro")[:1], anyio.sleep_forever]))

    async with client.stream("Rivers?", model="fast") as stream:
        await anext(stream)

    await stream.aclose()
    assert recorder.heard[-1] == "finished cancelled NoneType"
    assert sum(line.startswith("finished") for line in recorder.heard) == 1


async def test_a_call_that_is_refused_ends_with_its_error() -> None:
    recorder = Recorder()
    client = client_of(recorder, ScriptedProvider(reply("no")))
    await client.quotas.set_limits("acme", planar.Limit.concurrency(0))

    with pytest.raises(planar.QuotaExceededError):
        await client.infer("Rivers?", model="fast", tenant="acme")

    assert recorder.heard[0] == "routed 1"
    assert recorder.heard[-1].endswith("QuotaExceededError")
