"""A deployment that keeps failing is left alone, found back by one probe, and never taken away if it is the last."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest

import planar
from planar.testing import ScriptedProvider, pause, reply, virtual_backend

pytestmark = pytest.mark.anyio

DOWN = planar.ProviderServerError("down", status=500)
POLICY = planar.BreakerPolicy(consecutive=3, ejection=10)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def client_of(*providers: ScriptedProvider, **options: Any) -> planar.Planar:
    models = {"any": [f"{provider.name}:default" for provider in providers]}
    return planar.Planar(providers=providers, models=models, breaker=POLICY, **options)


async def test_after_so_many_failures_it_is_not_asked_first_any_more() -> None:
    one, two = ScriptedProvider([DOWN], name="one"), ScriptedProvider("Ebro", name="two")
    client = client_of(one, two)

    for _ in range(10):
        completion = await client.infer("Rivers?", model="any")

    assert len(one.received) == POLICY.consecutive
    assert [attempt.deployment for attempt in completion.attempts] == ["two:default"]
    left_alone = client.plan("Rivers?", model="any").verdicts[0]
    assert left_alone.position == 1
    assert "left alone" in left_alone.detail
    assert left_alone.candidate.health.state == "open"


async def test_one_probe_finds_it_back() -> None:
    one = ScriptedProvider([DOWN], [DOWN], [DOWN], "Tajo", name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))
    for _ in range(5):
        await client.infer("Rivers?", model="any")

    await anyio.sleep(POLICY.ejection + 1)
    answers = [(await client.infer("Rivers?", model="any")).text for _ in range(3)]

    assert answers == ["Tajo"] * 3


async def test_while_the_probe_is_out_others_go_elsewhere() -> None:
    slow = [pause(5), *reply("Tajo")]
    one = ScriptedProvider([DOWN], [DOWN], [DOWN], slow, name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))
    for _ in range(3):
        await client.infer("Rivers?", model="any")
    await anyio.sleep(POLICY.ejection + 1)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await client.infer("Rivers?", model="any")).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(ask)

    assert sorted(answers) == ["Ebro", "Ebro", "Ebro", "Tajo"]


async def test_the_last_one_is_never_taken_away() -> None:
    one = ScriptedProvider([DOWN], name="one")
    client = client_of(one, retry=planar.RetryPolicy(attempts=1))

    for _ in range(10):
        with pytest.raises(planar.ProviderServerError):
            await client.infer("Rivers?", model="any")

    assert len(one.received) == 10


async def test_what_a_caller_or_a_tenant_causes_does_not_count() -> None:
    errors: list[planar.PlanarError] = [
        planar.InvalidRequestError("wrong"),
        planar.ContentFilteredError("filtered"),
        planar.ContextLengthError("long"),
    ]
    one = ScriptedProvider(*[[error] for error in errors * 5], name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))

    for _ in range(15):
        with contextlib.suppress(*map(type, errors)):
            await client.infer("Rivers?", model="any")

    assert client.plan("Rivers?", model="any").verdicts[0].candidate.health.state == "closed"


async def test_the_callers_deadline_does_not_count() -> None:
    one = ScriptedProvider([anyio.sleep_forever], name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))

    for _ in range(5):
        with pytest.raises(planar.DeadlineExceededError):
            await client.infer("Rivers?", model="any", timeouts=planar.Timeouts(total=1))

    assert client.plan("Rivers?", model="any").order[0].deployment == "one:default"


async def test_who_is_limited_for_now_is_asked_after_the_others() -> None:
    limited = planar.RateLimitedError("slow down", retry_after=30)
    one = ScriptedProvider([limited], "Tajo", name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))

    answers = [(await client.infer("Rivers?", model="any")).text for _ in range(3)]
    await anyio.sleep(31)
    later = await client.infer("Rivers?", model="any")

    assert answers == ["Ebro"] * 3
    assert len(one.received) == 2
    assert later.text == "Tajo"


async def test_a_refused_key_is_asked_last_for_a_while_and_is_no_outage() -> None:
    one = ScriptedProvider([planar.ProviderAuthError("bad key", status=401)], "Tajo", name="one")
    client = client_of(one, ScriptedProvider("Ebro", name="two"))

    answers = [(await client.infer("Rivers?", model="any")).text for _ in range(5)]
    refused = client.plan("Rivers?", model="any").verdicts[0].candidate.health
    await anyio.sleep(31)
    later = await client.infer("Rivers?", model="any")

    assert answers == ["Ebro"] * 5
    assert len(one.received) == 2
    assert (refused.auth_failed, refused.state) == (True, "closed")
    assert later.text == "Tajo"


async def test_a_route_knows_how_its_deployments_are_doing() -> None:
    client = client_of(ScriptedProvider([pause(0.2), *reply("Ebro")], name="one"))
    for _ in range(3):
        await client.infer("Rivers?", model="any", wire="streamed")
    await anyio.sleep(5)

    health = client.plan("Rivers?", model="any").order[0].health

    assert health.ttft_p50 == pytest.approx(0.2, abs=0.01)
    assert health.age == pytest.approx(5, abs=0.01)
    assert (health.in_flight, health.error_rate, health.ok) == (0, 0.0, True)
