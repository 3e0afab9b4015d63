"""What a caller sees of a stream: its text, its events, and one answer however it is read."""

from __future__ import annotations

from decimal import Decimal

import pytest

import planar
from planar.events import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    RouteSelected,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.testing import ScriptedProvider, reply
from planar.types import Price, Usage

pytestmark = pytest.mark.anyio

PRICE = Price.per_million(input=3, output=15)


def client_of(
    *providers: ScriptedProvider,
    models: dict[str, list[str]] | None = None,
    retry: planar.RetryPolicy | None = None,
) -> planar.Planar:
    return planar.Planar(providers=providers, models=models, retry=retry)


async def events_of(stream: planar.Stream) -> list[Event]:
    return [event async for event in stream.events()]


async def test_a_stream_gives_the_text_as_it_arrives() -> None:
    client = client_of(ScriptedProvider(reply("Ebro", ", ", "Tajo")))

    tokens = [token async for token in client.stream("Rivers?")]

    assert tokens == ["Ebro", ", ", "Tajo"]


async def test_events_come_in_the_promised_order() -> None:
    client = client_of(ScriptedProvider(reply("Ebro", ", Tajo")))

    events = await events_of(client.stream("Rivers?"))

    kinds = [type(event) for event in events]
    assert kinds == [RouteSelected, AttemptStarted, TextDelta, TextDelta, UsageReported, Finish]


async def test_infer_and_stream_cannot_disagree() -> None:
    script = (
        ReasoningDelta("Let me think", signature="sig", final=True),
        TextDelta("I look"),
        ToolCallStart(0, "call_1", "weather"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(0, '"Soria"}'),
        ToolCallEnd(0, "call_1", "weather", '{"city":"Soria"}'),
        UsageReported(Usage(input_tokens=9, output_tokens=7)),
        Finish("tool_calls", "tool_calls"),
    )
    client = client_of(ScriptedProvider(script, price=PRICE))

    whole = await client.infer("Weather?")
    stream = client.stream("Weather?")
    await events_of(stream)
    folded = await stream.completion()

    assert (whole.text, whole.tool_calls, whole.reasoning) == (folded.text, folded.tool_calls, folded.reasoning)
    assert whole.message == folded.message
    assert whole.tool_calls[0].parsed() == {"city": "Soria"}
    assert (whole.cost_usd, whole.usage, whole.finish_reason) == (folded.cost_usd, folded.usage, folded.finish_reason)


async def test_the_answer_can_be_sent_back_with_its_signature_and_order() -> None:
    script = (ReasoningDelta("Hm", signature="sig", final=True), TextDelta("Ebro"), *reply()[-1:])
    client = client_of(ScriptedProvider(script))

    completion = await client.infer("Rivers?")

    assert completion.message == planar.Message(
        "assistant", (planar.Reasoning(text="Hm", signature="sig"), planar.Text("Ebro"))
    )


async def test_a_thought_that_is_told_in_two_places_is_one_part() -> None:
    script = (
        ReasoningDelta("Hm", id="rs_1"),
        ReasoningDelta("Ah", id="rs_2"),
        TextDelta("Ebro"),
        ReasoningDelta(id="rs_1", encrypted="sealed", final=True),
        *reply()[-1:],
    )
    client = client_of(ScriptedProvider(script))

    completion = await client.infer("Rivers?")

    assert completion.message.content == (
        planar.Reasoning(text="Hm", id="rs_1", encrypted="sealed"),
        planar.Reasoning(text="Ah", id="rs_2"),
        planar.Text("Ebro"),
    )


async def test_the_cost_is_exact_and_rounded_up_once() -> None:
    usage = Usage(input_tokens=7, output_tokens=1)
    client = client_of(ScriptedProvider([TextDelta("x"), (UsageReported(usage), Finish("stop"))], price=PRICE))

    completion = await client.infer("Rivers?")

    assert completion.cost_usd == Decimal("0.000036")
    [entry] = [entry async for entry in client.quotas.ledger()]
    assert entry.nano_usd == 36_000
    assert entry.price == PRICE


async def test_an_unknown_price_is_none_with_a_notice_and_never_zero() -> None:
    client = client_of(ScriptedProvider(reply("Ebro"), price=None))

    stream = client.stream("Rivers?")
    events = await events_of(stream)
    completion = await stream.completion()

    assert completion.cost_usd is None
    assert [event.code for event in events if isinstance(event, Notice)] == ["price_unknown"]
    [entry] = [entry async for entry in client.quotas.ledger()]
    assert entry.nano_usd is None


async def test_an_unknown_price_is_refused_under_a_money_limit() -> None:
    provider = ScriptedProvider(reply("Ebro"), price=None)
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd(1)]})
    client = planar.Planar(providers=[provider], quotas=store)

    with pytest.raises(planar.UnknownPriceError):
        await client.infer("Rivers?", tenant="acme")

    assert provider.received == []
    assert (await store.usage("acme")).concurrent == 0


