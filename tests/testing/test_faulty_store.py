from __future__ import annotations

import pytest

from planar.errors import StoreError, UnknownTenantError
from planar.quotas import MemoryQuotaStore
from planar.testing import FaultyQuotaStore
from planar.types import Amount, Charge, Lease, LeaseId

pytestmark = pytest.mark.anyio


async def reserve(store: FaultyQuotaStore, name: str) -> Lease:
    return await store.reserve(LeaseId(name), "acme", hold=Amount(nano_usd=5), ttl=60, deployment="a:b")


async def test_before_nothing_was_done_and_after_everything_was() -> None:
    inside = MemoryQuotaStore()
    store = FaultyQuotaStore(inside)
    lease = await reserve(store, "one")
    charge = Charge(amount=Amount(nano_usd=5))
    store.plan("before", "after")

    with pytest.raises(StoreError):
        await store.settle(lease, charge=charge)
    assert (await inside.usage("acme")).requests == 0
    with pytest.raises(StoreError):
        await store.settle(lease, charge=charge)
    assert (await inside.usage("acme")).requests == 1

    assert (await store.settle(lease, charge=charge)).replayed
    assert store.calls == ["reserve", "settle", "settle", "settle"]


async def test_the_same_seed_gives_the_same_faults() -> None:
    async def run(seed: int) -> list[bool]:
        store = FaultyQuotaStore(MemoryQuotaStore(), before=0.3, after=0.3, seed=seed)
        failed: list[bool] = []
        for number in range(60):
            try:
                await reserve(store, f"{number}")
            except StoreError:
                failed.append(True)
            else:
                failed.append(False)
        return failed

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)
    assert 20 < sum(await run(1)) < 50


async def test_a_ledger_fails_before_its_first_row_and_names_are_checked_at_once() -> None:
    store = FaultyQuotaStore(MemoryQuotaStore())
    await store.settle(await reserve(store, "one"), charge=Charge(amount=Amount()))
    store.plan("before")

    with pytest.raises(StoreError):
        _ = [row async for row in store.ledger()]

    assert [row.lease_id async for row in store.ledger()] == ["one"]
    with pytest.raises(UnknownTenantError):
        store.ledger("../etc")


async def test_a_fault_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="sometimes"):
        FaultyQuotaStore(MemoryQuotaStore()).plan("sometimes")  # type: ignore[arg-type]
