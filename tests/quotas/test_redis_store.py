"""What is special about quotas in Redis: the server and its ends, its scripts, many loops, and what it is told."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import redis
from redis.crc import key_slot

from planar.errors import (
    ConfigurationError,
    InvalidRequestError,
    QuotaExceededError,
    StoreError,
    UnknownTenantError,
)
from planar.quotas._urls import open_store
from planar.quotas.redis import RedisQuotaStore
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, Limit
from servers import RedisServer

FORKING = Path(__file__).with_name("forking.py")
HOLD = Amount(input_tokens=10, output_tokens=10, nano_usd=10)
MOST = 2**53

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisQuotaStore]:
    store = RedisQuotaStore(redis_url)
    yield store
    await store.aclose()


@contextmanager
def admin(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


async def reserve(store: RedisQuotaStore, lease_id: str, tenant: str = "acme", ttl: float = 60) -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=HOLD, ttl=ttl, deployment="x:y")


async def spend(store: RedisQuotaStore, lease_id: str, tenant: str = "acme") -> None:
    await store.settle(await reserve(store, lease_id, tenant), charge=Charge(amount=HOLD))


async def test_scripts_that_the_server_forgot_are_sent_again(store: RedisQuotaStore, redis_url: str) -> None:
    lease = await reserve(store, "1")
    with admin(redis_url) as client:
        client.script_flush()

    receipt = await store.settle(lease, charge=Charge(amount=HOLD))
    await spend(store, "2")

    assert not receipt.replayed
    assert (await store.usage("acme")).requests == 2


async def test_what_was_acknowledged_survives_a_kill_of_the_server(
    store: RedisQuotaStore, redis_server: RedisServer
) -> None:
    await store.set_limits("acme", Limit.usd("0.00000003", per="total"))
    await spend(store, "1")
    lease = await reserve(store, "2")

    redis_server.kill()
    with pytest.raises(StoreError):
        await store.settle(lease, charge=Charge(amount=HOLD))
    redis_server.restart()

    assert not (await store.settle(lease, charge=Charge(amount=HOLD))).replayed
    assert [row.lease_id async for row in store.ledger()] == ["1", "2"]
    assert [(count.used, count.held) for count in await store.counts("acme")] == [(20, 0)]


async def test_a_server_that_was_restarted_meanwhile_is_not_noticed(
    store: RedisQuotaStore, redis_server: RedisServer
) -> None:
    await spend(store, "1")

    redis_server.restart()

    await spend(store, "2")
    assert (await store.usage("acme")).requests == 2


async def test_a_server_that_comes_back_empty_is_told_its_limits_again(
    redis_url: str, redis_server: RedisServer
) -> None:
    store = RedisQuotaStore(redis_url, limits={"acme": [Limit.concurrency(1)]})
    lease = await reserve(store, "1")

    with admin(redis_url) as client:
        client.flushall()
    redis_server.restart()

    await reserve(store, "2")
    with pytest.raises(QuotaExceededError):
        await reserve(store, "3")
    with pytest.raises(InvalidRequestError, match="not known"):
        await store.settle(lease, charge=Charge(amount=HOLD))
    assert await store.limits("acme") == (Limit.concurrency(1),)
    await store.aclose()


async def test_limits_that_were_changed_stay_when_a_server_was_restarted(
    redis_url: str, redis_server: RedisServer
) -> None:
    store = RedisQuotaStore(redis_url, limits={"acme": [Limit.concurrency(1)]})
    await store.set_limits("acme", Limit.concurrency(2))

    redis_server.restart()

    assert await store.limits("acme") == (Limit.concurrency(2),)
    await store.aclose()


async def test_a_new_budget_counts_all_of_a_long_book(store: RedisQuotaStore) -> None:
    lease = await reserve(store, "whole")
    parts = [LeasePart(id=LeaseId(str(each)), hold=Amount(), charge=None) for each in range(1_500)]
    await store.split(lease, parts=parts[:700])
    await store.split(lease, parts=parts[700:], keep=Amount())

    await store.set_limits("acme", Limit(dimension="requests", amount=9_999, window="total"))

    assert [count.used for count in await store.counts("acme")] == [1_500]


async def test_a_server_that_does_not_answer_is_given_up_and_found_again(
    redis_url: str, redis_server: RedisServer
) -> None:
    store = RedisQuotaStore(redis_url, timeout=0.3, connections=1)
    lease = await reserve(store, "1")

    redis_server.pause()
    with pytest.raises(StoreError, match="no answer within"):
        await store.settle(lease, charge=Charge(amount=HOLD))
    redis_server.resume()

    await store.settle(lease, charge=Charge(amount=HOLD))
    assert (await store.usage("acme")).requests == 1
    await store.aclose()


async def test_who_is_cancelled_leaves_no_answer_to_the_next(redis_url: str, redis_server: RedisServer) -> None:
    store = RedisQuotaStore(redis_url, connections=1)
    await reserve(store, "1")

    redis_server.pause()
    cancelled = asyncio.create_task(reserve(store, "2"))
    waiting = asyncio.create_task(reserve(store, "3"))
    with anyio.move_on_after(0.05):
        await asyncio.shield(cancelled)
    cancelled.cancel()
    redis_server.resume()

    assert (await waiting).id == "3"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await reserve(store, "4")).id == "4"
    await store.aclose()


async def test_a_limit_holds_over_stores_and_tasks(redis_url: str) -> None:
    stores = [RedisQuotaStore(redis_url, connections=2) for _ in range(3)]
    await stores[0].set_limits("acme", Limit.tokens(20 * 25, per="total"))

    async def ask(number: int) -> bool:
        try:
            await spend(stores[number % 3], str(number), "acme/search")
        except QuotaExceededError:
            return False
        return True

    granted = sum(await asyncio.gather(*(ask(number) for number in range(60))))

    assert granted == 25
    for store in stores:
        await store.aclose()


async def test_threads_with_loops_of_their_own_share_a_store(redis_url: str) -> None:
    store = RedisQuotaStore(redis_url)

    def work(name: str) -> None:
        async def some() -> None:
            for number in range(5):
                await spend(store, f"{name}-{number}")
            await store.aclose()

        asyncio.run(some())

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)

    assert (await store.usage("acme")).requests == 15
    await store.aclose()


async def test_a_fork_may_use_the_store_in_a_loop_of_its_own(redis_url: str) -> None:
    said = await anyio.run_process([sys.executable, str(FORKING), redis_url], check=False)

    assert said.stdout.strip() == b"3", said.stderr


async def test_trees_are_each_in_one_slot(store: RedisQuotaStore, redis_url: str) -> None:
    await store.set_limits("acme/search", Limit.concurrency(5))
    await spend(store, "1", "acme/search/alice")
    await store.release(await reserve(store, "2", "acme"))
    await reserve(store, "3", "acme/chat")

    with admin(redis_url) as client:
        keys = sorted(client.keys())

    tree = [key for key in keys if key.startswith(b"{planar:acme}:")]
    assert len(tree) == 5
    assert len({key_slot(key) for key in tree}) == 1
    assert set(keys) - set(tree) == {b"planar:roots", b"planar:version"}


async def test_stores_with_other_prefixes_do_not_see_each_other(store: RedisQuotaStore, redis_url: str) -> None:
    other = RedisQuotaStore(redis_url, prefix="other")
    await spend(store, "1")

    assert (await other.usage("acme")).requests == 0
    assert [row async for row in other.ledger()] == []
    await other.aclose()


async def test_amounts_are_counted_exactly_up_to_the_most_that_may_be(redis_url: str) -> None:
    store = RedisQuotaStore(redis_url, limits={"acme": [Limit(dimension="nano_usd", amount=MOST, window="total")]})
    most = Amount(input_tokens=MOST, nano_usd=MOST - 1)
    lease = await store.reserve(LeaseId("1"), "acme", hold=most, ttl=60, deployment="x:y")

    receipt = await store.settle(lease, charge=Charge(amount=most))
    with pytest.raises(QuotaExceededError) as refusal:
        await reserve(store, "2")

    assert (lease.headroom.nano_usd, refusal.value.remaining) == (1, 1)
    assert [row async for row in store.ledger()] == [receipt.entry]
    [count] = await store.counts("acme")
    assert (count.used, receipt.entry.input_tokens) == (MOST - 1, MOST)
    await store.aclose()


async def test_a_long_ledger_is_read_in_pages_in_the_order_of_time(redis_url: str) -> None:
    clock = FakeClock()
    store = RedisQuotaStore(redis_url, clock=clock)
    for number, root in enumerate(("z", "a", "z")):
        clock.advance(1)
        lease = await reserve(store, f"whole-{number}", f"{root}/b")
        parts = [LeasePart(id=LeaseId(f"{number}-{each}"), hold=Amount(), charge=None) for each in range(520)]
        await store.split(lease, parts=parts, keep=Amount())

    ids = [row.lease_id async for row in store.ledger()]

    assert ids == [f"{number}-{each}" for number in range(3) for each in range(520)]
    assert [row.lease_id async for row in store.ledger("a/b")] == ids[520:1040]
    assert (await store.usage("z", since=clock.time())).requests == 520
    await store.aclose()


async def test_what_was_exported_can_be_forgotten_and_budgets_count_on(redis_url: str) -> None:
    clock = FakeClock()
    store = RedisQuotaStore(redis_url, clock=clock, limits={"acme": [Limit.tokens(100, per="total")]})
    await spend(store, "old")
    await spend(store, "other", "globex")
    alive = await reserve(store, "alive")
    clock.advance(100)
    noon = clock.time()
    await store.settle(alive, charge=Charge(amount=HOLD))

    assert await store.prune(noon) == 2

    assert [row.lease_id async for row in store.ledger()] == ["alive"]
    assert [count.used for count in await store.counts("acme")] == [40]
    with pytest.raises(InvalidRequestError):
        await store.refund(LeaseId("old"), amount=HOLD, reason="gone")
    await store.refund(LeaseId("alive"), amount=HOLD, reason="kept")
    assert await store.prune(noon) == 0
    await store.aclose()


async def test_limits_and_known_tenants_are_set_at_the_first_call(redis_url: str) -> None:
    bounds = {"acme": [Limit.concurrency(1)], "globex/team": []}
    store = RedisQuotaStore(redis_url, limits=bounds, known_tenants_only=True)

    await reserve(store, "1", "acme/search")

    with pytest.raises(QuotaExceededError):
        await reserve(store, "2", "acme/chat")
    await reserve(store, "3", "globex/team")
    with pytest.raises(UnknownTenantError) as refusal:
        await reserve(store, "4", "initech")
    assert refusal.value.tenant == "initech"
    await store.aclose()


async def test_a_server_that_may_forget_is_refused(redis_url: str) -> None:
    store = RedisQuotaStore(redis_url)
    with admin(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ConfigurationError, match="set it to noeviction"):
                await reserve(store, "1")
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    await reserve(store, "1")
    await store.aclose()


async def test_a_full_server_lets_nobody_in_and_still_takes_what_was_spent(
    store: RedisQuotaStore, redis_url: str
) -> None:
    await store.set_limits("acme", Limit.tokens(100, per="total"))
    lease = await reserve(store, "1")
    with admin(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreError, match="maxmemory"):
                await reserve(store, "2")
            await store.settle(lease, charge=Charge(amount=HOLD))
        finally:
            client.config_set("maxmemory", 0)

    assert [(count.used, count.held) for count in await store.counts("acme")] == [(20, 0)]
    assert (await store.usage("acme")).requests == 1


@pytest.mark.parametrize(("forbidden", "warned"), [("-config", False), ("-config -info", True)])
async def test_a_server_that_does_not_tell_its_policy_is_used_with_a_warning(
    redis_url: str, forbidden: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "planar.quotas")
    with admin(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">geheim", "~*", "+@all", *forbidden.split())
        store = RedisQuotaStore(redis_url.replace("//", "//tenant:geheim@"))

        await reserve(store, "1")

        client.execute_command("ACL", "DELUSER", "tenant")
    assert bool(caplog.records) is warned
    assert "geheim" not in caplog.text
    await store.aclose()


async def test_a_server_that_is_too_old_is_refused() -> None:
    hung_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = b"# Server\r\nredis_version:6.2.14\r\n"
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                words.append(await reader.readexactly(int((await reader.readline())[1:]) + 2))
            told = words[0].strip().upper() == b"INFO"
            writer.write(b"$%d\r\n%b\r\n" % (len(info), info) if told else b"+OK\r\n")
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = RedisQuotaStore(f"redis://127.0.0.1:{port}")
        with pytest.raises(ConfigurationError, match=r"is Redis 6\.2\.14"):
            await reserve(store, "1")
        await store.aclose()
        await hung_up.wait()


async def test_what_a_newer_version_keeps_is_not_touched(redis_url: str) -> None:
    store = RedisQuotaStore(redis_url)
    with admin(redis_url) as client:
        client.set("planar:version", 2)

    with pytest.raises(ConfigurationError, match="newer Planar"):
        await reserve(store, "1")
    await store.aclose()


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    store = RedisQuotaStore("redis://tenant:geheim@127.0.0.1:1/0")

    with pytest.raises(StoreError) as error:
        await reserve(store, "1")

    assert "tenant:***@127.0.0.1:1" in str(error.value)
    assert "geheim" not in f"{error.value} {store!r}"
    assert error.value.retryable


@pytest.mark.parametrize("url", ["http://localhost", "redis", "redis://localhost/0?db=x"])
async def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RedisQuotaStore(url)


async def test_what_cannot_work_is_found_at_construction(redis_url: str) -> None:
    decade = Limit.rolling(5, dimension="requests", seconds=10 * 365 * 86_400)

    for wrong in (
        lambda: RedisQuotaStore(redis_url, prefix="{planar}"),
        lambda: RedisQuotaStore(redis_url, connections=0),
        lambda: RedisQuotaStore(redis_url, limits={"acme": [Limit.usd(5, tz="Middle/Earth")]}),
        lambda: RedisQuotaStore(redis_url, limits={"acme": [decade]}),
    ):
        with pytest.raises(ConfigurationError):
            wrong()
    with pytest.raises(UnknownTenantError):
        RedisQuotaStore(redis_url, limits={"acme/": []})


async def test_a_refund_is_found_in_whatever_tree_it_belongs_to(store: RedisQuotaStore) -> None:
    for root in ("acme", "globex"):
        await spend(store, f"in {root}", root)

    receipt = await store.refund(LeaseId("in globex"), amount=Amount(nano_usd=3), reason="broken")

    assert receipt.entry.tenant == "globex"
    with pytest.raises(InvalidRequestError, match="nothing"):
        await store.refund(LeaseId("in initech"), amount=Amount(), reason="broken")


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_urls_of_redis_and_valkey_make_the_store(redis_url: str, scheme: str) -> None:
    store = open_store(redis_url.replace("redis:", f"{scheme}:"), limits={"acme": [Limit.usd(5)]})

    assert isinstance(store, RedisQuotaStore)
    await spend(store, "1")

    assert await store.limits("acme") == (Limit.usd(5),)
    assert (await store.usage("acme")).requests == 1
    await store.aclose()


async def test_on_trio_it_says_that_it_needs_asyncio(redis_url: str) -> None:
    store = RedisQuotaStore(redis_url)

    with pytest.raises(ConfigurationError, match="needs asyncio"):
        await anyio.to_thread.run_sync(lambda: anyio.run(reserve, store, "1", backend="trio"))
