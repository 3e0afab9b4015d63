"""Days, weeks and months as long as the tenant's own calendar makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.errors import QuotaExceededError
from planar.quotas._calendar import Period, period, zone
from planar.quotas._engine import QuotaEngine
from planar.types import Amount, Charge, LeaseId, Limit

SECOND = 1_000_000
HOUR = 3_600 * SECOND
ZONES = [
    "UTC",
    "Europe/Madrid",
    "America/New_York",
    "America/Havana",  # the clocks go back from 01:00 to 00:00: midnight comes twice
    "Asia/Beirut",  # and forward from 00:00 to 01:00: midnight is skipped
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # 30 December 2011 did not happen
    "Asia/Kathmandu",
]


def at(text: str, tz: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("tz", "noon", "hours"),
    [
        ("Europe/Madrid", "2026-03-28 12:00", 24),
        ("Europe/Madrid", "2026-03-29 12:00", 23),
        ("Europe/Madrid", "2026-10-25 12:00", 25),
        ("America/Havana", "2026-11-01 12:00", 25),
        ("Asia/Beirut", "2026-03-29 12:00", 23),
        ("Australia/Lord_Howe", "2026-04-05 12:00", 24.5),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(tz: str, noon: str, hours: float):
    start, end = period("day", zone(tz), at(noon, tz))

    assert end - start == hours * HOUR
    assert start == at(noon[:10] + " 00:00", tz)


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2024-02-29 23:59", "2024-02-01 00:00", "2024-03-01 00:00"),
        ("2026-02-28 12:00", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("2026-12-31 23:59", "2026-12-01 00:00", "2027-01-01 00:00"),
        ("2026-03-01 00:00", "2026-03-01 00:00", "2026-04-01 00:00"),
    ],
)
def test_a_month_ends_with_its_last_day(now: str, start: str, end: str):
    assert period("month", zone("Asia/Tokyo"), at(now, "Asia/Tokyo")) == (
        at(start, "Asia/Tokyo"),
        at(end, "Asia/Tokyo"),
    )


def test_a_week_begins_on_monday():
    sunday = at("2026-01-04 23:59", "America/New_York")

    assert period("week", zone("America/New_York"), sunday) == (
        at("2025-12-29 00:00", "America/New_York"),
        at("2026-01-05 00:00", "America/New_York"),
    )


@given(
    now=st.datetimes(datetime(2011, 1, 1), datetime(2030, 1, 1)),
    tz=st.sampled_from(ZONES),
    kind=st.sampled_from(["day", "week", "month"]),
)
def test_periods_join_without_gap_or_overlap(now: datetime, tz: str, kind: Period):
    moment = (now.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    start, end = period(kind, zone(tz), moment)

    assert start <= moment < end
    assert period(kind, zone(tz), start) == (start, end)
    assert period(kind, zone(tz), end - 1) == (start, end)
    assert period(kind, zone(tz), end)[0] == end


def test_a_budget_of_a_short_day_comes_back_an_hour_sooner():
    morning = at("2026-03-29 00:30", "Europe/Madrid")
    engine = QuotaEngine()
    engine.set_limits("acme", [Limit.tokens(10, per="day", tz="Europe/Madrid")], now=morning)
    hold = Amount(input_tokens=10)
    lease = engine.reserve(LeaseId("1"), "acme", hold=hold, ttl=60, deployment="x:y", now=morning)
    engine.settle(lease, charge=Charge(amount=hold), now=morning)

    with pytest.raises(QuotaExceededError) as refusal:
        engine.reserve(LeaseId("2"), "acme", hold=hold, ttl=60, deployment="x:y", now=morning)

    assert refusal.value.retry_after == 22.5 * 3_600
