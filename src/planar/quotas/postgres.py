"""Quotas in PostgreSQL, shared by all processes that use the same database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from math import inf
from typing import Literal

from planar.errors import ConfigurationError, InvalidRequestError, PlanarError, UnknownTenantError
from planar.protocols import Clock
from planar.quotas._calendar import SECOND, period, zone
from planar.quotas._engine import microseconds
from planar.quotas._postgres_books import Book
from planar.quotas._postgres_limits import LimitWriter, check_limits
from planar.quotas._postgres_pool import Connection, Connections, Row
from planar.quotas._postgres_rows import (
    charge_columns,
    entry_of,
    keep_columns,
    lease_of,
    limit_of,
    made_entry,
    part_columns,
    refuse_extend,
    refuse_reserve,
    unexpected,
)
from planar.quotas._postgres_schema import Schema
from planar.quotas._refusals import fate, refuse_unknown_price
from planar.quotas._usage import UsageFold
from planar.types import (
    Amount,
    Charge,
    GroupBy,
    Headroom,
    Lease,
    LeaseId,
    LeasePart,
    LedgerEntry,
    Limit,
    LimitCount,
    Receipt,
    TenantPath,
    UsageReport,
)

_RESERVE = """
SELECT verdict, at, told, tokens, usd, (lease).*
FROM planar.reserve($1, $2, $3::text[], $4, $5, $6, $7, $8, $9, $10, $11)
"""
_BEGIN_WINDOWS = "SELECT planar.begin_windows($1, $2::bigint[], $3::bigint[], $4::bigint[], $5)"
_DISPATCHED = "SELECT verdict FROM planar.dispatched($1, $2, $3, $4)"
_EXTEND = """
SELECT verdict, at, told, (lease).* FROM planar.extend($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_SETTLE = """
SELECT verdict, at, overdrawn, told, (entry).*
FROM planar.settle($1, $2, $3, $4, $5, $6::text[], $7, $8, $9, $10, $11)
"""
_SPLIT = """
SELECT verdict, told, (entry).* FROM planar.split($1, $2, $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
    $7::boolean[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15, $16, $17, $18)
"""
_RELEASE = "SELECT verdict FROM planar.release($1, $2, $3, $4)"
_REFUND = "SELECT verdict, (entry).* FROM planar.refund($1, $2, $3, $4, $5, $6, $7)"
_COUNTS = "SELECT limit_json, used, held FROM planar.counts($1, $2)"
_LIMITS = "SELECT limit_json FROM planar.cell WHERE scope = $1 ORDER BY place"


class PostgresQuotaStore:
    """Keeps quotas and the ledger in PostgreSQL (13 or newer), for all processes and machines that use the database.

    Each verb is one statement, a function in the database, and is decided behind the lock of the tenant's root. Time is
    the server's. Tables and functions are made, and upgraded, when the store is used first; the role needs the right to
    create a schema then. It works on asyncio only, from any number of event loops and threads, and after a fork.

    A connection that breaks, as when the server is restarted, is replaced and the verb repeated once: verbs have one
    effect however often they are sent.

    Args:
        url: `postgresql://user:password@host:port/database`.
        limits: By scope, as `set_limits` would set them; they are set when the store is first used.
        known_tenants_only: Refuse tenants whose root was never given limits (an empty list of them will do).
        schema: Where the tables are; it is made.
        durability: `mixed`: only what is settled and refunded waits for the disk, and carries along what was done
            before. A crash of the database may then forget holds of the last half second or so, never a charge that was
            acknowledged. `full`: everything waits.
        pool_size: At most so many connections for each event loop.
        timeout: Seconds for a connection, and again for an answer.
        clock: Where time comes from; default is the server's clock. For tests.

    Raises:
        ConfigurationError: The URL, a limit or an option makes no sense.
        UnknownTenantError: A scope in `limits` is not a tenant's name.
        MissingExtraError: asyncpg is not installed.

    Every method raises `StoreError` if the database cannot be reached, does not answer in time or fails, and
    `ConfigurationError` on trio.

    Example:
        >>> store = PostgresQuotaStore("postgresql://planar@localhost/planar", limits={"acme": [Limit.usd("50")]})
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        known_tenants_only: bool = False,
        schema: str = "planar",
        durability: Literal["mixed", "full"] = "mixed",
        pool_size: int = 8,
        timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        if durability not in ("mixed", "full"):
            raise ConfigurationError(f"durability is 'mixed' or 'full', not {durability!r}")
        if type(pool_size) is not int or pool_size < 1:
            raise ConfigurationError(f"pool_size must be at least 1, not {pool_size!r}")
        if not 0 < timeout < inf:
            raise ConfigurationError(f"timeout must be a positive number of seconds, not {timeout!r}")
        self._schema = Schema(schema)
        self._known_only = known_tenants_only
        self._lazy = durability == "mixed"
        self._clock = clock
        self._latest = 0
        self._limits = {TenantPath(scope): tuple(bounds) for scope, bounds in (limits or {}).items()}
        for scope, bounds in self._limits.items():
            check_limits(scope, bounds)
        self._prepared = False
        self._connections = Connections(url, size=pool_size, timeout=timeout, prepare=self._prepare)
        self._book = Book(self._connections, self._schema)
        self._sql = self._schema.sql
        self._reserve, self._extend = self._sql(_RESERVE), self._sql(_EXTEND)
        self._settle, self._release = self._sql(_SETTLE), self._sql(_RELEASE)
        self._dispatched, self._refund = self._sql(_DISPATCHED), self._sql(_REFUND)

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        An id that is known is answered with its lease as it is now, even if that has ended.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere, and no request was counted.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or not one that was set up where only those are let in.
            InvalidRequestError: The id was used for another request, or `ttl` is not a positive number.
        """
        path, lives = TenantPath(tenant), microseconds(ttl)
        while True:
            row = await self._connections.row(
                self._reserve,
                lease_id,
                path,
                path.scopes,
                hold.input_tokens,
                hold.output_tokens,
                hold.nano_usd,
                lives,
                deployment,
                self._known_only,
                self._lazy,
                self._now(),
            )
            match row["verdict"]:
                case "made":
                    return Lease(
                        id=lease_id,
                        tenant=path,
                        hold=hold,
                        expires=(row["at"] + lives) / SECOND,
                        deployment=deployment,
                        headroom=Headroom(tokens=row["tokens"], nano_usd=row["usd"]),
                    )
                case "granted":
                    return lease_of(row)
                case "ended":
                    await self._begin_windows(path, row)
                case "refused":
                    refuse_reserve(row["told"], path, hold, row["at"])
                case "unpriced":
                    refuse_unknown_price(row["told"], deployment)
                case "stranger":
                    raise UnknownTenantError(f"{path.scopes[0]!r} was not set up: give it limits, or none", tenant=path)
                case "taken":
                    raise InvalidRequestError(f"lease {lease_id} is in use for another request", param="lease_id")
                case "settled long ago":
                    raise InvalidRequestError(f"lease {lease_id} was settled long ago", param="lease_id")
                case verdict:
                    raise unexpected(verdict)

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
        """
        row = await self._connections.row(
            self._extend,
            lease.id,
            lease.tenant,
            lease.hold.input_tokens,
            lease.hold.output_tokens,
            lease.hold.nano_usd,
            more.input_tokens,
            more.output_tokens,
            more.nano_usd,
            microseconds(ttl),
            self._lazy,
            self._now(),
        )
        verdict: str = row["verdict"]
        if verdict == "refused":
            refuse_extend(row["told"], lease.tenant, row["at"])
        if verdict == "unpriced":
            refuse_unknown_price(row["told"], row["deployment"])
        if verdict == "too much":
            raise InvalidRequestError(f"lease {lease.id} cannot hold more than 2**53 of anything", param="more")
        if verdict != "granted":
            raise _complaint(lease.id, verdict, "cannot be extended")
        return lease_of(row)

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked: from here on expiry charges instead of releasing.

        Raises:
            InvalidRequestError: The lease was released or has expired: do not ask.
        """
        row = await self._connections.row(self._dispatched, lease.id, lease.tenant, self._lazy, self._now())
        if row["verdict"] != "done":
            raise _complaint(lease.id, row["verdict"], "holds nothing")

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step.

        After an expiry that charged, the difference becomes a `correction` row, and so it does after a settle that was
        flagged `estimated`, once, if this one is not. Settling twice changes nothing otherwise, and is answered with
        the first row. A charge above the hold is booked all the same: it was spent.

        Raises:
            InvalidRequestError: The lease was released, or is not known here.
        """
        flags, usage, price, metadata = charge_columns(charge)
        row = await self._connections.row(
            self._settle,
            lease.id,
            lease.tenant,
            charge.amount.input_tokens,
            charge.amount.output_tokens,
            charge.amount.nano_usd,
            flags,
            usage,
            price,
            metadata,
            False,
            self._now(),
        )
        if row["verdict"] == "made":
            return Receipt(entry=made_entry(row, lease, charge))
        if row["verdict"] not in ("booked", "replayed"):
            raise _complaint(lease.id, row["verdict"], "cannot be settled")
        return Receipt(entry=entry_of(row), replayed=row["verdict"] == "replayed")

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        """Settle parts of what a lease holds, each under an id of its own, as `planar.protocols.SplitsLeases` says.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
        """
        rows = await self._connections.rows(
            self._sql(_SPLIT), lease.id, lease.tenant, *part_columns(parts), *keep_columns(keep), self._now()
        )
        for row in rows:
            if row["verdict"] == "taken":
                raise InvalidRequestError(f"lease {row['told']} is in use for another request", param="parts")
            if row["verdict"] not in ("booked", "replayed"):
                raise _complaint(lease.id, row["verdict"], "cannot be split")
        return tuple(Receipt(entry=entry_of(row), replayed=row["verdict"] == "replayed") for row in rows)

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked. A lease that has ended is left as it is.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
        """
        row = await self._connections.row(self._release, lease.id, lease.tenant, self._lazy, self._now())
        if row["verdict"] == "dispatched":
            raise InvalidRequestError(f"lease {lease.id} was dispatched: settle it", param="lease")
        if row["verdict"] != "done":
            raise _complaint(lease.id, row["verdict"], "cannot be released")

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row with negative numbers, once per lease.

        Budgets get it back while the window in which the lease counts is open.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
        """
        row = await self._connections.row(
            self._refund,
            lease_id,
            amount.input_tokens,
            amount.output_tokens,
            amount.nano_usd or 0,
            reason,
            False,
            self._now(),
        )
        match row["verdict"]:
            case "booked" | "replayed":
                return Receipt(entry=entry_of(row), replayed=row["verdict"] == "replayed")
            case "nothing":
                raise InvalidRequestError(f"lease {lease_id} was charged nothing", param="lease_id")
            case "less":
                raise InvalidRequestError(f"lease {lease_id} was charged less than that", param="amount")
            case "otherwise":
                raise InvalidRequestError(f"lease {lease_id} was refunded before, otherwise", param="amount")
            case verdict:
                raise unexpected(verdict)

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What a scope used between two times (seconds since the epoch, end excluded), children included.

        `by` tells it apart by tenant, deployment and day, in any combination; days are those of the time zone `tz`.

        Raises:
            UnknownTenantError: Not a tenant's name. A name that was never used has used nothing.
            InvalidRequestError: `by` names something else.
            ConfigurationError: This machine does not know the time zone.
        """
        fold = UsageFold(tenant, by=by, tz=tz)
        return await self._book.usage(fold, since, until, by, now=self._now())

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children (default: of everybody), oldest first, as they stand when it begins.

        They are read a page at a time.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        scope = None if tenant is None else TenantPath(tenant)
        return self._book.pages(scope, since, until, now=self._now)

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched.

        A budget counts what its current window has already used, even if it is set in the middle of it.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
        """
        scope = TenantPath(tenant)

        async def write(connection: Connection) -> None:
            await LimitWriter(connection, self._schema, scope, now=self._now()).replace(limits)

        await self._connections.run(write)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        rows = await self._connections.rows(self._sql(_LIMITS), TenantPath(tenant))
        return tuple(limit_of(row["limit_json"]) for row in rows)

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands, in the order of `limits`."""
        rows = await self._connections.rows(self._sql(_COUNTS), TenantPath(tenant), self._now())
        return tuple(LimitCount(limit=limit_of(row["limit_json"]), used=row["used"], held=row["held"]) for row in rows)

    async def aclose(self) -> None:
        """Close the connections. A store that is used again opens new ones."""
        await self._connections.aclose()

    async def _prepare(self, connection: Connection) -> None:
        if self._prepared:
            return
        await self._schema.install(connection)
        for scope, bounds in self._limits.items():
            await LimitWriter(connection, self._schema, scope, now=self._now()).replace(bounds)
        self._prepared = True

    async def _begin_windows(self, tenant: TenantPath, row: Row) -> None:
        at: int = row["at"]
        cells: list[int] = []
        windows: list[tuple[int, int]] = []
        for cell, text in json.loads(row["told"]):
            limit = limit_of(text)
            if limit.window == "day" or limit.window == "week" or limit.window == "month":
                cells.append(cell)
                windows.append(period(limit.window, zone(limit.tz), at))
        starts, ends = [start for start, _ in windows], [end for _, end in windows]
        await self._connections.row(
            self._sql(_BEGIN_WINDOWS), tenant.scopes[0], cells, starts, ends, None if self._clock is None else at
        )

    def _now(self) -> int | None:
        """The test's time, in the order of calls; the server asks its own clock otherwise."""
        if self._clock is None:
            return None
        self._latest = max(self._latest, round(self._clock.time() * SECOND))
        return self._latest


def _complaint(lease_id: LeaseId, verdict: str, sentence: str) -> PlanarError:
    match verdict:
        case "another tenant":
            return InvalidRequestError(f"lease {lease_id} belongs to another tenant", param="lease")
        case "unknown":
            return InvalidRequestError(f"lease {lease_id} {sentence}: {fate(None)}", param="lease")
        case "settled" | "released" | "charged" | "lapsed":
            return InvalidRequestError(f"lease {lease_id} {sentence}: {fate(verdict)}", param="lease")
        case _:
            return unexpected(verdict)
