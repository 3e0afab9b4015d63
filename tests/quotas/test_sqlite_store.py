"""What is special about the store in a file: that it lasts, is shared, and says what is wrong with its file."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from planar import Planar
from planar.errors import (
    ClosedError,
    ConfigurationError,
    QuotaExceededError,
    StoreError,
    UnknownTenantError,
)
from planar.quotas import MemoryQuotaStore, _sqlite_schema, open_store
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.testing import FakeClock, ScriptedProvider, reply
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit, UsageReport

fcntl = pytest.importorskip("fcntl", reason="files are queued for where there is flock")

HOLD = Amount(input_tokens=10, output_tokens=10, nano_usd=10)
WORKER = """
import asyncio, sys
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.types import Amount, Charge, LeaseId

async def main(path, name, count):
    store = SQLiteQuotaStore(path)
    for number in range(count):
        id = LeaseId(f"{name}-{number}")
        lease = await store.reserve(id, "acme/" + name, hold=Amount(nano_usd=10), ttl=60, deployment="x:y")
        await store.settle(lease, charge=Charge(amount=Amount(nano_usd=7)))
        print(id, flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteQuotaStore]:
    store = SQLiteQuotaStore(path)
    yield store
    await store.aclose()


async def reserve(store: Any, lease_id: str, tenant: str = "acme", ttl: float = 60) -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=HOLD, ttl=ttl, deployment="x:y")


async def spend(store: Any, lease_id: str, tenant: str = "acme") -> Lease:
    lease = await reserve(store, lease_id, tenant)
    await store.settle(lease, charge=Charge(amount=HOLD))
    return lease


@contextmanager
def held_up(path: Path) -> Iterator[None]:
    """Somebody else has the turn."""
    with open(f"{path}-queue", "a") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        yield


# --- It lasts ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_all_is_there_again_after_a_restart(path: Path):
    clock = FakeClock()
    first = SQLiteQuotaStore(path, clock=clock, limits={"acme": [Limit.tokens(50, per="day"), Limit.concurrency(2)]})
    settled = await spend(first, "settled")
    running = await reserve(first, "running")
    await first.aclose()

    second = SQLiteQuotaStore(path, clock=clock)

    assert await second.limits("acme") == (Limit.tokens(50, per="day"), Limit.concurrency(2))
    assert [(count.used, count.held) for count in await second.counts("acme")] == [(20, 20), (0, 1)]
    assert [row.lease_id async for row in second.ledger()] == ["settled"]
    assert (await second.settle(settled, charge=Charge(amount=HOLD))).replayed
    await second.settle(running, charge=Charge(amount=HOLD))
    with pytest.raises(QuotaExceededError):
        await reserve(second, "too much")
    await second.aclose()


@pytest.mark.anyio
async def test_a_clock_that_was_set_back_over_a_restart_gives_no_budget(path: Path):
    clock = FakeClock()
    first = SQLiteQuotaStore(path, clock=clock, limits={"acme": [Limit.tokens(20, per="day")]})
    await spend(first, "1")
    await first.aclose()

    clock.set_time(clock.time() - 86_400)
    second = SQLiteQuotaStore(path, clock=clock)

    with pytest.raises(QuotaExceededError):
        await reserve(second, "2")
    await second.aclose()


@pytest.mark.anyio
async def test_limits_that_are_as_they_were_are_not_written_again(path: Path):
    limits = {"acme": [Limit.usd(5), Limit.concurrency(2)]}
    first = SQLiteQuotaStore(path, limits=limits)
    await first.limits("acme")

    with sqlite3.connect(path) as witness:
        before = witness.execute("PRAGMA data_version").fetchone()
        second = SQLiteQuotaStore(path, limits=limits)
        await second.limits("acme")
        after = witness.execute("PRAGMA data_version").fetchone()
    witness.close()

    assert after == before
    await first.aclose()
    await second.aclose()


@pytest.mark.anyio
async def test_a_tenant_that_one_store_was_told_of_is_known_to_the_others(path: Path):
    strict = SQLiteQuotaStore(path, known_tenants_only=True, limits={"acme": []})
    other = SQLiteQuotaStore(path)

    await reserve(strict, "1", "acme/anybody")
    with pytest.raises(UnknownTenantError):
        await reserve(strict, "2", "globex/team")
    await other.set_limits("globex/team", Limit.concurrency(1))
    await reserve(strict, "2", "globex/team")

    with pytest.raises(QuotaExceededError):
        await reserve(other, "3", "globex/team")
    await strict.aclose()
    await other.aclose()


