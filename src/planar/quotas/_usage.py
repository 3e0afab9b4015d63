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


class UsageFold:
    """Takes rows in any order, and makes the report of one scope of them. Rows of other scopes are passed over.

    Args:
        tenant: Whose report it is, children included.
        by: What to tell apart.
        tz: Whose days those are.

    Raises:
        UnknownTenantError: Not a tenant's name.
        InvalidRequestError: `by` names something else.
        ConfigurationError: This machine does not know the time zone.
    """

    def __init__(self, tenant: str, *, by: Sequence[GroupBy] = (), tz: str = "UTC") -> None:
        self.scope = TenantPath(tenant)
        self._zone = zone(tz)
        known = get_args(GroupBy)
        for word in by:
            if word not in known:
                raise InvalidRequestError(f"usage is told apart by {', '.join(known)}, not by {word!r}", param="by")
        self._by = tuple(dict.fromkeys(by))
        self._sums: dict[tuple[Any, ...], _Sums] = {}

    def add(self, row: CountedRow) -> None:
        """Count a row."""
        if not within(row.tenant, self.scope):
            return
        key = tuple(self._word(word, row) for word in self._by)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums()
        sums.add(row)

    def report(self, *, held: Amount, concurrent: int) -> UsageReport:
        """What was counted, beside what requests in flight hold now."""
        groups = tuple(self._group(key, self._sums[key]) for key in sorted(self._sums)) if self._by else ()
        parts = self._sums.values()
        return UsageReport(
            tenant=self.scope,
            requests=sum(part.requests for part in parts),
            input_tokens=sum(part.input_tokens for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
            nano_usd=sum(part.nano_usd for part in parts),
            unpriced=sum(part.unpriced for part in parts),
            held=held,
            concurrent=concurrent,
            groups=groups,
        )

    def _word(self, word: GroupBy, row: CountedRow) -> str | date:
        match word:
            case "tenant":
                return row.tenant
            case "deployment":
                return row.deployment
            case "day":
                return day_of(self._zone, round(row.time * SECOND))

    def _group(self, key: tuple[Any, ...], sums: _Sums) -> UsageGroup:
        words: dict[str, Any] = dict(zip(self._by, key, strict=True))
        return UsageGroup(
            tenant=TenantPath(words["tenant"]) if "tenant" in words else None,
            deployment=words.get("deployment"),
            day=words.get("day"),
            requests=sums.requests,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            nano_usd=sums.nano_usd,
            unpriced=sums.unpriced,
        )


class _Sums:
    __slots__ = ("input_tokens", "nano_usd", "output_tokens", "requests", "unpriced")

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = self.nano_usd = self.unpriced = 0

    def add(self, row: CountedRow) -> None:
        self.requests += row.kind in ("settled", "expired")  # the other kinds are about a request that was counted
        self.input_tokens += row.input_tokens
        self.output_tokens += row.output_tokens
        if row.nano_usd is None:
            self.unpriced += 1
        else:
            self.nano_usd += row.nano_usd
