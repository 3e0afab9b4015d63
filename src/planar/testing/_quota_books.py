"""What every quota store has to tell of the past: the part of its contract that is about reports."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime
from itertools import combinations
from typing import get_args

import pytest

from planar.errors import ConfigurationError, InvalidRequestError
from planar.protocols import QuotaStore
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, GroupBy, Lease, LeaseId, UsageGroup

HOLD = Amount(input_tokens=100, output_tokens=50, nano_usd=1_000)
DAY = 86_400
SUMS = [each.name for each in fields(UsageGroup) if each.type == "int"]


@pytest.mark.anyio
class BooksContract:
    """The promises of `usage` and `ledger`, one test each."""

    async def test_usage_is_told_apart_by_tenant_deployment_and_day(self, store: QuotaStore, clock: FakeClock) -> None:
        """In the order asked for, whatever the order in which it happened."""
        today = _today(clock)
        await _settle(store, "one", tenant="acme/b", nano_usd=1)
        await _settle(store, "two", tenant="acme/a", deployment="local:y", nano_usd=2)
        await _settle(store, "elsewhere", tenant="globex", nano_usd=4)
        clock.advance(DAY)
        await _settle(store, "three", tenant="acme/b", nano_usd=8)

        by_tenant = await store.usage("acme", by=["tenant"])
        by_deployment = await store.usage("acme", by=["deployment"])
        by_day = await store.usage("acme", by=["day"])
        by_both = await store.usage("acme", by=["deployment", "tenant"])

        assert [(each.tenant, each.requests, each.nano_usd) for each in by_tenant.groups] == [
            ("acme/a", 1, 2),
            ("acme/b", 2, 9),
        ]
        assert [(each.deployment, each.nano_usd) for each in by_deployment.groups] == [("local:y", 2), ("openai:x", 9)]
        assert [(each.day, each.nano_usd) for each in by_day.groups] == [
            (today, 3),
            (date.fromordinal(today.toordinal() + 1), 8),
        ]
        assert [(each.deployment, each.tenant, each.day) for each in by_both.groups] == [
            ("local:y", "acme/a", None),
            ("openai:x", "acme/b", None),
        ]
        assert by_tenant.groups[0] == UsageGroup(
            tenant=by_tenant.groups[0].tenant, requests=1, input_tokens=10, output_tokens=5, nano_usd=2
        )

    async def test_the_groups_of_a_report_add_up_to_it(self, store: QuotaStore, clock: FakeClock) -> None:
        """However it is told apart, with refunds, corrections, expiries and unknown prices in it."""
        start = clock.time()
        refunded = await _settle(store, "refunded", tenant="acme/a", nano_usd=700)
        await _settle(store, "unpriced", tenant="acme/b", nano_usd=None)
        expired = await _reserve(store, "expired", tenant="acme/a")
        await store.dispatched(expired)
        clock.advance(DAY)
        await store.settle(expired, charge=Charge(amount=Amount(input_tokens=1, nano_usd=300)))
        await store.refund(refunded.id, amount=Amount(nano_usd=200), reason="broken")
        await _reserve(store, "running", tenant="acme/c")

        for since, until in ((None, None), (start + 1, None), (None, start + DAY)):
            plain = await store.usage("acme", since=since, until=until)
            for by in _ways():
                report = await store.usage("acme", since=since, until=until, by=by)

                assert plain.groups == ()
                assert [getattr(report, name) for name in SUMS] == [getattr(plain, name) for name in SUMS]
                assert (report.held, report.concurrent) == (HOLD, 1)
                for name in SUMS:
                    assert sum(getattr(each, name) for each in report.groups) == getattr(plain, name), (by, name)

    async def test_days_are_those_of_the_time_zone(self, store: QuotaStore, clock: FakeClock) -> None:
        """What is still today in one place is tomorrow in another."""
        clock.advance(DAY - clock.time() % DAY - 60)
        today = _today(clock)
        await _settle(store, "a minute before midnight", nano_usd=1)
        clock.advance(120)
        await _settle(store, "a minute after", nano_usd=2)

        here = await store.usage("acme", by=["day"])
        kathmandu = await store.usage("acme", by=["day"], tz="Asia/Kathmandu")

        tomorrow = date.fromordinal(today.toordinal() + 1)
        assert [(each.day, each.nano_usd) for each in here.groups] == [(today, 1), (tomorrow, 2)]
        assert [(each.day, each.nano_usd) for each in kathmandu.groups] == [(tomorrow, 3)]

    async def test_nothing_used_has_no_groups(self, store: QuotaStore) -> None:
        """What is held is not used yet."""
        await _reserve(store, "running", tenant="acme")

        report = await store.usage("acme", by=["tenant", "day"])

        assert report.groups == ()

    async def test_usage_by_something_else_is_refused(self, store: QuotaStore) -> None:
        """So is a time zone that nobody knows."""
        with pytest.raises(InvalidRequestError):
            await store.usage("acme", by=["colour"])  # type: ignore[list-item]
        with pytest.raises(ConfigurationError):
            await store.usage("acme", by=["day"], tz="Mars/Olympus")


def _ways() -> list[tuple[GroupBy, ...]]:
    words: tuple[GroupBy, ...] = get_args(GroupBy)
    return [way for count in range(1, len(words) + 1) for way in combinations(words, count)]


def _today(clock: FakeClock) -> date:
    return datetime.fromtimestamp(clock.time(), tz=UTC).date()


async def _reserve(store: QuotaStore, lease_id: str, *, tenant: str, deployment: str = "openai:x") -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=HOLD, ttl=60, deployment=deployment)


async def _settle(
    store: QuotaStore, lease_id: str, *, nano_usd: int | None, tenant: str = "acme", deployment: str = "openai:x"
) -> Lease:
    lease = await _reserve(store, lease_id, tenant=tenant, deployment=deployment)
    await store.dispatched(lease)
    await store.settle(lease, charge=Charge(amount=Amount(input_tokens=10, output_tokens=5, nano_usd=nano_usd)))
    return lease