@pytest.mark.anyio
async def test_a_long_book_is_read_in_pages_and_summed(store: SQLiteQuotaStore):
    async with anyio.create_task_group() as tasks:
        for number in range(1_200):
            tasks.start_soon(spend, store, f"{number:04}", f"acme/{number % 3}")

    rows = [row async for row in store.ledger("acme")]
    report = await store.usage("acme", by=["tenant"])

    assert sorted(row.lease_id for row in rows) == [f"{number:04}" for number in range(1_200)]
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    assert len([row async for row in store.ledger("acme/1")]) == 400
    assert [group.requests for group in report.groups] == [400, 400, 400]
    assert (report.requests, report.nano_usd) == (1_200, 12_000)


# --- It is shared --------------------------------------------------------------------------------


def test_processes_share_a_file_and_one_that_is_killed_loses_nothing_it_was_told(path: Path):
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(path), *name_and_count], stdout=subprocess.PIPE, text=True)
        for name_and_count in (("a", "100000"), ("b", "150"))
    ]
    assert workers[0].stdout is not None
    acknowledged = [workers[0].stdout.readline().strip() for _ in range(100)]

    workers[0].send_signal(signal.SIGKILL)
    acknowledged += workers[0].communicate()[0].split("\n")[:-1]
    acknowledged += workers[1].communicate()[0].split()

    rows, report = anyio.run(_books, path)
    settled = {row.lease_id for row in rows}
    assert len(acknowledged) >= 250
    assert set(acknowledged) <= settled
    assert len(settled) == len(rows) <= len(acknowledged) + 1
    assert report.nano_usd == 7 * len(rows)
    assert report.concurrent <= 1


async def _books(path: Path) -> tuple[list[LedgerEntry], UsageReport]:
    store = SQLiteQuotaStore(path)
    rows, report = [row async for row in store.ledger()], await store.usage("acme")
    await store.aclose()
    return rows, report


def test_a_store_serves_several_event_loops_at_once(path: Path):
    store = SQLiteQuotaStore(path, limits={"acme": [Limit.tokens(20 * 90, per="total")]})

    async def work(name: str) -> None:
        for number in range(30):
            await spend(store, f"{name}-{number}")

    threads = [
        threading.Thread(target=anyio.run, args=(work, backend), kwargs={"backend": backend})
        for backend in ("asyncio", "trio")
    ]
    threads.append(threading.Thread(target=anyio.run, args=(work, "another")))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def end() -> None:
        assert [count.used for count in await store.counts("acme")] == [20 * 90]
        await store.aclose()

    anyio.run(end)


