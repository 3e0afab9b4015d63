"""Cheap first, escalate on a check: what is withheld, what is asked instead, and what all of it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import anyio
import pytest

import planar
from planar.events import AttemptFailed, AttemptStarted, Event, Finish, TextDelta, ToolCallEnd, ToolCallStart
from planar.protocols import RequestContext
from planar.testing import ScriptedProvider, Step, pause, virtual_backend
from planar.types import Completion, Price

pytestmark = pytest.mark.anyio

PRICE = Price.per_million(input=1, output=1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def scripted(*scripts: str | Sequence[Step], name: str, price: Price = PRICE) -> ScriptedProvider:
    return ScriptedProvider(*scripts, name=name, price=price)


def client_of(*providers: ScriptedProvider, **options: Any) -> planar.Planar:
    return planar.Planar(
        providers=providers, models={"any": [f"{provider.name}:default" for provider in providers]}, **options
    )


def unless(text: str) -> planar.Cascade:
    return planar.Cascade(check=lambda completion: completion.text != text, otherwise="ordered")


async def rows_of(client: planar.Planar) -> list[planar.LedgerEntry]:
    return [row async for row in client.quotas.ledger()]


async def events_of(client: planar.Planar, **options: Any) -> list[Event]:
    return [event async for event in client.stream("Rivers?", model="any", **options).events()]


async def test_an_answer_that_passes_is_delivered_and_nobody_else_is_asked() -> None:
    small, large = scripted("Ebro and Tajo", name="small"), scripted("Duero", name="large")
    client = client_of(small, large)

    completion = await client.infer("Rivers?", model="any", strategy=unless("nothing"))

    assert completion.text == "Ebro and Tajo"
    assert [attempt.error for attempt in completion.attempts] == [None]
    assert large.received == []


async def test_an_answer_that_fails_the_check_is_never_seen_and_the_next_deployment_answers() -> None:
    client = client_of(scripted("No idea", name="small"), scripted("Ebro and Tajo", name="large"))

    events = await events_of(client, strategy=unless("No idea"))

    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Ebro ", "and ", "Tajo"]
    assert [event.deployment for event in events if isinstance(event, AttemptStarted)] == [
        "small:default",
        "large:default",
    ]
    (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
    assert isinstance(failed.error, planar.AnswerRejectedError)
    assert failed.error.text == "No idea"
    assert not failed.error.retryable
    assert [type(event) for event in events].count(Finish) == 1


async def test_what_was_rejected_is_booked_and_part_of_the_cost_but_not_of_the_usage() -> None:
    client = client_of(scripted("No idea", name="small"), scripted("Ebro and Tajo", name="large"))

    completion = await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    rows = await rows_of(client)
    assert [(row.deployment, row.nano_usd, row.flags) for row in rows] == [
        ("small:default", 12_000, set()),
        ("large:default", 13_000, set()),
    ]
    assert completion.cost_usd == Decimal("0.000025")
    assert [attempt.cost_usd for attempt in completion.attempts] == [Decimal("0.000012"), Decimal("0.000013")]
    assert [type(attempt.error) for attempt in completion.attempts] == [planar.AnswerRejectedError, type(None)]
    assert completion.usage is not None
    assert completion.usage.output_tokens == 3


async def test_a_check_may_be_async_and_sees_what_the_caller_would_get() -> None:
    seen: list[Completion] = []

    async def check(completion: Completion) -> bool:
        await anyio.sleep(2)
        seen.append(completion)
        return False

    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    completion = await client.infer("Rivers?", model="any", strategy=planar.Cascade(check=check))

    assert completion.text == "Ebro"
    (shown,) = seen
    assert shown.text == "No idea"
    assert shown.provider == "small"
    assert shown.cost_usd == Decimal("0.000012")
    assert shown.usage is not None
    assert shown.usage.output_tokens == 2
    assert [attempt.deployment for attempt in shown.attempts] == ["small:default"]


async def test_the_last_one_is_not_checked_and_streams_live() -> None:
    seen: list[str] = []

    def check(completion: Completion) -> bool:
        seen.append(completion.text)
        return False

    slow: list[Step] = [TextDelta("Ebro"), pause(10), TextDelta(" and Tajo"), Finish("stop")]
    client = client_of(scripted(slow, name="small"), scripted(slow, name="large"))
    times: list[float] = []
    began = anyio.current_time()

    async for event in client.stream(
        "Rivers?", model="any", strategy=planar.Cascade(check=check, otherwise="ordered")
    ).events():
        if isinstance(event, TextDelta):
            times.append(anyio.current_time() - began)

    assert seen == ["Ebro and Tajo"]
    assert times == [10, 20]


async def test_a_withheld_answer_reaches_the_caller_when_it_has_passed() -> None:
    slow: list[Step] = [TextDelta("Ebro"), pause(10), TextDelta(" and Tajo"), Finish("stop")]
    client = client_of(scripted(slow, name="small"), scripted("Duero", name="large"))

    completion = await client.infer("Rivers?", model="any", wire="streamed", strategy=unless("nothing"))

    assert completion.timings.ttft == 10
    assert completion.timings.total == 10


async def test_rejection_is_nothing_against_the_deployment() -> None:
    client = client_of(
        scripted("No idea", name="small"),
        scripted("Ebro", name="large"),
        breaker=planar.BreakerPolicy(consecutive=1),
    )

    for _ in range(3):
        await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    health = client.plan("Rivers?", model="any").order[0].health
    assert health.state == "closed"
    assert health.error_rate == 0


async def test_a_check_that_raises_ends_the_call_with_everything_settled() -> None:
    def check(completion: Completion) -> bool:
        raise LookupError("no judge")

    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    with pytest.raises(LookupError, match="no judge"):
        await client.infer("Rivers?", model="any", strategy=planar.Cascade(check=check))

    assert [(row.deployment, row.kind) for row in await rows_of(client)] == [("small:default", "settled")]


async def test_a_deadline_ends_a_check_too() -> None:
    async def check(completion: Completion) -> bool:
        await anyio.sleep_forever()
        return True

    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    with pytest.raises(planar.DeadlineExceededError) as caught:
        await client.infer(
            "Rivers?",
            model="any",
            strategy=planar.Cascade(check=check),
            timeouts=planar.Timeouts(total=5),
        )

    assert caught.value.partial is None
    assert [row.kind for row in await rows_of(client)] == ["settled"]


async def test_leaving_while_an_answer_is_checked_settles_what_it_cost() -> None:
    checking = anyio.Event()

    async def check(completion: Completion) -> bool:
        checking.set()
        await anyio.sleep_forever()
        return True

    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="any", strategy=planar.Cascade(check=check)))
        await checking.wait()
        tasks.cancel_scope.cancel()

    assert [(row.nano_usd, row.flags) for row in await rows_of(client)] == [(12_000, set())]


async def test_a_withheld_answer_that_breaks_off_is_a_failure_that_falls_back() -> None:
    cut: list[Step] = [TextDelta("Ebr"), planar.StreamInterruptedError("cut")]
    client = client_of(scripted(cut, name="small"), scripted("Ebro", name="large"))

    completion = await client.infer("Rivers?", model="any", resume="restart", strategy=unless("nothing"))

    assert completion.text == "Ebro"
    assert completion.usage is not None
    assert completion.usage.output_tokens == 1


async def test_a_cascade_of_three_ends_with_the_third() -> None:
    asked: list[str] = []

    def check(completion: Completion) -> bool:
        asked.append(completion.provider)
        return False

    client = client_of(*[scripted(name.upper(), name=name) for name in ("a", "b", "c")])

    completion = await client.infer("Rivers?", model="any", strategy=planar.Cascade(check=check, otherwise="ordered"))

    assert completion.text == "C"
    assert asked == ["a", "b"]
    assert len(await rows_of(client)) == 3


async def test_nothing_is_checked_where_the_cost_ceiling_leaves_nobody_to_escalate_to() -> None:
    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    completion = await client.infer(
        "Rivers?",
        model="any",
        max_tokens=10,
        strategy=unless("No idea"),
        constraints=planar.Constraints(max_cost_usd=Decimal("0.000035")),
    )

    assert completion.text == "No idea"


async def test_the_number_of_attempts_bounds_a_cascade() -> None:
    client = client_of(
        scripted("No idea", name="small"), scripted("Ebro", name="large"), retry=planar.RetryPolicy(attempts=1)
    )

    completion = await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    assert completion.text == "No idea"


async def test_an_answer_that_does_not_fit_its_schema_does_not_pass() -> None:
    schema = {"type": "object", "properties": {"river": {"type": "string"}}, "required": ["river"]}
    rivers: list[object] = []

    def check(completion: Completion) -> bool:
        rivers.append(completion.output)
        return True

    client = client_of(
        scripted([TextDelta("Ebro"), Finish("stop")], name="small"),
        scripted([TextDelta('{"river": "Tajo"}'), Finish("stop")], name="mid"),
        scripted("Duero", name="large"),
    )

    completion = await client.infer(
        "Rivers?", model="any", output=schema, strategy=planar.Cascade(check=check, otherwise="ordered")
    )

    assert completion.output == {"river": "Tajo"}
    assert rivers == [{"river": "Tajo"}]


async def test_a_call_with_hedge_is_not_hedged_while_answers_are_checked() -> None:
    slow: list[Step] = [pause(60), TextDelta("Ebro"), Finish("stop")]
    small, large = scripted(slow, name="small"), scripted("Duero", name="large")
    client = client_of(small, large, hedging=planar.HedgePolicy(share=1.0, burst=100, min_samples=1, min_delay=0.0))
    for _ in range(3):
        await client.infer("Rivers?", model="small:default", wire="streamed")

    completion = await client.infer("Rivers?", model="any", hedge=True, strategy=unless("nothing"))

    assert completion.text == "Ebro"
    assert large.received == []


async def test_all_that_failed_and_all_that_were_rejected_are_told_when_nobody_is_left() -> None:
    broken = planar.ProviderServerError("it broke", status=500)
    client = client_of(
        scripted("No idea", name="small"),
        scripted([broken], name="large"),
        retry=planar.RetryPolicy(attempts=2),
    )

    with pytest.raises(planar.RouteExhaustedError) as caught:
        await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    assert [type(attempt.error) for attempt in caught.value.attempts] == [
        planar.AnswerRejectedError,
        planar.ProviderServerError,
    ]


async def test_a_cascade_may_be_the_routers_rule_for_all_calls() -> None:
    client = client_of(
        scripted("No idea", name="small"),
        scripted("Ebro", name="large"),
        router=planar.CostRouter(unless("No idea")),
    )

    completion = await client.infer("Rivers?", model="any")
    ordered = await client.infer("Rivers?", model="any", strategy="ordered")

    assert completion.text == "Ebro"
    assert ordered.text == "No idea"


async def test_a_cascade_within_another_strategy_checks_too() -> None:
    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"))

    completion = await client.infer("Rivers?", model="any", strategy=planar.Sticky(unless("No idea")))

    assert completion.text == "Ebro"


async def test_a_rejection_is_told_to_the_telemetry_as_the_end_of_its_attempt() -> None:
    ends: list[tuple[int, type[planar.PlanarError] | None]] = []

    class Watching(planar.NullTelemetry):
        def request(self, context: RequestContext) -> Any:
            return nullcontext(Observer())

    class Observer:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: None

        def attempt_ended(self, number: int, error: planar.PlanarError | None) -> None:
            ends.append((number, None if error is None else type(error)))

    client = client_of(scripted("No idea", name="small"), scripted("Ebro", name="large"), telemetry=Watching())

    await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    assert ends == [(1, planar.AnswerRejectedError), (2, None)]


async def test_tool_calls_are_withheld_and_escalated_too() -> None:
    asks: list[Step] = [
        ToolCallStart(0, "c1", "weather"),
        ToolCallEnd(0, "c1", "weather", '{"city": "Zaragoza"}'),
        Finish("tool_calls"),
    ]
    client = client_of(scripted("I cannot know", name="small"), scripted(asks, name="large"))
    cascade = planar.Cascade(check=lambda completion: bool(completion.tool_calls), otherwise="ordered")
    weather = planar.Tool(name="weather", parameters={"type": "object"})

    completion = await client.infer("Weather?", model="any", tools=[weather], strategy=cascade)

    assert completion.text == ""
    assert [call.name for call in completion.tool_calls] == ["weather"]


async def test_an_empty_answer_that_passes_is_an_answer() -> None:
    client = client_of(scripted([Finish("stop")], name="small"), scripted("Ebro", name="large"))

    completion = await client.infer("Rivers?", model="any", strategy=unless("nothing"))

    assert (completion.text, completion.finish_reason) == ("", "stop")
    assert completion.timings.ttft is None


async def test_where_the_money_does_not_reach_the_next_one_the_call_is_refused_and_says_what_was_rejected() -> None:
    client = client_of(
        scripted("No idea", name="small"),
        scripted("Ebro", name="large", price=Price.per_million(input=1000, output=1000)),
    )
    await client.quotas.set_limits("acme", planar.Limit.usd("0.002", per="day"))

    with pytest.raises(planar.QuotaExceededError) as caught:
        await client.infer("Rivers?", model="any", tenant="acme", max_tokens=20, strategy=unless("No idea"))

    assert isinstance(caught.value.__cause__, planar.AnswerRejectedError)
    assert [row.deployment for row in await rows_of(client)] == ["small:default"]


async def test_an_early_leave_of_a_withheld_answer_has_no_words_and_is_settled() -> None:
    slow: list[Step] = [TextDelta("Ebro"), pause(10), TextDelta(" and Tajo"), Finish("stop")]
    client = client_of(scripted(slow, name="small"), scripted("Duero", name="large"))
    stream = client.stream("Rivers?", model="any", strategy=unless("nothing"))

    async with stream:
        with anyio.move_on_after(5):
            async for _ in stream:
                raise AssertionError("nothing is shown before it was checked")
    assert [row.flags for row in await rows_of(client)] == [{"cut", "estimated"}]


def graded(*providers: ScriptedProvider, **quality: float) -> planar.Planar:
    infos = {f"{name}:default": planar.ModelInfo(id="default", quality=good) for name, good in quality.items()}
    return client_of(*providers, catalog=planar.Catalog(models=infos))


async def test_who_is_no_better_is_asked_where_a_deployment_fails() -> None:
    down = scripted([planar.ProviderServerError("down", provider="small")], name="small")
    client = graded(down, scripted("Ebro", name="large"), small=80.0, large=70.0)

    completion = await client.infer("Rivers?", model="any", strategy=unless("nothing"))

    assert completion.text == "Ebro"


async def test_who_is_no_better_is_not_asked_where_an_answer_would_be_rejected() -> None:
    large = scripted("Ebro", name="large")
    client = graded(scripted("No idea", name="small"), large, small=80.0, large=70.0)

    completion = await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    assert completion.text == "No idea", "nobody better is left: it is given as it is"
    assert large.received == []


async def test_a_rejection_goes_past_those_that_are_no_better() -> None:
    middle = scripted("Tajo", name="middle")
    client = graded(
        scripted("No idea", name="small"), middle, scripted("Ebro", name="large"), small=60.0, middle=50.0, large=90.0
    )

    completion = await client.infer("Rivers?", model="any", strategy=unless("No idea"))

    assert completion.text == "Ebro"
    assert middle.received == []
