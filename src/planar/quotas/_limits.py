"""Which counters a request of a tenant has to pass, root first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from planar.errors import ConfigurationError, UnknownTenantError
from planar.quotas._cells import Cell, Seen, make_cell, seen_by
from planar.quotas._measures import MONEY, OUTPUT, REQUESTS, TOKENS, Costs
from planar.quotas._rates import RateCell
from planar.types import Amount, Headroom, Limit, TenantPath

Table: TypeAlias = tuple[tuple[Seen, int], ...]
"""Counters with the place of their dimension among the costs."""

_PATHS_KEPT = 10_000
_UNBOUNDED = Headroom(tokens=None, nano_usd=None)


@dataclass(frozen=True, slots=True)
class Path:
    """A tenant's path with its counters laid out, so that a request looks nothing up twice.

    Attributes:
        table: All counters: first the `tokens` that bound an answer (limits on input alone do not, nor do those that
            let all pass), then those up to `money`, then the others.
        gates: Rates of requests: who was let in has been let in, and nothing is given back or corrected.
        budgets: All but the gates.
        priced: The first scope with a money limit, where there is one.
    """

    tenant: TenantPath
    root: str
    table: Table
    tokens: int
    money: int
    gates: tuple[Seen, ...]
    budgets: Table
    priced: str | None

    def headroom(self, rooms: Sequence[int]) -> Headroom:
        """What the tightest limits leave, from what every counter of the table does."""
        tokens, money = self.tokens, self.money
        if not money:
            return _UNBOUNDED
        return Headroom(
            tokens=min(rooms[:tokens]) if tokens else None,
            nano_usd=min(rooms[tokens:money]) if money > tokens else None,
        )


class LimitTable:
    """The limits of every scope, each with its counter."""

    def __init__(self, *, known_only: bool = False) -> None:
        self._known_only = known_only
        self._roots: set[str] = set()
        self._scopes: dict[str, tuple[Cell, ...]] = {}
        self._paths: dict[str, Path] = {}

    def path(self, tenant: str) -> Path:
        """The counters on a tenant's path.

        Raises:
            UnknownTenantError: Not a tenant's name, or only known tenants are let in and this is none.
        """
        path = self._paths.get(tenant)
        if path is None:
            path = self._lay_out(TenantPath(tenant))
            if len(self._paths) >= _PATHS_KEPT:
                self._paths.clear()  # nothing but a cache: names are made up by callers, and must not fill memory
            self._paths[path.tenant] = path
        return path

    def cells(self, scope: str) -> tuple[Cell, ...]:
        """The counters of one scope, in the order in which its limits were given."""
        return self._scopes.get(TenantPath(scope), ())

    def put(self, scope: str, cells: tuple[Cell, ...]) -> None:
        """Take up the counters of a scope that are kept elsewhere, before any path through it is asked for."""
        self._scopes[scope] = cells

    def admit(self, root: str) -> None:
        """Count this root among the known."""
        self._roots.add(root)

    def replace(self, scope: str, limits: Sequence[Limit], *, now: int) -> tuple[Cell, ...]:
        """Set the limits of one scope, and return the counters that are new.

        A limit on the same dimension and window as before keeps its counter, whatever its amount.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same dimension in the same window.
        """
        scope = TenantPath(scope)
        before = {key_of(cell.limit): cell for cell in self.cells(scope)}
        if len({_bounded(limit) for limit in limits}) < len(limits):
            raise ConfigurationError(f"{scope}: two limits bound the same dimension in the same window")
        fresh = {key_of(limit): make_cell(scope, limit, now) for limit in limits if key_of(limit) not in before}
        for limit in limits:
            if cell := before.get(key_of(limit)):
                cell.change(limit, now)
        self._scopes[scope] = tuple((before | fresh)[key_of(limit)] for limit in limits)
        self._roots.add(scope.partition("/")[0])
        self._paths.clear()
        return tuple(fresh.values())

    def _lay_out(self, tenant: TenantPath) -> Path:
        scopes = tenant.scopes
        if self._known_only and scopes[0] not in self._roots:
            raise UnknownTenantError(f"{scopes[0]!r} was not set up: give it limits, or none", tenant=tenant)
        return lay_out(tenant, [cell for scope in scopes for cell in self._scopes.get(scope, ())])


def lay_out(tenant: TenantPath, cells: Sequence[Cell]) -> Path:
    """A tenant's path through these counters, which are those of its scopes, root first."""
    seen = [seen_by(tenant, cell) for cell in cells]
    bounds = [cell for cell in seen if cell.limit.overage == "stop"]
    tokens = [cell for cell in bounds if cell.index in (OUTPUT, TOKENS)]
    money = [cell for cell in bounds if cell.index == MONEY]
    others = [cell for cell in seen if cell not in tokens and cell not in money]
    table = tuple((cell, cell.index) for cell in [*tokens, *money, *others])
    return Path(
        tenant=tenant,
        root=tenant.scopes[0],
        table=table,
        tokens=len(tokens),
        money=len(tokens) + len(money),
        gates=tuple(cell for cell in others if _is_gate(cell)),
        budgets=tuple(row for row in table if not _is_gate(row[0])),
        priced=next((cell.scope for cell in seen if cell.index == MONEY), None),
    )


def within(tenant: str, scope: str) -> bool:
    """Whether `tenant` is the scope itself or below it."""
    return tenant == scope or tenant.startswith(scope + "/")


def costs_of(amount: Amount) -> Costs:
    """What a request with this hold takes of every dimension. An unknown price takes no money."""
    tokens_in, tokens_out = amount.input_tokens, amount.output_tokens
    return 1, tokens_in, tokens_out, tokens_in + tokens_out, amount.nano_usd or 0, 1


def _is_gate(cell: Seen) -> bool:
    return isinstance(cell, RateCell) and cell.index == REQUESTS


def _bounded(limit: Limit) -> tuple[str, str, int, str]:
    return limit.dimension, limit.window, limit.seconds, limit.tz


def key_of(limit: Limit) -> tuple[str, str, int, str, bool]:
    """Limits with the same key have the same counter, whatever their amount."""
    # A counter that knows what each child holds is another one than a counter that does not.
    return *_bounded(limit), limit.share is not None
