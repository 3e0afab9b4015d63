from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from planar.protocols import QuotaStore
from planar.quotas.redis import RedisQuotaStore
from planar.testing.clock import FakeClock
from planar.testing.quotas import QuotaStoreContract
from planar.testing.splits import SplitContract


class TestRedisQuotaStore(QuotaStoreContract, SplitContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, clock: FakeClock, redis_url: str) -> AsyncIterator[QuotaStore]:
        store = RedisQuotaStore(redis_url, clock=clock)
        yield store
        await store.aclose()
