"""Scarce deployments: who waits, in which order, for how long, and that no place is ever lost or given twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import planar
from planar.events import AttemptStarted, Finish, TextDelta
from planar.protocols import Call
from planar.testing import ScriptedProvider, Step, pause, virtual_backend
from planar.types import Amount, EmbedRequest, Lease

pytestmark = pytest.mark.anyio

SECONDS = 10.0
"""What an answer takes here."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def answer(word: str = "Ebro", seconds: float = SECONDS) -> list[Step]:
    return [pause(seconds), TextDelta(word), Finish("stop")]


class Counting(ScriptedProvider):
    """Keeps the most streams that were ever open together."""

    most = 0

    def stream(self, request: Any, *, model: str, call: Call) -> Any:
        self.most = max(self.most, self.open_streams + 1)
        return super().stream(request, model=model, call=call)

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> planar.Embeddings:
        self.open_streams += 1
        self.most = max(self.most, self.open_streams)
        try:
            await anyio.sleep(SECONDS)
        finally:
            self.open_streams -= 1
        return planar.Embeddings(vectors=((1.0,),), provider=self.name, model=model, usage=None, cost_usd=None)


class Bench:
    """A provider `one` with few places, and a roomy `two` to fall back to under the alias `any`."""

    def __init__(
        self, *scripts: list[Step], policy: planar.QueuePolicy, name: str = "one:default", **more: Any
    ) -> None:
        self.one = Counting(*(scripts or (answer(),)), name="one")
        self.two = ScriptedProvider(answer("Tajo", 1), name="two")
        self.places = policy.concurrency
        self.client = planar.Planar(
            providers=[self.one, self.two],
            models={"one": ["one:default"], "any": ["one:default", "two:default"]},
            queues={name: policy},
            **{"retry": planar.RetryPolicy(attempts=1), **more},
        )
        self.order: list[str] = []
        self.errors: list[planar.PlanarError] = []
        self.answers: list[planar.Completion] = []

    async def ask(self, tenant: str = "acme", *, model: str = "one", **options: Any) -> None:
        try:
            completion = await self.client.infer("Rivers?", model=model, tenant=tenant, wire="streamed", **options)
        except planar.PlanarError as error:
            self.errors.append(error)
        else:
            self.answers.append(completion)
            self.order.append(tenant)

    async def ask_all(self, *tenants: str, **options: Any) -> None:
        async with anyio.create_task_group() as tasks:
            for tenant in tenants:
                tasks.start_soon(self._ask_with(tenant, options))
                await settled()

    def _ask_with(self, tenant: str, options: dict[str, Any]) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            await self.ask(tenant, **options)

        return ask

    async def assert_every_place_is_free(self) -> None:
        assert self.one.open_streams == 0
        answers = len(self.answers)
        self.one._scripts = [answer()]
        await self.ask_all(*["nobody"] * (self.places + 1))
        waits = [completion.timings.queued for completion in self.answers[answers:]]
        assert sorted(waits) == [*[0.0] * self.places, pytest.approx(SECONDS, abs=0.01)]
        report = await self.client.quotas.usage("acme")
        assert (report.concurrent, report.held.tokens) == (0, 0)


async def settled() -> None:
    """Let everybody come as far as they can without time passing."""
    await anyio.sleep(0.000_001)


def one_place(**more: Any) -> planar.QueuePolicy:
    return planar.QueuePolicy(concurrency=1, **{"max_wait": 1e6, **more})


async def test_no_more_are_asked_at_a_time_than_there_are_places() -> None:
    bench = Bench(policy=planar.QueuePolicy(concurrency=3, max_wait=1000))
    began = anyio.current_time()

    await bench.ask_all(*["acme"] * 10)

    assert bench.one.most == 3
    assert len(bench.answers) == 10
    assert anyio.current_time() - began == pytest.approx(4 * SECONDS, abs=0.01)
    await bench.assert_every_place_is_free()


async def test_the_time_in_the_queue_is_told_and_is_part_of_the_total() -> None:
    bench = Bench(policy=one_place())

    await bench.ask_all("acme", "acme")

    first, second = (completion.timings for completion in bench.answers)
    assert (first.queued, first.total) == (0.0, pytest.approx(SECONDS))
    assert (second.queued, second.total) == (pytest.approx(SECONDS), pytest.approx(2 * SECONDS))
    assert second.ttft == pytest.approx(2 * SECONDS)