FORKED = """
import asyncio, os, sys
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.types import Amount, Charge, LeaseId

store = SQLiteQuotaStore(sys.argv[1])

async def spend(name):
    lease = await store.reserve(LeaseId(name), "acme", hold=Amount(nano_usd=10), ttl=60, deployment="x:y")
    await store.settle(lease, charge=Charge(amount=Amount(nano_usd=7)))

async def end():
    print((await store.usage("acme")).nano_usd)
    await store.aclose()

asyncio.run(spend("before"))
child = os.fork()
asyncio.run(spend("child" if child == 0 else "parent"))
if child == 0:
    asyncio.run(store.aclose())
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
asyncio.run(spend("after"))
asyncio.run(end())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_store_goes_on_after_a_fork_in_both_processes(path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.split() == ["28"]


# --- Waiting, leaving, mistakes ------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_while_it_waits_is_not_made(path: Path, store: SQLiteQuotaStore):
    await spend(store, "first")

    with held_up(path):
        with anyio.move_on_after(0.01):
            await reserve(store, "left")
    await spend(store, "second")

    assert (await store.usage("acme")).held == Amount()
    assert [row.lease_id async for row in store.ledger()] == ["first", "second"]


@pytest.mark.anyio
async def test_a_turn_that_does_not_come_is_not_waited_for_longer_than_patience(path: Path, store: SQLiteQuotaStore):
    await spend(store, "first")
    impatient = SQLiteQuotaStore(path, patience=0.05)

    with held_up(path), pytest.raises(StoreError, match="busy"):
        await reserve(impatient, "second")

    assert (await store.usage("acme")).held == Amount()
    await impatient.aclose()


@pytest.mark.anyio
async def test_a_program_that_does_not_queue_is_waited_for_no_longer(path: Path, store: SQLiteQuotaStore):
    await spend(store, "first")
    impatient = SQLiteQuotaStore(path, patience=0.2)
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError):
        await reserve(impatient, "second")
    stranger.execute("ROLLBACK")
    stranger.close()

    await spend(store, "third")
    assert (await store.usage("acme")).requests == 2
    await impatient.aclose()


@pytest.mark.anyio
async def test_one_callers_mistake_hurts_nobody_who_calls_at_the_same_time(store: SQLiteQuotaStore):
    errors: list[BaseException] = []

    async def wrong() -> None:
        try:
            await store.reserve(LeaseId("wrong"), "acme", hold=None, ttl=60, deployment="x:y")  # type: ignore[arg-type]
        except AttributeError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(spend, store, f"{number}")
            tasks.start_soon(wrong)

    assert len(errors) == 5
    report = await store.usage("acme")
    assert (report.requests, report.concurrent) == (5, 0)


@pytest.mark.anyio
async def test_a_store_that_was_closed_says_so(store: SQLiteQuotaStore):
    await spend(store, "1")

    await store.aclose()
    await store.aclose()

    with pytest.raises(ClosedError):
        await spend(store, "2")


def test_an_event_loop_that_ends_while_its_call_waits_does_no_harm(path: Path):
    store = SQLiteQuotaStore(path)
    asyncio.run(spend(store, "first"))

    async def leave() -> None:
        task = asyncio.create_task(reserve(store, "left"))
        await asyncio.sleep(0)
        task.cancel()

    with held_up(path):
        asyncio.run(leave())

    async def end() -> None:
        await spend(store, "last")
        assert (await store.usage("acme")).requests == 2
        await store.aclose()

    asyncio.run(end())


# --- What is wrong with the file -----------------------------------------------------------------


def test_a_file_that_is_no_database_is_left_alone(path: Path):
    path.write_text("Not a database, but something that somebody may need. " * 100)
    before = path.read_bytes()

    async def use() -> None:
        store = SQLiteQuotaStore(path)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"quotas\.db: file is not a database"):
                await spend(store, "1")
        await store.aclose()

    anyio.run(use)

    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_the_database_of_another_program_is_left_alone(path: Path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE leases (flat TEXT)")
    other.close()
    store = SQLiteQuotaStore(path)

    with pytest.raises(ConfigurationError, match="another program"):
        await spend(store, "1")
    await store.aclose()


@pytest.mark.anyio
async def test_the_file_of_a_newer_version_is_refused(path: Path, store: SQLiteQuotaStore):
    await spend(store, "1")
    await store.aclose()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()

    newer = SQLiteQuotaStore(path)

    with pytest.raises(StoreError, match="of version 99"):
        await spend(newer, "2")
    await newer.aclose()


@pytest.mark.anyio
async def test_a_file_of_the_version_before_is_upgraded_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = FakeClock()
    old = SQLiteQuotaStore(path, clock=clock, limits={"acme": [Limit.tokens(50, per="day"), Limit.concurrency(2)]})
    settled = await spend(old, "settled")
    running = await reserve(old, "running")
    before = [row async for row in old.ledger()], await old.counts("acme")
    await old.aclose()
    later = (*_sqlite_schema.STEPS, ("ALTER TABLE ledger ADD COLUMN note TEXT", "CREATE TABLE extra (name TEXT)"))
    monkeypatch.setattr(_sqlite_schema, "STEPS", later)

    several = [SQLiteQuotaStore(path, clock=clock) for _ in range(4)]
    async with anyio.create_task_group() as tasks:  # all of them find the old file
        for each in several:
            tasks.start_soon(each.limits, "acme")

    new = several[0]
    assert ([row async for row in new.ledger()], await new.counts("acme")) == before
    assert (await new.settle(settled, charge=Charge(amount=HOLD))).replayed
    await new.settle(running, charge=Charge(amount=HOLD))
    assert (await several[1].usage("acme")).requests == 2
    for each in several:
        await each.aclose()


@pytest.mark.anyio
async def test_a_folder_that_is_missing_is_named(tmp_path: Path):
    store = SQLiteQuotaStore(tmp_path / "missing" / "quotas.db")

    with pytest.raises(StoreError, match="missing"):
        await spend(store, "1")
    await store.aclose()


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anything: be somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.anyio
async def test_a_file_that_may_only_be_read_is_not_written():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/quotas.db"
        writer = SQLiteQuotaStore(path)
        await spend(writer, "1")
        await writer.aclose()
        for each, mode in ((path, 0o444), (f"{path}-queue", 0o666), (folder, 0o755)):
            os.chmod(each, mode)
        store = SQLiteQuotaStore(path)

        with without_privileges(), pytest.raises(StoreError, match="readonly"):
            await spend(store, "2")
        await store.aclose()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from planar.errors import StoreError
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.types import Amount, Charge, LeaseId, Limit

HOLD = Amount(nano_usd=10)

async def main(path):
    store = SQLiteQuotaStore(path, limits={"acme": [Limit.usd(5, per="total")]})
    await store.limits("acme")
    size = Path(path + "-wal").stat().st_size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, most))
    settled, failed = 0, 0
    for number in range(200):
        id = LeaseId(f"lease-{number}")
        try:
            lease = await store.reserve(id, "acme", hold=HOLD, ttl=600, deployment="x:y")
            await store.settle(lease, charge=Charge(amount=HOLD, metadata={"padding": "x" * 3000}))
            settled += 1
        except StoreError:
            failed += 1
            if failed == 5:
                break
    assert settled and failed, (settled, failed)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    [count] = await store.counts("acme")
    report = await store.usage("acme")
    assert count.used == report.nano_usd == 10 * settled, (count, report, settled)
    assert count.held == report.held.nano_usd == 10 * report.concurrent <= 10 * failed
    lease = await store.reserve(id, "acme", hold=HOLD, ttl=600, deployment="x:y")
    await store.settle(lease, charge=Charge(amount=HOLD))
    assert (await store.usage("acme")).requests == settled + 1
    await store.aclose()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of a process here")
def test_a_disk_that_is_full_leaves_nothing_half_done(path: Path):
    subprocess.run([sys.executable, "-c", FULL, str(path)], check=True, timeout=60)


# --- How it is named -----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_url_makes_the_store(tmp_path: Path):
    limits = {"acme": [Limit.concurrency(1)]}

    store = open_store(f"sqlite:///{tmp_path}/quotas.db", limits=limits, known_tenants_only=True, clock=FakeClock())
    memory = open_store("memory://", limits=limits)

    assert isinstance(store, SQLiteQuotaStore)
    assert isinstance(memory, MemoryQuotaStore)
    assert await store.limits("acme") == await memory.limits("acme") == (Limit.concurrency(1),)
    await store.aclose()


@pytest.mark.parametrize("url", ["mysql://root:secret@host/x", "sqlite://quotas.db", "quotas.db", "sqlite:///", ""])
def test_a_url_that_means_nothing_is_refused_and_its_password_kept(url: str):
    with pytest.raises(ConfigurationError) as refusal:
        open_store(url)

    assert "secret" not in str(refusal.value)


@pytest.mark.anyio
async def test_a_client_takes_the_url_of_a_store(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/quotas.db"
    async with Planar(providers=[ScriptedProvider(reply("Ebro"), name="script")], quotas=url) as client:
        await client.infer("A river?", model="script:default", tenant="acme")

        report = await client.quotas.usage("acme")

    assert report.requests == 1
    store = SQLiteQuotaStore(url)
    assert (await store.usage("acme")).requests == 1
    await store.aclose()


def test_what_cannot_be_is_found_at_construction(path: Path):
    with pytest.raises(ConfigurationError):
        SQLiteQuotaStore(path, limits={"acme": [Limit.usd(5, tz="Middle/Earth")]})
    with pytest.raises(ConfigurationError):
        SQLiteQuotaStore(path, sync="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        SQLiteQuotaStore(path, patience=0)
    with pytest.raises(ConfigurationError):
        SQLiteQuotaStore(":memory:")
    assert not path.exists()


@pytest.mark.anyio
async def test_every_verb_can_wait_for_the_disk(path: Path):
    store = SQLiteQuotaStore(path, sync="full")

    await spend(store, "1")

    assert (await store.usage("acme")).requests == 1
    await store.aclose()
