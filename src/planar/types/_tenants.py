"""Who pays, how much they may, and what is written down about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Literal, Self

from planar.errors import ConfigurationError, InvalidRequestError, UnknownTenantError
from planar.types._answers import Usage
from planar.types._models import Price
from planar.types._quick import quick
from planar.types._words import Dimension, LeaseId, nano, no_entries, usd

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class TenantPath(str):
    """Who pays: one to four names from the root down, such as `acme/search/alice`.

    Raises:
        UnknownTenantError: The text is not such a path.
    """

    __slots__ = ()

    def __new__(cls, path: str) -> Self:
        if type(path) is cls:
            return path
        if not isinstance(path, str) or not _is_path(path):
            raise UnknownTenantError(
                f"{path!r} is not a tenant: write one to four names joined by '/', each of letters, digits and . _ @ -,"
                " such as 'acme' or 'acme/search/alice'",
                tenant=str(path),
            )
        return super().__new__(cls, path)

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope that a request of this tenant counts against, root first."""
        segments = self.split("/")
        return tuple("/".join(segments[: depth + 1]) for depth in range(len(segments)))

    @property
    def root(self) -> str:
        """The first name."""
        return self.partition("/")[0]


@lru_cache(maxsize=1024)  # most calls are made by tenants who have called before
def _is_path(text: str) -> bool:
    segments = text.split("/")
    return len(segments) <= 4 and all(_SEGMENT.fullmatch(segment) for segment in segments)