async def test_a_catalog_price_counts_where_the_provider_knows_none() -> None:
    provider = ScriptedProvider(reply("Ebro"), price=None)
    catalog = planar.Catalog(prices={"scripted:default": PRICE})
    client = planar.Planar(providers=[provider], catalog=catalog)

    completion = await client.infer("Rivers?")

    assert completion.cost_usd == Decimal("0.000045")


async def test_usage_that_nobody_reports_is_estimated_and_says_so() -> None:
    client = client_of(ScriptedProvider([TextDelta("Ebro"), TextDelta(", Tajo"), Finish("stop")]))

    stream = client.stream("Which rivers are there in Spain?")
    events = await events_of(stream)

    [reported] = [event.usage for event in events if isinstance(event, UsageReported)]
    assert reported.estimated
    assert reported.input_tokens == 8
    assert reported.output_tokens == 3
    [entry] = [entry async for entry in client.quotas.ledger()]
    assert "estimated" in entry.flags


async def test_a_failure_before_the_first_delta_falls_back_unseen() -> None:
    broken = ScriptedProvider([planar.OverloadedError("busy", provider="a")], name="a")
    client = client_of(broken, ScriptedProvider(reply("Ebro"), name="b"), models={"fast": ["a:default", "b:default"]})

    stream = client.stream("Rivers?", model="fast")
    events = await events_of(stream)
    completion = await stream.completion()

    assert completion.text == "Ebro"
    assert [type(event) for event in events][:4] == [RouteSelected, AttemptStarted, AttemptFailed, AttemptStarted]
    assert [(one.deployment, type(one.error)) for one in completion.attempts] == [
        ("a:default", planar.OverloadedError),
        ("b:default", type(None)),
    ]
    entries = [entry async for entry in client.quotas.ledger()]
    assert [(entry.deployment, entry.nano_usd, "failed" in entry.flags) for entry in entries] == [
        ("a:default", 0, True),
        ("b:default", 0, False),
    ]


async def test_a_route_on_which_all_fail_carries_every_attempt() -> None:
    first = ScriptedProvider([planar.OverloadedError("busy")], name="a")
    second = ScriptedProvider([planar.ProviderAuthError("no key")], name="b")
    two = planar.RetryPolicy(attempts=2)
    client = client_of(first, second, models={"fast": ["a:default", "b:default"]}, retry=two)

    with pytest.raises(planar.RouteExhaustedError) as caught:
        await client.infer("Rivers?", model="fast")

    assert [type(attempt.error) for attempt in caught.value.attempts] == [
        planar.OverloadedError,
        planar.ProviderAuthError,
    ]
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, planar.ProviderAuthError)


async def test_the_only_deployment_s_own_error_comes_bare() -> None:
    limited = planar.RateLimitedError("slow down", retry_after=3.0)
    client = client_of(ScriptedProvider([limited]), retry=planar.RetryPolicy(attempts=1))

    with pytest.raises(planar.RateLimitedError) as caught:
        await client.infer("Rivers?")

    assert caught.value.retry_after == 3.0


async def test_a_connection_that_broke_before_any_answer_is_tried_once_more() -> None:
    broken = planar.ProviderConnectionError("reset", broke=True)
    client = client_of(ScriptedProvider([broken], reply("Ebro")))

    completion = await client.infer("Rivers?")

    assert completion.text == "Ebro"
    assert [attempt.error for attempt in completion.attempts] == [broken, None]
    assert len([entry async for entry in client.quotas.ledger()]) == 2


async def test_a_connection_that_breaks_twice_is_the_providers_own_error() -> None:
    provider = ScriptedProvider([planar.ProviderConnectionError("reset", broke=True)])
    client = client_of(provider, retry=planar.RetryPolicy(attempts=2))

    with pytest.raises(planar.ProviderConnectionError):
        await client.infer("Rivers?")

    assert len(provider.received) == 2


async def test_a_filter_s_verdict_is_not_shopped_around() -> None:
    second = ScriptedProvider(reply("no"), name="b")
    first = ScriptedProvider([planar.ContentFilteredError("no")], name="a")
    client = client_of(first, second, models={"fast": ["a:default", "b:default"]})

    with pytest.raises(planar.ContentFilteredError):
        await client.infer("Rivers?", model="fast")

    assert second.received == []


async def test_after_the_first_delta_a_failure_is_an_interruption_with_what_arrived() -> None:
    second = ScriptedProvider(reply("no"), name="b")
    first = ScriptedProvider([TextDelta("Eb"), TextDelta("ro"), planar.ProviderConnectionError("reset")], name="a")
    client = client_of(first, second, models={"fast": ["a:default", "b:default"]})
    tokens: list[str] = []

    with pytest.raises(planar.StreamInterruptedError) as caught:
        async for token in client.stream("Rivers?", model="fast"):
            tokens.append(token)

    assert tokens == ["Eb", "ro"]
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebro"
    assert isinstance(caught.value.__cause__, planar.ProviderConnectionError)
    assert second.received == []


async def test_a_cut_after_the_first_delta_stays_a_truncation() -> None:
    client = client_of(ScriptedProvider([TextDelta("Eb"), planar.TruncatedStreamError("cut")]))

    with pytest.raises(planar.TruncatedStreamError) as caught:
        await client.infer("Rivers?", wire="streamed")

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Eb"
    assert caught.value.usage is not None
    assert caught.value.usage.estimated


