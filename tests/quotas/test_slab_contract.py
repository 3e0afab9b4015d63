"""A store behind slabs keeps what every store keeps, whether its requests pass through or live from a slab."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from planar.quotas import MemoryQuotaStore, SlabQuotaStore
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


class TestSlabQuotaStoreInDemand(QuotaStoreContract):
    """After so many requests that whatever can live from a slab does."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[SlabQuotaStore]:
        store = SlabQuotaStore(MemoryQuotaStore(clock=clock), clock=clock, share=100)
        for number in range(40):
            lease = await store.reserve(LeaseId(f"{number}"), LEAF, hold=HOLD, ttl=60, deployment="openai:x")
            await store.release(lease)
        yield store
        await store.aclose()
        assert not store._keeper.slabs