async def test_a_failed_attempt_is_no_time_in_a_queue() -> None:
    bench = Bench([pause(5), planar.ProviderServerError("down")], policy=one_place(), retry=planar.RetryPolicy())

    await bench.ask(model="any")

    [completion] = bench.answers
    assert (completion.provider, completion.timings.queued) == ("two", 0.0)


async def test_tenants_take_turns_whoever_came_first() -> None:
    bench = Bench(policy=one_place(per_tenant=50))

    await bench.ask_all(*["greedy"] * 20, "modest")

    assert "modest" in bench.order[:3]


async def test_turns_go_by_weight_and_by_the_first_name_of_the_path() -> None:
    bench = Bench(policy=one_place(per_tenant=50, weights={"gold": 3}))

    await bench.ask_all("acme", *["plain/a"] * 20, *["gold/b", "gold/c"] * 10)

    roots = [tenant.partition("/")[0] for tenant in bench.order[1:25]]
    assert Counter(roots) == {"gold": 18, "plain": 6}


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    bench = Bench(policy=one_place(length=2))
    await bench.ask()
    began = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        for tenant in ("a", "b", "c"):
            tasks.start_soon(bench.ask, tenant)
        await settled()
        with pytest.raises(planar.NoPlaceError) as caught:
            await bench.client.infer("Rivers?", model="one", tenant="acme/search")
        assert anyio.current_time() - began < 0.1

    error = caught.value
    assert (error.tenant, error.queue, error.deployment, error.provider) == (
        "acme",
        "one:default",
        "one:default",
        "one",
    )
    assert (error.reason, error.waiting, error.retryable) == ("full", 2, True)
    assert error.retry_after == pytest.approx(SECONDS)
    assert str(error) == (
        "the queue for one:default is full: 2 requests wait; try again in about 10 s, or give the route another"
        " deployment"
    )
    rows = [row async for row in bench.client.quotas.ledger("acme/search")]
    assert rows == []
    await bench.assert_every_place_is_free()


async def test_a_tenant_that_fills_its_part_of_the_queue_leaves_room_for_others() -> None:
    bench = Bench(policy=one_place(per_tenant=2))

    await bench.ask_all(*["greedy"] * 5, "modest")

    assert sorted(bench.order) == ["greedy", "greedy", "greedy", "modest"]
    assert [(error.tenant, error.reason) for error in bench.errors if isinstance(error, planar.NoPlaceError)] == [
        ("greedy", "tenant_full")
    ] * 2


async def test_where_there_is_no_room_the_next_deployment_is_asked_and_that_costs_no_attempt() -> None:
    bench = Bench(policy=one_place(length=0))

    await bench.ask_all("acme", "acme", model="any")

    elsewhere, here = bench.answers
    assert (here.provider, elsewhere.provider) == ("one", "two")
    assert [attempt.deployment for attempt in elsewhere.attempts] == ["two:default"]
    [notice] = elsewhere.notices
    assert "the queue for one:default is full" in notice


async def test_the_events_tell_who_was_passed_over() -> None:
    bench = Bench(policy=one_place(length=0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask)
        await settled()
        events = [event async for event in bench.client.stream("Rivers?", model="any").events()]

    assert [event.deployment for event in events if isinstance(event, AttemptStarted)] == ["two:default"]
    [notice] = [event for event in events if isinstance(event, planar.Notice) and event.code == "no_place"]
    assert notice.data == {"deployment": "one:default", "reason": "full"}


async def test_where_every_queue_is_full_the_error_is_the_one_that_may_pass_first() -> None:
    one, two = Counting(answer(seconds=50), name="one"), Counting(answer(seconds=5), name="two")
    no_queue = planar.QueuePolicy(length=0)
    client = planar.Planar(
        providers=[one, two],
        models={"any": ["one:default", "two:default"]},
        queues={"one": no_queue, "two:default": no_queue},
    )
    for model in ("one:default", "two:default"):
        await client.infer("Rivers?", model=model)

    async with anyio.create_task_group() as tasks:
        for model in ("one:default", "two:default"):
            tasks.start_soon(lambda model=model: client.infer("Rivers?", model=model))
            await settled()
        with pytest.raises(planar.NoPlaceError) as caught:
            await client.infer("Rivers?", model="any")
        tasks.cancel_scope.cancel()

    assert (caught.value.queue, caught.value.retry_after) == ("two:default", pytest.approx(5))
    assert caught.value.__notes__[0].startswith("and one:default: the queue for one is full")


async def test_who_failed_may_be_asked_again_where_nobody_else_has_room() -> None:
    one = Counting([planar.ProviderServerError("down")], answer("Ebro"), name="one")
    two = Counting(answer(seconds=1000), name="two")
    client = planar.Planar(
        providers=[one, two],
        models={"any": ["one:default", "two:default"]},
        queues={"two": planar.QueuePolicy(length=0)},
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="two:default"))
        await settled()
        completion = await client.infer("Rivers?", model="any")
        tasks.cancel_scope.cancel()

    assert [attempt.deployment for attempt in completion.attempts] == ["one:default"] * 2
    assert completion.text == "Ebro"


