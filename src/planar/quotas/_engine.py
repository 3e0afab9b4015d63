"""Leases against limits, as a state machine: `(state, operation, now) -> result`.

It does no I/O, reads no clock and takes no lock. It changes the state that it owns; an operation that raises has
changed nothing but what time alone changes (leases expire, windows roll). `now` is in whole microseconds since the
epoch. A `now` before one that was seen is taken as that one: a clock that steps back opens no window twice.

Life of a lease: `active` -> `settled` or `released`, or at its end `charged` (dispatched: the provider bills what it
was asked, so it is presumed spent) or `lapsed` (not dispatched: released). A settle that comes late replaces the
presumption with the truth, as a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Literal

from planar.errors import InvalidRequestError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import Part, Seen, cell_of, marks_of, review, seen_by
from planar.quotas._keeping import KeepsLeases, KeepsLedger, KeepsLimits
from planar.quotas._ledger import UNMARKED, Ledger, Marks, row_of
from planar.quotas._limits import LimitTable, Path, costs_of
from planar.quotas._measures import Costs, Refusal
from planar.quotas._rates import RateCell
from planar.quotas._refusals import fate_of, refuse, refuse_unknown_price
from planar.quotas._split import split
from planar.quotas._state import SWEEP, Leases, Record
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, LedgerEntry, Limit, LimitCount, Receipt, TenantPath

_NOTHING: Costs = (0, 0, 0, 0, 0, 0)


class QuotaEngine:
    """Decides who may spend, and books what was spent.

    Args:
        limits, leases, ledger: Where they are kept; in memory, unless told otherwise.

    Attributes:
        now: The latest time that was seen.
    """

    def __init__(
        self,
        *,
        limits: KeepsLimits | None = None,
        leases: KeepsLeases | None = None,
        ledger: KeepsLedger | None = None,
    ) -> None:
        self._limits = limits or LimitTable()
        self._leases = leases or Leases()
        self.ledger = ledger or Ledger()
        self.now = 0

    def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str, now: int) -> Lease:
        """Hold `hold` on every scope of the path, or nothing anywhere. A known id gives the lease as it is now.

        Raises:
            QuotaExceededError: A scope has no room.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or none that is known.
            InvalidRequestError: `ttl` is not a positive number, or the id was used for something else.
        """
        now = self._tick(now)
        known = self._leases.get(lease_id, now)
        if known is not None:
            return _same(known, tenant, hold, deployment)
        if self.ledger.account(lease_id) is not None:
            raise InvalidRequestError(f"lease {lease_id} was settled long ago", param="lease_id")
        expires = now + microseconds(ttl)
        path = self._limits.path(tenant)
        if hold.nano_usd is None and path.priced:
            refuse_unknown_price(path.priced, deployment)
        costs = costs_of(hold)
        rooms = [cell.room(now) - costs[index] for cell, index in path.table]
        if rooms and min(rooms) < 0:
            rooms = self._make_room_or_refuse(path, costs, now)
        for cell in path.gates:
            cell.hold(1, now)
        parts: list[Part] = [cell.hold(costs[index], now) for cell, index in path.budgets]
        lease = Lease(
            id=lease_id,
            tenant=path.tenant,
            hold=hold,
            expires=expires / SECOND,
            deployment=deployment,
            headroom=path.headroom(rooms),
        )
        self._leases.add(Record(lease, path, costs, parts, now, expires))
        return lease

    def dispatched(self, lease: Lease, *, now: int) -> None:
        """From here on expiry charges.

        Raises:
            InvalidRequestError: The hold is gone (released or expired), so the provider must not be asked.
        """
        now = self._tick(now)
        record = self._leases.get(lease.id, now)
        if record is None or record.state in ("released", "lapsed"):
            if self.ledger.account(lease.id) is None:
                raise InvalidRequestError(f"lease {lease.id} holds nothing: {fate_of(record)}", param="lease")
            return
        _check_tenant(record.path.tenant, lease)
        record.dispatched = True
        self._leases.changed(record)

    def extend(self, lease: Lease, *, more: Amount, ttl: float, now: int) -> Lease:
        """Hold `more` beside what `lease` says is held, and live `ttl` seconds from now.

        The sum is a target: an extension that is repeated, from the same lease, finds it reached and changes nothing.

        Raises:
            QuotaExceededError: No room for the addition. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
        """
        now = self._tick(now)
        expires = now + microseconds(ttl)
        record = self._leases.get(lease.id, now)
        if record is None or record.state != "active":
            raise InvalidRequestError(f"lease {lease.id} cannot be extended: {fate_of(record)}", param="lease")
        _check_tenant(record.path.tenant, lease)
        path = self._limits.path(record.path.tenant)
        if more.nano_usd is None and path.priced:
            refuse_unknown_price(path.priced, record.deployment)
        hold = _sum(record.hold, lease.hold, more)
        before, after = record.costs, costs_of(hold)
        if after == before and costs_of(more)[1:5] != _NOTHING[1:5]:
            return record.lease()
        delta = (0, after[1] - before[1], after[2] - before[2], after[3] - before[3], after[4] - before[4], 0)
        self._hold_more(record, delta, now)
        longer = Lease(
            id=lease.id,
            tenant=path.tenant,
            hold=hold,
            expires=expires / SECOND,
            deployment=record.deployment,
            headroom=path.headroom([max(0, cell.room(now)) for cell, _ in path.table]),
        )
        record.costs = after
        record.take(longer, expires)
        self._leases.prolong(record)
        return longer

    def settle(self, lease: Lease, *, charge: Charge, now: int) -> Receipt:
        """Replace the hold with what was used and write the row. The first answer stands, whatever comes after.

        But one that was estimated gives way, once, to one that was not: the difference is a correction row.

        Where the price is unknown the row says so, and budgets count what was held: never zero by ignorance.

        Raises:
            InvalidRequestError: The lease was released, or is not known.
        """
        now = self._tick(now)
        record = self._leases.get(lease.id, now)
        if record is None or record.state not in ("active", "lapsed"):
            return self._settle_again(lease, charge, now)
        if lease.tenant is not record.path.tenant:
            _check_tenant(record.path.tenant, lease)
        amount = charge.amount
        tokens_in, tokens_out, nano_usd = amount.input_tokens, amount.output_tokens, amount.nano_usd
        held = record.costs
        actual = (1, tokens_in, tokens_out, tokens_in + tokens_out, held[4] if nano_usd is None else nano_usd, 0)
        if record.state == "active":
            told = [part for part in record.parts if part.settle(held[part.index], actual[part.index], now)]
            marks = marks_of(told) if told else UNMARKED
            self._leases.end(record, now=now)
        else:
            marks = self._amend(record.path.tenant, actual, record.reserved_at, now, now)
        entry = row_of(record, "settled", tokens_in, tokens_out, nano_usd, now, charge, marks=marks)
        record.state = "settled"
        record.book(entry, actual, at=now)
        record.answer = entry
        self.ledger.open(record, entry)
        return Receipt(entry=entry)

    def release(self, lease: Lease, *, now: int) -> None:
        """Give the hold back, except the request itself where requests are limited by rate.

        Nothing happens to a lease that holds nothing any more.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
        """
        now = self._tick(now)
        record = self._leases.get(lease.id, now)
        if record is None or record.state != "active":
            return
        _check_tenant(record.path.tenant, lease)
        if record.dispatched:
            raise InvalidRequestError(f"lease {lease.id} was dispatched: settle it", param="lease")
        self._give_back(record, _NOTHING, now)
        self._leases.end(record, now=now)
        record.state = "released"

    def split(self, lease: Lease, *, parts: Sequence[LeasePart], keep: Amount | None, now: int) -> tuple[Receipt, ...]:
        """Settle parts of a lease as leases of their own, and hold no more than `keep` afterwards.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
        """
        return split(self, lease, parts, keep=keep, now=self._tick(now))

    def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str, now: int) -> Receipt:
        """Credit part of what a lease was charged, in the windows that it counts in if they are still open.

        A lease is refunded once; the same refund again is answered with the first.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
        """
        now = self._tick(now)
        record = self.ledger.account(lease_id)
        if record is None or record.charge is None:
            raise InvalidRequestError(f"lease {lease_id} was charged nothing", param="lease_id")
        nano_usd = amount.nano_usd or 0
        if record.refund is not None:
            row = record.refund
            if (row.input_tokens, row.output_tokens, row.nano_usd, row.reason) != (
                -amount.input_tokens,
                -amount.output_tokens,
                -nano_usd,
                reason,
            ):
                raise InvalidRequestError(f"lease {lease_id} was refunded before, otherwise", param="amount")
            return Receipt(entry=row, replayed=True)
        charged = record.costs
        if amount.input_tokens > charged[1] or amount.output_tokens > charged[2] or nano_usd > (record.nano_usd or 0):
            raise InvalidRequestError(f"lease {lease_id} was charged less than that", param="amount")
        if not any(charged[1:5]):
            raise InvalidRequestError(f"lease {lease_id} was charged nothing", param="lease_id")
        delta = (0, -amount.input_tokens, -amount.output_tokens, -amount.tokens, -nano_usd, 0)
        credit = Charge(amount=amount, price=record.charge.price, metadata=record.charge.metadata)
        record.refund = self._write(record, "refund", delta, -nano_usd, now, charge=credit, reason=reason)
        return Receipt(entry=record.refund)

    def expire(self, *, now: int) -> None:
        """End every lease whose time is over. Each operation ends a few; readers of totals call this first."""
        now = self._tick(now)
        while (record := self._leases.next_due(now)) is not None:
            self._expire(record, now)

    def set_limits(self, scope: str, limits: Sequence[Limit], *, now: int) -> None:
        """Replace the limits of one scope. No lease is touched, even if it holds more than there now is.

        A new budget counts what its current window has already used and what is held, as if it had always been there;
        a new rate begins empty. A changed amount keeps what was counted.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
        """
        self.expire(now=now)
        now = self.now
        alive = list(self._leases.within(scope))  # before their counters are replaced, by which they are found
        fresh = self._limits.replace(scope, limits, now=now)
        for record in self.ledger.accounts(scope) if fresh else ():
            for cell in fresh:
                cell.amend(record.costs[cell.index], record.reserved_at, record.booked_at, now)
        for cell in fresh:
            cell.change(cell.limit, now)
        kept = self._limits.cells(scope)
        adopting = [cell for cell in fresh if not isinstance(cell, RateCell)]
        for record in alive:
            costs, since = record.costs, record.reserved_at
            parts = [part for part in record.parts if cell_of(part).scope != scope or cell_of(part) in kept]
            for cell in adopting:
                seen = seen_by(record.path.tenant, cell)
                assert not isinstance(seen, RateCell)
                parts.append(seen.adopt(costs[cell.index], since, now))
            for part in parts:
                review(part)
            record.parts = parts
            self._leases.changed(record)

    def limits(self, scope: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        return tuple(cell.limit for cell in self._limits.cells(scope))

    def counts(self, scope: str, *, now: int) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands, in the order of `limits`."""
        self.expire(now=now)
        cells = self._limits.cells(scope)
        counts = [cell.counts(self.now) for cell in cells]
        return tuple(
            LimitCount(limit=cell.limit, used=used, held=held) for cell, (used, held) in zip(cells, counts, strict=True)
        )

    def held(self, scope: str, *, now: int) -> tuple[Amount, int]:
        """What the living leases of a scope and its children hold, and how many they are."""
        self.expire(now=now)
        costs = [record.costs for record in self._leases.within(TenantPath(scope))]
        tokens_in, tokens_out, nano_usd = (sum(each[index] for each in costs) for index in (1, 2, 4))
        return Amount(input_tokens=tokens_in, output_tokens=tokens_out, nano_usd=nano_usd), len(costs)

    def _tick(self, now: int) -> int:
        if now > self.now:
            self.now = now
        else:
            now = self.now
        if now >= self._leases.wake:
            self._sweep(now)
        return now

    def _sweep(self, now: int) -> None:
        for _ in range(SWEEP):
            record = self._leases.next_due(now)
            if record is None:
                break
            self._expire(record, now)
        self._leases.forget(now)

    def _expire(self, record: Record, now: int) -> None:
        at = record.expires
        if record.dispatched:
            held = record.costs
            actual = (*held[:5], 0)
            marks = self._give_back(record, actual, at)
            hold = record.hold
            entry = row_of(record, "expired", hold.input_tokens, hold.output_tokens, hold.nano_usd, now, marks=marks)
            record.book(entry, actual, at=at)
            self.ledger.open(record, entry)
            record.state = "charged"
        else:
            self._give_back(record, _NOTHING, at)
            record.state = "lapsed"
        self._leases.end(record, now=now)

    def _give_back(self, record: Record, actual: Costs, at: int) -> Marks:
        costs = record.costs
        return marks_of([part for part in record.parts if part.settle(costs[part.index], actual[part.index], at)])

    def _settle_again(self, lease: Lease, charge: Charge, now: int) -> Receipt:
        record = self.ledger.account(lease.id)
        if record is None or record.charge is None:
            fate = fate_of(self._leases.get(lease.id, now))
            raise InvalidRequestError(f"lease {lease.id} cannot be settled: {fate}", param="lease")
        _check_tenant(record.path.tenant, lease)
        if record.answer is not None and not _corrects(charge, record.answer):
            return Receipt(entry=record.answer, replayed=True)
        amount, presumed, counted = charge.amount, record.charge, record.costs
        # What was refunded stays refunded: a correction takes back no more than still counts.
        tokens_in = max(amount.input_tokens - presumed.input_tokens, -counted[1])
        tokens_out = max(amount.output_tokens - presumed.output_tokens, -counted[2])
        nano_usd = amount.nano_usd
        if nano_usd is not None:
            nano_usd = max(nano_usd - (presumed.nano_usd or 0), -counted[4])
        delta = (0, tokens_in, tokens_out, tokens_in + tokens_out, nano_usd or 0, 0)
        record.answer = self._write(record, "correction", delta, nano_usd, now, charge=charge)
        return Receipt(entry=record.answer)

    def _write(
        self,
        record: Record,
        kind: Literal["correction", "refund"],
        delta: Costs,
        nano_usd: int | None,
        now: int,
        *,
        charge: Charge,
        reason: str = "",
    ) -> LedgerEntry:
        marks = self._amend(record.path.tenant, delta, record.reserved_at, record.booked_at, now)
        entry = row_of(record, kind, delta[1], delta[2], nano_usd, now, charge, marks=marks, reason=reason)
        record.amend(delta, nano_usd)
        self.ledger.write(record, entry)
        return entry

    def _amend(self, tenant: TenantPath, delta: Costs, reserved_at: int, booked_at: int, now: int) -> Marks:
        table = self._limits.path(tenant).table
        return marks_of([cell for cell, index in table if cell.amend(delta[index], reserved_at, booked_at, now)])

    def _make_room_or_refuse(self, path: Path, costs: Costs, now: int) -> list[int]:
        # A refusal must be true: leases whose time is over are all ended before it is made.
        self.expire(now=now)
        rooms = [cell.room(now) - costs[index] for cell, index in path.table]
        refusals: list[tuple[Seen, int, Refusal]] = []
        for (cell, index), room in zip(path.table, rooms, strict=True):
            if room < 0:
                holds = partial(self._leases.holds, index=index, besides=None)
                refusals.append((cell, costs[index], cell.refusal(costs[index], 0, now, holds)))
        if refusals:
            refuse(refusals)
        return rooms

    def _hold_more(self, record: Record, delta: Costs, now: int) -> None:
        refusals: list[tuple[Seen, int, Refusal]] = []
        for part in record.parts:
            cost = delta[part.index]
            if cost and part.room(now) < cost:
                cell = cell_of(part)
                holds = partial(self._leases.holds, index=cell.index, besides=record)
                refusals.append((cell, cost, part.refusal(cost, record.costs[cell.index], now, holds)))
        if refusals:
            refuse(refusals)
        for part in record.parts:
            if delta[part.index]:
                part.hold(delta[part.index], now)


