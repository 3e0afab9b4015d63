from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from postgres_stores import empty_postgres_store

import servers
from planar.quotas.postgres import PostgresQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract


class TestPostgresQuotaStore(QuotaStoreContract):
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
        async with empty_postgres_store(postgres_server, clock=clock) as store:
            yield store
