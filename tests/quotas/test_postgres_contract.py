from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from postgres_stores import empty_postgres

import servers
from planar.quotas.postgres import PostgresQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract
from planar.testing.splits import SplitContract


class TestPostgresQuotaStore(QuotaStoreContract, SplitContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"  # asyncpg knows nothing else

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(
        self, postgres_server: servers.PostgresServer, clock: FakeClock
    ) -> AsyncIterator[PostgresQuotaStore]:
        store = PostgresQuotaStore(await empty_postgres(postgres_server), clock=clock)
        yield store
        await store.aclose()
