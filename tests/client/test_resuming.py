"""An answer that breaks off after it had begun: an error with what arrived, or the rest, or another one."""

from __future__ import annotations

from typing import Any

import pytest

import planar
from planar.events import AttemptFailed, AttemptStarted, Finish, Resumed, TextDelta, ToolCallStart, UsageReported
from planar.testing import ScriptedProvider, reply, virtual_backend
from planar.types import Usage

pytestmark = pytest.mark.anyio

CUT = planar.TruncatedStreamError("cut")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def client_of(*providers: ScriptedProvider, **options: Any) -> planar.Planar:
    models = {"any": [f"{provider.name}:default" for provider in providers]}
    return planar.Planar(providers=providers, models=models, **options)


def breaking(name: str = "one", **options: Any) -> ScriptedProvider:
    return ScriptedProvider([TextDelta("Ebro, "), TextDelta("Ta"), CUT], name=name, **options)


async def test_without_being_asked_for_it_is_an_error_with_what_arrived() -> None:
    other = ScriptedProvider("Duero", name="two", continues=True)
    client = client_of(breaking(), other)

    with pytest.raises(planar.StreamInterruptedError) as caught:
        await client.infer("Rivers?", model="any")

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebro, Ta"
    assert other.received == []


async def test_the_rest_comes_from_one_that_can_go_on() -> None:
    unable = ScriptedProvider("never", name="two")
    able = ScriptedProvider(reply("jo, ", "Duero"), name="three", continues=True)
    client = client_of(breaking(), unable, able)

    stream = client.stream("Rivers?", model="any", resume="continue", max_tokens=100)
    events = [event async for event in stream.events()]
    completion = await stream.completion()

    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == completion.text == completion.message.text == "Ebro, Tajo, Duero"
    kinds = [type(event) for event in events[-8:]]
    assert kinds == [TextDelta, AttemptFailed, AttemptStarted, Resumed, TextDelta, TextDelta, UsageReported, Finish]
    assert [event for event in events if isinstance(event, Resumed)] == [Resumed(2, "three:default", "continue")]
    assert unable.received == []
    [asked] = able.received
    assert asked.request.continues
    assert asked.request.messages[-1] == planar.Message("assistant", "Ebro, Ta")
    assert asked.request.max_tokens is not None
    assert asked.request.max_tokens < 100


async def test_what_was_used_is_the_sum_of_both_halves() -> None:
    client = client_of(breaking(), ScriptedProvider(reply("jo", input_tokens=20), name="two", continues=True))

    completion = await client.infer("Rivers?", model="any", resume="continue")

    rows = [row async for row in client.quotas.ledger()]
    assert completion.usage is not None
    assert completion.usage.estimated
    assert completion.usage.input_tokens == sum(row.input_tokens for row in rows)
    assert completion.usage.output_tokens == sum(row.output_tokens for row in rows)
    assert [attempt.deployment for attempt in completion.attempts] == ["one:default", "two:default"]


async def test_it_may_break_off_more_than_once() -> None:
    second = ScriptedProvider(
        [TextDelta("jo"), CUT], [TextDelta(", Duero"), Finish("stop")], name="two", continues=True
    )
    client = client_of(breaking(), second, retry=planar.RetryPolicy(attempts=4))

    completion = await client.infer("Rivers?", model="any", resume="continue")

    assert completion.text == "Ebro, Tajo, Duero"
    assert second.received[1].request.messages[-1].text == "Ebro, Tajo"


async def test_nobody_who_can_go_on_is_the_same_as_not_asking() -> None:
    client = client_of(breaking(), ScriptedProvider("never", name="two"))

    with pytest.raises(planar.StreamInterruptedError) as caught:
        await client.infer("Rivers?", model="any", resume="continue")

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebro, Ta"


async def test_a_tool_that_was_begun_is_not_gone_on_with() -> None:
    first = ScriptedProvider([ToolCallStart(0, "1", "look"), CUT], name="one")
    other = ScriptedProvider("never", name="two", continues=True)
    client = client_of(first, other)

    with pytest.raises(planar.StreamInterruptedError):
        await client.infer("Rivers?", model="any", resume="continue")

    assert other.received == []


async def test_beginning_again_keeps_nothing_of_the_first() -> None:
    other = ScriptedProvider(reply("Duero", ", Miño"), name="two")
    client = client_of(breaking(), other)

    stream = client.stream("Rivers?", model="any", resume="restart")
    events = [event async for event in stream.events()]
    completion = await stream.completion()

    begun_again = events.index(Resumed(2, "two:default", "restart"))
    assert "".join(e.text for e in events[begun_again:] if isinstance(e, TextDelta)) == "Duero, Miño"
    assert completion.text == "Duero, Miño"
    assert completion.usage == Usage(input_tokens=10, output_tokens=2)
    assert not other.received[0].request.continues


async def test_where_beginning_again_fails_too_the_error_has_what_the_caller_has() -> None:
    client = client_of(breaking(), ScriptedProvider([planar.ProviderServerError("down")], name="two"))

    with pytest.raises(planar.StreamInterruptedError) as caught:
        await client.infer("Rivers?", model="any", resume="restart", timeouts=planar.Timeouts(total=1))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebro, Ta"
    assert len(caught.value.partial.attempts) >= 2


@pytest.mark.parametrize("mode", ["continue", "restart"])
async def test_a_filters_verdict_is_not_resumed(mode: str) -> None:
    first = ScriptedProvider([TextDelta("Eb"), planar.ContentFilteredError("no")], name="one")
    other = ScriptedProvider("never", name="two", continues=True)
    client = client_of(first, other)

    with pytest.raises(planar.StreamInterruptedError):
        await client.infer("Rivers?", model="any", resume=mode)  # type: ignore[arg-type]

    assert other.received == []


async def test_leaving_a_resumed_answer_settles_both_halves() -> None:
    second = ScriptedProvider(reply("jo", "x"), name="two", continues=True)
    client = client_of(breaking(), second)

    async with client.stream("Rivers?", model="any", resume="continue") as stream:
        async for token in stream:
            if token == "jo":
                break

    rows = [row async for row in client.quotas.ledger()]
    assert [("failed" in row.flags, "cut" in row.flags) for row in rows] == [(True, False), (False, True)]
    assert (await client.quotas.usage("default")).concurrent == 0
    assert second.open_streams == 0
