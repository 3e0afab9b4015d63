"""A store behind slabs keeps what every store keeps, whether its requests pass through or live from a slab."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from planar.quotas import MemoryQuotaStore
from planar.quotas.slabs import SlabQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import HOLD, LEAF, QuotaStoreContract
from planar.types import LeaseId


class TestSlabQuotaStoreAtRest(QuotaStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[SlabQuotaStore]:
        store = SlabQuotaStore(MemoryQuotaStore(clock=clock), clock=clock)
        yield store
        await store.aclose()


class LivingClock(FakeClock):
    """Time does not jump for a process that lives: its slabs are looked after in between.

    The task that does it sleeps on the event loop's clock, which knows nothing of this one.
    """

    store: SlabQuotaStore | None = None

    def advance(self, seconds: float) -> None:
        step = min(seconds, 2.0)
        super().advance(step)
        if self.store is not None:
            tending = self.store._keeper.tend()
            with pytest.raises(StopIteration):
                tending.send(None)  # over memory nothing is ever waited for
        super().advance(seconds - step)


class TestSlabQuotaStoreInDemand(QuotaStoreContract):
    """After so many requests that whatever can live from a slab does."""

    @pytest.fixture
    def clock(self) -> LivingClock:
        return LivingClock()

    @pytest.fixture
    async def store(self, clock: LivingClock) -> AsyncIterator[SlabQuotaStore]:
        store = SlabQuotaStore(MemoryQuotaStore(clock=clock), clock=clock, share=100)
        clock.store = store
        for number in range(40):
            lease = await store.reserve(LeaseId(f"{number}"), LEAF, hold=HOLD, ttl=60, deployment="openai:x")
            await store.release(lease)
        assert store._keeper.slabs
        yield store
        await store.aclose()
        assert not store._keeper.slabs