async def test_waiting_too_long_ends_in_the_next_deployment_or_an_error() -> None:
    bench = Bench(answer(seconds=100), policy=one_place(max_wait=30.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask)
        await settled()
        began = anyio.current_time()
        with pytest.raises(
            planar.NoPlaceError, match="acme got no place at one:default within max_wait=30 s"
        ) as caught:
            await bench.client.infer("Rivers?", model="one", tenant="acme")
        waited = anyio.current_time() - began
        await bench.ask(model="any")

    assert (caught.value.reason, waited) == ("too_long", pytest.approx(30))
    completion = bench.answers[1] if bench.answers[0].provider == "one" else bench.answers[0]
    assert (completion.provider, completion.timings.queued) == ("two", pytest.approx(30))
    await bench.assert_every_place_is_free()


async def test_a_policy_without_patience_sends_on_whoever_finds_no_place() -> None:
    bench = Bench(policy=one_place(max_wait=0.0))

    await bench.ask_all("acme", "acme", model="any")

    assert [completion.provider for completion in bench.answers] == ["two", "one"]
    assert all(completion.timings.queued == 0 for completion in bench.answers)


@pytest.mark.parametrize("options", [{"timeouts": planar.Timeouts(total=7)}, {"deadline": 7}])
async def test_a_deadline_that_passes_in_the_queue_says_so_and_counts_against_nobody(options: dict[str, Any]) -> None:
    bench = Bench(answer(seconds=100), policy=one_place())
    if "deadline" in options:
        options = {"deadline": anyio.current_time() + 7}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask)
        await settled()
        with pytest.raises(planar.DeadlineExceededError) as caught:
            await bench.client.infer("Rivers?", model="one", tenant="acme", **options)

    assert "7 s, in the queue for one:default, where 0 more wait: allow more time, or give the route" in str(
        caught.value
    )
    assert bench.client.plan("Rivers?", model="one").verdicts[0].candidate.health.error_rate in (None, 0.0)
    await bench.assert_every_place_is_free()


async def test_the_providers_clocks_do_not_run_in_the_queue() -> None:
    bench = Bench(policy=one_place())

    await bench.ask_all(*["acme"] * 4, timeouts=planar.Timeouts(first_token=SECONDS + 1, stall=SECONDS + 1))

    assert bench.errors == []
    health = bench.client.plan("Rivers?", model="one").verdicts[0].candidate.health
    assert health.ttft_p95 == pytest.approx(SECONDS)
    assert health.in_flight == 0


async def test_nothing_is_held_while_a_request_waits() -> None:
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.concurrency(1)]})
    bench = Bench(policy=one_place(), quotas=store)

    await bench.ask_all(*["acme"] * 3)

    assert len(bench.answers) == 3


async def test_a_refusal_after_the_wait_gives_the_place_to_the_next() -> None:
    store = planar.MemoryQuotaStore(limits={"poor": [planar.Limit.tokens(1, per="day")]})
    bench = Bench(policy=one_place(), quotas=store)

    await bench.ask_all("acme", "poor", "poor", "acme")

    assert [type(error) for error in bench.errors] == [planar.QuotaExceededError] * 2
    assert [completion.timings.queued for completion in bench.answers] == [0.0, pytest.approx(SECONDS, abs=0.01)]
    await bench.assert_every_place_is_free()


async def test_who_leaves_the_queue_is_gone_at_once() -> None:
    bench = Bench(policy=one_place(length=1))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask, "first")
        await settled()
        with anyio.move_on_after(1):
            await bench.ask("leaver")
        await bench.ask("stays")  # the queue of one has room again

    assert bench.order == ["first", "stays"]
    assert len(bench.one.received) == 2
    await bench.assert_every_place_is_free()