async def test_a_provider_that_ends_without_a_finish_broke_the_protocol() -> None:
    client = client_of(ScriptedProvider([()]))

    with pytest.raises(planar.ProviderProtocolError):
        await client.infer("Rivers?")


async def test_a_failed_stream_gives_its_error_again() -> None:
    client = client_of(ScriptedProvider([planar.OverloadedError("busy")]))
    stream = client.stream("Rivers?")
    with pytest.raises(planar.OverloadedError) as first:
        await events_of(stream)

    with pytest.raises(planar.OverloadedError) as again:
        await stream.completion()

    assert again.value is first.value


async def test_leaving_early_gives_what_had_arrived_as_cancelled() -> None:
    provider = ScriptedProvider(reply("Ebro", ", Tajo"), usage_when_left=Usage(input_tokens=4, output_tokens=1))
    client = client_of(provider)

    async with client.stream("Rivers?") as stream:
        async for _token in stream:
            break
    completion = await stream.completion()

    assert completion.text == "Ebro"
    assert completion.finish_reason == "cancelled"
    assert completion.usage == Usage(input_tokens=4, output_tokens=1)
    [entry] = [entry async for entry in client.quotas.ledger()]
    assert entry.flags == {"cut"}


async def test_a_stream_closed_before_it_began_asks_nobody() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider)

    async with client.stream("Rivers?") as stream:
        pass

    assert provider.received == []
    with pytest.raises(planar.ClosedError):
        await stream.completion()


async def test_the_output_is_parsed_into_the_class_that_was_asked_for() -> None:
    from pydantic import BaseModel

    class River(BaseModel):
        name: str
        km: int

    client = client_of(ScriptedProvider(reply('{"name":"Ebro",', '"km":930}')))

    completion = await client.infer("The longest?", output=River)

    assert completion.output == River(name="Ebro", km=930)


async def test_an_answer_of_another_shape_is_an_error_that_says_where() -> None:
    from pydantic import BaseModel

    class River(BaseModel):
        km: int

    client = client_of(ScriptedProvider(reply('{"km":"long"}')))

    with pytest.raises(planar.OutputInvalidError) as caught:
        await client.infer("The longest?", output=River)

    assert caught.value.text == '{"km":"long"}'
    assert caught.value.problems[0].startswith("km: ")


async def test_a_closed_client_starts_nothing() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider)
    stream = client.stream("Rivers?")

    await client.aclose()

    assert provider.closed
    with pytest.raises(planar.ClosedError):
        client.stream("Rivers?")
    with pytest.raises(planar.ClosedError):
        await stream.completion()


async def test_timings_are_seconds_on_the_clients_clock() -> None:
    from planar.testing import FakeClock

    clock = FakeClock()

    async def wait() -> None:
        clock.advance(2)

    script = (wait, TextDelta("Ebro"), wait, (UsageReported(Usage(input_tokens=1, output_tokens=5)), Finish("stop")))
    client = planar.Planar(providers=[ScriptedProvider(script)], clock=clock)

    timings = (await client.infer("Rivers?")).timings

    assert (timings.ttft, timings.total, timings.tokens_per_second) == (2.0, 4.0, 2.0)


async def test_a_deadline_that_passes_is_the_callers_and_not_the_providers() -> None:
    import anyio

    client = client_of(ScriptedProvider([TextDelta("Eb"), anyio.sleep_forever]))

    with pytest.raises(planar.DeadlineExceededError) as caught:
        async for _token in client.stream("Rivers?", deadline=anyio.current_time() + 0.05):
            pass

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Eb"
    [entry] = [entry async for entry in client.quotas.ledger()]
    assert "cut" in entry.flags


async def test_with_options_is_a_copy_with_other_defaults() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider)
    acme = client.with_options(tenant="acme", max_tokens=7)

    await acme.infer("Rivers?")
    await acme.infer("Rivers?", max_tokens=9)
    await client.infer("Rivers?")

    assert [received.request.max_tokens for received in provider.received] == [7, 9, None]
    assert [received.call.tenant for received in provider.received] == ["acme", "acme", "default"]


async def test_plan_says_who_would_be_asked_and_asks_nobody() -> None:
    provider = ScriptedProvider(reply("Ebro"), price=PRICE, context_window=1000)
    client = client_of(provider, models={"fast": ["scripted:default"]})

    route = client.plan("Rivers?", model="fast", max_tokens=10)

    assert [candidate.deployment for candidate in route.order] == ["scripted:default"]
    assert "scripted:default" in route.explain()
    assert route.order[0].cost_bound == (7 + 16) * 3000 + 10 * 15000
    assert provider.received == []


async def test_a_constraint_that_nothing_passes_names_the_filter() -> None:
    client = client_of(ScriptedProvider(reply("Ebro")))

    with pytest.raises(planar.NoRouteError) as caught:
        client.plan("Rivers?", constraints=planar.Constraints(local_only=True))

    assert "local_only" in str(caught.value)
