"""The tables of a quota file, how they came to be, and how a file is opened."""

from __future__ import annotations

import sqlite3

from planar.errors import ConfigurationError, StoreError

_OURS = 0x504C4E52
"""`PRAGMA application_id` of our files: the letters PLNR."""

_CHECKPOINT = 4_000
"""Pages of 4 KB. Whoever comes to that waits for the disk, and all others for it."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # What is counted, one row per scope that was ever given limits. The row without a name is about the file.
        "CREATE TABLE cells (scope TEXT PRIMARY KEY, limits TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID",
        # A lease that was charged stays, as the account that refunds and late corrections are about, with the number of
        # its first `row`. `ends` is known of the living alone, `until` of those that are to be deleted.
        "CREATE TABLE leases (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, root TEXT NOT NULL, deployment TEXT NOT NULL,"
        " state TEXT NOT NULL, ends INTEGER, until INTEGER, reserved_at INTEGER NOT NULL, booked_at INTEGER NOT NULL,"
        " dispatched INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, nano INTEGER NOT NULL,"
        " row INTEGER, facts TEXT NOT NULL) WITHOUT ROWID",
        # Few indices: every verb writes a page of each. The living are few enough to be looked through.
        "CREATE INDEX leases_alive ON leases (ends, root) WHERE ends IS NOT NULL",
        "CREATE INDEX leases_until ON leases (until) WHERE until IS NOT NULL",
        # Numbered from 1 without a gap, in the order of their times. Each kind at most once per lease.
        "CREATE TABLE ledger (number INTEGER PRIMARY KEY, lease TEXT NOT NULL, kind TEXT NOT NULL,"
        " tenant TEXT NOT NULL, root TEXT NOT NULL, deployment TEXT NOT NULL, input INTEGER NOT NULL,"
        " output INTEGER NOT NULL, nano INTEGER, time REAL NOT NULL, more TEXT)",
        "CREATE UNIQUE INDEX ledger_later ON ledger (lease, kind) WHERE kind IN ('correction', 'refund')",
        "CREATE INDEX ledger_root ON ledger (root)",
    ),
)
"""What each version added to the one before. A step that was released is never changed."""


def prepare(connection: sqlite3.Connection, *, path: str, sync: str) -> None:
    """Set the connection up, and bring the file to our version. One process at a time.

    Raises:
        ConfigurationError: The file belongs to another program.
        StoreError: It belongs to a newer Planar.
        sqlite3.Error: It cannot be read or written, or is no database.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {sync}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _upgrade(connection, path)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _upgrade(connection: sqlite3.Connection, path: str) -> None:
    [owner] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != _OURS and (owner or tables):
        raise ConfigurationError(f"{path} is the database of another program: quotas need a file of their own")
    if version > len(STEPS):
        raise StoreError(
            f"{path} is of version {version}, made by a newer Planar; this one knows version {len(STEPS)}: upgrade"
            " planar-inference"
        )
    if version == len(STEPS):
        return
    for step in STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_OURS}")
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