async def _stop_reading(bench: Bench) -> None:
    async with bench.client.stream("Rivers?", model="one", tenant="acme") as stream:
        await anext(stream)


async def _break_off(bench: Bench) -> None:
    async for _token in bench.client.stream("Rivers?", model="one", tenant="acme"):
        break


async def _cancel(bench: Bench) -> None:
    with anyio.move_on_after(SECONDS / 2):
        await bench.ask()


async def _leave_before_it_is_asked(bench: Bench) -> None:
    async with bench.client.stream("Rivers?", model="one", tenant="acme") as stream:
        events = stream.events()
        while not isinstance(await anext(events), AttemptStarted):
            pass


async def _run_out_of_time(bench: Bench) -> None:
    await bench.ask(timeouts=planar.Timeouts(total=SECONDS / 2))


async def _raise_in_the_block(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.client.stream("Rivers?", model="one", tenant="acme") as stream:
            await anext(stream)
            raise ZeroDivisionError


@pytest.mark.parametrize(
    "leave",
    [_stop_reading, _break_off, _cancel, _leave_before_it_is_asked, _run_out_of_time, _raise_in_the_block],
    ids=lambda leave: leave.__name__.strip("_"),
)
async def test_however_an_answer_is_left_its_place_is_free(leave: Callable[[Bench], Awaitable[None]]) -> None:
    bench = Bench([*answer(), pause(1000)], [TextDelta("late")], policy=one_place())

    await leave(bench)

    await settled()
    await bench.assert_every_place_is_free()


@pytest.mark.parametrize(
    "script",
    [
        [planar.ProviderServerError("down")],
        [TextDelta("Eb"), planar.TruncatedStreamError("cut")],
        [TextDelta("Ebro")],
        [ZeroDivisionError()],
    ],
    ids=["fails", "breaks off", "ends without an end", "has a bug"],
)
async def test_however_an_answer_fails_its_place_is_free(script: list[Step]) -> None:
    bench = Bench(script, policy=planar.QueuePolicy(concurrency=2))

    for _ in range(5):
        try:
            await bench.ask()
        except ZeroDivisionError:
            pass

    await bench.assert_every_place_is_free()


class Failing(planar.MemoryQuotaStore):
    """A store that fails at one of its verbs, as long as it is told to."""

    verb = ""

    async def reserve(self, *arguments: Any, **named: Any) -> Lease:
        self._fail("reserve")
        return await super().reserve(*arguments, **named)

    async def dispatched(self, lease: Lease) -> None:
        self._fail("dispatched")
        await super().dispatched(lease)

    async def settle(self, lease: Lease, *, charge: Any) -> Any:
        self._fail("settle")
        return await super().settle(lease, charge=charge)

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        self._fail("extend")
        return await super().extend(lease, more=more, ttl=ttl)

    def _fail(self, verb: str) -> None:
        if verb == self.verb:
            raise planar.StoreError(f"{verb} failed")


@pytest.mark.parametrize("drain", [0.0, 5.0])
@pytest.mark.parametrize("verb", ["reserve", "dispatched", "extend", "settle"])
async def test_however_the_store_fails_the_place_is_free(verb: str, drain: float) -> None:
    store = Failing()
    bench = Bench(
        answer(seconds=100),
        policy=planar.QueuePolicy(concurrency=2),
        quotas=store,
        aborts={"one": planar.AbortPolicy(drain_seconds=drain)},
    )
    store.verb = verb

    for _ in range(3):
        with anyio.move_on_after(500):
            await bench.ask()
        try:
            await bench.ask(timeouts=planar.Timeouts(total=1))
        except planar.StoreError:
            pass
    await anyio.sleep(1000)

    store.verb = ""
    assert bench.one.open_streams == 0
    bench.one._scripts = [answer()]
    before = len(bench.answers)
    await bench.ask_all(*["free"] * 3)
    waits = [completion.timings.queued for completion in bench.answers[before:]]
    assert sorted(waits) == [0.0, 0.0, pytest.approx(SECONDS, abs=0.01)]


async def test_an_answer_that_is_read_on_for_its_count_keeps_its_place_until_then() -> None:
    bench = Bench(
        [TextDelta("Eb"), pause(20), TextDelta("ro"), Finish("stop")],
        answer(),
        policy=one_place(),
        aborts={"one": planar.AbortPolicy(drain_seconds=60)},
    )

    await _stop_reading(bench)
    await bench.ask()

    assert bench.answers[0].timings.queued == pytest.approx(20)
    assert bench.one.most == 1
    await bench.assert_every_place_is_free()


async def test_a_retry_gives_its_place_back_and_queues_again() -> None:
    down: list[Step] = [pause(1), planar.ProviderServerError("down")]
    bench = Bench(down, answer(), policy=one_place(), retry=planar.RetryPolicy(base=0, cap=0))

    await bench.ask_all("first", "second")

    assert bench.order == ["second", "first"]
    assert bench.one.most == 1
    [completion] = [one for one in bench.answers if len(one.attempts) == 2]
    assert completion.timings.queued == pytest.approx(SECONDS)


async def hedging(one: ScriptedProvider, two: ScriptedProvider) -> planar.Planar:
    """A client that knows how soon `one` begins, and hedges with `two`, which has one place and a queue."""
    client = planar.Planar(
        providers=[one, two],
        models={"any": ["one:default", "two:default"]},
        queues={"two": planar.QueuePolicy()},
        hedging=planar.HedgePolicy(share=1.0, burst=100, min_samples=5, min_delay=0.0),
    )
    for _ in range(10):
        await client.infer("Rivers?", model="one:default", wire="streamed")
    return client


async def test_a_hedge_takes_a_free_place_and_never_waits_for_one() -> None:
    slow: list[Step] = [pause(100), TextDelta("Ebro"), Finish("stop")]
    one = ScriptedProvider(*[answer(seconds=0.1)] * 10, slow, name="one")
    two = Counting(answer("Tajo", seconds=1000), name="two")
    client = await hedging(one, two)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="two:default"))
        await settled()
        completion = await client.infer("Rivers?", model="any", hedge=True)
        tasks.cancel_scope.cancel()

    assert [attempt.deployment for attempt in completion.attempts] == ["one:default"]
    assert len(two.received) == 1


