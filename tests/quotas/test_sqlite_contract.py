from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from planar.quotas.sqlite import SQLiteQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract
from planar.testing.splits import SplitContract


class TestSQLiteQuotaStore(QuotaStoreContract, SplitContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, clock: FakeClock, tmp_path: Path) -> AsyncIterator[SQLiteQuotaStore]:
        store = SQLiteQuotaStore(tmp_path / "quotas.db", clock=clock)
        yield store
        await store.aclose()
