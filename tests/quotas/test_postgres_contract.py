from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from planar.quotas.postgres import PostgresQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract


class TestPostgresQuotaStore(QuotaStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, postgres_url: str, clock: FakeClock) -> AsyncIterator[PostgresQuotaStore]:
        store = PostgresQuotaStore(postgres_url, clock=clock)
        yield store
        await store.aclose()
