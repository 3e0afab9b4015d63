from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from planar.protocols import QuotaStore
from planar.quotas import MemoryQuotaStore
from planar.quotas.resilient import ResilientQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.faulty_store import FaultyQuotaStore
from planar.testing.quotas import QuotaStoreContract


class TestResilientQuotaStore(QuotaStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, clock: FakeClock, tmp_path: Path) -> AsyncIterator[QuotaStore]:
        store = ResilientQuotaStore(MemoryQuotaStore(clock=clock), spool=tmp_path, clock=clock)
        yield store
        await store.aclose()


class TestFaultyQuotaStoreWithoutFaults(QuotaStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> QuotaStore:
        return FaultyQuotaStore(MemoryQuotaStore(clock=clock))
