"""What was booked, under another price table or at another deployment: from ledger rows alone, offline."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from planar.catalog._cost import cost_bound, cost_of
from planar.catalog._models import Catalog
from planar.errors import ConfigurationError
from planar.types import LeaseId, LedgerEntry, Price, Usage, usd

Range: TypeAlias = tuple[float, float]
_Span: TypeAlias = tuple[int, int]
_Factors: TypeAlias = tuple[Fraction, Fraction]
_EXACT: _Factors = (Fraction(1), Fraction(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What nobody can know of a call that was not made so, as factors from ... to. Put your own experience here.

    The defaults are wide and nothing that was measured.

    Attributes:
        estimated: Tokens that Planar estimated (rows flagged `estimated` or `suspect`), in truth.
        tokenizer: Tokens of the same text at another model.
        length: Length of another model's answer, its reasoning included, beside what `tokenizer` says.

    Raises:
        ConfigurationError: A range is not from a number of at least 0 to one that is no less; `estimated` must hold 1.
    """

    estimated: Range = (0.75, 1.35)
    tokenizer: Range = (0.8, 1.3)
    length: Range = (0.5, 2.0)

    def __post_init__(self) -> None:
        for name in ("estimated", "tokenizer", "length"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < math.inf or (name == "estimated" and not low <= 1 <= high):
                raise ConfigurationError(f"{name} is a range of factors, such as (0.8, 1.3), not {(low, high)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfLine:
    """The rows of one deployment, or all of them. Money is nano-USD; where nothing is estimated, low equals high.

    Attributes:
        deployment: The one that answered; `None` for the sum.
        target: The one whose price was applied; another one where calls were moved.
        rows: Ledger rows, corrections and refunds among them.
        booked: What they say, without rows whose price was unknown then: `unbooked` of them.
        low, high: What it would have been, without rows that nobody can price: `unpriced` of them.
        change_low, change_high: What it would have been less what was booked, of rows where both are known.
    """

    deployment: str | None
    target: str | None
    rows: int = 0
    booked: int = 0
    unbooked: int = 0
    low: int = 0
    high: int = 0
    unpriced: int = 0
    change_low: int = 0
    change_high: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a ledger would have come to: in all, and by the deployment that answered."""

    total: WhatIfLine
    lines: tuple[WhatIfLine, ...]

    @property
    def booked_usd(self) -> Decimal:
        """What the ledger says, in USD, without rows whose price was unknown."""
        return usd(self.total.booked)

    @property
    def usd(self) -> tuple[Decimal, Decimal]:
        """From and to what it would have come to, without the `total.unpriced` rows that nobody can price."""
        return usd(self.total.low), usd(self.total.high)

    def explain(self) -> str:
        """A table for a person, in USD."""
        head = ("deployment", "priced as", "rows", "booked", "from", "to", "change from", "to", "no price")
        rows = [head, *[_cells(line) for line in (*self.lines, self.total)]]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )

    def to_json(self) -> str:
        """The same as one line of JSON; money is whole nano-USD."""
        names = WhatIfLine.__slots__
        lines = [{name: getattr(line, name) for name in names} for line in (self.total, *self.lines)]
        return json.dumps({"total": lines[0], "lines": lines[1:]}, separators=(",", ":"))


def _cells(line: WhatIfLine) -> tuple[str, ...]:
    money = (line.booked, line.low, line.high, line.change_low, line.change_high)
    name = "total" if line.deployment is None else line.deployment
    priced_as = "" if line.target in (None, line.deployment) else str(line.target)
    return name, priced_as, str(line.rows), *[f"{usd(figure):f}" for figure in money], str(line.unpriced or "")


def whatif(
    rows: Iterable[LedgerEntry],
    *,
    prices: Mapping[str, Price] | None = None,
    catalog: Catalog | None = None,
    moved: Mapping[str, str] | None = None,
    assume: Assumptions | None = None,
) -> WhatIf:
    """Re-rate a ledger under other prices, or as if other deployments had answered. No I/O, and nothing is written.

    A row keeps what was booked where nothing about it changes. Otherwise its usage is priced anew: exactly, if it was
    counted and the deployment is the same. What each kind of row means is told in docs/how-to/ask-what-if.md.

    Args:
        rows: Oldest first, as a ledger gives them. Of calls that were corrected both rows should be among them.
        prices: By deployment (`provider:model`); they win over the catalog's. One that neither names keeps the price
            that is frozen in its rows.
        catalog: More prices.
        moved: Which deployment is to be replaced by which. Without a price of the latter its rows are `unpriced`.
        assume: Factors for what is estimated.

    Raises:
        ConfigurationError: A key is not `provider:model`.
    """
    rating = _Rating(prices, catalog, moved, assume)
    for row in rows:
        rating.add(row)
    return rating.result()


async def whatif_ledger(
    rows: AsyncIterable[LedgerEntry],
    *,
    prices: Mapping[str, Price] | None = None,
    catalog: Catalog | None = None,
    moved: Mapping[str, str] | None = None,
    assume: Assumptions | None = None,
) -> WhatIf:
    """`whatif` for what `store.ledger(...)` gives, row by row.

    What it remembers are sums, and of each call that a correction may still follow its first row's figures.

    Raises:
        ConfigurationError: A key is not `provider:model`.
    """
    rating = _Rating(prices, catalog, moved, assume)
    async for row in rows:
        rating.add(row)
    return rating.result()


class _Sum:
    __slots__ = ("booked", "change_high", "change_low", "high", "low", "rows", "unbooked", "unpriced")

    def __init__(self) -> None:
        self.rows = self.booked = self.unbooked = self.low = self.high = self.unpriced = 0
        self.change_low = self.change_high = 0

    def add(self, booked: int | None, found: _Span | None) -> None:
        self.rows += 1
        self.booked += booked or 0
        self.unbooked += booked is None
        self.unpriced += found is None
        if found is not None:
            self.low += found[0]
            self.high += found[1]
            if booked is not None:
                self.change_low += found[0] - booked
                self.change_high += found[1] - booked

    def line(self, deployment: str | None, target: str | None) -> WhatIfLine:
        return WhatIfLine(
            deployment=deployment, target=target, **{name: getattr(self, name) for name in _Sum.__slots__}
        )


class _Rating:
    """Takes rows, oldest first, and remembers only first rows that a correction may still follow."""

    def __init__(
        self,
        prices: Mapping[str, Price] | None,
        catalog: Catalog | None,
        moved: Mapping[str, str] | None,
        assume: Assumptions | None,
    ) -> None:
        self._named = Catalog(prices=prices)
        self._catalog = catalog or Catalog()
        self._moved = dict(moved or {})
        for key in (*self._moved, *self._moved.values()):
            if not all(key.partition(":")):
                raise ConfigurationError(f"calls are moved from one provider:model to another, not {key!r}")
        self._assume = assume or Assumptions()
        self._sums: dict[str, _Sum] = {}
        self._presumed: dict[LeaseId, tuple[int | None, _Span | None]] = {}

    def add(self, row: LedgerEntry) -> None:
        total = self._sums.setdefault(row.deployment, _Sum())
        match row.kind:
            case "refund":
                # A refund is a decision about money, not a price: it stays what it was.
                total.add(row.nano_usd, None if row.nano_usd is None else (row.nano_usd, row.nano_usd))
            case "correction":
                total.add(row.nano_usd, self._corrected(row))
            case "settled" | "expired":
                found = self._rated(row, row.nano_usd)
                if row.kind == "expired" or "estimated" in row.flags:
                    self._presumed[row.lease_id] = (row.nano_usd, found)
                total.add(row.nano_usd, found)

    def result(self) -> WhatIf:
        total = _Sum()
        lines: list[WhatIfLine] = []
        for deployment in sorted(self._sums):
            each = self._sums[deployment]
            lines.append(each.line(deployment, self._moved.get(deployment, deployment)))
            for name in _Sum.__slots__:
                setattr(total, name, getattr(total, name) + getattr(each, name))
        return WhatIf(total=total.line(None, None), lines=tuple(lines))

    def _corrected(self, row: LedgerEntry) -> _Span | None:
        """What a correction adds, so that both rows together are what the call really used."""
        if not self._changed(row):
            return None if row.nano_usd is None else (row.nano_usd, row.nano_usd)
        first = self._presumed.pop(row.lease_id, None)
        if first is None or first[1] is None:
            return None  # its first row is not here, or has no price: the difference is not known
        booked = None if first[0] is None or row.nano_usd is None else first[0] + row.nano_usd
        found = self._rated(row, booked) if row.usage is not None else None
        return None if found is None else (found[0] - first[1][0], found[1] - first[1][1])

    def _changed(self, row: LedgerEntry) -> bool:
        return row.deployment in self._moved or self._price(row.deployment) is not None

    def _price(self, deployment: str) -> Price | None:
        provider, _, model = deployment.partition(":")
        return self._named.describe(provider, model).price or self._catalog.describe(provider, model).price

    def _rated(self, row: LedgerEntry, booked: int | None) -> _Span | None:
        """What a call would have come to, from its row and from what has been booked of it."""
        if not self._changed(row):
            return None if booked is None else (booked, booked)
        moved = row.deployment in self._moved
        price = self._price(self._moved.get(row.deployment, row.deployment))
        usage = _counted(row)
        if price is None or usage is None:
            return None
        if not moved and booked is not None and row.price is not None and _is_that_of(row.price, price, usage):
            return booked, booked
        if row.kind == "expired":
            return 0, _presumed(usage, price, self._factors(row, moved))
        low, high = _cost(usage, price, self._factors(row, moved), moved=moved)
        if booked is not None and row.price is not None:
            expected = cost_of(usage, row.price)
            if booked != expected:
                # It was not booked by its price. Whether that would have happened again, nobody knows.
                low, high = _widened(low, high, booked, expected)
        return low, high

    def _factors(self, row: LedgerEntry, moved: bool) -> tuple[_Factors, _Factors]:
        """Of the prompt and of the answer."""
        unsure = bool(row.flags & {"estimated", "suspect"}) or (row.usage is not None and row.usage.estimated)
        counted = _times(_EXACT, self._assume.estimated) if unsure else _EXACT
        if not moved:
            return counted, counted
        prompt = _times(counted, self._assume.tokenizer)
        return prompt, _times(prompt, self._assume.length)


def _times(one: _Factors, other: Range) -> _Factors:
    return one[0] * Fraction(other[0]), one[1] * Fraction(other[1])


def _is_that_of(applied: Price, listed: Price, usage: Usage) -> bool:
    """Whether a row's price is what is listed, at any service tier: a row does not say at which it was served."""
    flat = [listed.applied(input_tokens=usage.input_tokens or 0, tier=tier) for tier in (None, *listed.tiers)]
    rates = [replace(each, source="", as_of="") for each in (listed, *flat) if each is not None]
    return replace(applied, source="", as_of="") in rates


def _counted(row: LedgerEntry) -> Usage | None:
    """The usage of a row; the row's own tokens where that has no totals. `None` where those are none either."""
    usage = row.usage or Usage()
    if usage.input_tokens is None or usage.output_tokens is None:
        if row.kind == "correction" or row.input_tokens < 0 or row.output_tokens < 0:
            return None
        usage = replace(usage, input_tokens=row.input_tokens, output_tokens=row.output_tokens)
    return usage


def _presumed(usage: Usage, price: Price, factors: tuple[_Factors, _Factors]) -> int:
    """The most that an expired hold can have been: it was one upper bound, and becomes another."""
    most = cost_bound(price, input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0)
    return math.ceil(most * max(factors[0][1], factors[1][1]))


def _cost(usage: Usage, price: Price, factors: tuple[_Factors, _Factors], *, moved: bool) -> _Span:
    if factors == (_EXACT, _EXACT) and not moved:
        whole = cost_of(usage, price)
        return whole, whole
    flat = price.applied(input_tokens=usage.input_tokens or 0) or price
    # How long another machine works on it is known as little as whether the other finds the prompt in its cache.
    quick, slow = (replace(usage, compute_ms=0), replace(usage, compute_ms=None)) if moved else (usage, usage)
    prompt, answer = factors
    low = min(_scaled(each, flat, prompt[0], answer[0]) for each in _cached_or_not(quick, moved))
    high = max(_scaled(each, flat, prompt[1], answer[1]) for each in _cached_or_not(slow, moved))
    return math.floor(low), math.ceil(high)


def _cached_or_not(usage: Usage, moved: bool) -> tuple[Usage, ...]:
    plain = replace(usage, cached_input_tokens=None, cache_write_tokens=None, cache_write_1h_tokens=None)
    return (usage, plain) if moved else (usage,)


def _scaled(usage: Usage, price: Price, prompt: Fraction, answer: Fraction) -> Fraction:
    """What it costs with so many times the prompt and so many times the answer."""
    of_prompt = cost_of(replace(usage, output_tokens=0), price)
    of_answer = cost_of(usage, price) - of_prompt
    return (of_prompt - price.call) * prompt + of_answer * answer + price.call


def _widened(low: int, high: int, booked: int, expected: int) -> _Span:
    scaled = (low * booked // expected, -(-high * booked // expected)) if expected else (booked, booked)
    return min(low, *scaled), max(high, *scaled)
