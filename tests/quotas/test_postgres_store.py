"""What is PostgreSQL's own: shared by processes, a server that goes away, a schema that is made and upgraded."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import asyncpg
import pytest
from postgres_stores import empty_postgres

import servers
from planar.errors import ConfigurationError, InvalidRequestError, QuotaExceededError, StoreError, UnknownTenantError
from planar.quotas import _postgres_books, _postgres_schema
from planar.quotas.postgres import PostgresQuotaStore
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, LedgerEntry, Limit

FORKING = Path(__file__).with_name("forking.py")
HOLD = Amount(input_tokens=10, output_tokens=5, nano_usd=100)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # asyncpg knows nothing else


@pytest.fixture
async def url(postgres_server: servers.PostgresServer) -> str:
    return await empty_postgres(postgres_server)


@pytest.fixture
async def fresh_url(postgres_url: str) -> AsyncIterator[str]:
    """Of a database without our schema, in which it does not stay."""
    yield postgres_url
    await ask(postgres_url, "DROP SCHEMA IF EXISTS planar CASCADE")


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresQuotaStore]:
    store = PostgresQuotaStore(url)
    yield store
    await store.aclose()


async def reserve(store: PostgresQuotaStore, tenant: str = "acme/search", *, ttl: float = 60) -> Lease:
    return await store.reserve(LeaseId(uuid4().hex), tenant, hold=HOLD, ttl=ttl, deployment="x:y")


async def spend(store: PostgresQuotaStore, tenant: str = "acme/search") -> LedgerEntry:
    return (await store.settle(await reserve(store, tenant), charge=Charge(amount=HOLD))).entry


async def ask(url: str, query: str) -> Sequence[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def end_backends(url: str) -> None:
    await ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'planar'")


async def test_two_stores_on_one_database_share_a_limit(url: str, store: PostgresQuotaStore) -> None:
    other = PostgresQuotaStore(url)
    await store.set_limits("acme", Limit.concurrency(1))
    lease = await reserve(store)

    with pytest.raises(QuotaExceededError):
        await reserve(other)
    await other.release(lease)
    await reserve(store)

    assert await other.limits("acme") == (Limit.concurrency(1),)
    await other.aclose()


async def test_time_is_the_servers(store: PostgresQuotaStore) -> None:
    [[now]] = await ask(store_url(store), "SELECT extract(epoch FROM clock_timestamp())::float8")

    lease = await reserve(store, ttl=50)

    assert now + 50 <= lease.expires < now + 80


async def test_a_store_that_is_opened_again_has_all(url: str, store: PostgresQuotaStore) -> None:
    await store.set_limits("acme", Limit.usd("5", alerts=[50]), Limit.requests(7))
    lease = await reserve(store)
    entry = await spend(store)
    counts = await store.counts("acme")
    await store.aclose()

    again = PostgresQuotaStore(url)

    assert await again.counts("acme") == counts
    assert [row async for row in again.ledger("acme")] == [entry]
    assert (await again.usage("acme")).held == HOLD
    assert (await again.settle(lease, charge=Charge(amount=HOLD))).entry.nano_usd == 100
    await again.aclose()


async def test_connections_that_were_ended_are_replaced(url: str, store: PostgresQuotaStore) -> None:
    lease = await reserve(store)
    await asyncio.gather(*(store.limits("acme") for _ in range(4)))

    await end_backends(url)
    receipt = await store.settle(lease, charge=Charge(amount=HOLD))

    assert not receipt.replayed
    assert (await store.usage("acme")).nano_usd == 100


async def test_backends_that_are_ended_all_the_time_lose_no_settle(url: str, store: PostgresQuotaStore) -> None:
    await store.set_limits("acme", Limit.usd("1", per="total"), Limit.requests(1_000))
    acknowledged: list[str] = []

    async def work() -> None:
        try:
            acknowledged.append((await spend(store)).lease_id)
        except StoreError:
            pass  # its connection was ended twice in a row

    for _ in range(15):
        await asyncio.gather(work(), work(), end_backends(url), work(), work())

    booked = [row.lease_id async for row in store.ledger("acme")]
    assert acknowledged
    assert set(acknowledged) <= set(booked)
    assert len(booked) == len(set(booked))
    [money, _] = await store.counts("acme")
    assert money.used == 100 * len(booked)


async def test_a_server_that_was_killed_has_what_it_acknowledged(
    postgres_server: servers.PostgresServer, store: PostgresQuotaStore
) -> None:
    await store.set_limits("acme", Limit.usd("1", per="total"))
    held = await reserve(store)
    entry = await spend(store)

    postgres_server.kill()
    with pytest.raises(StoreError):
        await reserve(store)
    postgres_server.restart()
    receipt = await store.settle(held, charge=Charge(amount=HOLD))

    assert [row async for row in store.ledger()] == [entry, receipt.entry]
    assert [count.used for count in await store.counts("acme")] == [200]


async def test_a_server_that_does_not_answer_is_an_error_in_time(
    postgres_server: servers.PostgresServer, url: str
) -> None:
    store = PostgresQuotaStore(url, timeout=0.3)
    lease = await reserve(store)

    postgres_server.pause()
    with pytest.raises(StoreError, match="in time"):
        await store.settle(lease, charge=Charge(amount=HOLD))
    postgres_server.resume()

    assert (await spend_patiently(store, lease)).nano_usd == 100
    await store.aclose()


async def spend_patiently(store: PostgresQuotaStore, lease: Lease) -> LedgerEntry:
    for _ in range(20):
        try:
            return (await store.settle(lease, charge=Charge(amount=HOLD))).entry
        except StoreError:
            await asyncio.sleep(0.1)
    raise AssertionError("the server does not come back")


async def test_a_call_that_is_cancelled_leaves_the_connection_to_others(url: str) -> None:
    store = PostgresQuotaStore(url, pool_size=1)
    await store.set_limits("acme", Limit.concurrency(3))
    blocker = await asyncpg.connect(url)
    await blocker.execute("BEGIN; SELECT now FROM planar.tree WHERE root = 'acme' FOR UPDATE")

    with anyio.move_on_after(0.2) as scope:
        await reserve(store)
    await blocker.execute("ROLLBACK")
    lease = await reserve(store)

    assert scope.cancelled_caught
    assert lease.hold == HOLD
    assert (await store.usage("acme")).concurrent in (1, 2)  # the one that was cancelled is done, or is not
    await blocker.close()
    await store.aclose()


async def test_many_at_once_never_exceed_a_limit_and_never_wait_for_each_other_in_a_ring(url: str) -> None:
    stores = [PostgresQuotaStore(url, pool_size=4) for _ in range(3)]
    for scope in ("acme", "acme/a", "acme/b"):
        await stores[0].set_limits(scope, Limit.concurrency(5), Limit.usd("0.000003", per="total"))
    refused: list[str] = []

    async def work(number: int) -> None:
        store, tenant = stores[number % 3], ("acme/a", "acme/b", "acme")[number % 3]
        for _ in range(6):
            try:
                lease = await reserve(store, tenant, ttl=0.000_001 if number % 5 == 0 else 60)
                if number % 4 == 0:
                    await store.release(lease)
                else:
                    await store.dispatched(lease)
                    await store.settle(lease, charge=Charge(amount=HOLD))
            except QuotaExceededError as refusal:
                refused.append(refusal.dimension)
            except InvalidRequestError:
                pass  # a lease that lived for a microsecond

    await asyncio.gather(*(work(number) for number in range(24)))

    [places, money] = await stores[0].counts("acme")
    rows = [row async for row in stores[0].ledger("acme")]
    assert refused
    assert (places.held, money.held) == (0, 0)
    assert money.used == sum(row.nano_usd or 0 for row in rows) <= 3_000
    for store in stores:
        await store.aclose()


async def test_limits_are_set_when_the_store_is_opened(url: str) -> None:
    limits = {"acme": [Limit.concurrency(1)], "globex": []}
    store = PostgresQuotaStore(url, limits=limits, known_tenants_only=True)

    await reserve(store)
    await reserve(store, "globex")
    with pytest.raises(QuotaExceededError):
        await reserve(store)
    with pytest.raises(UnknownTenantError):
        await reserve(store, "nobody")

    assert not await ask(url, "SELECT FROM planar.tree WHERE root = 'nobody'")
    await store.aclose()


async def test_the_ledger_is_read_a_page_at_a_time(store: PostgresQuotaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgres_books, "PAGE", 3)
    written = [await spend(store, tenant) for tenant in ("a", "b/c", "a/d", "b", "a", "a", "a/d", "a")]
    rows = store.ledger()

    first = await anext(rows)
    later = await spend(store, "a")

    assert [first, *[row async for row in rows]] == written
    assert [row async for row in store.ledger("a")] == [row for row in [*written, later] if row.tenant[0] == "a"]


async def test_a_schema_of_ones_own_keeps_its_own_books(url: str, store: PostgresQuotaStore) -> None:
    await ask(url, 'DROP SCHEMA IF EXISTS "user" CASCADE')
    other = PostgresQuotaStore(url, schema="user")  # a word that SQL has reserved

    await spend(other)

    assert (await other.usage("acme")).requests == 1
    assert (await store.usage("acme")).requests == 0
    await other.aclose()
    await ask(url, 'DROP SCHEMA "user" CASCADE')


async def test_many_who_open_an_empty_database_at_once_make_one_schema(fresh_url: str) -> None:
    stores = [PostgresQuotaStore(fresh_url, limits={"acme": [Limit.concurrency(9)]}) for _ in range(6)]

    await asyncio.gather(*(reserve(store) for store in stores))

    [places] = await stores[0].counts("acme")
    assert places.held == 6
    assert [row["number"] for row in await ask(fresh_url, "SELECT number FROM planar.version")] == [1]
    for store in stores:
        await store.aclose()


async def test_a_schema_of_a_newer_planar_is_refused(fresh_url: str) -> None:
    store = PostgresQuotaStore(fresh_url)
    await store.limits("acme")
    await ask(fresh_url, "INSERT INTO planar.version (number) VALUES (99)")

    with pytest.raises(StoreError, match="of version 99, made by a newer Planar"):
        await PostgresQuotaStore(fresh_url).limits("acme")

    await store.aclose()


async def test_a_new_version_makes_the_functions_anew_and_keeps_the_rows(
    fresh_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = PostgresQuotaStore(fresh_url)
    entry = await spend(old)
    await old.aclose()
    monkeypatch.setattr(_postgres_schema, "VERSION", 2)
    monkeypatch.setitem(_postgres_schema.STEPS, 2, "readers.sql")  # any script that can be run on the tables of now
    await ask(
        fresh_url,
        "DROP FUNCTION planar.due, planar.counts, planar.seen, planar.leases_within,"
        " planar.seen_on_path, planar.seen_in_parts, planar.expire_all",
    )

    new = PostgresQuotaStore(fresh_url)

    assert [row async for row in new.ledger()] == [entry]
    await spend(new)
    assert (await new.usage("acme")).requests == 2
    await new.aclose()


async def test_a_password_is_in_no_message() -> None:
    url = f"postgresql://planar:hunter2@127.0.0.1:{servers.free_port()}/books?sslmode=disable&password=hunter3"
    store = PostgresQuotaStore(url)

    with pytest.raises(StoreError) as failure:
        await store.limits("acme")

    assert "postgresql://planar@127.0.0.1" in str(failure.value)
    assert "hunter" not in f"{failure.value} {store!r} {vars(store)}"


async def test_text_that_postgres_has_no_place_for_is_an_error_of_the_store(store: PostgresQuotaStore) -> None:
    lease = await reserve(store)

    with pytest.raises(StoreError):
        await store.reserve(LeaseId("nul"), "acme", hold=HOLD, ttl=60, deployment="x:\0")
    await store.settle(lease, charge=Charge(amount=HOLD, metadata={"note": "\0 \ud800 é"}))

    [row] = [row async for row in store.ledger()]
    assert row.metadata == {"note": "\0 \ud800 é"}


async def test_numbers_as_large_as_they_may_be_overflow_nothing(url: str) -> None:
    most, clock = 2**53, FakeClock()
    store = PostgresQuotaStore(url, clock=clock)
    huge = Amount(input_tokens=most, output_tokens=most, nano_usd=most)
    await store.set_limits(
        "acme",
        Limit(dimension="tokens", amount=most, window="total", overage="pay", alerts=(1, 1000)),
        Limit.rolling(most, dimension="nano_usd", seconds=86_400, overage="warn"),
        Limit(dimension="output_tokens", amount=most, window="rate", seconds=60, burst=1),
    )

    for lease_id in ("one", "two"):
        with pytest.raises(QuotaExceededError):
            await store.reserve(LeaseId("too much"), "acme", hold=huge, ttl=60, deployment="x:y")
        lease = await store.reserve(LeaseId(lease_id), "acme", hold=Amount(), ttl=60, deployment="x:y")
        await store.settle(lease, charge=Charge(amount=huge))
        full = await store.counts("acme")
        clock.advance(1_000_000_000)

    [tokens, money, rate] = full
    assert (tokens.used, money.used, rate.used) == (4 * most, most, most // 60_000_000 + 1)
    assert [count.used for count in await store.counts("acme")] == [4 * most, 0, 0]
    await store.aclose()


async def test_with_full_durability_a_server_that_is_killed_knows_every_lease(
    postgres_server: servers.PostgresServer, url: str
) -> None:
    store = PostgresQuotaStore(url, durability="full", limits={"acme": [Limit.concurrency(5)]})
    leases = [await reserve(store) for _ in range(3)]
    await store.release(leases[0])

    postgres_server.kill()
    postgres_server.restart()

    for lease in leases[1:]:
        await store.dispatched(lease)
    assert [count.held for count in await store.counts("acme")] == [2]
    await store.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"url": "mysql://localhost/books"},
        {"url": "postgresql://[localhost/books"},
        {"durability": "none"},
        {"pool_size": 0},
        {"timeout": 0},
        {"schema": "Not a name"},
        {"limits": {"acme": [Limit.usd("1"), Limit.usd("2")]}},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_before_anything_is_connected(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PostgresQuotaStore(**{"url": "postgresql://localhost/books", **options})


def spend_in_a_child(url: str) -> None:
    async def main() -> None:
        store = PostgresQuotaStore(url)
        await spend(store)
        await store.aclose()

    asyncio.run(main())


async def test_processes_on_one_database_add_up(url: str, store: PostgresQuotaStore) -> None:
    children = [multiprocessing.get_context("spawn").Process(target=spend_in_a_child, args=(url,)) for _ in range(2)]
    for child in children:
        child.start()

    await spend(store)

    for child in children:
        await anyio.to_thread.run_sync(child.join)
    assert [child.exitcode for child in children] == [0, 0]
    assert (await store.usage("acme")).requests == 3


async def test_what_was_charged_long_ago_can_still_be_split(url: str) -> None:
    clock = FakeClock()
    store = PostgresQuotaStore(url, clock=clock, limits={"acme": [Limit.usd("1", per="total")]})
    lease = await reserve(store, ttl=30)
    await store.dispatched(lease)
    clock.advance(31)
    await store.usage("acme")
    clock.advance(10_000)
    part = LeasePart(id=LeaseId("part"), hold=HOLD, charge=Charge(amount=Amount(nano_usd=30)))

    [receipt] = await store.split(lease, parts=[part], keep=Amount())

    assert (receipt.entry.kind, receipt.entry.nano_usd) == ("settled", 30)
    assert [row.nano_usd async for row in store.ledger("acme")] == [100, 30, -100]
    assert [count.used for count in await store.counts("acme")] == [30]
    await store.aclose()


async def test_a_fork_may_use_the_store_in_a_loop_of_its_own(url: str) -> None:
    said = await anyio.run_process([sys.executable, str(FORKING), url], check=False)

    assert said.stdout.strip() == b"3", said.stderr


async def test_a_store_may_be_used_from_several_event_loops(store: PostgresQuotaStore) -> None:
    await spend(store)

    await anyio.to_thread.run_sync(lambda: asyncio.run(spend_and_close(store)))

    assert (await store.usage("acme")).requests == 2


async def spend_and_close(store: PostgresQuotaStore) -> None:
    await spend(store)
    await store.aclose()


async def test_rows_are_written_in_place_and_no_index_hears_of_it(url: str, store: PostgresQuotaStore) -> None:
    await store.set_limits("acme", Limit.usd("1"), Limit.requests(1_000), Limit.concurrency(9))
    for _ in range(40):
        await spend(store)
    await store.aclose()  # a backend that ends hands in its statistics

    [tables] = await ask(
        url,
        "SELECT pg_stat_clear_snapshot(), sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot FROM pg_stat_user_tables"
        " WHERE schemaname = 'planar' AND relname IN ('tree', 'counter')",
    )

    assert int(tables["hot"]) * 10 >= int(tables["updated"]) * 9 > 0


def store_url(store: PostgresQuotaStore) -> str:
    return store._connections._url.reveal()


class TestOnTrio:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    async def test_it_says_that_it_needs_asyncio(self) -> None:
        store = PostgresQuotaStore("postgresql://localhost/nowhere")

        with pytest.raises(ConfigurationError, match="asyncio"):
            await store.limits("acme")


async def test_a_clock_that_is_set_back_opens_no_window_twice(url: str) -> None:
    clock = FakeClock()
    store = PostgresQuotaStore(url, clock=clock, limits={"acme": [Limit.usd("0.0000001", per="day")]})
    await spend(store)
    clock.advance(86_400)
    await spend(store)

    clock.set_time(clock.time() - 86_400)

    with pytest.raises(QuotaExceededError):
        await reserve(store)
    await store.aclose()
