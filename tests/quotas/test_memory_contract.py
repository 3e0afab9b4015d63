from __future__ import annotations

import pytest

from planar.quotas import MemoryQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract
from planar.testing.splits import SplitContract


class TestMemoryQuotaStore(QuotaStoreContract, SplitContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> MemoryQuotaStore:
        return MemoryQuotaStore(clock=clock)
