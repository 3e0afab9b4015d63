from __future__ import annotations

import pytest

from planar.protocols import QuotaStore
from planar.quotas import MemoryQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract


class TestMemoryQuotaStore(QuotaStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> QuotaStore:
        return MemoryQuotaStore(clock=clock)
