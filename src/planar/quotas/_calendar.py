"""When a budget's day, week or month begins and ends, in the tenant's own time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from planar.errors import ConfigurationError

SECOND = 1_000_000
"""The engine counts time in whole microseconds since the epoch: exact, and within an int64."""

Period: TypeAlias = Literal["day", "week", "month"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def zone(name: str) -> tzinfo:
    """The time zone of this IANA name.

    Raises:
        ConfigurationError: This machine knows no such zone.
    """
    if name == "UTC":
        return UTC  # also where no time zone database is installed
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(f"{name!r} is not a time zone that this machine knows") from error


def moment(now: int) -> datetime:
    """The time in UTC."""
    return _EPOCH + timedelta(microseconds=now)


def day_of(tz: tzinfo, now: int) -> date:
    """The calendar day of a moment."""
    return moment(now).astimezone(tz).date()


def period(kind: Period, tz: tzinfo, now: int) -> tuple[int, int]:
    """The first microsecond of the calendar period around `now`, and the first one after it.

    A day is as long as the zone makes it: 23 or 25 hours when the clocks change. Weeks begin on Monday.
    """
    today = day_of(tz, now)
    match kind:
        case "day":
            first, after = today, today + timedelta(days=1)
        case "week":
            first = today - timedelta(days=today.weekday())
            after = first + timedelta(days=7)
        case "month":
            first = today.replace(day=1)
            after = (first + timedelta(days=31)).replace(day=1)
    return _midnight(first, tz), _midnight(after, tz)


def _midnight(day: date, tz: tzinfo) -> int:
    # Where midnight is skipped or comes twice, fold=0 gives the moment of the change or the first of the two.
    return (datetime.combine(day, time(), tzinfo=tz).astimezone(UTC) - _EPOCH) // _MICROSECOND
