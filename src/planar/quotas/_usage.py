"""What a tenant used, added up from the rows of the book: the same sums for every store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol, get_args

from planar.errors import InvalidRequestError
from planar.quotas._calendar import SECOND, day_of, zone
from planar.quotas._limits import within
from planar.types import Amount, GroupBy, TenantPath, UsageGroup, UsageReport


class CountedRow(Protocol):
    """What is read of a row. A `LedgerEntry` has it; a store may read only these columns."""

    @property
    def kind(self) -> str:
        """As in `LedgerEntry`."""
        ...

    @property
    def tenant(self) -> str:
        """Who paid."""
        ...

    @property
    def deployment(self) -> str:
        """Who was asked."""
        ...

    @property
    def input_tokens(self) -> int:
        """Signed, as the others are."""
        ...

    @property
    def output_tokens(self) -> int:
        """See `input_tokens`."""
        ...

    @property
    def nano_usd(self) -> int | None:
        """`None` if the price is unknown."""
        ...

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        ...


class UsageSums:
    """Takes rows of whomever, in any order, and adds them up.

    Args:
        by: What to tell apart.
        tz: Whose days those are.

    Raises:
        InvalidRequestError: `by` names something else.
        ConfigurationError: This machine does not know the time zone.
    """

    def __init__(self, *, by: Sequence[GroupBy] = (), tz: str = "UTC") -> None:
        self._zone = zone(tz)
        known = get_args(GroupBy)
        for word in by:
            if word not in known:
                raise InvalidRequestError(f"usage is told apart by {', '.join(known)}, not by {word!r}", param="by")
        self._by = tuple(dict.fromkeys(by))
        self._parts: dict[tuple[Any, ...], _Part] = {}

    def add(self, row: CountedRow) -> None:
        """Count a row."""
        # The other kinds are about a request that was counted.
        self.add_sums(row, requests=row.kind in ("settled", "expired"), unpriced=row.nano_usd is None)

    def add_sums(self, row: CountedRow, *, requests: int, unpriced: int) -> None:
        """Count the sums of several rows that nothing in `by` tells apart, as a database adds them up."""
        key = tuple(self._word(word, row) for word in self._by)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Part()
        part.requests += requests
        part.unpriced += unpriced
        part.input_tokens += row.input_tokens
        part.output_tokens += row.output_tokens
        part.nano_usd += row.nano_usd or 0

    def groups(self) -> tuple[UsageGroup, ...]:
        """What was told apart, sorted; nothing if that was not asked for."""
        return tuple(self._group(key, self._parts[key]) for key in sorted(self._parts)) if self._by else ()

    def total(self) -> UsageGroup:
        """All rows together."""
        parts = self._parts.values()
        return UsageGroup(
            requests=sum(part.requests for part in parts),
            input_tokens=sum(part.input_tokens for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
            nano_usd=sum(part.nano_usd for part in parts),
            unpriced=sum(part.unpriced for part in parts),
        )

    def _word(self, word: GroupBy, row: CountedRow) -> str | date:
        match word:
            case "tenant":
                return row.tenant
            case "deployment":
                return row.deployment
            case "day":
                return day_of(self._zone, round(row.time * SECOND))

    def _group(self, key: tuple[Any, ...], part: _Part) -> UsageGroup:
        words: dict[str, Any] = dict(zip(self._by, key, strict=True))
        return UsageGroup(
            tenant=TenantPath(words["tenant"]) if "tenant" in words else None,
            deployment=words.get("deployment"),
            day=words.get("day"),
            requests=part.requests,
            input_tokens=part.input_tokens,
            output_tokens=part.output_tokens,
            nano_usd=part.nano_usd,
            unpriced=part.unpriced,
        )


class UsageFold:
    """Makes the report of one scope, children included. Rows of other scopes are passed over.

    Raises:
        UnknownTenantError: Not a tenant's name.
        InvalidRequestError: `by` names something that usage is not told apart by.
        ConfigurationError: This machine does not know the time zone.
    """

    def __init__(self, tenant: str, *, by: Sequence[GroupBy] = (), tz: str = "UTC") -> None:
        self.scope = TenantPath(tenant)
        self._sums = UsageSums(by=by, tz=tz)

    def add(self, row: CountedRow) -> None:
        """Count a row."""
        if within(row.tenant, self.scope):
            self._sums.add(row)

    def add_sums(self, row: CountedRow, *, requests: int, unpriced: int) -> None:
        """Count the sums of several rows of the scope that nothing in `by` tells apart, as a database adds them up."""
        self._sums.add_sums(row, requests=requests, unpriced=unpriced)

    def report(self, *, held: Amount, concurrent: int) -> UsageReport:
        """What was counted, beside what requests in flight hold now."""
        total = self._sums.total()
        return UsageReport(
            tenant=self.scope,
            requests=total.requests,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            nano_usd=total.nano_usd,
            unpriced=total.unpriced,
            held=held,
            concurrent=concurrent,
            groups=self._sums.groups(),
        )


class _Part:
    __slots__ = ("input_tokens", "nano_usd", "output_tokens", "requests", "unpriced")

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = self.nano_usd = self.unpriced = 0