async def test_who_had_no_place_for_a_hedge_is_still_there_to_fall_back_to() -> None:
    slow: list[Step] = [pause(100), planar.ProviderAuthError("the key was revoked")]
    one = ScriptedProvider(*[answer(seconds=0.1)] * 10, slow, name="one")
    two = Counting(answer("Tajo", seconds=50), name="two")
    client = await hedging(one, two)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="two:default"))
        await settled()
        completion = await client.infer("Rivers?", model="any", hedge=True)

    assert [attempt.deployment for attempt in completion.attempts] == ["one:default", "two:default"]
    assert completion.text == "Tajo"


async def test_a_deadline_that_passes_elsewhere_does_not_blame_a_queue() -> None:
    silent: list[Step] = [pause(100), TextDelta("Ebro"), Finish("stop")]
    one = ScriptedProvider(*[answer(seconds=0.1)] * 10, silent, name="one")
    two = Counting(answer("Tajo", seconds=1000), name="two")
    client = await hedging(one, two)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="two:default"))
        await settled()
        with pytest.raises(planar.DeadlineExceededError) as caught:
            await client.infer("Rivers?", model="any", hedge=True, timeouts=planar.Timeouts(total=50))
        tasks.cancel_scope.cancel()

    assert str(caught.value) == "the deadline passed after 50 s"


async def test_a_rest_is_not_asked_of_who_cannot_go_on() -> None:
    broken: list[Step] = [TextDelta("Ebro, "), planar.TruncatedStreamError("cut")]
    one = ScriptedProvider(broken, name="one")
    two = Counting(answer(seconds=1000), name="two", continues=True)
    three = ScriptedProvider("Tajo.", name="three")
    client = planar.Planar(
        providers=[one, two, three],
        models={"any": ["one:default", "two:default", "three:default"]},
        queues={"two": planar.QueuePolicy(length=0)},
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.infer("Rivers?", model="two:default"))
        await settled()
        with pytest.raises(planar.StreamInterruptedError) as caught:
            await client.stream("Rivers?", model="any", resume="continue").completion()
        tasks.cancel_scope.cancel()

    assert three.received == []
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebro, "
    assert isinstance(caught.value.__cause__, planar.NoPlaceError)