def _same(record: Record, tenant: str, hold: Amount, deployment: str) -> Lease:
    if (record.path.tenant, record.reserved, record.deployment) != (tenant, hold, deployment):
        raise InvalidRequestError(f"lease {record.id} is in use for another request", param="lease_id")
    return record.lease()


def _corrects(charge: Charge, answer: LedgerEntry) -> bool:
    """What was estimated when a call was settled may be replaced by the truth, once."""
    return answer.kind == "settled" and "estimated" in answer.flags and "estimated" not in charge.flags


def _check_tenant(tenant: TenantPath, lease: Lease) -> None:
    if lease.tenant != tenant:
        raise InvalidRequestError(f"lease {lease.id} belongs to another tenant", param="lease")


def microseconds(ttl: float) -> int:
    """How long a lease lives.

    Raises:
        InvalidRequestError: `ttl` is not a positive number.
    """
    if not 0 < ttl < inf:
        raise InvalidRequestError(f"ttl must be a positive number of seconds, not {ttl!r}", param="ttl")
    return round(ttl * SECOND) or 1


def _sum(current: Amount, base: Amount, more: Amount) -> Amount:
    unknown = current.nano_usd is None or base.nano_usd is None or more.nano_usd is None
    return Amount(
        input_tokens=max(current.input_tokens, base.input_tokens + more.input_tokens),
        output_tokens=max(current.output_tokens, base.output_tokens + more.output_tokens),
        nano_usd=None if unknown else max(current.nano_usd or 0, (base.nano_usd or 0) + (more.nano_usd or 0)),
    )
