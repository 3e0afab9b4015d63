"""Two deployments for one answer: when the second is asked, who is kept, and what becomes of the other."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

import planar
from planar.events import AttemptFailed, AttemptStarted, Finish, TextDelta
from planar.testing import ScriptedProvider, Step, pause, virtual_backend

pytestmark = pytest.mark.anyio

EAGER = planar.HedgePolicy(share=1.0, burst=100, min_samples=5, min_delay=0.0)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def after(seconds: float, *steps: Step) -> list[Step]:
    return [pause(seconds), *(steps or (TextDelta("Ebro"), Finish("stop")))]


class Bench:
    """A first deployment that takes 0.1 s to begin, warmed up, and then does what it is told; and a second."""

    def __init__(
        self,
        slow: list[Step],
        second: list[Step],
        *,
        policy: planar.HedgePolicy = EAGER,
        price: planar.Price = planar.Price.FREE,
    ) -> None:
        self.one = ScriptedProvider(*[after(0.1)] * 10, slow, name="one", price=price)
        self.two = ScriptedProvider(second, name="two", price=price)
        self.client = planar.Planar(
            providers=[self.one, self.two], models={"any": ["one:default", "two:default"]}, hedging=policy
        )

    async def warm(self) -> None:
        for _ in range(10):
            await self.client.infer("Rivers?", model="any", wire="streamed")

    async def assert_nothing_is_left(self) -> None:
        report = await self.client.quotas.usage("default")
        assert (report.concurrent, report.held.tokens) == (0, 0)
        assert self.one.open_streams == self.two.open_streams == 0


async def test_a_slow_first_is_overtaken_by_the_second() -> None:
    bench = Bench(after(60), after(0.1, TextDelta("Tajo"), Finish("stop")))
    await bench.warm()
    before = anyio.current_time()

    stream = bench.client.stream("Rivers?", model="any", hedge=True)
    events = [event async for event in stream.events()]
    completion = await stream.completion()

    assert completion.text == "Tajo"
    assert completion.model == "default"
    assert completion.provider == "two"
    assert anyio.current_time() - before == pytest.approx(0.2, abs=0.05)
    assert [event.deployment for event in events if isinstance(event, AttemptStarted)] == ["one:default", "two:default"]
    assert [(a.number, a.deployment, a.error) for a in completion.attempts] == [
        (1, "one:default", None),
        (2, "two:default", None),
    ]
    rows = [row async for row in bench.client.quotas.ledger()][10:]
    assert sorted((row.deployment, "cut" in row.flags) for row in rows) == [
        ("one:default", True),
        ("two:default", False),
    ]
    await bench.assert_nothing_is_left()


async def test_a_first_that_begins_in_time_is_alone() -> None:
    bench = Bench(after(0.05), after(0.1))
    await bench.warm()

    await bench.client.infer("Rivers?", model="any", hedge=True)

    assert bench.two.received == []


async def test_a_first_that_begins_while_the_second_is_asked_is_kept() -> None:
    bench = Bench(after(0.15), after(60))
    await bench.warm()

    completion = await bench.client.infer("Rivers?", model="any", hedge=True)

    assert completion.provider == "one"
    assert len(bench.two.received) == 1
    await bench.assert_nothing_is_left()


async def test_it_is_off_unless_asked_for() -> None:
    bench = Bench(after(60), after(0.1))
    await bench.warm()

    completion = await bench.client.infer("Rivers?", model="any")

    assert completion.provider == "one"
    assert bench.two.received == []


@pytest.mark.parametrize(("ceiling", "asked"), [("0.0005", 1), ("0.0001", 0)])
async def test_two_at_once_stay_below_the_cost_ceiling_of_the_call(ceiling: str, asked: int) -> None:
    price = planar.Price.per_million(input=1, output=1)
    bench = Bench(after(60), after(0.1), price=price)
    await bench.warm()
    most = planar.Constraints(max_cost_usd=Decimal(ceiling))
    route = bench.client.plan("Rivers?", model="any", max_tokens=50, constraints=most)

    await bench.client.infer("Rivers?", model="any", hedge=True, max_tokens=50, constraints=most)

    assert len(route.order) == 2
    assert len(bench.two.received) == asked


async def test_where_the_money_is_not_enough_for_the_second_no_third_is_asked_beside_the_first() -> None:
    cheap, dear = planar.Price.per_million(input=1, output=1), planar.Price.per_million(input=2, output=2)
    one = ScriptedProvider(*[after(0.1)] * 10, after(60), name="one", price=cheap)
    two, three = ScriptedProvider("Tajo", name="two", price=dear), ScriptedProvider("Duero", name="three", price=cheap)
    client = planar.Planar(
        providers=[one, two, three],
        models={"any": ["one:default", "two:default", "three:default"]},
        hedging=EAGER,
        quotas=planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd("0.00015", per="total")]}),
    )
    for _ in range(10):
        await client.infer("Rivers?" * 20, model="any", wire="streamed")

    completion = await client.infer(
        "Rivers?", model="any", tenant="acme", hedge=True, max_tokens=50, on_low_budget="refuse"
    )

    assert completion.provider == "one"
    assert two.received == three.received == []


async def test_a_call_with_tools_is_never_doubled() -> None:
    bench = Bench(after(60), after(0.1))
    await bench.warm()
    tool = planar.Tool(name="look", description="", parameters={"type": "object"})

    completion = await bench.client.infer("Rivers?", model="any", hedge=True, tools=[tool])

    assert completion.provider == "one"
    assert bench.two.received == []


async def test_before_enough_is_known_nobody_is_doubled() -> None:
    bench = Bench(after(60), after(0.1))
    one = bench.one
    one._scripts = [after(60)]

    completion = await bench.client.infer("Rivers?", model="any", hedge=True)

    assert completion.provider == "one"
    assert bench.two.received == []


async def test_the_share_of_calls_is_kept() -> None:
    bench = Bench(after(60), after(0.1), policy=planar.HedgePolicy(share=0.05, burst=1, min_samples=5))
    await bench.warm()

    for _ in range(100):
        await bench.client.infer("Rivers?", model="any", hedge=True)

    assert 1 <= len(bench.two.received) <= 0.05 * 100 + 1


async def test_a_first_that_fails_while_both_run_leaves_the_second_to_answer() -> None:
    bench = Bench(after(0.15, planar.ProviderServerError("down")), after(0.3, TextDelta("Tajo"), Finish("stop")))
    await bench.warm()

    stream = bench.client.stream("Rivers?", model="any", hedge=True)
    events = [event async for event in stream.events()]

    assert (await stream.completion()).text == "Tajo"
    assert [event.number for event in events if isinstance(event, AttemptFailed)] == [1]
    await bench.assert_nothing_is_left()


async def test_where_both_fail_the_call_goes_on_as_without_hedging() -> None:
    down = planar.ProviderServerError("down")
    bench = Bench(after(0.15, down), after(0.3, down))
    bench.one._scripts.append(after(0.1, TextDelta("Duero"), Finish("stop")))
    await bench.warm()

    stream = bench.client.stream("Rivers?", model="any", hedge=True)
    events = [event async for event in stream.events()]

    started = [event.number for event in events if isinstance(event, AttemptStarted)]
    failed = [event.number for event in events if isinstance(event, AttemptFailed)]
    assert started[:2] == [1, 2]
    assert failed[:1] == [2]
    assert (await stream.completion()).attempts[0].error is down
    await bench.assert_nothing_is_left()


async def test_a_first_that_fails_before_the_second_is_asked_falls_back() -> None:
    bench = Bench(after(0.01, planar.ProviderServerError("down")), after(0.1, TextDelta("Tajo"), Finish("stop")))
    await bench.warm()
    before = anyio.current_time()

    completion = await bench.client.infer("Rivers?", model="any", hedge=True)

    assert completion.text == "Tajo"
    assert anyio.current_time() - before == pytest.approx(0.11, abs=0.02)


async def test_a_caller_who_is_cancelled_in_the_race_leaves_nothing() -> None:
    bench = Bench(after(60), after(60))
    await bench.warm()

    with anyio.move_on_after(1):
        await bench.client.infer("Rivers?", model="any", hedge=True)

    assert len(bench.two.received) == 1
    await bench.assert_nothing_is_left()
    rows = [row async for row in bench.client.quotas.ledger()][10:]
    assert [sorted(row.flags) for row in rows] == [["cut", "estimated"]] * 2


async def test_a_tenant_who_cannot_pay_for_two_has_one() -> None:
    price = planar.Price.per_million(input=1, output=1)
    one = ScriptedProvider(*[after(0.1)] * 10, after(60), name="one", price=price)
    two = ScriptedProvider(after(0.1), name="two", price=planar.Price.per_million(input=1000, output=1000))
    limits = {"acme": [planar.Limit.usd("0.003", per="total")]}
    client = planar.Planar(
        providers=[one, two],
        models={"any": ["one:default", "two:default"]},
        hedging=EAGER,
        quotas=planar.MemoryQuotaStore(limits=limits),
    )
    for _ in range(10):
        await client.infer("Rivers?", model="any", wire="streamed", max_tokens=20)

    completion = await client.infer("Rivers?", model="any", hedge=True, tenant="acme", max_tokens=20)

    assert completion.provider == "one"
    assert two.received == []
