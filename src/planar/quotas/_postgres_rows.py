"""Rows of PostgreSQL as Planar's types, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from planar.errors import StoreError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import Cell
from planar.quotas._codec import from_dict, from_json, limit_from_dict, to_dict, to_json
from planar.quotas._limits import costs_of
from planar.quotas._measures import DIMENSIONS, Costs
from planar.quotas._postgres_pool import Row
from planar.quotas._snapshots import (
    LiveLease,
    rate_cell,
    refuse_extension,
    refuse_reservation,
    rolling_cell,
    window_cell,
)
from planar.types import (
    Alert,
    Amount,
    Charge,
    Headroom,
    Lease,
    LeaseId,
    LeasePart,
    LedgerEntry,
    Limit,
    Price,
    TenantPath,
    Usage,
)


def lease_of(row: Row) -> Lease:
    """What `reserve` and `extend` answer."""
    return Lease(
        id=LeaseId(row["id"]),
        tenant=TenantPath(row["tenant"]),
        hold=Amount(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], nano_usd=row["nano_usd"]),
        expires=row["expires"] / SECOND,
        deployment=row["deployment"],
        headroom=Headroom(tokens=row["tokens_left"], nano_usd=row["usd_left"]),
    )


def charge_columns(charge: Charge) -> tuple[list[str], str | None, str | None, str | None]:
    """Flags, usage, price and metadata of a charge."""
    return (
        sorted(charge.flags),
        None if charge.usage is None else to_json(to_dict(charge.usage)),
        None if charge.price is None else to_json(to_dict(charge.price)),
        to_json(charge.metadata) if charge.metadata else None,
    )


def part_columns(parts: Sequence[LeasePart]) -> tuple[list[object], ...]:
    """A column for each thing that `split` has to know of its parts. What nobody settled is presumed to be used."""
    columns: tuple[list[object], ...] = tuple([] for _ in range(12))
    for part in parts:
        charge = part.charge or Charge(amount=part.hold, flags=frozenset({"estimated"}))
        flags, usage, price, metadata = charge_columns(charge)
        values = (
            part.id,
            part.hold.input_tokens,
            part.hold.output_tokens,
            part.hold.nano_usd,
            part.charge is not None,
            charge.amount.input_tokens,
            charge.amount.output_tokens,
            charge.amount.nano_usd,
            ",".join(flags),
            usage,
            price,
            metadata,
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return columns


def keep_columns(keep: Amount | None) -> tuple[int | None, int | None, int | None]:
    """What a lease may go on holding: all that is left, if it is not said."""
    return (None, None, None) if keep is None else (keep.input_tokens, keep.output_tokens, keep.nano_usd)


def entry_of(row: Row) -> LedgerEntry:
    """A row of the book."""
    usage, price, metadata, alerts = row["usage"], row["price"], row["metadata"], row["alerts"]
    return LedgerEntry(
        lease_id=LeaseId(row["lease_id"]),
        kind=row["kind"],
        tenant=TenantPath(row["tenant"]),
        deployment=row["deployment"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        nano_usd=row["nano_usd"],
        time=row["time"] / SECOND,
        usage=None if usage is None else from_dict(Usage, from_json(usage)),
        price=None if price is None else from_dict(Price, from_json(price)),
        flags=frozenset(row["flags"]),
        reason=row["reason"],
        metadata={} if metadata is None else from_json(metadata),
        alerts=() if alerts is None else tuple(_alert(each) for each in json.loads(alerts)),
    )


def made_entry(row: Row, lease: Lease, charge: Charge) -> LedgerEntry:
    """The row of the book that `settle` made."""
    return LedgerEntry(
        lease_id=lease.id,
        kind="settled",
        tenant=lease.tenant,
        deployment=lease.deployment,
        input_tokens=charge.amount.input_tokens,
        output_tokens=charge.amount.output_tokens,
        nano_usd=charge.amount.nano_usd,
        time=row["at"] / SECOND,
        usage=charge.usage,
        price=charge.price,
        flags=charge.flags | {"overage"} if row["overdrawn"] else charge.flags,
        metadata=dict(charge.metadata),
        alerts=() if row["told"] is None else tuple(_alert(each) for each in json.loads(row["told"])),
    )


def limit_json(limit: Limit) -> str:
    """A limit as it is kept."""
    return to_json(to_dict(limit))


def limit_of(text: str) -> Limit:
    """A limit that was kept."""
    return limit_from_dict(from_json(text))


def refuse_reserve(told: str, tenant: TenantPath, hold: Amount, now: int) -> NoReturn:
    """Say why there was no room for a lease."""
    seen = json.loads(told)
    cells = [cell_of(each, limit_of(each["limit"])) for each in seen["cells"]]
    refuse_reservation(tenant, cells, costs_of(hold), holds=_leases(seen), now=now)


def refuse_extend(told: str, tenant: TenantPath, now: int) -> NoReturn:
    """Say why there was no room for more."""
    seen = json.loads(told)
    cells = [cell_of(each, limit_of(each["limit"])) for each in seen["cells"]]
    own, delta = _costs(seen["own"]), _costs(seen["delta"])
    refuse_extension(tenant, cells, delta, own=own, holds=_leases(seen), now=now)


def cell_of(seen: Any, limit: Limit) -> Cell:
    """The engine's counter in the state that was seen."""
    scope = seen["scope"]
    if limit.window == "rate":
        return rate_cell(scope, limit, level=seen["level"], at=seen["at"])
    if limit.window == "rolling":
        buckets: dict[int, int] = dict(seen["buckets"] or ())
        return rolling_cell(scope, limit, used=seen["used"], held=seen["held"], newest=seen["newest"], buckets=buckets)
    return window_cell(
        scope,
        limit,
        start=seen["start"],
        end=seen["until"],
        used=seen["used"],
        held=seen["held"],
        alerted=seen["alerted"],
        children=seen["children"],
    )


def unexpected(verdict: str) -> StoreError:
    """The functions in the database are not those of this Planar."""
    return StoreError(f"the quota store answered {verdict!r}, which means nothing here")


def _leases(seen: Any) -> list[LiveLease]:
    return [
        LiveLease(
            tenant=TenantPath(tenant),
            expires=expires,
            reserved_at=reserved_at,
            dispatched=dispatched,
            costs=(1, tokens_in, tokens_out, tokens_in + tokens_out, nano_usd, 1),
        )
        for tenant, expires, reserved_at, dispatched, tokens_in, tokens_out, nano_usd in seen["leases"]
    ]


def _costs(numbers: Sequence[int]) -> Costs:
    requests, tokens_in, tokens_out, tokens, nano_usd, concurrency = numbers
    return requests, tokens_in, tokens_out, tokens, nano_usd, concurrency


def _alert(told: list[Any]) -> Alert:
    scope, index, window, amount, start, percent = told
    return Alert(
        scope=scope,
        dimension=DIMENSIONS[int(index)],
        window=window,
        amount=amount,
        since=None if start is None else start / SECOND,
        percent=percent,
    )
