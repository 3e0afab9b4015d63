"""An emptied database. To delete the rows is faster than to make all tables and functions anew."""

from __future__ import annotations

import asyncpg

import servers

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'planar' AND tablename <> 'version'"


async def empty_postgres(server: servers.PostgresServer) -> str:
    """Forget what was done in the schema `planar`. Returns the URL."""
    server.revive()
    connection = await asyncpg.connect(server.url)
    try:
        if tables := [row[0] for row in await connection.fetch(_TABLES)]:
            await connection.execute("; ".join(f"DELETE FROM planar.{table}" for table in tables))
    finally:
        await connection.close()
    return server.url
