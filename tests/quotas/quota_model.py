"""A quota store so naive that it can be believed: it keeps what happened and adds it all up anew for every question."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from planar.types import Amount, Limit

MICRO = 1_000_000
DIMENSIONS = ("requests", "input_tokens", "output_tokens", "tokens", "nano_usd", "concurrency")


def vector(amount: Amount) -> dict[str, int]:
    return {
        "requests": 1,
        "input_tokens": amount.input_tokens,
        "output_tokens": amount.output_tokens,
        "tokens": amount.input_tokens + amount.output_tokens,
        "nano_usd": amount.nano_usd or 0,
        "concurrency": 1,
    }


@dataclass
class ModelLease:
    id: str
    tenant: str
    reserved_at: int
    expires: int
    hold: dict[str, int]
    amount: Amount
    dispatched: bool = False
    state: str = "active"
    booked_at: int = 0
    booked: list[dict[str, int]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    refunded: bool = False
    ended_at: int = 0
    rates: list[list[tuple[int, str, Fraction]]] = field(default_factory=list)

    @property
    def final(self) -> bool:
        return "settled" in self.rows or "correction" in self.rows

    def total(self, dimension: str) -> int:
        return sum(each[dimension] for each in self.booked)


class Model:
    def __init__(self) -> None:
        self.now = 0
        self.leases: dict[str, ModelLease] = {}
        self.limits: dict[str, tuple[Limit, ...]] = {}
        # Per scope and rate limit: (time, "pour", amount) or (time, "rate", per second, capacity), in their order.
        self.poured: dict[tuple[str, str, int], list[tuple[int, str, Fraction]]] = {}

    # --- what happens

    def tick(self, now: int) -> None:
        self.now = max(self.now, now)
        due = [lease for lease in self.leases.values() if lease.state == "active" and lease.expires <= self.now]
        for lease in sorted(due, key=lambda lease: (lease.expires, lease.id)):
            if lease.dispatched:
                self._book(lease, "expired", dict(lease.hold, requests=1), lease.expires)
                lease.state = "charged"
            else:
                self._pour_all(lease, {name: -value for name, value in lease.hold.items()}, lease.expires)
                lease.state = "lapsed"
                lease.ended_at = self.now

    def set_limits(self, scope: str, limits: tuple[Limit, ...]) -> None:
        before = {key(scope, limit): limit for limit in self.limits.get(scope, ())}
        self.limits[scope] = limits
        for gone in set(before) - {key(scope, limit) for limit in limits}:
            self.poured.pop(gone, None)
        for limit in limits:
            if limit.window == "rate":
                self.poured.setdefault(key(scope, limit), []).append(
                    (self.now, "rate", Fraction(limit.amount, limit.seconds))
                )

    def reserve(self, lease_id: str, tenant: str, amount: Amount, ttl: int) -> bool:
        hold = vector(amount)
        if not all(self.has_room(scope, limit, hold, tenant) for scope, limit in self.path(tenant)):
            return False
        lease = ModelLease(lease_id, tenant, self.now, self.now + ttl * MICRO, hold, amount)
        self.leases[lease_id] = lease
        rates = [(scope, limit) for scope, limit in self.path(tenant) if limit.window == "rate"]
        lease.rates = [self.poured[key(scope, limit)] for scope, limit in rates]
        self._pour_all(lease, hold, self.now, requests=True)
        return True

    def extend(self, lease: ModelLease, more: Amount, ttl: int) -> bool:
        extra = dict(vector(more), requests=0, concurrency=0)
        for scope, limit in self.path(lease.tenant):
            if limit.window == "rate" and not self._pours(lease, scope, limit):
                continue
            if extra[limit.dimension] and not self.has_room(scope, limit, extra, lease.tenant, lease):
                return False
        lease.hold = {name: lease.hold[name] + extra[name] for name in DIMENSIONS}
        lease.amount = Amount(
            input_tokens=lease.amount.input_tokens + more.input_tokens,
            output_tokens=lease.amount.output_tokens + more.output_tokens,
            nano_usd=(lease.amount.nano_usd or 0) + (more.nano_usd or 0),
        )
        lease.expires = self.now + ttl * MICRO
        self._pour_all(lease, extra, self.now)
        return True

    def settle(self, lease: ModelLease, amount: Amount) -> None:
        actual = vector(amount)
        if lease.state == "charged":
            delta = {name: actual[name] - lease.hold[name] for name in DIMENSIONS}
            for name in ("input_tokens", "output_tokens", "nano_usd"):
                delta[name] = max(delta[name], -lease.total(name))
            delta["tokens"] = delta["input_tokens"] + delta["output_tokens"]
            lease.booked.append(dict(delta, requests=0))
            lease.rows.append("correction")
        else:
            self._book(lease, "settled", actual, self.now)
        lease.state = "settled"

    def release(self, lease: ModelLease) -> None:
        lease.state = "released"
        lease.ended_at = self.now
        self._pour_all(lease, {name: -value for name, value in lease.hold.items()}, self.now)

    def refund(self, lease: ModelLease, amount: Amount) -> None:
        lease.booked.append({name: -value for name, value in dict(vector(amount), requests=0).items()})
        lease.rows.append("refund")
        lease.refunded = True

    def _book(self, lease: ModelLease, row: str, actual: dict[str, int], at: int) -> None:
        if lease.state == "active":
            self._pour_all(lease, {name: actual[name] - lease.hold[name] for name in DIMENSIONS}, at)
        lease.booked.append(actual)
        lease.booked_at = at
        lease.rows.append(row)

    def _pours(self, lease: ModelLease, scope: str, limit: Limit) -> bool:
        # A rate that was set after the lease was reserved takes no note of it.
        return any(self.poured[key(scope, limit)] is each for each in lease.rates)

    def _pour_all(self, lease: ModelLease, amounts: dict[str, int], at: int, *, requests: bool = False) -> None:
        for scope, limit in self.path(lease.tenant):
            if limit.window != "rate" or not self._pours(lease, scope, limit):
                continue
            if requests or limit.dimension != "requests":
                self.poured[key(scope, limit)].append((at, "pour", Fraction(amounts[limit.dimension])))

    # --- what is asked

    def path(self, tenant: str) -> list[tuple[str, Limit]]:
        names = tenant.split("/")
        scopes = ["/".join(names[: depth + 1]) for depth in range(len(names))]
        return [(scope, limit) for scope in scopes for limit in self.limits.get(scope, ())]

    def has_room(
        self, scope: str, limit: Limit, cost: dict[str, int], tenant: str, lease: ModelLease | None = None
    ) -> bool:
        amount = cost[limit.dimension]
        if limit.window == "rate":
            return self.level(scope, limit) + amount <= limit.burst
        if limit.overage != "stop":
            return True
        at = lease.reserved_at if lease else None
        used, held = self.counts(scope, limit, at=at)
        if limit.share is not None and tenant != scope:
            child = "/".join(tenant.split("/")[: scope.count("/") + 2])
            share = Fraction(max(0, limit.amount - used) * limit.share, 100)
            if self.counts(child, limit, at=at)[1] + amount > share:
                return False
        return used + held + amount <= limit.amount

    def level(self, scope: str, limit: Limit) -> Fraction:
        level, rate, last = Fraction(0), Fraction(0), 0
        for at, kind, value in [*self.poured[key(scope, limit)], (self.now, "pour", Fraction(0))]:
            level = max(Fraction(0), level - rate * Fraction(at - last, MICRO))
            last = at
            if kind == "rate":
                rate = value
            else:
                level = max(Fraction(0), level + value)
        return level

    def counts(self, scope: str, limit: Limit, *, at: int | None = None) -> tuple[int, int]:
        """Used and held; for calendar limits in the window around `at` (default: now)."""
        if limit.window == "rate":
            return -int(-self.level(scope, limit) // 1), 0
        mine = [each for each in self.leases.values() if f"{each.tenant}/".startswith(f"{scope}/")]
        active = [each for each in mine if each.state == "active"]
        booked = [each for each in mine if each.booked]
        if limit.window in ("day", "week", "month"):
            window = window_of(limit, self.now if at is None else at)
            active = [each for each in active if window_of(limit, each.reserved_at) == window]
            booked = [each for each in booked if window_of(limit, each.reserved_at) == window]
        if limit.window == "rolling":
            oldest = bucket(limit, self.now) - 60
            booked = [each for each in booked if bucket(limit, each.booked_at) >= oldest]
        if limit.dimension == "concurrency":
            return 0, len(active)
        return (
            sum(each.total(limit.dimension) for each in booked),
            sum(each.hold[limit.dimension] for each in active),
        )


def key(scope: str, limit: Limit) -> tuple[str, str, int]:
    return scope, f"{limit.dimension} {limit.window} {limit.tz}", limit.seconds


def bucket(limit: Limit, at: int) -> int:
    return int(Fraction(at, MICRO) // Fraction(limit.seconds, 60))


def window_of(limit: Limit, at: int) -> str:
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(ZoneInfo(limit.tz))
    return local.strftime({"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[limit.window])