def is_root(text: str) -> bool:
    """Whether this is the first name of some tenant's path, and nothing more."""
    return "/" not in text and _is_path(text)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What is held or used: whole, never negative, at most 2**53. `nano_usd=None`: the price is unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    nano_usd: int | None = 0

    def __post_init__(self) -> None:
        counts = ("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens), ("nano_usd", self.nano_usd)
        for name, value in counts:
            if value is None and name == "nano_usd":
                continue
            if type(value) is not int or not 0 <= value <= 2**53:
                raise InvalidRequestError(f"{name} must be a whole number from 0 to 2**53, not {value!r}", param=name)

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One bound on one scope. Use the constructors below: they name the unit.

    Attributes:
        amount: Requests, tokens, concurrent requests or nano-USD, by `dimension`.
        window: `rate` (a bucket refilled over `seconds`, holding `burst`), a calendar `day`, `week` or `month`
            in `tz`, `rolling` over `seconds`, or `total` for ever; concurrency has `none`.
        overage: What happens to a request that a budget has no room for: it is refused (`stop`), let pass (`warn`), or
            let pass with the flag `overage` on its ledger row (`pay`, as you go). Only budgets can be overdrawn.
        alerts: Percent of a calendar or `total` budget at which the ledger row that gets there carries an `Alert`, once
            per window. It may be above 100 where `overage` lets it.
        share: Percent of what a budget has left, or of the places of `concurrency`, that any one child may hold: no
            child can pin its parent's budget with what it only holds. The scope's own requests are not bounded by it.
    """

    dimension: Dimension
    amount: int
    window: Literal["rate", "day", "week", "month", "rolling", "total", "none"]
    seconds: int = 0
    burst: int = 0
    tz: str = "UTC"
    overage: Literal["stop", "warn", "pay"] = "stop"
    alerts: tuple[int, ...] = ()
    share: int | None = None

    def __post_init__(self) -> None:
        self._check_policies()
        for name in ("amount", "seconds", "burst"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ConfigurationError(f"a limit's {name} must be a whole number of at least 0, not {value!r}")
        if self.amount > 2**53:
            raise ConfigurationError(f"a limit of {self.amount} is above 2**53, which not every store can count")
        if self.window in ("rate", "rolling") and self.seconds < 1:
            raise ConfigurationError(f"a {self.window} limit needs seconds of at least 1")
        if self.window == "rate" and (self.amount < 1 or self.burst < 1):
            raise ConfigurationError("a rate limit needs an amount and a burst of at least 1")
        if self.window == "rate" and self.burst * self.seconds * 1_000_000 > 2**53:
            most = 2**53 // (self.seconds * 1_000_000)
            raise ConfigurationError(
                f"a rate per {self.seconds} s can let at most {most} in at once, not {self.burst}: set a lower burst,"
                " or limit a shorter time"
            )

    def _check_policies(self) -> None:
        object.__setattr__(self, "alerts", tuple(self.alerts))
        if self.overage not in ("stop", "warn", "pay"):
            raise ConfigurationError(f"a limit's overage is 'stop', 'warn' or 'pay', not {self.overage!r}")
        if self.overage != "stop" and self.window in ("rate", "none"):
            raise ConfigurationError(f"a limit of {self.dimension} that lets all pass bounds nothing: only budgets do")
        if any(type(percent) is not int or not 1 <= percent <= 1000 for percent in self.alerts):
            raise ConfigurationError(f"alerts are whole percents from 1 to 1000, not {self.alerts!r}")
        if list(self.alerts) != sorted(set(self.alerts)):
            raise ConfigurationError(f"alerts are written in ascending order, each once, not {self.alerts!r}")
        if self.alerts and self.window not in ("day", "week", "month", "total"):
            raise ConfigurationError("alerts need a budget that begins: per day, week, month or in all")
        if self.share is not None and (type(self.share) is not int or not 1 <= self.share <= 100):
            raise ConfigurationError(f"a share is a whole percent from 1 to 100, not {self.share!r}")
        if self.share is not None and (self.window in ("rate", "rolling") or self.overage != "stop"):
            raise ConfigurationError("a share needs a calendar or total budget that stops, or concurrency")

    @classmethod
    def requests(cls, amount: int, *, per: Literal["minute", "hour"] = "minute", burst: int | None = None) -> Limit:
        """At most `amount` requests a minute or hour; `burst` may come at once (default: all of them)."""
        seconds = _PER[per]
        return cls(
            dimension="requests",
            amount=amount,
            window="rate",
            seconds=seconds,
            burst=amount if burst is None else burst,
        )

    @classmethod
    def tokens_per_minute(
        cls, amount: int, *, kind: Literal["input_tokens", "output_tokens", "tokens"] = "tokens"
    ) -> Limit:
        """At most `amount` tokens a minute, refilled evenly; a request may not be larger than that."""
        return cls(dimension=kind, amount=amount, window="rate", seconds=60, burst=amount)

    @classmethod
    def concurrency(cls, amount: int, *, share: int | None = None) -> Limit:
        """At most `amount` requests at the same time; any one child may have `share` percent of the places."""
        return cls(dimension="concurrency", amount=amount, window="none", share=share)

    @classmethod
    def tokens(
        cls,
        amount: int,
        *,
        per: Literal["day", "week", "month", "total"] = "month",
        kind: Literal["input_tokens", "output_tokens", "tokens"] = "tokens",
        tz: str = "UTC",
        overage: Literal["stop", "warn", "pay"] = "stop",
        alerts: Sequence[int] = (),
        share: int | None = None,
    ) -> Limit:
        """At most `amount` tokens per calendar period in the time zone `tz`, or in all."""
        return cls(dimension=kind, amount=amount, window=per, tz=tz, overage=overage, alerts=tuple(alerts), share=share)

    @classmethod
    def usd(
        cls,
        amount: Decimal | str | int,
        *,
        per: Literal["day", "week", "month", "total"] = "month",
        tz: str = "UTC",
        overage: Literal["stop", "warn", "pay"] = "stop",
        alerts: Sequence[int] = (),
        share: int | None = None,
    ) -> Limit:
        """At most this much money per calendar period in the time zone `tz`, or in all.

        Raises:
            ConfigurationError: The amount is not a number of at least 0, or finer than a nano-USD.

        Example:
            >>> Limit.usd("50", per="month", tz="Europe/Madrid", alerts=[80, 100], overage="pay").amount
            50000000000
        """
        return cls(
            dimension="nano_usd",
            amount=nano(amount),
            window=per,
            tz=tz,
            overage=overage,
            alerts=tuple(alerts),
            share=share,
        )

    @classmethod
    def rolling(
        cls,
        amount: int,
        *,
        dimension: Dimension,
        seconds: int,
        overage: Literal["stop", "warn", "pay"] = "stop",
    ) -> Limit:
        """At most `amount` within any `seconds`, kept in 60 buckets: one is forgotten at a time."""
        return cls(dimension=dimension, amount=amount, window="rolling", seconds=seconds, overage=overage)


_PER: Mapping[str, int] = {"minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCount:
    """Where one limit stands.

    Attributes:
        used: In its current window; of a rate what has not drained yet, rounded up.
        held: By requests in flight. A rate holds nothing: it has used what was let in.
    """

    limit: Limit
    used: int
    held: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What is left under the tightest limit; `None` where nothing bounds it."""

    tokens: int | None = None
    nano_usd: int | None = None

    @property
    def bounded(self) -> bool:
        """Some limit on tokens or money applies."""
        return self.tokens is not None or self.nano_usd is not None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A hold on every scope of a tenant's path.

    Attributes:
        expires: On the store's clock; after it the hold is released, or charged if the call was dispatched.
        headroom: What the tightest scope could still hold beyond this lease; a field is `None` where no limit
            bounds it. `output_tokens` is what any token limit leaves, `nano_usd` what any money limit leaves.
        provisional: Granted in this process while the store could not be reached: the store does not know of it yet.
    """

    id: LeaseId
    tenant: TenantPath
    hold: Amount
    expires: float
    deployment: str
    headroom: Headroom
    provisional: bool = False


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a call really used, for the ledger.

    Attributes:
        amount: Tokens and money; `nano_usd=None` is booked as unknown, not as zero.
        price: The price that was applied, frozen into the ledger row.
        flags: `estimated`, `suspect`, `cut`, `failed`.
    """

    amount: Amount
    usage: Usage | None = None
    price: Price | None = None
    flags: frozenset[Literal["estimated", "suspect", "cut", "failed"]] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=no_entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A budget of a tenant has been used up to a percentage. Each window says so once.

    Attributes:
        scope, dimension, window, amount: The limit; `amount` in its unit.
        since: When its window began, seconds since the epoch; `None` for a total.
        percent: Of the amount that has been used, at least.
    """

    scope: str
    dimension: Dimension
    window: str
    amount: int
    since: float | None
    percent: int

    @property
    def id(self) -> str:
        """The same for the same event wherever it is read."""
        since = "" if self.since is None else f"{self.since:.0f}"
        return f"{self.scope}:{self.dimension}:{self.window}:{since}:{self.amount}:{self.percent}"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePart:
    """One request that a lease paid for, to be booked under an id of its own.

    Attributes:
        hold: What of the lease's hold was kept for it.
        charge: What it really used; `None` if nobody settled it in time: presumed to be what was held.
    """

    id: LeaseId
    hold: Amount
    charge: Charge | None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of the append-only book.

    Attributes:
        kind: `settled`, `expired` (charged because nobody settled in time), `correction`, `refund`.
        input_tokens, output_tokens, nano_usd: Signed for corrections and refunds. Money may be unknown: `None`.
        time: Seconds since the epoch, on the store's clock.
        flags: Those of the charge, `estimated` where an expiry presumed it, and `overage` where a budget that lets its
            tenant pay as it goes was overdrawn with it.
        alerts: The budgets that this row brought to a percentage of which they were to tell.
    """

    lease_id: LeaseId
    kind: Literal["settled", "expired", "correction", "refund"]
    tenant: TenantPath
    deployment: str
    input_tokens: int
    output_tokens: int
    nano_usd: int | None
    time: float
    usage: Usage | None = None
    price: Price | None = None
    flags: frozenset[str] = frozenset()
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=no_entries)
    alerts: tuple[Alert, ...] = ()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a settle or refund did: the row that now stands in the ledger.

    Attributes:
        spooled: The store could not be reached: the row waits on this machine's disk and is written when it can be.
    """

    entry: LedgerEntry
    replayed: bool = False
    spooled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup:
    """The part of a `UsageReport` that one tenant, deployment or day has in it, or one of each together.

    Attributes:
        tenant, deployment, day: What the rows of this part have in common; `None` where that was not asked for. The
            tenant is the whole path that paid, the day that of the row: a refund counts on the day of the refund.
        unpriced: Rows whose price was unknown; `nano_usd` does not contain them.
    """

    tenant: TenantPath | None = None
    deployment: str | None = None
    day: date | None = None
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nano_usd: int = 0
    unpriced: int = 0

    @property
    def cost_usd(self) -> Decimal:
        """The priced part, in USD; below 0 where more was given back than spent."""
        return usd(self.nano_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What one scope used in a span of time, its children included.

    Attributes:
        unpriced: Rows whose price was unknown; `nano_usd` does not contain them.
        held: What requests in flight hold now.
        groups: The same sums told apart as was asked, in the order of what they were told apart by; none if it was not
            asked.
    """

    tenant: TenantPath
    requests: int
    input_tokens: int
    output_tokens: int
    nano_usd: int
    unpriced: int
    held: Amount
    concurrent: int
    groups: tuple[UsageGroup, ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """The priced part, in USD."""
        return usd(self.nano_usd)
