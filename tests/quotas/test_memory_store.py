"""What is special about the store in memory: its construction, its clock, and that it does not grow."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest

from planar.errors import ConfigurationError, InvalidRequestError, QuotaExceededError, UnknownTenantError
from planar.quotas import MemoryQuotaStore
from planar.quotas._state import Leases
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit, Price

HOLD = Amount(input_tokens=10, output_tokens=10, nano_usd=10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def reserve(store: MemoryQuotaStore, lease_id: str, tenant: str = "acme", ttl: float = 60) -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=HOLD, ttl=ttl, deployment="x:y")


async def spend(store: MemoryQuotaStore, lease_id: str, tenant: str = "acme") -> LedgerEntry:
    lease = await reserve(store, lease_id, tenant)
    return (await store.settle(lease, charge=Charge(amount=HOLD))).entry


@pytest.mark.anyio
async def test_limits_given_at_construction_apply():
    store = MemoryQuotaStore(limits={"acme": [Limit.concurrency(1)], "acme/search": [Limit.usd(5)]})

    await reserve(store, "1", "acme/search")

    with pytest.raises(QuotaExceededError):
        await reserve(store, "2", "acme/chat")
    assert await store.limits("acme/search") == (Limit.usd(5),)


@pytest.mark.anyio
async def test_only_known_tenants_are_let_in_where_that_is_asked():
    store = MemoryQuotaStore(limits={"acme": [], "globex/team": [Limit.usd(5)]}, known_tenants_only=True)

    await reserve(store, "1", "acme/anybody")
    await reserve(store, "2", "globex/team")

    with pytest.raises(UnknownTenantError) as refusal:
        await reserve(store, "3", "initech")
    assert refusal.value.tenant == "initech"
    await store.set_limits("initech")
    await reserve(store, "3", "initech")


@pytest.mark.parametrize("ledger_limit", [0, -1])
def test_a_ledger_without_rows_is_refused(ledger_limit: int):
    with pytest.raises(ConfigurationError):
        MemoryQuotaStore(ledger_limit=ledger_limit)


def test_limits_that_make_no_sense_are_found_at_construction():
    with pytest.raises(ConfigurationError):
        MemoryQuotaStore(limits={"acme": [Limit.usd(5, tz="Middle/Earth")]})


@pytest.mark.anyio
async def test_the_machines_clock_is_the_default():
    store = MemoryQuotaStore()

    entry = await spend(store, "1")

    assert entry.time > 1_767_225_600
    await store.aclose()


@pytest.mark.anyio
async def test_setting_the_wall_clock_gives_no_budget(clock: FakeClock):
    store = MemoryQuotaStore(clock=clock, limits={"acme": [Limit.tokens(20, per="day"), Limit.requests(60, burst=1)]})
    await spend(store, "1")

    for offset in (86_400, -86_400, 10 * 86_400):
        clock.set_time(clock.time() + offset)
        with pytest.raises(QuotaExceededError):
            await reserve(store, f"after {offset}")

    clock.advance(86_400)
    await reserve(store, "tomorrow")


@pytest.mark.anyio
async def test_a_lease_of_another_tenant_is_refused():
    store = MemoryQuotaStore()
    lease = await reserve(store, "1", "acme")
    forged = Lease(
        id=lease.id,
        tenant=(await reserve(store, "2", "globex")).tenant,
        hold=HOLD,
        expires=lease.expires,
        deployment="x:y",
        headroom=lease.headroom,
    )

    for attempt in (
        store.settle(forged, charge=Charge(amount=Amount())),
        store.release(forged),
        store.dispatched(forged),
        store.extend(forged, more=HOLD, ttl=60),
    ):
        with pytest.raises(InvalidRequestError):
            await attempt
    assert (await store.usage("acme")).held == HOLD


@pytest.mark.anyio
async def test_leases_that_ended_are_forgotten_and_settling_again_still_changes_nothing(clock: FakeClock):
    store = MemoryQuotaStore(clock=clock)
    lease = await reserve(store, "1")
    first = await store.settle(lease, charge=Charge(amount=HOLD))
    for number in range(200):
        await store.release(await reserve(store, f"released-{number}"))

    clock.advance(901)
    for number in range(20):
        await store.usage("acme")
        await spend(store, f"later-{number}")

    assert _kept(store._engine._leases) == 20
    again = await store.settle(lease, charge=Charge(amount=Amount()))
    assert (again.entry, again.replayed) == (first.entry, True)
    with pytest.raises(InvalidRequestError, match="long ago"):
        await reserve(store, "1")


@pytest.mark.anyio
async def test_what_is_kept_of_short_leases_with_a_long_time_to_live_does_not_grow(clock: FakeClock):
    store = MemoryQuotaStore(clock=clock, ledger_limit=50)
    for number in range(5_000):
        clock.advance(1)
        await store.settle(await reserve(store, str(number), f"t{number}", ttl=10**6), charge=Charge(amount=HOLD))

    leases = store._engine._leases

    assert len(leases._due) < 200
    assert len(leases._live) < 200
    assert _kept(leases) <= 901
    assert len(store._engine.ledger._accounts) < 150


@pytest.mark.anyio
async def test_a_ledger_with_a_limit_bounds_what_is_remembered_of_settled_leases_too(clock: FakeClock):
    store = MemoryQuotaStore(clock=clock, ledger_limit=50)

    for number in range(1_000):
        await spend(store, str(number))

    leases = store._engine._leases
    assert _kept(leases) < 150
    assert len(leases._tombstones) < 150


@pytest.mark.anyio
async def test_a_ledger_with_a_limit_keeps_the_newest_rows_and_budgets_count_on():
    store = MemoryQuotaStore(ledger_limit=10, limits={"acme": [Limit.tokens(2_000, per="total")]})
    for number in range(100):
        await spend(store, str(number))

    rows = [row.lease_id async for row in store.ledger()]

    assert rows == [str(number) for number in range(90, 100)]
    assert (await store.usage("acme")).requests == 10
    with pytest.raises(QuotaExceededError):
        await reserve(store, "100")
    with pytest.raises(InvalidRequestError):
        await store.refund(LeaseId("0"), amount=HOLD, reason="gone")


@pytest.mark.anyio
async def test_many_names_do_not_fill_the_memory():
    store = MemoryQuotaStore(limits={"acme": [Limit.concurrency(1)]}, ledger_limit=10)

    for number in range(10_100):
        await store.release(await reserve(store, str(number), f"acme/user-{number}"))

    assert len(store._engine._limits._paths) <= 10_000


@pytest.mark.anyio
async def test_a_ledger_can_be_left_half_read():
    store = MemoryQuotaStore()
    await spend(store, "1")
    await spend(store, "2")

    async for row in store.ledger("acme"):
        assert row.lease_id == "1"
        break

    assert pickle.loads(pickle.dumps(row)) == row


@pytest.mark.anyio
async def test_a_refund_is_booked_under_the_price_and_metadata_of_what_it_credits():
    store = MemoryQuotaStore()
    lease = await reserve(store, "1")
    price = Price.per_million(input="1", output="2")
    await store.settle(lease, charge=Charge(amount=HOLD, price=price, metadata={"feature": "search"}))

    receipt = await store.refund(lease.id, amount=HOLD, reason="broken")

    assert (receipt.entry.price, dict(receipt.entry.metadata)) == (price, {"feature": "search"})


@pytest.mark.anyio
async def test_the_metadata_of_a_row_is_not_the_callers_to_change():
    store = MemoryQuotaStore()
    metadata = {"feature": "search"}
    lease = await reserve(store, "1")
    receipt = await store.settle(lease, charge=Charge(amount=HOLD, metadata=metadata))

    metadata["feature"] = "chat"

    assert dict(receipt.entry.metadata) == {"feature": "search"}


@pytest.mark.anyio
@pytest.mark.parametrize("scopes", [["acme"], ["acme", "acme/search"]])
async def test_more_leases_than_one_sweep_takes_expire_before_a_refusal(clock: FakeClock, scopes: Sequence[str]):
    store = MemoryQuotaStore(clock=clock, limits=dict.fromkeys(scopes, (Limit.tokens(2_000, per="total"),)))
    for number in range(100):
        await reserve(store, str(number), "acme/search")

    clock.advance(60)

    all_of_it = Amount(input_tokens=2_000)
    await store.reserve(LeaseId("all"), "acme/search", hold=all_of_it, ttl=60, deployment="x:y")
    assert (await store.usage("acme")).held == all_of_it


@pytest.mark.anyio
async def test_an_id_that_was_released_and_forgotten_may_end_when_it_first_would_have(clock: FakeClock):
    store = MemoryQuotaStore(clock=clock)
    await store.release(await reserve(store, "1", ttl=2_000))
    clock.advance(1_000)

    await reserve(store, "1", ttl=1_000)
    await store.extend(await reserve(store, "2", ttl=1_000), more=Amount(), ttl=1_000)
    clock.advance(1_000)

    assert (await store.usage("acme")).concurrent == 0


def _kept(leases: Leases) -> int:
    return len(leases._records)