async def test_embeddings_queue_too() -> None:
    bench = Bench(policy=one_place(), name="one")
    began = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(lambda: bench.client.embed("Ebro", model="one:default"))
        await settled()
        with pytest.raises(planar.DeadlineExceededError, match="in the queue for one, where 2 more wait"):
            await bench.client.embed("Ebro", model="one:default", timeouts=planar.Timeouts(total=5))

    assert bench.one.most == 1
    assert anyio.current_time() - began == pytest.approx(3 * SECONDS, abs=0.01)
    await bench.assert_every_place_is_free()


async def test_embeddings_go_on_where_there_is_no_room() -> None:
    one, two = Counting(name="one"), Counting(name="two")
    client = planar.Planar(
        providers=[one, two],
        models={"any": ["one:default", "two:default"]},
        queues={"one": planar.QueuePolicy(length=0), "two": planar.QueuePolicy(length=0)},
    )
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await client.embed("Ebro", model="any")).provider)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ask)
        await settled()
        with pytest.raises(planar.NoPlaceError) as caught:
            await client.embed("Ebro", model="any")

    assert sorted(answers) == ["one", "two"]
    assert len(caught.value.__notes__) == 1


async def test_closing_the_client_sends_away_who_waits() -> None:
    bench = Bench(answer(seconds=1000), policy=one_place())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(bench.ask)
        await settled()
        await bench.client.aclose()
        await settled()
        told = [str(error) for error in bench.errors]
        tasks.cancel_scope.cancel()

    assert told == ["the client was closed while this call waited for a place at one:default"] * 2


async def test_a_deployments_own_queue_comes_before_its_providers() -> None:
    one = Counting(answer(), name="one")
    client = planar.Planar(
        providers=[one],
        queues={"one": planar.QueuePolicy(concurrency=1), "one:large": planar.QueuePolicy(concurrency=2)},
    )
    waits: dict[str, list[float]] = {"a": [], "b": [], "large": []}

    async def ask(model: str) -> None:
        completion = await client.infer("Rivers?", model=f"one:{model}")
        waits[model].append(completion.timings.queued)

    async with anyio.create_task_group() as tasks:
        for model in ("a", "large", "large", "b"):
            tasks.start_soon(ask, model)
            await settled()

    assert waits == {"a": [0.0], "large": [0.0, 0.0], "b": [pytest.approx(SECONDS, abs=0.01)]}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("three", "queues names 'three', which is no provider:model, and the providers are one"),
        ("three:default", "queues: 'three:default' names no deployment of this client"),
        ("one:large", "queues: one does not serve 'large'"),
        ("one:", "queues: 'one:' names no deployment"),
    ],
)
async def test_a_queue_for_what_the_client_does_not_have_is_refused(name: str, told: str) -> None:
    provider = ScriptedProvider(name="one", models=["default"])

    with pytest.raises(planar.ConfigurationError, match=told):
        planar.Planar(providers=[provider], queues={name: planar.QueuePolicy()})


async def test_five_hundred_calls_that_are_left_at_random_leave_every_place_free() -> None:
    chance = random.Random(7)
    bench = Bench(policy=planar.QueuePolicy(concurrency=5, length=400, per_tenant=200, max_wait=300))

    async def ask() -> None:
        await anyio.sleep(chance.uniform(0, 50))
        with anyio.move_on_after(chance.expovariate(1 / 60)):
            await bench.ask(f"t{chance.randrange(10)}")

    async with anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(ask)

    assert bench.one.most == 5
    assert 20 < len(bench.answers) < 400
    await bench.assert_every_place_is_free()


async def test_of_a_thousand_tenants_each_gets_its_share_and_none_is_forgotten() -> None:
    heavy = {f"t{number}": 4.0 for number in range(0, 1000, 10)}
    policy = planar.QueuePolicy(concurrency=20, length=100_000, per_tenant=100, max_wait=1e6, weights=heavy)
    bench = Bench(answer(seconds=1), policy=policy)

    async def ask_often(tenant: str) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(8 if tenant in heavy else 3):
                tasks.start_soon(bench.ask, tenant)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(bench.ask, "somebody-else")
        await settled()
        for number in random.Random(3).sample(range(1000), 1000):
            tasks.start_soon(ask_often, f"t{number}")

    assert len(bench.answers) == 20 + 100 * 8 + 900 * 3
    assert bench.one.most == 20
    one_round = Counter(bench.order[20 : 20 + 1300])  # a turn for each of weight 1, four for each of weight 4
    assert one_round == {f"t{number}": 1 if number % 10 else 4 for number in range(1000)}
    await bench.assert_every_place_is_free()
