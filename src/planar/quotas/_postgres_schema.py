"""The tables and functions of the PostgreSQL store, made and upgraded by whoever opens it first."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from planar.errors import ConfigurationError, StoreError
from planar.quotas._postgres_pool import Connection

VERSION = 1
"""Of the tables and of the functions together: whoever changes either raises it, and adds a step."""

STEPS: dict[int, str] = {1: "tables.sql"}
"""What makes each version of the tables out of the one before."""

FUNCTIONS = ("counters.sql", "verbs.sql", "parts.sql", "readers.sql")
"""Made anew with every version."""

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_ADVISORY = 0x506C616E  # any number that others are unlikely to lock

_DROP_FUNCTIONS = """
DO $$
DECLARE
    v_each regprocedure;
BEGIN
    FOR v_each IN
        SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'planar.'::text::regnamespace
    LOOP
        EXECUTE 'DROP FUNCTION ' || v_each || ' CASCADE';
    END LOOP;
END $$
"""


class Schema:
    """The schema in which a store keeps its tables.

    Raises:
        ConfigurationError: Not a plain name in lower case.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
            raise ConfigurationError(f"a schema's name is of lower-case letters, digits and _, unlike {name!r}")
        self.name = name

    def sql(self, text: str) -> str:
        """A statement that was written for the schema `planar`."""
        return re.sub(r"\bplanar\.(?=\w)", lambda _: f'"{self.name}".', text)

    async def install(self, connection: Connection) -> None:
        """Make the tables, or upgrade them. Of several who do so at once the first does it, and the others wait.

        Raises:
            StoreError: The tables are those of a newer Planar.
        """
        if await self._version(connection) == VERSION:
            return
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _ADVISORY, self.name)
            before = await self._version(connection)
            if before == VERSION:
                return
            if before > VERSION:
                raise StoreError(
                    f"the schema {self.name!r} is of version {before}, made by a newer Planar; this one knows"
                    f" version {VERSION}: upgrade planar-inference"
                )
            await connection.execute(
                self.sql(
                    f'CREATE SCHEMA IF NOT EXISTS "{self.name}";'
                    " CREATE TABLE IF NOT EXISTS planar.version"
                    " (number integer PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now())"
                )
            )
            for version in range(before + 1, VERSION + 1):
                await connection.execute(self.sql(_text(STEPS[version])))
                await connection.execute(self.sql("INSERT INTO planar.version (number) VALUES ($1)"), version)
            await connection.execute(_DROP_FUNCTIONS.replace("'planar.'", f"'{self.name}'"))
            await connection.execute("SET LOCAL check_function_bodies = off")  # they are in the order of reading
            for name in FUNCTIONS:
                await connection.execute(self.sql(_text(name)))

    async def _version(self, connection: Connection) -> int:
        # Not by to_regclass: in a transaction that waited it may still know of no such schema.
        known = "SELECT true FROM pg_tables WHERE schemaname = $1 AND tablename = 'version'"
        if not await connection.fetchval(known, self.name):
            return 0
        return int(await connection.fetchval(self.sql("SELECT coalesce(max(number), 0) FROM planar.version")))


@cache
def _text(name: str) -> str:
    return files("planar.quotas").joinpath("_sql", name).read_text(encoding="utf-8")
