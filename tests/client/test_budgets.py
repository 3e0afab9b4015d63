"""A tenant's budget and the client: hold in slices, shorten what cannot be paid, stop what runs over."""

from __future__ import annotations

import pytest

import planar
from planar.client._booking import LEASE_SECONDS, Terms, book
from planar.events import Finish, Notice, TextDelta, UsageReported
from planar.testing import FakeClock, ScriptedProvider, reply
from planar.types import Amount, Candidate, LeaseId, ModelInfo, Price, TenantPath, Usage

pytestmark = pytest.mark.anyio

DOLLAR = Price.per_million(input=1, output=1)


def client_of(provider: ScriptedProvider, *limits: planar.Limit) -> planar.Planar:
    return planar.Planar(providers=[provider], quotas=planar.MemoryQuotaStore(limits={"acme": limits}))


async def test_without_a_limit_nothing_is_put_on_the_wire_that_the_caller_did_not_ask_for() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider)

    await client.infer("Rivers?", tenant="acme")
    await client.infer("Rivers?", tenant="acme", max_tokens=50)

    assert [received.request.max_tokens for received in provider.received] == [None, 50]


async def test_a_refusal_names_the_limit_and_asks_nobody() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider, planar.Limit.tokens(20, per="day"))

    with pytest.raises(planar.QuotaExceededError) as caught:
        await client.infer("Rivers?", tenant="acme/search")

    assert (caught.value.scope, caught.value.dimension, caught.value.limit) == ("acme", "tokens", 20)
    assert caught.value.kind == "spent"
    assert caught.value.retry_after is None or caught.value.retry_after > 0
    assert provider.received == []


async def test_max_tokens_is_shortened_to_what_the_tenant_can_pay_and_says_so() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider, planar.Limit.tokens(100, per="day"))

    stream = client.stream("Rivers?", tenant="acme", max_tokens=500)
    events = [event async for event in stream.events()]

    sent = provider.received[0].request.max_tokens
    assert sent == 100 - (len("Rivers?") + 16)
    assert [event.code for event in events if isinstance(event, Notice)] == ["max_tokens_clamped"]


async def test_money_shortens_the_answer_too() -> None:
    provider = ScriptedProvider(reply("Ebro"), price=DOLLAR)
    client = client_of(provider, planar.Limit.usd("0.002", per="day"))

    await client.infer("Rivers?", tenant="acme")

    assert provider.received[0].request.max_tokens == 2000 - (len("Rivers?") + 16)


async def test_a_caller_may_refuse_a_shortened_answer() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider, planar.Limit.tokens(100, per="day"))

    with pytest.raises(planar.QuotaExceededError):
        await client.infer("Rivers?", tenant="acme", max_tokens=500, on_low_budget="refuse")

    assert provider.received == []


async def test_a_tenant_with_a_budget_gets_the_streamed_form() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    client = client_of(provider, planar.Limit.tokens(5000, per="day"))

    await client.infer("Rivers?", tenant="acme")
    await client.infer("Rivers?", tenant="other")

    assert [received.request.streamed for received in provider.received] == [True, False]


async def test_a_long_answer_is_held_in_slices() -> None:
    held: list[int] = []

    async def look() -> None:
        held.append((await client.quotas.usage("acme")).held.output_tokens)

    words = [TextDelta("word ") for _ in range(400)]
    end = (UsageReported(Usage(input_tokens=9, output_tokens=1200)), Finish("stop"))
    provider = ScriptedProvider([look, words, look, words, look, words, look, end])
    client = client_of(provider, planar.Limit.tokens(100_000, per="day"))

    await client.infer("Rivers?", tenant="acme")

    assert held == [1024, 1024, 2048, 2048]
    used = await client.quotas.usage("acme")
    assert (used.output_tokens, used.held.tokens) == (1200, 0)


async def test_a_stream_that_cannot_hold_more_is_stopped_at_what_it_holds() -> None:
    async def another_spends_the_rest() -> None:
        hold = Amount(output_tokens=1900)
        lease = await client.quotas.reserve(LeaseId("other"), "acme", hold=hold, ttl=60, deployment="x:y")
        await client.quotas.dispatched(lease)

    words = [TextDelta("word ") for _ in range(600)]
    provider = ScriptedProvider([another_spends_the_rest, words, words, words, *reply("no")])
    client = client_of(provider, planar.Limit.tokens(3000, per="day"))
    arrived = 0

    with pytest.raises(planar.QuotaExceededError) as caught:
        async for _token in client.stream("Rivers?", tenant="acme"):
            arrived += 1

    assert arrived == 1200
    assert caught.value.partial is not None
    assert caught.value.partial.usage is not None
    assert provider.open_streams == 0
    [entry] = [entry async for entry in client.quotas.ledger("acme")]
    assert entry.output_tokens == 1500


async def test_tenants_do_not_spend_each_others_budget() -> None:
    provider = ScriptedProvider(reply("Ebro"))
    store = planar.MemoryQuotaStore(
        limits={"acme": [planar.Limit.tokens(60, per="day")], "other": [planar.Limit.tokens(60, per="day")]}
    )
    client = planar.Planar(providers=[provider], quotas=store)
    for _ in range(2):
        await client.infer("Rivers?", tenant="acme", max_tokens=20)

    with pytest.raises(planar.QuotaExceededError):
        for _ in range(9):
            await client.infer("Rivers?", tenant="acme", max_tokens=20)
    answer = await client.infer("Rivers?", tenant="other", max_tokens=20)

    assert answer.text == "Ebro"


@pytest.mark.parametrize("tenant", ["", "a//b", "a/b/c/d/e", "a b", "../x", "a/"])
async def test_a_name_that_is_no_tenant_is_refused_at_the_door(tenant: str) -> None:
    client = client_of(ScriptedProvider(reply("Ebro")))

    with pytest.raises((planar.UnknownTenantError, planar.InvalidRequestError)):
        client.stream("Rivers?", tenant=tenant)


async def test_an_answer_that_was_booked_late_costs_what_it_cost_and_not_the_difference() -> None:
    clock = FakeClock()
    store = planar.MemoryQuotaStore(clock=clock)
    terms = Terms(
        tenant=TenantPath("acme"),
        candidate=Candidate(
            deployment="script:x",
            provider="script",
            model="x",
            info=ModelInfo(id="x", price=DOLLAR),
            input_tokens_bound=100,
            output_tokens_bound=50,
        ),
        wanted=50,
        at_once=True,
        tell=lambda alerts: None,
    )
    booking = await book(store, terms, lease_id="late", now=0.0)
    await booking.dispatched()
    clock.advance(LEASE_SECONDS + 1)

    cost = await booking.settle(Usage(input_tokens=60, output_tokens=20), frozenset())

    assert [(row.kind, row.nano_usd) async for row in store.ledger()] == [("expired", 150_000), ("correction", -70_000)]
    assert cost == 80_000
