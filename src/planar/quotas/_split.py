"""A lease that pays for many requests: parts of its hold are settled one by one, and what is left is given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from planar.errors import InvalidRequestError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import marks_of
from planar.quotas._ledger import Marks, row_of
from planar.quotas._limits import costs_of
from planar.quotas._measures import Costs
from planar.quotas._refusals import fate_of
from planar.quotas._state import Record
from planar.types import Amount, Charge, Lease, LeasePart, Receipt

if TYPE_CHECKING:
    from planar.quotas._engine import QuotaEngine

_NOTHING = Amount()
_FREE: Costs = (0, 0, 0, 0, 0, 0)


def split(
    engine: QuotaEngine, lease: Lease, parts: Sequence[LeasePart], *, keep: Amount | None, now: int
) -> tuple[Receipt, ...]:
    """Settle each part as a lease of its own, then hold no more than `keep`.

    Raises:
        InvalidRequestError: The lease is not known or another tenant's, or a part's id is in use for something else.
            Nothing was written.
    """
    record = engine._leases.get(lease.id, now) or engine.ledger.account(lease.id)
    if record is None:
        raise InvalidRequestError(f"lease {lease.id} cannot be split: {fate_of(None)}", param="lease")
    if record.path.tenant != lease.tenant:
        raise InvalidRequestError(f"lease {lease.id} belongs to another tenant", param="lease")
    for part in parts:
        _check(engine, record, part, now)
    receipts = tuple(_settle(engine, record, part, now) for part in parts)
    if keep is not None:
        _shrink(engine, lease, record, keep, now)
    return receipts


def _check(engine: QuotaEngine, record: Record, part: LeasePart, now: int) -> None:
    known = engine._leases.get(part.id, now) or engine.ledger.account(part.id)
    if known is None:
        return
    if known.path.tenant != record.path.tenant or engine.ledger.account(part.id) is None:
        raise InvalidRequestError(f"lease {part.id} is in use for another request: {fate_of(known)}", param="parts")


def _settle(engine: QuotaEngine, record: Record, part: LeasePart, now: int) -> Receipt:
    account = engine.ledger.account(part.id)
    if account is not None and account.charge is not None:
        if part.charge is None:
            return Receipt(entry=account.charge, replayed=True)
        return engine.settle(account.lease(), charge=part.charge, now=now)
    held = _held(record, part.hold)
    amount = part.hold if part.charge is None else part.charge.amount
    money = held[4] if amount.nano_usd is None else amount.nano_usd
    actual = (1, amount.input_tokens, amount.output_tokens, amount.tokens, money, 0)
    own = _record_of(part, record)
    kind: Literal["expired", "settled"] = "expired" if part.charge is None else "settled"
    if record.state == "active":
        marks = _move(record, held, actual, now)
        engine._leases.changed(record)
    else:
        marks = engine._amend(record.path.tenant, actual, record.reserved_at, now, now)
    tokens_in, tokens_out = amount.input_tokens, amount.output_tokens
    entry = row_of(own, kind, tokens_in, tokens_out, amount.nano_usd, now, part.charge, marks=marks)
    own.book(entry, actual, at=now)
    own.answer = None if part.charge is None else entry
    own.state = "charged" if part.charge is None else "settled"
    engine._leases.remember(own, now=now)
    engine.ledger.open(own, entry)
    return Receipt(entry=entry)


def _record_of(part: LeasePart, record: Record) -> Record:
    # In which windows it counts was decided when the whole was reserved.
    whole = record.lease()
    lease = Lease(
        id=part.id,
        tenant=record.path.tenant,
        hold=part.hold,
        expires=record.expires / SECOND,
        deployment=record.deployment,
        headroom=whole.headroom,
    )
    own = Record(lease, record.path, costs_of(part.hold), (), record.reserved_at, record.expires)
    own.dispatched = True
    return own


def _held(record: Record, hold: Amount) -> Costs:
    """What of a part's hold the lease can give up: requests and places stay with the lease until it ends."""
    costs = record.costs
    tokens_in, tokens_out = min(hold.input_tokens, costs[1]), min(hold.output_tokens, costs[2])
    return 0, tokens_in, tokens_out, tokens_in + tokens_out, min(hold.nano_usd or 0, costs[4]), 0


def _move(record: Record, held: Costs, actual: Costs, now: int) -> Marks:
    marks = marks_of([part for part in record.parts if part.settle(held[part.index], actual[part.index], now)])
    one, two, three, four, five, six = record.costs
    record.costs = one - held[0], two - held[1], three - held[2], four - held[3], five - held[4], six - held[5]
    record.hold = Amount(
        input_tokens=record.costs[1],
        output_tokens=record.costs[2],
        nano_usd=None if record.hold.nano_usd is None else record.costs[4],
    )
    return marks


def _shrink(engine: QuotaEngine, lease: Lease, record: Record, keep: Amount, now: int) -> None:
    if record.state == "active":
        if keep == _NOTHING:
            _move(record, record.costs, _FREE, now)
            engine._leases.end(record, now=now)
            record.state = "released"
        else:
            _, tokens_in, tokens_out, tokens, money, _ = _held(record, keep)
            costs = record.costs
            spare = (0, costs[1] - tokens_in, costs[2] - tokens_out, costs[3] - tokens, costs[4] - money, 0)
            _move(record, spare, _FREE, now)
            engine._leases.changed(record)
    elif record.state == "charged" and keep == _NOTHING:
        # It was presumed to be spent, and now it is known on what.
        engine.settle(lease, charge=Charge(amount=_NOTHING), now=now)
