"""The real servers that stores are tested with do what these tests believe of them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
import redis

import servers
from servers import PostgresServer, RedisServer
from shared import missing


def test_a_redis_that_is_killed_has_what_it_acknowledged_when_it_is_back(redis_url: str, redis_server: RedisServer):
    with redis.Redis.from_url(redis_url) as client:
        client.set("spent", 7)

        redis_server.kill()
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(redis_url, retry=None).get("spent")
        redis_server.restart()

        assert client.get("spent") == b"7"


def test_each_test_finds_an_empty_redis(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        keys = client.keys()
        policy = client.config_get("maxmemory-policy")

    assert keys == []
    assert policy == {"maxmemory-policy": "noeviction"}


def test_a_paused_redis_answers_nothing_until_it_is_resumed(redis_url: str, redis_server: RedisServer):
    with redis.Redis.from_url(redis_url, socket_timeout=0.05, retry=None) as client:
        client.set("spent", 7)

        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("spent")
        redis_server.resume()

        assert client.get("spent") == b"7"


def test_a_postgres_that_is_killed_has_what_it_committed_when_it_is_back(
    postgres_url: str, postgres_server: PostgresServer
):
    async def write_and_lose_the_connection() -> None:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("CREATE TABLE spent (amount bigint)")
        await connection.execute("INSERT INTO spent VALUES (7)")
        postgres_server.kill()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("INSERT INTO spent VALUES (8)")
        connection.terminate()

    asyncio.run(write_and_lose_the_connection())
    postgres_server.restart()

    assert postgres_server.run("SELECT amount FROM spent") == "7"


def test_each_test_finds_an_empty_postgres_with_durable_settings(postgres_url: str, postgres_server: PostgresServer):
    tables = postgres_server.run("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'")
    settings = postgres_server.run("SHOW fsync; SHOW synchronous_commit; SHOW full_page_writes")

    assert tables == "0"
    assert settings.split() == ["on", "on", "on"]


def test_a_paused_postgres_answers_nothing_until_it_is_resumed(postgres_url: str, postgres_server: PostgresServer):
    async def ask() -> tuple[bool, int]:
        connection = await asyncpg.connect(postgres_url)
        postgres_server.pause()
        answer = asyncio.create_task(connection.fetchval("SELECT 7"))
        done, _ = await asyncio.wait([answer], timeout=0.05)
        postgres_server.resume()
        value = await answer
        await connection.close()
        return bool(done), value

    assert asyncio.run(ask()) == (False, 7)


def test_a_server_that_is_not_installed_says_what_to_type():
    with pytest.raises(servers.MissingServerError, match="keydb-server is not installed: apt-get install keydb-server"):
        with servers.redis_server("keydb-server"):
            pass


def test_what_is_missing_is_a_visible_skip_and_in_ci_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is not here"):
        missing("it is not here")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="it is not here"):
        missing("it is not here")
