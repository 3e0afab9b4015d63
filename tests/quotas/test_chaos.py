"""Processes that die, stop and repeat themselves: nobody overspends, little is lost, and the books agree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chaos import Plan, spend
from served_memory import STORE as SERVED
from served_memory import served

from planar.quotas import MemoryQuotaStore
from planar.types import Lease

KILLS = int(os.environ.get("PLANAR_KILLS", "10"))


class Forgetful(MemoryQuotaStore):
    """Releases on expiry what a provider was asked for."""

    async def dispatched(self, lease: Lease) -> None:
        pass


def test_the_bill_convicts_a_store_that_releases_what_was_dispatched(tmp_path: Path):
    plan = Plan(budget=4_000, ttl=1.0, pace=0.1)
    with served(Forgetful(), tmp_path) as url:
        outcome = spend(plan, store=SERVED, url=url, folder=tmp_path, disturbances=lambda fleet: [fleet.kill_one] * 8)

    with pytest.raises(AssertionError, match="of the budget is on the bill"):
        outcome.check(least=0.85)
    assert outcome.used > 1
    outcome.check_books()


def test_workers_that_are_killed_or_stopped_never_overspend(tmp_path: Path):
    plan = Plan(budget=800 * KILLS)
    with served(MemoryQuotaStore(), tmp_path) as url:
        outcome = spend(
            plan,
            store=SERVED,
            url=url,
            folder=tmp_path,
            disturbances=lambda fleet: [fleet.kill_one] * KILLS + [fleet.pause_one] * 3,
        )

    outcome.check(least=0.85)
    assert outcome.kinds["expired"] > 0
    assert outcome.kinds["correction"] > 0


def test_with_512_requests_in_flight_nearly_all_is_used(tmp_path: Path):
    plan = Plan(budget=16_000, tasks=64, ttl=60.0, crowded=False)
    with served(MemoryQuotaStore(), tmp_path) as url:
        outcome = spend(plan, store=SERVED, url=url, folder=tmp_path)

    outcome.check(least=0.99)
