"""A budget that reaches a percentage: whoever listens hears of it once, and no call is hurt by it."""

from __future__ import annotations

import logging

import pytest

import planar
from planar.testing import ScriptedProvider, reply
from planar.types import Price

pytestmark = pytest.mark.anyio

DOLLAR = Price.per_million(input=1, output=1)


def client_of(heard: list[planar.Alert], *limits: planar.Limit) -> planar.Planar:
    return planar.Planar(
        providers=[ScriptedProvider(reply("Ebro", input_tokens=999), price=DOLLAR)],
        quotas=planar.MemoryQuotaStore(limits={"acme": limits}),
        on_alert=heard.append,
    )


async def test_the_call_that_crosses_a_percentage_is_heard_of_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[planar.Alert] = []
    client = client_of(heard, planar.Limit.usd("0.01", per="day", alerts=[20, 50]))

    for _ in range(3):
        await client.infer("Rivers?", tenant="acme/search", max_tokens=400)

    assert [(alert.scope, alert.percent, alert.amount) for alert in heard] == [("acme", 20, 10_000_000)]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "acme has used 20 % of its nano_usd (day)"
    ]


async def test_what_a_listener_raises_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def listener(alert: planar.Alert) -> None:
        raise RuntimeError("the mail server is down")

    client = planar.Planar(
        providers=[ScriptedProvider(reply("Ebro", input_tokens=999), price=DOLLAR)],
        quotas=planar.MemoryQuotaStore(limits={"acme": [planar.Limit.usd("0.001", alerts=[100])]}),
        on_alert=listener,
    )

    completion = await client.infer("Rivers?", tenant="acme", max_tokens=400)

    assert completion.text == "Ebro"
    assert "the mail server is down" in caplog.text


async def test_who_pays_as_they_go_is_served_beyond_the_budget() -> None:
    heard: list[planar.Alert] = []
    client = client_of(heard, planar.Limit.usd("0.001", overage="pay", alerts=[100, 200]))

    for _ in range(2):
        await client.infer("Rivers?", tenant="acme", max_tokens=400)

    rows = [row async for row in client.quotas.ledger("acme")]
    assert ["overage" in row.flags for row in rows] == [False, True]
    assert [alert.percent for alert in heard] == [100, 200]


async def test_a_child_is_kept_to_its_share_and_told_so() -> None:
    client = client_of([], planar.Limit.usd("0.002", share=25))

    with pytest.raises(planar.QuotaExceededError, match="acme/search, of its share of acme") as refusal:
        await client.infer("Rivers?" * 100, tenant="acme/search", max_tokens=400, on_low_budget="refuse")

    assert refusal.value.child == "acme/search"
