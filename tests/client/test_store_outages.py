"""A store that goes away under a call: what had begun is finished as far as it is held, and nobody loses an answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

import planar
from planar.events import Finish, Notice, TextDelta, UsageReported
from planar.testing import FakeClock, FaultyQuotaStore, ScriptedProvider
from planar.testing.faulty_store import StoreFault
from planar.testing.scripted import Step
from planar.types import Amount, LeaseId, Price, Usage

pytestmark = pytest.mark.anyio

DOLLAR = Price.per_million(input=1, output=1)
WORDS = [TextDelta("word ") for _ in range(400)]
END = (UsageReported(Usage(input_tokens=9, output_tokens=1600)), Finish("stop"))
DAILY = planar.Limit.tokens(100_000, per="day")
EBRO: tuple[Step, ...] = (TextDelta("Ebro"), UsageReported(Usage(input_tokens=10, output_tokens=5)), Finish("stop"))


class Setting:
    """A client whose store can fail, and time that tests set."""

    def __init__(self, *limits: planar.Limit, spool: Path | None = None) -> None:
        self.clock = FakeClock()
        self.real = planar.MemoryQuotaStore(limits={"acme": limits}, clock=self.clock)
        self.store = FaultyQuotaStore(self.real)
        self.resilient = None
        if spool is not None:
            self.resilient = planar.ResilientQuotaStore(self.store, spool=spool, clock=self.clock)
        self.provider = ScriptedProvider()

    def client(self, *script: Step) -> planar.Planar:
        self.provider = ScriptedProvider(list(script), price=DOLLAR)
        return planar.Planar(providers=[self.provider], quotas=self.resilient or self.store, clock=self.clock)

    async def away(self) -> None:
        self.store.always = "before"

    async def back(self) -> None:
        self.store.always = None

    async def a_second(self) -> None:
        self.clock.advance(1)

    async def a_minute(self) -> None:
        self.clock.advance(60)

    async def an_hour(self) -> None:
        self.clock.advance(3600)

    async def rows(self) -> list[planar.LedgerEntry]:
        return [row async for row in self.real.ledger()]


def codes(events: Sequence[planar.Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Notice)]


async def test_nobody_is_asked_without_a_hold() -> None:
    setting = Setting()
    client = setting.client(*EBRO)
    await setting.away()

    with pytest.raises(planar.StoreError):
        await client.infer("Rivers?", tenant="acme")

    assert setting.provider.received == []


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_nobody_is_asked_and_nothing_charged_where_the_dispatch_could_not_be_noted(fault: StoreFault) -> None:
    setting = Setting(DAILY)
    client = setting.client(*EBRO)
    setting.store.plan("none", fault)

    with pytest.raises(planar.StoreError):
        await client.infer("Rivers?", tenant="acme")

    assert setting.provider.received == []
    [row] = await setting.rows()
    assert (row.input_tokens, row.output_tokens, row.nano_usd, row.flags) == (0, 0, 0, {"failed"})
    assert (await setting.real.usage("acme")).concurrent == 0


async def test_an_answer_that_cannot_be_booked_reaches_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    setting = Setting(DAILY)
    client = setting.client(setting.away, *EBRO)

    stream = client.stream("Rivers?", tenant="acme")
    events = [event async for event in stream.events()]
    completion = await stream.completion()

    assert (completion.text, completion.finish_reason, completion.cost_usd) == (
        "Ebro",
        "stop",
        planar.types.usd(15_000),
    )
    assert codes(events) == ["not_booked"]
    assert isinstance(events[-1], Finish)
    assert len(completion.notices) == 1
    [told] = [record for record in caplog.records if record.name == "planar.client"]
    assert told.levelno == logging.WARNING
    assert completion.attempts[0].lease_id in told.message
    assert "10 input tokens, 5 output tokens, 15000 nano-USD" in told.message
    await setting.an_hour()
    assert [row.kind for row in await setting.rows()] == ["expired"]  # presumed spent, whole


async def test_an_answer_that_is_left_early_raises_nothing_because_of_the_store() -> None:
    setting = Setting(DAILY)
    client = setting.client(TextDelta("Ebro"), setting.away, TextDelta(", Tagus"), *END)

    async with client.stream("Rivers?", tenant="acme") as stream:
        async for token in stream:
            if token == ", Tagus":
                break

    assert (await stream.completion()).text == "Ebro, Tagus"
    assert setting.provider.open_streams == 0


async def test_a_failure_of_the_provider_is_not_hidden_by_one_of_the_store() -> None:
    setting = Setting(DAILY)
    client = setting.client(setting.away, planar.ProviderAuthError("bad key", status=401))

    with pytest.raises(planar.ProviderAuthError):
        await client.infer("Rivers?", tenant="acme")


async def test_an_embedding_whose_dispatch_cannot_be_noted_is_not_made() -> None:
    setting = Setting(DAILY)
    client = setting.client(*EBRO)
    setting.store.plan("none", "after")

    with pytest.raises(planar.StoreError):
        await client.embed(["Ebro"], model="scripted:default", tenant="acme")

    assert setting.provider.received == []
    assert [row.nano_usd for row in await setting.rows()] == [0]


async def test_a_stream_goes_on_to_the_end_of_its_hold_and_then_stops() -> None:
    setting = Setting(DAILY)
    client = setting.client(WORDS, setting.away, WORDS, setting.a_second, *[WORDS[:100] for _ in range(8)], *END)
    arrived = 0

    with pytest.raises(planar.StoreError) as stopped:
        async for _token in client.stream("Rivers?", tenant="acme"):
            arrived += 1

    assert 1024 <= arrived * 1.25 < 1024 + 125  # by the estimate, five tokens in four words; a batch has 100
    assert stopped.value.partial is not None
    assert stopped.value.partial.usage is not None
    assert setting.provider.open_streams == 0


async def test_a_store_that_is_away_is_not_asked_before_every_word() -> None:
    setting = Setting(DAILY)
    client = setting.client(WORDS, WORDS[:200], setting.away, *[WORDS[:1] for _ in range(100)], setting.back, *END)

    await client.infer("Rivers?", tenant="acme")

    assert setting.store.calls.count("extend") == 1


async def test_a_store_that_comes_back_in_time_lets_the_stream_go_on() -> None:
    setting = Setting(DAILY)
    pieces = [WORDS[:100]] * 4
    client = setting.client(
        WORDS, setting.away, WORDS[:200], *pieces[:2], setting.back, setting.a_second, *pieces, *pieces, *END
    )

    completion = await client.infer("Rivers?", tenant="acme")

    assert completion.finish_reason == "stop"
    assert completion.notices == ()
    [row] = await setting.rows()
    assert row.output_tokens == 1600


async def test_an_answer_that_is_held_whole_needs_no_store_to_go_on() -> None:
    setting = Setting(DAILY)
    client = setting.client(WORDS, setting.away, WORDS, WORDS[:150], WORDS[:100], WORDS[:100], setting.back, *END)

    completion = await client.infer("Rivers?", tenant="acme", max_tokens=1000)

    assert completion.finish_reason == "stop"


async def test_a_lease_that_cannot_be_kept_alive_is_no_reason_to_stop() -> None:
    setting = Setting(planar.Limit.concurrency(5))
    client = setting.client(
        WORDS[:1], setting.a_minute, setting.away, WORDS[:1], WORDS[:1], setting.a_second, WORDS[:1],
        setting.back, setting.a_second, WORDS[:1], WORDS[:1], setting.a_minute, WORDS[:1], *END,
    )  # fmt: skip

    completion = await client.infer("Rivers?", tenant="acme", wire="streamed")

    assert completion.text == "word " * 7
    assert setting.store.calls.count("extend") == 4
    assert [row.kind for row in await setting.rows()] == ["settled"]


async def test_a_lease_that_ended_in_a_long_outage_is_corrected_in_the_end() -> None:
    setting = Setting(planar.Limit.concurrency(5))
    client = setting.client(
        WORDS[:1], setting.a_minute, setting.away, WORDS[:1], setting.an_hour, setting.back, WORDS[:1], WORDS[:1],
        setting.an_hour, WORDS[:1], *END,
    )  # fmt: skip

    completion = await client.infer("Rivers?", tenant="acme", wire="streamed")

    assert completion.text == "word " * 5
    assert [row.kind for row in await setting.rows()] == ["expired", "correction"]
    assert (await setting.real.usage("acme")).output_tokens == 1600


async def test_a_budget_whose_lease_ended_in_a_long_outage_stops_the_stream_at_what_was_held() -> None:
    setting = Setting(DAILY)
    client = setting.client(
        WORDS, setting.away, WORDS[:200], setting.an_hour, setting.back, WORDS[:100], WORDS, WORDS, *END
    )

    with pytest.raises(planar.StoreError) as stopped:
        await client.infer("Rivers?", tenant="acme")

    assert stopped.value.partial is not None
    assert (await setting.real.usage("acme")).concurrent == 0


async def test_a_lease_that_ends_while_the_store_answers_is_a_mistake_and_told() -> None:
    setting = Setting(planar.Limit.concurrency(5))
    client = setting.client(WORDS[:1], setting.an_hour, WORDS[:1], WORDS[:1], *END)

    with pytest.raises(planar.InvalidRequestError):
        await client.infer("Rivers?", tenant="acme", wire="streamed")


# --- behind a ResilientQuotaStore ---------------------------------------------------------------


async def test_what_is_let_through_and_booked_late_is_told_to_the_caller(tmp_path: Path) -> None:
    setting = Setting(planar.Limit.requests(50), spool=tmp_path)
    client = setting.client(*EBRO)
    await client.infer("Rivers?", tenant="acme")
    await setting.away()

    stream = client.stream("Rivers?", tenant="acme")
    events = [event async for event in stream.events()]
    completion = await stream.completion()
    await setting.back()
    await client.aclose()

    assert codes(events) == ["quota_unchecked", "booked_late"]
    assert len(completion.notices) == 2
    assert [row.nano_usd for row in await setting.rows()] == [15_000, 15_000]
    assert completion.attempts[0].lease_id in [row.lease_id for row in await setting.rows()]


async def test_an_answer_that_began_before_the_outage_is_booked_after_it(tmp_path: Path) -> None:
    setting = Setting(DAILY, spool=tmp_path)
    client = setting.client(setting.away, *EBRO)

    completion = await client.infer("Rivers?", tenant="acme")
    with pytest.raises(planar.StoreError):
        await client.infer("Rivers?", tenant="acme")
    await setting.back()
    await client.aclose()

    assert completion.cost_usd == planar.types.usd(15_000)
    assert [(row.kind, row.nano_usd) for row in await setting.rows()] == [("settled", 15_000)]


async def test_a_dispatch_that_is_noted_on_the_disk_is_enough_to_ask(tmp_path: Path) -> None:
    setting = Setting(DAILY, spool=tmp_path)
    client = setting.client(*EBRO)
    await setting.real.release(await setting.real.reserve(LeaseId("x"), "acme", hold=Amount(), ttl=1, deployment="a:b"))
    setting.store.plan("none", "none", "before")  # limits, reserve, dispatched

    completion = await client.infer("Rivers?", tenant="acme")
    await client.aclose()

    assert completion.text == "Ebro"
    assert [(row.kind, row.nano_usd) for row in await setting.rows()] == [("settled", 15_000)]
