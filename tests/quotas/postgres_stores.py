"""Stores on an emptied database. To delete the rows is faster than to make all tables and functions anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

import servers
from planar.quotas.postgres import PostgresQuotaStore

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'planar' AND tablename <> 'version'"


@asynccontextmanager
async def empty_postgres_store(server: servers.PostgresServer, **options: Any) -> AsyncIterator[PostgresQuotaStore]:
    """A store in which nothing was done yet, with these options."""
    server.revive()
    connection = await asyncpg.connect(server.url)
    try:
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        if tables:
            await connection.execute("; ".join(f"DELETE FROM planar.{table}" for table in tables))
    finally:
        await connection.close()
    store = PostgresQuotaStore(server.url, **options)
    try:
        yield store
    finally:
        await store.aclose()
