"""Processes that die, stop and repeat themselves: nobody overspends, little is lost, and the books agree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from chaos import Fleet, Outcome, Plan, spend
from served_memory import STORE as SERVED
from served_memory import served

from planar.quotas import MemoryQuotaStore
from planar.types import Lease
from servers import PostgresServer, RedisServer, Server

KILLS = int(os.environ.get("PLANAR_KILLS", "10"))
OPENED = "planar.quotas:open_store"
END_BACKENDS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Forgetful(MemoryQuotaStore):
    """Releases on expiry what a provider was asked for."""

    async def dispatched(self, lease: Lease) -> None:
        pass


def test_the_bill_convicts_a_store_that_releases_what_was_dispatched(tmp_path: Path):
    plan = Plan(budget=4_000, ttl=1.0, pace=0.1)
    with served(Forgetful(), tmp_path) as url:
        outcome = spend(plan, store=SERVED, url=url, folder=tmp_path, disturbances=lambda fleet: [fleet.kill_one] * 16)

    with pytest.raises(AssertionError, match="of the budget is on the bill"):
        outcome.check(least=0.85)
    assert outcome.used > 1
    outcome.check_books()


class ManyProcesses:
    """What a store that processes share has to bear. A subclass gives the `url` of an empty one."""

    def test_workers_that_are_killed_or_stopped_never_overspend(self, url: str, tmp_path: Path) -> None:
        outcome = spend(
            Plan(budget=800 * KILLS),
            store=OPENED,
            url=url,
            folder=tmp_path,
            disturbances=lambda fleet: [fleet.kill_one] * KILLS + [fleet.pause_one] * 3,
        )

        outcome.check(least=0.85)
        assert outcome.kinds["expired"] > 0
        assert outcome.kinds["correction"] > 0

    def test_with_512_requests_in_flight_nearly_all_is_used(self, url: str, tmp_path: Path) -> None:
        plan = Plan(budget=10_000, tasks=64, ttl=60.0, crowded=False)

        outcome = spend(plan, store=OPENED, url=url, folder=tmp_path)

        outcome.check(least=0.99)


class OneServer:
    """What a store on a server has to bear beside that. A subclass gives the `server`, too."""

    def test_no_acknowledged_settle_is_lost_by_a_server_that_is_killed(
        self, url: str, server: Server, tmp_path: Path
    ) -> None:
        outcome = disturbed(url, tmp_path, server.restart, times=3)

        outcome.check_acknowledged()
        outcome.check_books()

    def test_a_server_that_stops_for_longer_than_leases_live_is_taken_up_again(
        self, url: str, server: Server, tmp_path: Path
    ) -> None:
        def pause() -> None:
            server.pause()
            time.sleep(3)
            server.resume()

        outcome = disturbed(url, tmp_path, pause, times=1, ttl=2.0)

        outcome.check(least=0.85)


class TestSqlite(ManyProcesses):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/quotas.db"


class TestRedis(ManyProcesses, OneServer):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> Server:
        return redis_server

    def test_scripts_that_are_flushed_are_missed_by_nobody(self, url: str, tmp_path: Path) -> None:
        with redis.Redis.from_url(url) as client:
            outcome = disturbed(url, tmp_path, client.script_flush, times=10)

        outcome.check(least=0.99)


class TestPostgres(ManyProcesses, OneServer):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    def server(self, postgres_server: PostgresServer) -> Server:
        return postgres_server

    def test_connections_that_are_ended_lose_nothing(
        self, url: str, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        outcome = disturbed(url, tmp_path, lambda: postgres_server.run(END_BACKENDS), times=10)

        outcome.check(least=0.99)


def disturbed(url: str, folder: Path, disturb: Callable[[], object], *, times: int, ttl: float = 20.0) -> Outcome:
    """Spend while something is done to the store, a few times at random moments."""

    def once() -> None:
        disturb()

    def disturbances(_: Fleet) -> list[Callable[[], None]]:
        return [once] * times

    plan = Plan(budget=6_000, ttl=ttl)
    return spend(plan, store=OPENED, url=url, folder=folder, disturbances=disturbances)
