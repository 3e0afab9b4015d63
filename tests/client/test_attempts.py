"""The attempt loop on virtual time: what is tried again, when, how often, and at whose cost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import anyio
import pytest

import planar
from planar.events import AttemptFailed, AttemptStarted, Finish, TextDelta, UsageReported
from planar.testing import ScriptedProvider, Step, pause, reply, virtual_backend
from planar.types import Price, Usage

pytestmark = pytest.mark.anyio

BROKEN = planar.ProviderServerError("it broke", status=500)
BUSY = planar.OverloadedError("no room", status=529)
PRICE = Price.per_million(input=1, output=1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def client_of(*providers: ScriptedProvider, **options: Any) -> planar.Planar:
    models = {"any": [f"{provider.name}:default" for provider in providers]}
    return planar.Planar(providers=providers, models=models, **options)


def scripted(*scripts: str | Sequence[Step], name: str = "one", **options: Any) -> ScriptedProvider:
    return ScriptedProvider(*scripts, name=name, **options)


async def rows_of(client: planar.Planar) -> list[planar.LedgerEntry]:
    return [row async for row in client.quotas.ledger()]


async def test_a_failure_that_may_pass_is_tried_again_after_a_pause() -> None:
    client = client_of(scripted([BROKEN], [BUSY], "Ebro"))
    before = anyio.current_time()

    completion = await client.infer("Rivers?", model="any")

    assert completion.text == "Ebro"
    assert [type(attempt.error) for attempt in completion.attempts] == [type(BROKEN), type(BUSY), type(None)]
    assert [attempt.number for attempt in completion.attempts] == [1, 2, 3]
    assert 0 < anyio.current_time() - before <= 0.5 + 1.0
    assert [row.flags for row in await rows_of(client)] == [{"failed"}, {"failed"}, set()]


@pytest.mark.parametrize(
    "error",
    [
        planar.ProviderAuthError("bad key", status=401),
        planar.ProviderPermissionError("not yours", status=403),
        planar.ProviderQuotaError("no money", status=429),
        planar.ModelNotFoundError("no such model", status=404),
        planar.ContentFilteredError("filtered", status=400),
        planar.InvalidRequestError("wrong", status=400),
        planar.ProviderProtocolError("nonsense"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_cannot_succeed_is_not_tried_again(error: planar.PlanarError) -> None:
    provider = scripted([error])
    client = client_of(provider)

    with pytest.raises(type(error)) as caught:
        await client.infer("Rivers?", model="any")

    assert caught.value is error
    assert len(provider.received) == 1


async def test_the_vendors_word_is_waited_for() -> None:
    provider = scripted([planar.RateLimitedError("slow down", retry_after=7.0)], "Ebro")
    client = client_of(provider)
    before = anyio.current_time()

    await client.infer("Rivers?", model="any")

    assert 7.0 <= anyio.current_time() - before < 9.0


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    limited = planar.RateLimitedError("slow down", retry_after=30.0)
    client = client_of(scripted([limited], "Ebro"))
    before = anyio.current_time()

    with pytest.raises(planar.RateLimitedError) as caught:
        await client.infer("Rivers?", model="any", deadline=before + 10)

    assert caught.value is limited
    assert anyio.current_time() == before


async def test_a_wait_longer_than_the_policys_is_left_to_the_caller() -> None:
    client = client_of(scripted([planar.RateLimitedError("tomorrow", retry_after=3600.0)], "Ebro"))
    before = anyio.current_time()

    with pytest.raises(planar.RateLimitedError, match="tomorrow"):
        await client.infer("Rivers?", model="any")

    assert anyio.current_time() == before


async def test_the_deadline_ends_a_wait() -> None:
    client = client_of(scripted([BROKEN]), retry=planar.RetryPolicy(attempts=100, base=4, cap=4, budget_cap=100))
    before = anyio.current_time()

    with pytest.raises(planar.PlanarError):
        await client.infer("Rivers?", model="any", timeouts=planar.Timeouts(total=20))

    assert anyio.current_time() - before <= 20


async def test_a_call_has_so_many_attempts_and_no_more() -> None:
    one, two = scripted([BROKEN]), scripted([BUSY], name="two")
    client = client_of(one, two, retry=planar.RetryPolicy(attempts=5))

    with pytest.raises(planar.RouteExhaustedError) as caught:
        await client.infer("Rivers?", model="any")

    assert [attempt.number for attempt in caught.value.attempts] == [1, 2, 3, 4, 5]
    assert len(one.received) + len(two.received) == 5
    assert len(await rows_of(client)) == 5


async def test_every_deployment_is_asked_once_before_one_is_asked_again() -> None:
    one, two = scripted([BROKEN], "Tajo"), scripted([BROKEN], "Duero", name="two")
    client = client_of(one, two)
    before = anyio.current_time()

    events = [event async for event in client.stream("Rivers?", model="any").events()]

    started = [event.deployment for event in events if isinstance(event, AttemptStarted)]
    failed = [event.number for event in events if isinstance(event, AttemptFailed)]
    assert started[:2] == ["one:default", "two:default"]
    assert failed[:2] == [1, 2]
    assert anyio.current_time() > before, "the second round waits"


async def test_falling_back_does_not_wait() -> None:
    client = client_of(scripted([BROKEN]), scripted("Duero", name="two"))
    before = anyio.current_time()

    completion = await client.infer("Rivers?", model="any")

    assert completion.text == "Duero"
    assert anyio.current_time() == before


async def test_a_kept_connection_that_had_been_closed_is_made_anew_at_once() -> None:
    broke = planar.ProviderConnectionError("gone", broke=True)
    client = client_of(scripted([broke], "Ebro"), scripted("never", name="two"))
    before = anyio.current_time()

    completion = await client.infer("Rivers?", model="any")

    assert [attempt.deployment for attempt in completion.attempts] == ["one:default", "one:default"]
    assert anyio.current_time() == before


async def test_an_outage_is_not_doubled_by_retries() -> None:
    provider = scripted([BROKEN])
    policy = planar.RetryPolicy(attempts=4, budget_ratio=0.1, budget_cap=10, budget_floor=0.0)
    client = client_of(provider, retry=policy, breaker=planar.BreakerPolicy(consecutive=10**6, min_volume=10**6))

    for _ in range(200):
        with pytest.raises(planar.ProviderServerError):
            await client.infer("Rivers?", model="any")

    assert 200 <= len(provider.received) <= 200 + 10 + 0.1 * 200


async def test_the_error_of_one_deployment_says_after_how_many_attempts() -> None:
    client = client_of(scripted([BROKEN]), retry=planar.RetryPolicy(attempts=3))

    with pytest.raises(planar.ProviderServerError) as caught:
        await client.infer("Rivers?", model="any")

    assert "after 3 attempts at one:default" in caught.value.__notes__


async def test_attempts_of_one_call_stay_below_its_cost_ceiling() -> None:
    usage = Usage(input_tokens=10, output_tokens=1_000_000)
    dear = scripted((UsageReported(usage), BROKEN), price=PRICE)
    client = client_of(dear, scripted("Tajo", name="two", price=PRICE))
    ceiling = planar.Constraints(max_cost_usd=Decimal(1))

    with pytest.raises(planar.ProviderServerError):
        await client.infer("Rivers?", model="any", constraints=ceiling, max_tokens=1000)

    assert sum(len(provider.received) for provider in client.providers.values()) == 1  # type: ignore[attr-defined]


async def test_a_dearer_fallback_is_held_before_it_is_asked() -> None:
    dear = scripted("Tajo", name="two", price=Price.per_million(input=1000, output=1000))
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd("0.001", per="total")]})
    client = client_of(scripted([BROKEN], price=PRICE), dear, quotas=store, retry=planar.RetryPolicy(attempts=2))

    with pytest.raises(planar.QuotaExceededError) as caught:
        await client.infer("Rivers?", model="any", tenant="acme", max_tokens=100)

    assert isinstance(caught.value.__cause__, planar.ProviderServerError)
    assert dear.received == []
    assert (await store.usage("acme")).held == planar.types.Amount()


async def test_under_a_limit_on_money_a_deployment_of_unknown_price_is_passed_over() -> None:
    strange = scripted("Ebro", price=None)
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd(1, per="total")]})
    client = client_of(strange, scripted("Tajo", name="two", price=PRICE), quotas=store)

    completion = await client.infer("Rivers?", model="any", tenant="acme")

    assert completion.provider == "two"
    assert strange.received == []
    assert [attempt.number for attempt in completion.attempts] == [1]
    assert (await store.usage("acme")).held == planar.types.Amount()


async def test_a_deployment_that_the_tenant_cannot_pay_is_passed_over() -> None:
    dear = scripted("Tajo", price=Price.per_million(input=1000, output=1000))
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd("0.001", per="total")]})
    client = client_of(dear, scripted("Ebro", name="two", price=PRICE), quotas=store)

    completion = await client.infer("Rivers?", model="any", tenant="acme", max_tokens=100)

    assert completion.text == "Ebro"
    assert [attempt.deployment for attempt in completion.attempts] == ["two:default"]


async def test_what_a_call_cost_is_what_all_its_attempts_cost() -> None:
    first = (UsageReported(Usage(input_tokens=2_000_000, output_tokens=0)), BROKEN)
    client = client_of(
        scripted(first, price=PRICE), scripted(reply("Ebro", input_tokens=999_999), name="two", price=PRICE)
    )

    completion = await client.infer("Rivers?", model="any")

    assert completion.cost_usd == Decimal(3)
    assert completion.usage is not None
    assert completion.usage.input_tokens == 999_999
    assert sum(attempt.cost_usd or 0 for attempt in completion.attempts) == completion.cost_usd


async def test_an_answer_slower_than_the_minimum_rate_is_ended() -> None:
    slow: list[Step] = [TextDelta("a"), *([pause(1), TextDelta("b")] * 60), Finish("stop")]
    client = client_of(scripted(slow))
    tokens: list[str] = []
    before = anyio.current_time()

    with pytest.raises(planar.StreamInterruptedError, match="min_rate") as caught:
        async for token in client.stream("Rivers?", model="any", timeouts=planar.Timeouts(min_rate=3)):
            tokens.append(token)

    assert isinstance(caught.value.__cause__, planar.ProviderTimeoutError)
    assert caught.value.__cause__.phase == "rate"
    assert anyio.current_time() - before == pytest.approx(5, abs=1.1)
    assert caught.value.partial is not None
    assert "".join(tokens) == caught.value.partial.text


async def test_keep_alives_do_not_make_an_answer_faster() -> None:
    slow: list[Step] = [TextDelta("a"), *([pause(1), (), pause(1), (), pause(1), (), pause(1), TextDelta("b")] * 20)]
    client = client_of(scripted(slow))
    before = anyio.current_time()

    with pytest.raises(planar.StreamInterruptedError, match=r"at 0\.2\d* tokens/s"):
        await client.infer("Rivers?", model="any", timeouts=planar.Timeouts(min_rate=3))

    assert anyio.current_time() - before == pytest.approx(5, abs=1.1)


async def test_what_the_caller_has_to_mend_comes_bare() -> None:
    wrong = planar.InvalidRequestError("wrong", status=400)
    client = client_of(scripted([BROKEN]), scripted([wrong], name="two"))

    with pytest.raises(planar.InvalidRequestError) as caught:
        await client.infer("Rivers?", model="any")

    assert caught.value is wrong
    assert wrong.__notes__ == ["before it: one:default: it broke"]


async def test_a_wait_of_just_the_longest_is_waited() -> None:
    client = client_of(scripted([planar.RateLimitedError("slow down", retry_after=60.0)], "Ebro"))

    assert (await client.infer("Rivers?", model="any")).text == "Ebro"


async def test_the_callers_own_slowness_does_not_count() -> None:
    client = client_of(scripted([*map(TextDelta, "abcdefgh"), Finish("stop")]))
    tokens: list[str] = []

    async for token in client.stream("Rivers?", model="any", timeouts=planar.Timeouts(min_rate=3)):
        tokens.append(token)
        await anyio.sleep(10)

    assert "".join(tokens) == "abcdefgh"


async def test_a_stream_that_is_left_during_a_pause_holds_nothing() -> None:
    client = client_of(scripted([BROKEN]))

    with anyio.move_on_after(0.001):
        await client.infer("Rivers?", model="any")

    report = await client.quotas.usage("default")
    assert (report.concurrent, report.held) == (0, planar.types.Amount())
    assert len(await rows_of(client)) == 1


async def test_embeddings_are_retried_by_the_same_rules() -> None:
    class Vectors(ScriptedProvider):
        async def embed(self, request: Any, *, model: str, call: Any) -> planar.Embeddings:
            if call.attempt < 3:
                raise BROKEN
            return planar.Embeddings(vectors=((1.0,),), model=model, usage=Usage(input_tokens=3))

    client = client_of(Vectors(name="one"))

    found = await client.embed("Ebro", model="any")

    assert found.vectors == ((1.0,),)
    assert [row.flags for row in await rows_of(client)] == [{"failed"}, {"failed"}, set()]


@pytest.mark.parametrize("tier", [None, "flex"])
async def test_the_cost_of_an_embedding_is_bounded_by_its_texts_alone(tier: str | None) -> None:
    class Vectors(ScriptedProvider):
        async def embed(self, request: Any, *, model: str, call: Any) -> planar.Embeddings:
            return planar.Embeddings(vectors=((1.0,),), model=model, usage=Usage(input_tokens=3))

    client = client_of(Vectors(name="one", price=PRICE))
    ceiling = planar.Constraints(max_cost_usd=Decimal("0.0001"))

    found = await client.embed("Ebro", model="any", constraints=ceiling, service_tier=tier)

    assert found.cost_usd == Decimal("0.000003")


def test_retry_budgets_of_names_without_end_are_forgotten_and_those_in_use_are_one_each() -> None:
    core = client_of(scripted("Ebro"))._core
    first = core.retries_of("a:first")

    again = core.retries_of("a:first")
    for number in range(5000):
        core.retries_of(f"a:{number}")

    assert again is first
    assert len(core._retries) <= 4096
    assert core.retries_of("a:first") is not first
