"""What the scripts in Redis say, as the types of planar; and what they are told, as plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn, cast

from planar.errors import ConfigurationError
from planar.quotas._calendar import SECOND
from planar.quotas._cells import Cell
from planar.quotas._codec import entry_from_dict, from_json, limit_from_dict, limit_to_dict, to_dict, to_json
from planar.quotas._limits import LimitTable
from planar.quotas._measures import DIMENSIONS, FOREVER, MONEY, MOST, OUTPUT, REQUESTS, TOKENS, Costs
from planar.quotas._snapshots import (
    LiveLease,
    rate_cell,
    refuse_extension,
    refuse_reservation,
    rolling_cell,
    window_cell,
)
from planar.types import Alert, Amount, Charge, Headroom, Lease, LeaseId, LeasePart, LedgerEntry, Limit, TenantPath

_LONGEST = 150_000_000
"""Seconds of a rolling window: a 60th of a longer one could not be counted in a double."""
_KINDS = {"rate": b"3", "rolling": b"2"}


def amount_words(amount: Amount) -> tuple[bytes, bytes, bytes]:
    """Tokens and money. Money that is not known is -1."""
    nano_usd = amount.nano_usd
    return b"%d" % amount.input_tokens, b"%d" % amount.output_tokens, b"-1" if nano_usd is None else b"%d" % nano_usd


def charge_words(charge: Charge) -> tuple[bytes, bytes]:
    """The parts of a row that only the client knows: price and metadata, which a refund repeats; usage and flags."""
    terms = to_dict(charge)
    del terms["amount"]
    said: dict[str, Any] = {name: terms.pop(name) for name in ("usage", "flags") if name in terms}
    return to_json(terms).encode() if terms else b"", to_json(said).encode() if said else b""


def part_words(part: LeasePart) -> tuple[bytes, ...]:
    """A part of a lease, which was settled or was not."""
    charge = part.charge
    if charge is None:
        return part.id.encode(), *amount_words(part.hold), b"0", b"0", b"0", b"0", b"0", b"", b""
    guessed = b"1" if "estimated" in charge.flags else b"0"
    used = amount_words(charge.amount)
    return part.id.encode(), *amount_words(part.hold), b"1", *used, guessed, *charge_words(charge)


def limit_words(scope: str, limits: Sequence[Limit]) -> list[bytes]:
    """The limits of a scope as JSON, their number, and ten words for the counter of each.

    Raises:
        ConfigurationError: A limit makes no sense, or two bound the same dimension in the same window.
        UnknownTenantError: Not a tenant's name.
    """
    LimitTable(known_only=False).replace(scope, limits, now=0)
    written = to_json({"limits": [limit_to_dict(limit) for limit in limits]})
    return [written.encode(), b"%d" % len(limits), *(word for limit in limits for word in _cell_words(scope, limit))]


@lru_cache(maxsize=1024)  # they change rarely
def limits_of(written: bytes) -> tuple[Limit, ...]:
    """The limits of a scope as they were written."""
    stored = cast("list[dict[str, Any]]", from_json(written)["limits"])
    return tuple(limit_from_dict(each) for each in stored)


def lease_of(lease_id: LeaseId, answer: Sequence[Any]) -> tuple[Lease, Amount]:
    """A lease that was known before, and what was first asked for."""
    _, tenant, deployment, expires, *numbers = answer
    asked, hold = _amount(numbers[:3]), _amount(numbers[3:6])
    lease = Lease(
        id=lease_id,
        tenant=TenantPath(tenant.decode()),
        hold=hold,
        expires=expires / SECOND,
        deployment=deployment.decode(),
        headroom=headroom_of(numbers[6], numbers[7]),
    )
    return lease, asked


def headroom_of(tokens: int, nano_usd: int) -> Headroom:
    """What the tightest limits leave; -1 where there are none."""
    return Headroom(tokens=None if tokens < 0 else tokens, nano_usd=None if nano_usd < 0 else nano_usd)


def entry_of(row: bytes, fields: Sequence[bytes]) -> LedgerEntry:
    """A row of the book. Its id begins with its time."""
    words = dict(zip(fields[::2], (value.decode() for value in fields[1::2]), strict=True))
    kind, tokens_in, tokens_out, nano_usd, overdrawn = words[b"what"].split(" ")
    data: dict[str, Any] = {}
    for name in (b"terms", b"said"):
        if words[name]:
            data |= from_json(words[name])
    if overdrawn == "1":
        data["flags"] = [*data.get("flags", ()), "overage"]
    if words[b"alerts"]:
        data["alerts"] = [to_dict(alert) for alert in map(_alert_of, words[b"alerts"].split(";"))]
    return entry_from_dict(
        data
        | {
            "lease_id": words[b"lease"],
            "kind": kind,
            "tenant": words[b"tenant"],
            "deployment": words[b"deployment"],
            "input_tokens": int(tokens_in),
            "output_tokens": int(tokens_out),
            "nano_usd": None if nano_usd == "-" else int(nano_usd),
            "time": int(row.partition(b"-")[0]) / SECOND,
            "reason": words[b"reason"],
        }
    )


def refuse(tenant: TenantPath, costs: Costs, answer: Sequence[Any]) -> NoReturn:
    """Word the refusal of a reservation.

    Raises:
        QuotaExceededError: Always.
    """
    _, now, cells, limits, holds = answer
    refuse_reservation(tenant, _cells_of(cells, limits), costs, holds=_holds_of(holds), now=now)


def refuse_more(tenant: TenantPath, answer: Sequence[Any]) -> NoReturn:
    """Word the refusal of an extension.

    Raises:
        QuotaExceededError: Always.
    """
    _, now, cells, limits, holds, delta, own = answer
    refuse_extension(tenant, _cells_of(cells, limits), tuple(delta), own=tuple(own), holds=_holds_of(holds), now=now)


def _amount(numbers: Sequence[int]) -> Amount:
    tokens_in, tokens_out, nano_usd = numbers
    return Amount(input_tokens=tokens_in, output_tokens=tokens_out, nano_usd=None if nano_usd < 0 else nano_usd)


def _cell_words(scope: str, limit: Limit) -> tuple[bytes, ...]:
    index = DIMENSIONS.index(limit.dimension)
    kind = _KINDS.get(limit.window, b"1")
    key = f"{index} {limit.window} {limit.seconds} {limit.tz} {'shared' if limit.share else ''}"
    stops, pays = limit.overage == "stop", limit.overage == "pay"
    words = (key.encode(), kind, b"%d" % (index + 1), b"%d" % limit.amount, b"%d" % stops, b"%d" % pays)
    length = b"%d" % (limit.seconds * SECOND)
    if limit.window == "rate":
        return *words, _rank(limit, index), length, b"%d" % (limit.burst * limit.seconds * SECOND), b""
    if limit.window == "rolling":
        if limit.seconds > _LONGEST:
            raise ConfigurationError(f"{scope}: Redis can count over at most {_LONGEST} s, not {limit.seconds}")
        return *words, _rank(limit, index), length, b"", b""
    calendar = limit.window in ("day", "week", "month")
    period = f"{limit.window} {limit.tz}" if calendar else limit.window
    alerts = ",".join(map(str, limit.alerts))
    return *words, _rank(limit, index), period.encode(), b"%d" % (limit.share or 0), alerts.encode()


def _rank(limit: Limit, index: int) -> bytes:
    if limit.window == "rate" and index == REQUESTS:
        return b"0"
    if limit.overage == "stop" and index in (OUTPUT, TOKENS):
        return b"1"
    return b"2" if limit.overage == "stop" and index == MONEY else b"3"


def _alert_of(text: str) -> Alert:
    what, amount, since, percent = text.rsplit(" ", 3)
    scope, dimension, window = what.split(" ")[:3]
    return Alert(
        scope=scope,
        dimension=DIMENSIONS[int(dimension) - 1],
        window=window,
        amount=int(amount),
        since=None if int(since) < 0 else int(since) / SECOND,
        percent=int(percent),
    )


def _cells_of(cells: Sequence[Sequence[Any]], limits: Sequence[bytes]) -> list[Cell]:
    written = dict(zip(limits[::2], limits[1::2], strict=True))
    return [_cell_of(each[0].decode(), limits_of(written[each[0]])[int(each[1]) - 1], each[2:]) for each in cells]


def _cell_of(scope: str, limit: Limit, state: Sequence[Any]) -> Cell:
    if limit.window == "rate":
        return rate_cell(scope, limit, level=state[0], at=state[1])
    if limit.window == "rolling":
        used, held, newest, buckets = state
        counted = {int(number): amount for number, amount in _pairs(buckets).items()}
        return rolling_cell(scope, limit, used=used, held=held, newest=newest, buckets=counted)
    start, end, used, held, children = state
    return window_cell(
        scope,
        limit,
        start=-FOREVER if start < 0 else start,
        end=FOREVER if end >= MOST else end,
        used=used,
        held=held,
        children=_pairs(children),
    )


def _pairs(flat: Sequence[bytes]) -> Mapping[str, int]:
    return {key.decode(): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)}


def _holds_of(holds: Iterable[bytes]) -> list[LiveLease]:
    live: list[LiveLease] = []
    for each in holds:
        tenant, expires, reserved_at, dispatched, tokens_in, tokens_out, nano_usd = each.split(b" ")
        counted = int(tokens_in), int(tokens_out)
        live.append(
            LiveLease(
                tenant=TenantPath(tenant.decode()),
                expires=int(expires),
                reserved_at=int(reserved_at),
                dispatched=dispatched == b"1",
                costs=(1, *counted, sum(counted), int(nano_usd), 1),
            )
        )
    return live
