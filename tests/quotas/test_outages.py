"""What becomes of requests while the store is away, and of what they used when it is back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from outages import BUDGET, CHARGE, HOLD, USED, Setting, files, reserve

from planar.errors import (
    ConfigurationError,
    InvalidRequestError,
    QuotaExceededError,
    StoreError,
    UnknownPriceError,
    UnknownTenantError,
)
from planar.quotas import MemoryQuotaStore
from planar.quotas.resilient import ResilientQuotaStore
from planar.testing import FaultyQuotaStore
from planar.types import Amount, Charge, LeaseId, Limit, Price, Usage

pytestmark = pytest.mark.anyio

NOTHING = Amount()
Make = Callable[..., Setting]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Setting] = []

    def make(limits: dict[str, list[Limit]] | None = None, **options: Any) -> Setting:
        made.append(Setting(tmp_path / "spool", limits=limits, **options))
        return made[-1]

    yield make
    for setting in made:
        setting.way.always = "before"
        await setting.store.aclose()


# --- who is let in ------------------------------------------------------------------------------


async def test_a_tenant_with_a_budget_is_refused_while_the_store_is_away(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    await setting.store.settle(await reserve(setting.store, "before"), charge=CHARGE)

    with setting.outage():
        with pytest.raises(StoreError):
            await reserve(setting.store, "meanwhile")
        assert setting.store.state().refused == 1
    await reserve(setting.store, "after")

    assert setting.store.state().let_through == 0
    assert (await setting.totals())[0] == 1


@pytest.mark.parametrize(
    "limit",
    [
        Limit.usd("5"),
        Limit.tokens(10_000, per="day"),
        Limit.tokens(10_000, per="total", kind="output_tokens"),
        Limit.rolling(10_000, dimension="tokens", seconds=600),
        Limit.rolling(10_000, dimension="nano_usd", seconds=600),
    ],
)
@pytest.mark.parametrize("scope", ["acme", "acme/search"])
async def test_every_kind_of_budget_on_the_path_closes_it(make: Make, limit: Limit, scope: str) -> None:
    setting = make({scope: [Limit.requests(5), limit]})
    await reserve(setting.store, "before")

    with setting.outage(), pytest.raises(StoreError):
        await reserve(setting.store, "meanwhile")


@pytest.mark.parametrize(
    "limit",
    [
        Limit.requests(2),
        Limit.tokens_per_minute(300),
        Limit.concurrency(2),
        Limit(dimension="requests", amount=2, window="day"),
    ],
)
async def test_rates_are_kept_in_this_process_while_the_store_is_away(make: Make, limit: Limit) -> None:
    setting = make({"acme": [limit]})
    await setting.store.release(await reserve(setting.store, "before"))

    with setting.outage():
        first = await reserve(setting.store, "one")
        second = await reserve(setting.store, "two")
        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(setting.store, "three")

    assert first.provisional
    assert second.provisional
    assert (refusal.value.scope, refusal.value.dimension) == ("acme", limit.dimension)
    assert setting.store.state().let_through == 2


async def test_a_tenant_that_was_never_seen_is_taken_for_one_with_a_budget(make: Make) -> None:
    setting = make()
    await reserve(setting.store, "before", tenant="acme/search")

    with setting.outage():
        await reserve(setting.store, "known")
        with pytest.raises(StoreError):
            await reserve(setting.store, "unknown", tenant="acme/chat")
        with pytest.raises(UnknownTenantError):
            await reserve(setting.store, "no tenant", tenant="../etc")


async def test_others_can_be_refused_too(make: Make) -> None:
    setting = make(without_budget="deny")
    await reserve(setting.store, "before")

    with setting.outage(), pytest.raises(StoreError):
        await reserve(setting.store, "meanwhile")


async def test_budgets_can_be_let_through_up_to_a_capacity(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, on_store_error="allow", safe_capacity=Amount(nano_usd=2_500))
    await reserve(setting.store, "before")

    with setting.outage():
        first = await reserve(setting.store, "one")
        await reserve(setting.store, "two", tenant="acme/chat")
        with pytest.raises(StoreError, match="what acme may use meanwhile is used up"):
            await reserve(setting.store, "three")
        await reserve(setting.store, "another's", tenant="globex")
        await setting.store.settle(first, charge=CHARGE)  # 400 less than was held
        await reserve(setting.store, "three", hold=Amount(nano_usd=900))
        with pytest.raises(UnknownPriceError):
            await reserve(setting.store, "unpriced", hold=Amount(nano_usd=None))

    assert setting.store.state().let_through == 4


async def test_a_capacity_is_not_renewed_before_what_it_let_through_is_booked(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, on_store_error="allow", safe_capacity=Amount(nano_usd=1_500))
    await reserve(setting.store, "before")
    with setting.outage():
        lease = await reserve(setting.store, "one")
        await setting.store.dispatched(lease)
    await reserve(setting.store, "the store is back for a moment")

    with setting.outage():
        with pytest.raises(StoreError):
            await reserve(setting.store, "two")
        await setting.store.settle(lease, charge=CHARGE)
    await setting.store.replay()

    with setting.outage():
        await reserve(setting.store, "two")


async def test_a_limit_that_was_last_seen_bounds_a_capacity(make: Make) -> None:
    setting = make(
        {"acme": [Limit.usd("0.0000015", per="total"), Limit.requests(50)]},
        on_store_error="allow",
        safe_capacity=Amount(nano_usd=1_000_000, output_tokens=1_000),
    )
    await setting.store.settle(await reserve(setting.store, "before"), charge=Charge(amount=NOTHING))

    with setting.outage():
        await reserve(setting.store, "one")
        with pytest.raises((QuotaExceededError, StoreError)):
            await reserve(setting.store, "two")


async def test_limits_are_read_again_now_and_then(make: Make) -> None:
    setting = make(limits_every=30)
    for number in range(3):
        await reserve(setting.store, f"{number}")
    assert setting.way.calls.count("limits") == 2
    await setting.real.set_limits("acme", BUDGET)  # by another process

    setting.clock.advance(30)
    await reserve(setting.store, "reads")

    assert setting.way.calls.count("limits") == 4
    with setting.outage(), pytest.raises(StoreError):
        await reserve(setting.store, "meanwhile")


async def test_limits_set_here_are_known_at_once(make: Make) -> None:
    setting = make()
    await setting.store.set_limits("acme", Limit.requests(1))
    await setting.store.limits("acme/search")

    with setting.outage():
        await reserve(setting.store, "one")
        with pytest.raises(QuotaExceededError):
            await reserve(setting.store, "two")


# --- how the store is asked ---------------------------------------------------------------------


async def test_a_store_that_hangs_is_away(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, timeout=0.02)
    await reserve(setting.store, "before")
    setting.way.always = "hang"

    with pytest.raises(StoreError, match="no answer within"):
        await reserve(setting.store, "hangs")

    assert setting.store.state().away_since == setting.clock.time()


async def test_a_store_that_has_just_failed_is_not_asked_by_everybody(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    await reserve(setting.store, "before")
    setting.way.always = "before"
    asked = len(setting.way.calls)

    for _ in range(20):
        with pytest.raises(StoreError):
            await reserve(setting.store, "refused")
    assert len(setting.way.calls) == asked + 1
    setting.clock.advance(1)
    for _ in range(20):
        with pytest.raises(StoreError):
            await reserve(setting.store, "refused")

    assert len(setting.way.calls) == asked + 2


async def test_one_asks_for_all_whether_the_store_is_back(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, timeout=30.0)
    await reserve(setting.store, "before")
    with setting.outage(), pytest.raises(StoreError):
        await reserve(setting.store, "meanwhile")
    setting.way.plan("hang")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reserve, setting.store, "asks")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StoreError):
            await reserve(setting.store, "does not wait")
        tasks.cancel_scope.cancel()
    setting.clock.advance(30)
    await reserve(setting.store, "asks next, since the first left")

    assert setting.store.state().away_since is None


async def test_a_refusal_is_an_answer(make: Make) -> None:
    setting = make({"acme": [Limit.requests(1)]})
    await reserve(setting.store, "before")

    with pytest.raises(QuotaExceededError):
        await reserve(setting.store, "refused")

    assert setting.store.state().away_since is None


# --- what was used is not lost ------------------------------------------------------------------


async def test_a_settle_is_kept_and_written_when_the_store_is_back(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    lease = await reserve(setting.store, "one")
    await setting.store.dispatched(lease)

    with setting.outage():
        receipt = await setting.store.settle(lease, charge=CHARGE)
        assert setting.store.state().waiting == 1
    assert await setting.rows() == []
    assert await setting.store.replay() == 1

    assert (receipt.spooled, receipt.entry.nano_usd, receipt.entry.kind) == (True, 600, "settled")
    assert await setting.totals() == (1, 600, NOTHING, 0)
    assert (setting.store.state().waiting, setting.store.state().replayed) == (0, 1)
    assert files(setting.folder) == []


async def test_it_is_written_by_itself(make: Make) -> None:
    setting = make(pause=0.01)
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=CHARGE)

    with anyio.fail_after(5):
        while setting.store.state().waiting:
            await anyio.sleep(0.01)

    assert await setting.totals() == (1, 600, NOTHING, 0)


async def test_a_settle_whose_reply_was_lost_is_counted_once(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    setting.way.plan("after")

    receipt = await setting.store.settle(lease, charge=CHARGE)
    setting.clock.advance(1)
    await setting.store.replay()

    assert receipt.spooled
    assert await setting.totals() == (1, 600, NOTHING, 0)
    assert len(await setting.rows()) == 1


async def test_the_first_charge_stands_whether_it_was_written_or_kept(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    with setting.outage():
        first = await setting.store.settle(lease, charge=CHARGE)
        again = await setting.store.settle(lease, charge=Charge(amount=HOLD))

    late = await setting.store.settle(lease, charge=Charge(amount=HOLD))

    assert (again.entry.nano_usd, again.replayed, again.spooled) == (600, True, True)
    assert (late.entry.nano_usd, late.replayed, late.spooled) == (600, True, False)
    assert not first.replayed
    assert await setting.totals() == (1, 600, NOTHING, 0)


async def test_an_estimate_that_was_kept_is_corrected_by_the_truth(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=Charge(amount=HOLD, flags=frozenset({"estimated"})))
        truth = await setting.store.settle(lease, charge=CHARGE)
    await setting.store.replay()

    assert (truth.entry.kind, truth.entry.nano_usd, truth.spooled) == ("correction", -400, True)
    assert [(row.kind, row.nano_usd) for row in await setting.rows()] == [("settled", 1_000), ("correction", -400)]


async def test_a_dispatch_that_the_store_did_not_hear_of_is_charged_on_expiry(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    lease = await reserve(setting.store, "one", ttl=60)
    with setting.outage():
        await setting.store.dispatched(lease)
    await setting.store.replay()

    setting.clock.advance(60)

    assert [row.kind for row in await setting.rows()] == ["expired"]
    assert await setting.totals() == (1, 1_000, NOTHING, 0)


async def test_a_dispatch_that_comes_after_the_hold_lapsed_is_presumed_spent_until_the_truth_is_known(
    make: Make,
) -> None:
    setting = make({"acme": [BUDGET]})
    lease = await reserve(setting.store, "one", ttl=60)
    with setting.outage():
        await setting.store.dispatched(lease)
        setting.clock.advance(600)
    await setting.store.replay()
    assert await setting.totals() == (1, 1_000, NOTHING, 0)

    await setting.store.settle(lease, charge=CHARGE)

    assert await setting.totals() == (1, 600, NOTHING, 0)
    assert [row.kind for row in await setting.rows()] == ["settled", "correction"]


async def test_what_was_dispatched_meanwhile_is_settled_not_released(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.dispatched(lease)
        with pytest.raises(InvalidRequestError):
            await setting.store.release(lease)
        await setting.store.settle(lease, charge=CHARGE)
        await setting.store.release(lease)  # of no effect: it has ended
    await setting.store.replay()

    assert await setting.totals() == (1, 600, NOTHING, 0)


async def test_a_release_is_kept_too(make: Make) -> None:
    setting = make({"acme": [Limit.concurrency(1)]})
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.release(lease)
    await setting.store.replay()

    assert await setting.totals() == (0, 0, NOTHING, 0)


async def test_an_extension_is_refused_while_the_store_is_away_and_can_be_had_later(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    lease = await reserve(setting.store, "one")
    more = Amount(output_tokens=50, nano_usd=500)
    with setting.outage(), pytest.raises(StoreError):
        await setting.store.extend(lease, more=more, ttl=60)

    longer = await setting.store.extend(lease, more=more, ttl=60)

    assert longer.hold.nano_usd == 1_500


async def test_a_refund_waits_for_nobody_and_finds_what_was_kept(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=CHARGE)
        with pytest.raises(StoreError):
            await setting.store.refund(lease.id, amount=Amount(nano_usd=100), reason="broken")

    await setting.store.refund(lease.id, amount=Amount(nano_usd=100), reason="broken")

    assert (await setting.totals())[1] == 500


# --- what was let through -----------------------------------------------------------------------


async def test_what_was_let_through_gets_its_row(make: Make) -> None:
    setting = make({"acme": [Limit.requests(5), Limit.concurrency(2)]})
    await setting.store.release(await reserve(setting.store, "before"))
    with setting.outage():
        lease = await reserve(setting.store, "one")
        assert await reserve(setting.store, "one") == lease
        await setting.store.dispatched(lease)
        lease = await setting.store.extend(lease, more=Amount(output_tokens=50), ttl=60)
        receipt = await setting.store.settle(lease, charge=CHARGE)
        again = await setting.store.settle(lease, charge=Charge(amount=HOLD))
    await setting.store.replay()

    assert lease.provisional
    assert lease.hold.output_tokens == 100
    assert (receipt.spooled, receipt.replayed, again.replayed, again.entry.nano_usd) == (True, False, True, 600)
    [row] = await setting.rows()
    assert (row.kind, row.nano_usd, row.tenant, row.deployment) == ("settled", 600, "acme/search", "openai:x")
    assert await setting.totals() == (1, 600, NOTHING, 0)
    assert setting.store.state().let_through == 1


async def test_what_was_let_through_may_end_after_the_outage(make: Make) -> None:
    setting = make({"acme": [Limit.concurrency(2)]})
    await setting.store.release(await reserve(setting.store, "before"))
    with setting.outage():
        lease = await reserve(setting.store, "one")
        await setting.store.dispatched(lease)
    assert await setting.store.replay() == 0  # it runs on here

    await setting.store.settle(lease, charge=CHARGE)
    await setting.store.replay()

    assert await setting.totals() == (1, 600, NOTHING, 0)
    assert [row.kind for row in await setting.rows()] == ["settled"]


async def test_what_was_let_through_and_forgotten_is_charged(make: Make) -> None:
    setting = make()
    await setting.store.release(await reserve(setting.store, "before"))
    with setting.outage():
        lease = await reserve(setting.store, "one", ttl=60)
        await setting.store.dispatched(lease)
        setting.clock.advance(61)
    await setting.store.replay()

    setting.clock.advance(61)

    assert [row.kind for row in await setting.rows()] == ["expired"]


async def test_what_was_let_through_and_not_asked_leaves_nothing(make: Make) -> None:
    setting = make({"acme": [Limit.concurrency(1)]})
    await setting.store.release(await reserve(setting.store, "before"))
    with setting.outage():
        await setting.store.release(await reserve(setting.store, "one"))
        await reserve(setting.store, "two")

    assert setting.store.state().waiting == 0
    assert await setting.rows() == []


async def test_a_reservation_that_was_made_although_its_reply_was_lost_is_the_same_one(make: Make) -> None:
    setting = make({"acme": [Limit.concurrency(2)]})
    await setting.store.release(await reserve(setting.store, "before"))
    setting.way.plan("after")
    lease = await reserve(setting.store, "one")
    await setting.store.dispatched(lease)
    setting.clock.advance(1)

    await setting.store.settle(lease, charge=CHARGE)
    await setting.store.replay()

    assert lease.provisional
    assert await setting.totals() == (1, 600, NOTHING, 0)


async def test_a_limit_without_room_for_a_bound_has_room_for_the_truth(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, on_store_error="allow", safe_capacity=Amount(nano_usd=50_000))
    with setting.outage():
        lease = await reserve(setting.store, "one", hold=Amount(nano_usd=9_500))
        await setting.store.settle(lease, charge=CHARGE)
    await setting.real.settle(await reserve(setting.real, "elsewhere"), charge=Charge(amount=HOLD))

    await setting.store.replay()

    assert (await setting.totals())[:2] == (2, 1_600)


async def test_what_no_limit_has_room_for_waits_for_room_and_keeps_nobody_back(make: Make) -> None:
    setting = make({"acme": [Limit.concurrency(1)]})
    await setting.store.release(await reserve(setting.store, "before"))
    await setting.store.release(await reserve(setting.store, "before, too", tenant="globex"))
    with setting.outage():
        for name, tenant in (("one", "acme/search"), ("two", "globex")):
            lease = await reserve(setting.store, name, tenant=tenant)
            await setting.store.settle(lease, charge=CHARGE)
    blocking = await reserve(setting.real, "elsewhere")

    assert await setting.store.replay() == 1
    assert setting.store.state().waiting == 1
    await setting.real.release(blocking)
    assert await setting.store.replay() == 1

    assert (await setting.totals())[:2] == (1, 600)
    assert (await setting.totals("globex"))[:2] == (1, 600)


# --- the next process ---------------------------------------------------------------------------


async def test_the_next_process_writes_what_the_last_one_could_not(make: Make) -> None:
    setting = make({"acme": [BUDGET]})
    usage = Usage(input_tokens=90, output_tokens=10, raw={"prompt": "secret"})
    charge = Charge(
        amount=USED,
        usage=usage,
        price=Price.per_million(input=1, output=2),
        flags=frozenset({"cut"}),
        metadata={"a": "ü"},
    )
    lease = await reserve(setting.store, "one")
    setting.way.always = "before"
    await setting.store.settle(lease, charge=charge)
    await setting.store.aclose()
    [left] = files(setting.folder)
    assert "secret" not in left.read_text()
    assert (left.stat().st_mode & 0o777, setting.folder.stat().st_mode & 0o777) == (0o600, 0o700)

    setting.way.always = None
    setting.store = setting.another_process()
    await setting.store.replay()

    [row] = await setting.rows()
    assert (row.flags, dict(row.metadata), row.price) == (charge.flags, {"a": "ü"}, charge.price)
    assert row.usage == Usage(input_tokens=90, output_tokens=10)
    assert files(setting.folder) == []


async def test_a_process_begins_with_what_the_last_one_left(make: Make) -> None:
    setting = make(pause=0.01)
    lease = await reserve(setting.store, "one")
    setting.way.always = "before"
    await setting.store.settle(lease, charge=CHARGE)
    await setting.store.aclose()
    setting.way.always = None
    setting.store = setting.another_process()

    await reserve(setting.store, "two")

    with anyio.fail_after(5):
        while setting.store.state().waiting:
            await anyio.sleep(0.01)
    assert (await setting.totals())[:2] == (1, 600)


async def test_what_was_let_through_by_a_process_that_died_is_charged(make: Make) -> None:
    setting = make()
    await setting.store.release(await reserve(setting.store, "before"))
    setting.way.always = "before"
    await setting.store.dispatched(await reserve(setting.store, "one"))
    await setting.store.aclose()
    setting.way.always = None
    setting.store = setting.another_process()

    await setting.store.replay()
    setting.clock.advance(61)

    assert [(row.kind, row.lease_id) for row in await setting.rows()] == [("expired", "one")]


async def test_closing_writes_what_can_be_written(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=CHARGE)

    await setting.store.aclose()
    await setting.store.aclose()

    assert (await setting.totals())[:2] == (1, 600)
    assert files(setting.folder) == []


# --- rows that cannot be written ----------------------------------------------------------------


async def test_a_row_that_the_store_will_never_take_is_put_aside_and_keeps_nobody_back(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    setting = make()
    released, good = await reserve(setting.store, "released"), await reserve(setting.store, "good")
    await setting.real.release(released)
    with setting.outage():
        await setting.store.settle(released, charge=CHARGE)
        await setting.store.settle(good, charge=CHARGE)

    assert await setting.store.replay() == 1

    assert [row.lease_id for row in await setting.rows()] == ["good"]
    assert (setting.store.state().rejected, setting.store.state().waiting) == (1, 0)
    [rejected] = files(setting.folder, "rejected")
    assert "cannot be settled: it was released" in rejected.read_text()
    assert rejected.stat().st_mode & 0o777 == 0o600
    assert [record.levelno for record in caplog.records if "will never take" in record.message] == [logging.ERROR]


async def test_a_store_that_breaks_on_one_row_gets_the_others(make: Make) -> None:
    class Breaking(FaultyQuotaStore):
        async def settle(self, lease: Any, *, charge: Charge) -> Any:
            if lease.id == "bad" and self.always is None:
                raise RuntimeError("a bug")
            return await super().settle(lease, charge=charge)

    setting = make()
    setting.way = Breaking(setting.real)
    await setting.store.aclose()
    setting.store = setting.another_process()
    bad, good = await reserve(setting.store, "bad"), await reserve(setting.store, "good")
    with setting.outage():
        await setting.store.settle(bad, charge=CHARGE)
        await setting.store.settle(good, charge=CHARGE)

    for _ in range(3):
        await setting.store.replay()

    assert [row.lease_id for row in await setting.rows()] == ["good"]
    assert (setting.store.state().waiting, setting.store.state().away_since) == (1, None)


async def test_a_disk_that_is_full_is_told_and_the_row_is_in_the_log(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    setting.folder.rmdir()
    setting.folder.write_text("not a folder")

    with setting.outage():
        with pytest.raises(StoreError, match="the spool cannot be written"):
            await setting.store.settle(lease, charge=CHARGE)
    assert any('"nano_usd":600' in record.message for record in caplog.records)
    setting.folder.unlink()
    await setting.store.replay()

    assert await setting.totals() == (1, 600, NOTHING, 0)


async def test_a_folder_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    store = ResilientQuotaStore(MemoryQuotaStore(), spool=tmp_path / "taken")

    with pytest.raises(ConfigurationError, match="spool"):
        await reserve(store, "one")


# --- it shows -----------------------------------------------------------------------------------


async def test_nothing_of_it_is_silent(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    setting = make()
    await reserve(setting.store, "before")

    with setting.outage():
        lease = await reserve(setting.store, "one")
        await setting.store.settle(lease, charge=CHARGE)
        state = setting.store.state()
    await setting.store.replay()

    assert (state.let_through, state.waiting, state.away_since) == (1, 1, setting.clock.time() - 1)
    told = [record for record in caplog.records if record.name == "planar.quotas" and record.levelno == logging.WARNING]
    assert [record.message.split(":")[0] for record in told] == [
        "the quota store is away",
        "let a request of acme/search through without the quota store",
        "the quota store is back",
    ]
    assert told[1].__dict__["lease_id"] == "one"


async def test_an_alert_that_a_late_row_causes_is_in_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    half = Limit(dimension="nano_usd", amount=1_000, window="total", alerts=(50,))
    setting = make({"acme": [half]}, on_store_error="allow", safe_capacity=Amount(nano_usd=1_000))
    await setting.store.release(await reserve(setting.store, "before"))
    with setting.outage():
        receipt = await setting.store.settle(await reserve(setting.store, "one"), charge=CHARGE)
    await setting.store.replay()

    [row] = await setting.rows()
    assert (len(receipt.entry.alerts), len(row.alerts)) == (0, 1)
    assert "acme has used 50 % of its nano_usd (total)" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"on_store_error": "maybe"},
        {"without_budget": "maybe"},
        {"on_store_error": "allow"},
        {"safe_capacity": Amount(nano_usd=5)},
        {"on_store_error": "allow", "safe_capacity": Amount()},
        {"timeout": 0},
        {"pause": float("inf")},
        {"limits_every": float("nan")},
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        ResilientQuotaStore(MemoryQuotaStore(), spool=tmp_path, **options)


async def test_reports_are_those_of_the_store(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    await setting.store.settle(lease, charge=CHARGE)

    assert await setting.store.usage("acme") == await setting.real.usage("acme")
    assert [row.lease_id async for row in setting.store.ledger("acme")] == [LeaseId("one")]


async def test_a_row_that_hangs_the_store_keeps_nobody_else_away_from_it(make: Make) -> None:
    setting = make({"acme": [BUDGET]}, timeout=0.02)
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=CHARGE)
    await reserve(setting.store, "the store is back")
    setting.way.plan("hang")

    assert await setting.store.replay() == 0

    assert setting.store.state().away_since is None
    await reserve(setting.store, "not refused")
    assert await setting.store.replay() == 1


async def test_an_outage_of_days_is_waited_out(make: Make) -> None:
    setting = make()
    lease = await reserve(setting.store, "one")
    with setting.outage():
        await setting.store.settle(lease, charge=CHARGE)
        [pending] = setting.store._spool.pending()
        pending.failures = 100_000
        assert await setting.store.replay() == 0

    assert await setting.store.replay() == 1


async def test_no_task_is_left_when_it_is_closed(tmp_path: Path) -> None:
    setting = Setting(tmp_path, pause=3600.0)
    lease = await reserve(setting.store, "one")
    setting.way.always = "before"
    await setting.store.settle(lease, charge=CHARGE)
    await anyio.wait_all_tasks_blocked()
    assert setting.store._replayer._background.running

    await setting.store.aclose()
    await anyio.wait_all_tasks_blocked()

    assert not setting.store._replayer._background.running


@pytest.mark.parametrize(("first", "second"), [("asyncio", "trio"), ("trio", "asyncio"), ("asyncio", "asyncio")])
def test_it_may_be_used_from_one_loop_after_another(first: str, second: str, tmp_path: Path) -> None:
    setting = Setting(tmp_path)

    async def begin() -> None:
        lease = await reserve(setting.store, "one")
        with setting.outage():
            await setting.store.settle(lease, charge=CHARGE)

    async def go_on() -> None:
        await reserve(setting.store, "two")
        with anyio.fail_after(5):
            while setting.store.state().waiting:
                await anyio.sleep(0.01)
        await setting.store.aclose()

    anyio.run(begin, backend=first)
    anyio.run(go_on, backend=second)

    assert anyio.run(setting.totals)[:2] == (1, 600)
