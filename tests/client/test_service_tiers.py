"""What is paid is the price of the tier that the vendor says it billed, and never a guess."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from decimal import Decimal

import pytest

import planar
from planar.events import Event, Finish, TextDelta, UsageReported
from planar.protocols import Call
from planar.testing import ScriptedProvider
from planar.types import ChatRequest, ModelInfo, Price, PriceStep, Usage

pytestmark = pytest.mark.anyio

LIST = Price.per_million(input=2, output=8, source="a page", as_of="2026-11-01")
HALF = Price.per_million(input=1, output=4, source="the same page", as_of="2026-11-02")
TWICE = Price.per_million(input=4, output=16)
TIERED = replace(LIST, tiers={"flex": HALF, "priority": TWICE})


class Billed(ScriptedProvider):
    """A vendor that says at which tier it served."""

    def __init__(self, tier: str | None, *, price: Price = TIERED, input_tokens: int = 1_000) -> None:
        usage = Usage(input_tokens=input_tokens, output_tokens=100)
        super().__init__((TextDelta("Ebro"), UsageReported(usage), Finish("stop")), price=price)
        self.tier = tier

    def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]]:
        call.response.service_tier = self.tier
        return super().stream(request, model=model, call=call)


def client_of(provider: ScriptedProvider, *limits: planar.Limit) -> planar.Planar:
    return planar.Planar(providers=[provider], quotas=planar.MemoryQuotaStore(limits={"acme": limits}))


@pytest.mark.parametrize(
    ("tier", "cost"),
    [
        (None, "0.0028"),
        ("default", "0.0028"),
        ("standard", "0.0028"),
        ("auto", "0.0028"),  # it repeats the question
        ("flex", "0.0014"),
        ("priority", "0.0056"),
    ],
)
async def test_a_call_costs_what_the_tier_costs_that_was_billed(tier: str | None, cost: str) -> None:
    client = client_of(Billed(tier))

    completion = await client.infer("A river?", tenant="acme", service_tier="flex")

    assert completion.cost_usd == Decimal(cost)
    assert completion.notices == ()


async def test_a_tier_that_nobody_has_priced_costs_an_unknown_amount_and_says_so() -> None:
    client = client_of(Billed("scale"))

    completion = await client.infer("A river?", tenant="acme")
    rows = [row async for row in client.quotas.ledger("acme")]

    assert completion.cost_usd is None
    (notice,) = completion.notices
    assert "served at the tier 'scale'" in notice
    assert "tiers={'scale'" in notice
    assert [(row.nano_usd, row.price) for row in rows] == [(None, None)]


@pytest.mark.parametrize(
    ("tier", "length", "flat"),
    [
        (None, 1_000, LIST),
        ("flex", 1_000, HALF),
        ("priority", 1_000, replace(TWICE, source="a page", as_of="2026-11-01")),
        (None, 300_000, replace(TWICE, source="a page", as_of="2026-11-01")),
    ],
)
async def test_the_ledger_keeps_the_flat_price_that_was_applied(tier: str | None, length: int, flat: Price) -> None:
    stepped = replace(TIERED, steps=(PriceStep(above=200_000, price=TWICE),))
    client = client_of(Billed(tier, price=stepped, input_tokens=length))

    await client.infer("A river?", tenant="acme")
    rows = [row async for row in client.quotas.ledger("acme")]

    assert [row.price for row in rows] == [flat]
    assert rows[0].nano_usd == (length * flat.input + 100 * flat.output) // 1000


async def test_a_dearer_tier_is_held_at_its_own_price() -> None:
    client = client_of(Billed("priority"), planar.Limit.usd("0.002", per="day"))
    chars = len("Rivers?") + 16

    plain = client.plan("Rivers?", tenant="acme", max_tokens=100)
    urgent = client.plan("Rivers?", tenant="acme", max_tokens=100, service_tier="priority")

    assert plain.order[0].cost_bound == (chars * 2 + 100 * 8) * 1000
    assert urgent.order[0].cost_bound == (chars * 4 + 100 * 16) * 1000


class Local(ScriptedProvider):
    """A model in this process, which knows no tiers."""

    def describe(self, model: str) -> ModelInfo | None:
        known = super().describe(model)
        return None if known is None else replace(known, local=True)


async def test_a_model_in_this_process_costs_the_same_at_any_tier() -> None:
    client = client_of(Local("Ebro", price=LIST), planar.Limit.usd(1, per="day"))
    most = planar.Constraints(max_cost_usd=Decimal("0.01"))

    completion = await client.infer("A river?", tenant="acme", service_tier="flex", max_tokens=100, constraints=most)

    assert completion.provider == "scripted"
    assert completion.cost_usd is not None


async def test_what_anthropic_is_asked_for_by_its_own_word_is_held_at_the_list_price() -> None:
    client = client_of(Billed("standard"), planar.Limit.usd(1, per="day"))

    completion = await client.infer("A river?", tenant="acme", service_tier="standard_only")

    assert completion.cost_usd == Decimal("0.0028")


def tiered(price: int, flex: int | None) -> Price:
    tiers = {} if flex is None else {"flex": Price.per_million(input=flex, output=flex)}
    return Price.per_million(input=price, output=price, tiers=tiers)


@pytest.mark.parametrize(("tier", "first"), [(None, "b"), ("flex", "a"), ("auto", "b"), ("scale", "b")])
async def test_the_cheapest_is_who_is_cheapest_at_the_tier_that_is_asked_for(tier: str | None, first: str) -> None:
    prices = {"a": tiered(4, 1), "b": tiered(2, None), "c": tiered(3, 2)}
    client = planar.Planar(
        providers=[ScriptedProvider(name=name, price=price) for name, price in prices.items()],
        models={"any": [f"{name}:default" for name in prices]},
    )

    route = client.plan("Rivers?", model="any", strategy="cheapest", service_tier=tier)

    assert route.order[0].provider == first
    assert planar.replay(route.to_json()) == route


async def test_nobody_is_dropped_for_a_price_that_is_not_the_one_of_the_tier() -> None:
    store = planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd("0.0006", per="day")]})
    dear = ScriptedProvider(name="a", price=tiered(1000, 1))
    client = planar.Planar(
        providers=[dear, ScriptedProvider(name="b", price=tiered(1, 1))],
        models={"any": ["b:default", "a:default"]},
        quotas=store,
    )
    await client.infer("Rivers?", model="any", tenant="acme", max_tokens=16)

    plain = client.plan("Rivers?", model="any", tenant="acme")
    patient = client.plan("Rivers?", model="any", tenant="acme", service_tier="flex")

    assert [verdict.dropped_by for verdict in plain.verdicts] == [None, "headroom"]
    assert [verdict.dropped_by for verdict in patient.verdicts] == [None, None]


async def test_under_a_limit_on_money_a_tier_without_a_price_is_not_asked_for() -> None:
    provider = Billed("scale")
    client = client_of(provider, planar.Limit.usd(1, per="day"))

    with pytest.raises(planar.UnknownPriceError, match=r"at the tier 'scale': give its Price tiers=\{'scale'"):
        await client.infer("A river?", tenant="acme", service_tier="scale")

    assert provider.received == []


async def test_under_a_limit_on_money_an_answer_of_unknown_price_is_charged_what_was_held() -> None:
    client = client_of(Billed("scale"), planar.Limit.usd(1, per="day"))

    completion = await client.infer("A river?", tenant="acme", max_tokens=100)
    (count,) = await client.quotas.counts("acme")

    assert completion.cost_usd is None
    assert count.used == ((len("A river?") + 16) * 2 + 100 * 8) * 1000
