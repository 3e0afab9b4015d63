"""PostgreSQL decides as memory does, whatever is asked and whenever, by however many stores in turns."""

from __future__ import annotations

from random import Random

import anyio
import pytest
from differential import STEPS, in_turns, play, play_many
from hypothesis import given
from hypothesis import strategies as st
from postgres_stores import empty_postgres

import servers
from effort import examples
from planar.protocols import QuotaStore
from planar.quotas.postgres import PostgresQuotaStore
from planar.testing.clock import FakeClock


async def opened(server: servers.PostgresServer, clock: FakeClock, stores: int) -> QuotaStore:
    await empty_postgres(server)
    return in_turns(*(PostgresQuotaStore(server.url, clock=clock) for _ in range(stores)))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("stores", [1, 2], ids=["one store", "two stores in turns"])
async def test_operations_in_postgres_have_the_same_answers_as_in_memory(
    postgres_server: servers.PostgresServer, stores: int
) -> None:
    async def open_store(clock: FakeClock) -> QuotaStore:
        return await opened(postgres_server, clock, stores)

    seeds = range(stores * 32, stores * 32 + 32)
    assert await play_many(seeds, open_store, one_tree=True) > 32 * STEPS


@examples(15)
@given(random=st.randoms(use_true_random=False), stores=st.integers(1, 3))
def test_any_few_operations_in_postgres_have_the_same_answers_as_in_memory(
    postgres_server: servers.PostgresServer, random: Random, stores: int
) -> None:
    async def open_store(clock: FakeClock) -> QuotaStore:
        return await opened(postgres_server, clock, stores)

    anyio.run(lambda: play(random, open_store, steps=30, one_tree=True))
