"""Slabs over a store that comes and goes: what was sub-allocated is booked, and nothing is held for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from planar.quotas import MemoryQuotaStore
from planar.quotas.resilient import ResilientQuotaStore
from planar.quotas.slabs import SlabQuotaStore
from planar.testing import FakeClock, FaultyQuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, Limit, Receipt

pytestmark = pytest.mark.anyio


class Way(FaultyQuotaStore):
    def __init__(self, real: MemoryQuotaStore) -> None:
        super().__init__(real)
        self._real = real

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        return await self._do("split", lambda: self._real.split(lease, parts=parts, keep=keep))


async def test_what_slabs_cannot_settle_is_kept_and_written_later(tmp_path: Path) -> None:
    clock = FakeClock()
    real = MemoryQuotaStore(clock=clock, limits={"acme": [Limit.usd("5")]})
    way = Way(real)
    store = ResilientQuotaStore(SlabQuotaStore(way, clock=clock), spool=tmp_path, clock=clock)
    leases = [
        await store.reserve(LeaseId(f"{number}"), "acme", hold=Amount(nano_usd=1_000), ttl=60, deployment="a:b")
        for number in range(20)
    ]
    for lease in leases:
        await store.dispatched(lease)
    charge = Charge(amount=Amount(nano_usd=600))

    for lease in leases[:10]:
        await store.settle(lease, charge=charge)
    way.always = "before"
    for lease in leases[10:]:
        await store.settle(lease, charge=charge)
    way.always = None
    clock.advance(1)
    await store.replay()
    await store.aclose()

    report = await real.usage("acme")
    assert (report.requests, report.nano_usd, report.held, report.concurrent) == (20, 12_000, Amount(), 0)
