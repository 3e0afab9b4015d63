"""Quotas in Redis or Valkey, shared by all processes that reach it. Needs asyncio and the extra `redis`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from math import ceil, inf
from typing import Any, cast

from planar.errors import InvalidRequestError, UnknownTenantError
from planar.protocols import Clock
from planar.quotas._calendar import SECOND
from planar.quotas._limits import costs_of
from planar.quotas._redis_ledger import Rows
from planar.quotas._redis_link import Link
from planar.quotas._redis_rows import (
    amount_words,
    charge_words,
    entry_of,
    headroom_of,
    lease_of,
    limit_words,
    limits_of,
    part_words,
    refuse,
    refuse_more,
)
from planar.quotas._redis_scripts import packed
from planar.quotas._redis_trees import PAGE, Trees
from planar.quotas._refusals import fate, refuse_unknown_price
from planar.quotas._state import State
from planar.quotas._usage import UsageFold
from planar.types import (
    Amount,
    Charge,
    GroupBy,
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


class RedisQuotaStore:
    """Keeps quotas in Redis 7 or Valkey.

    Each verb is one script and one round trip; all of a tenant's tree is decided in one atomic step, by the server's
    clock. It may be used from several event loops of asyncio and from several threads; each loop has its own
    connections, and closes them.

    Redis answers before it has written to its disk: with `appendfsync everysec` the crash of a machine may lose the
    last second, and a failover to a replica what had not been copied yet. Both forget holds and charges, and invent
    none.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, or `valkey://` and `valkeys://`.
        limits: By scope, as `set_limits` would set them, when the store is first used.
        known_tenants_only: Refuse tenants whose root was never given limits; an empty list will do.
        prefix: What the names of all keys begin with. Stores with other prefixes do not see each other.
        clock: Where time comes from, for tests; default is the server's.
        connections: At most so many for each event loop.
        timeout: Seconds to wait for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL is none of Redis, a limit makes no sense, or the prefix contains braces.
        UnknownTenantError: A scope in `limits` is not a tenant's name.

    Example:
        >>> store = RedisQuotaStore("redis://localhost", limits={"acme": [Limit.usd("50")]})
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        known_tenants_only: bool = False,
        prefix: str = "planar",
        clock: Clock | None = None,
        connections: int = 8,
        timeout: float = 5.0,
    ) -> None:
        self._link = Link(url, connections=connections, timeout=timeout)
        self._known_only = b"1" if known_tenants_only else b""
        first = [(TenantPath(scope), limit_words(scope, bounds)) for scope, bounds in (limits or {}).items()]
        self._trees = Trees(self._link, prefix=prefix, clock=clock, first_limits=first)

    def __repr__(self) -> str:
        return f"RedisQuotaStore({self._link.shown!r})"

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        An id that is known is answered with its lease as it is now, even if that has ended.

        Raises:
            QuotaExceededError: A scope has no room. Nothing was held anywhere, and no request was counted.
            UnknownPriceError: `hold.nano_usd` is `None` and a money limit is on the path.
            UnknownTenantError: Not a tenant's name, or not one that was set up where only those are let in.
            InvalidRequestError: The id was used for another request, or `ttl` is not a positive number.
            StoreError: Redis does not answer.
        """
        path = TenantPath(tenant)
        life = round(ttl * SECOND) or 1 if 0 < ttl < inf else -1
        words = (path.encode(), deployment.encode(), *amount_words(hold), b"%d" % life, self._known_only)
        if not self._known_only:
            await self._trees.register(path)
        answer = await self._trees.run("reserve", path, lease_id.encode(), *words)
        if type(answer) is bytes:
            expires, tokens, nano_usd = map(int, answer.split())
            headroom = headroom_of(tokens, nano_usd)
            return Lease(
                id=lease_id, tenant=path, hold=hold, expires=expires / SECOND, deployment=deployment, headroom=headroom
            )
        if answer[0] == b"lease":
            lease, asked = lease_of(lease_id, answer)
            if (lease.tenant, asked, lease.deployment) != (path, hold, deployment):
                raise InvalidRequestError(f"lease {lease_id} is in use for another request", param="lease_id")
            return lease
        if answer[0] == b"refused":
            refuse(path, costs_of(hold), answer)
        if answer[0] == b"ttl":
            raise _no_time(ttl)
        if answer[0] == b"unknown":
            root = path.partition("/")[0]
            raise UnknownTenantError(f"{root!r} was not set up: give it limits, or none", tenant=path)
        if answer[0] == b"unpriced":
            refuse_unknown_price(answer[1].decode(), deployment)
        raise InvalidRequestError(f"lease {lease_id} was settled long ago", param="lease_id")

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            QuotaExceededError: No room. What was held before is still held.
            UnknownPriceError: `more.nano_usd` is `None` and a money limit is on the path.
            InvalidRequestError: The lease has ended, or `ttl` is not a positive number.
            StoreError: Redis does not answer.
        """
        if not 0 < ttl < inf:
            raise _no_time(ttl)
        life = b"%d" % (round(ttl * SECOND) or 1)
        words = (*amount_words(lease.hold), *amount_words(more), life)
        answer = await self._trees.run("extend", lease.tenant, lease.id.encode(), lease.tenant.encode(), *words)
        if answer[0] == b"lease":
            return lease_of(lease.id, answer)[0]
        if answer[0] == b"refused":
            refuse_more(lease.tenant, answer)
        if answer[0] == b"unpriced":
            refuse_unknown_price(answer[1].decode(), answer[2].decode())
        raise _not_possible(lease, answer, "cannot be extended")

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked: from here on expiry charges instead of releasing.

        Raises:
            InvalidRequestError: The lease was released or has expired: do not ask.
            StoreError: Redis does not answer.
        """
        answer = await self._trees.run("mark", lease.tenant, lease.id.encode(), lease.tenant.encode(), b"dispatched")
        if answer != b"ok":
            raise _not_possible(lease, answer, "holds nothing")

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, and write the ledger row in the same step.

        After an expiry that charged, the difference becomes a `correction` row, and so it does after a settle that was
        flagged `estimated`, once, if this one is not. Settling twice changes nothing otherwise, and is answered with
        the first row. A charge above the hold is booked all the same: it was spent.

        Raises:
            InvalidRequestError: The lease was released, or is not known here.
            StoreError: Redis does not answer. Settle again: it counts once.
        """
        amount, guessed = charge.amount, b"1" if "estimated" in charge.flags else b"0"
        words = (*amount_words(amount), guessed, *charge_words(charge))
        answer = await self._trees.run("settle", lease.tenant, lease.id.encode(), lease.tenant.encode(), *words)
        if type(answer) is bytes:
            time, _, deployment = answer.partition(b" ")
            return Receipt(
                entry=LedgerEntry(
                    lease_id=lease.id,
                    kind="settled",
                    tenant=lease.tenant,
                    deployment=deployment.decode(),
                    input_tokens=amount.input_tokens,
                    output_tokens=amount.output_tokens,
                    nano_usd=amount.nano_usd,
                    time=int(time) / SECOND,
                    usage=charge.usage,
                    price=charge.price,
                    flags=charge.flags,
                    metadata=dict(charge.metadata),
                )
            )
        if answer[0] == b"row":
            return _receipt_of(answer)
        raise _not_possible(lease, answer, "cannot be settled")

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked. A lease that has ended is left as it is.

        Raises:
            InvalidRequestError: The lease was dispatched: settle it.
            StoreError: Redis does not answer. The hold is given back at its end.
        """
        answer = await self._trees.run("mark", lease.tenant, lease.id.encode(), lease.tenant.encode(), b"release")
        if answer != b"ok":
            raise _not_possible(lease, answer, "cannot be released")

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged, as a new row with negative numbers, once per lease.

        Budgets get it back while the window in which the lease counts is open. Every tree is asked for the lease, so
        this takes longer than the other verbs.

        Raises:
            InvalidRequestError: More than was charged, nothing was, or it was refunded otherwise before.
            StoreError: Redis does not answer.
        """
        root = await self._trees.root_of(lease_id)
        tokens_in, tokens_out, _ = amount_words(amount)
        words = (tokens_in, tokens_out, b"%d" % (amount.nano_usd or 0), reason.encode())
        answer = await self._trees.run("refund", root, lease_id.encode(), *words) if root else [b"nothing"]
        if answer[0] == b"row":
            return _receipt_of(answer)
        if answer[0] == b"nothing":
            raise InvalidRequestError(f"lease {lease_id} was charged nothing", param="lease_id")
        what = "was charged less than that" if answer[0] == b"less" else "was refunded before, otherwise"
        raise InvalidRequestError(f"lease {lease_id} {what}", param="amount")

    async def split(
        self, lease: Lease, *, parts: Sequence[LeasePart] = (), keep: Amount | None = None
    ) -> tuple[Receipt, ...]:
        """Settle parts of what `lease` holds, each as a lease of its own; then hold no more than `keep`.

        Raises:
            InvalidRequestError: The lease is not known, or a part's id is in use. Nothing was written.
            StoreError: Redis does not answer. Split again: each part counts once.
        """
        kept = (b"", b"", b"") if keep is None else amount_words(keep)
        words = [lease.id.encode(), lease.tenant.encode(), *kept, b"%d" % len(parts)]
        for part in parts:
            words += part_words(part)
        answer = await self._trees.run("split", lease.tenant, *words)
        if answer[0] == b"rows":
            return tuple(_receipt_of(each) for each in answer[1:])
        if answer[0] == b"in use":
            state = cast("State", answer[2].decode())
            raise InvalidRequestError(
                f"lease {answer[1].decode()} is in use for another request: {fate(state)}", param="parts"
            )
        raise _not_possible(lease, answer, "cannot be split")

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

        The rows of its tree are read page by page and added up here.

        Args:
            by: What to tell apart in the report's `groups`: tenant, deployment, day, in any combination.
            tz: Whose days those are.

        Raises:
            UnknownTenantError: Not a tenant's name. A name that was never used has used nothing.
            InvalidRequestError: `by` names something else.
            ConfigurationError: This machine does not know the time zone.
            StoreError: Redis does not answer.
        """
        fold = UsageFold(tenant, by=by, tz=tz)
        scope = fold.scope
        _, last, tokens_in, tokens_out, nano_usd, concurrent = await self._trees.run(
            "look", scope, scope.encode(), b"held"
        )
        async for row in Rows(self._trees, scope, since, until, {scope.partition("/")[0]: last}):
            fold.add(row)
        held = Amount(input_tokens=tokens_in, output_tokens=tokens_out, nano_usd=nano_usd)
        return fold.report(held=held, concurrent=concurrent)

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows of a scope and its children (default: of everybody), oldest first, as they stand at the first read.

        They are read page by page. Rows of two roots that were written in the same microsecond are in the order of the
        roots' names.

        Raises:
            UnknownTenantError: Not a tenant's name.
        """
        return Rows(self._trees, None if tenant is None else TenantPath(tenant), since, until)

    async def prune(self, before: float) -> int:
        """Forget the rows that were written before a time (seconds since the epoch), in every tree. How many they were.

        They take memory for as long as they are there. Export them first: `usage()` sees them no more, nor does a
        budget that is set later, while those that are there count on. Their leases can no longer be refunded, nor are
        they recognised when they are settled again.

        Raises:
            StoreError: Redis does not answer. Some may have been forgotten.
        """
        count = 0
        for root in await self._trees.roots():
            while pruned := await self._trees.run("prune", root, b"%d" % ceil(before * SECOND), b"%d" % PAGE):
                count += pruned
        return count

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope. Leases that exist are not touched.

        A budget counts what its current window has already used, even if it is set in the middle of it: for that all
        that the tree was ever charged is read, inside of Redis, where a budget is new.

        Raises:
            ConfigurationError: A limit makes no sense, or two bound the same thing. Nothing was changed.
            UnknownTenantError: Not a tenant's name.
            StoreError: Redis does not answer.
        """
        scope = TenantPath(tenant)
        words = limit_words(scope, limits)
        await self._trees.register(scope)
        await self._trees.run("set_limits", scope, scope.encode(), *words)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        scope = TenantPath(tenant)
        [written] = await self._trees.ask(packed(b"HGET", self._trees.keys_of(scope)[0], b":" + scope.encode()))
        return limits_of(written) if written else ()

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands, in their order."""
        scope = TenantPath(tenant)
        _, written, numbers = await self._trees.run("look", scope, scope.encode(), b"counts")
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        limits = limits_of(written) if written else ()
        return tuple(
            LimitCount(limit=limit, used=used, held=held) for limit, (used, held) in zip(limits, pairs, strict=True)
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop. A store that several loops used is closed in each of them."""
        await self._link.aclose()


def _receipt_of(answer: Sequence[Any]) -> Receipt:
    _, row, replayed, fields = answer
    return Receipt(entry=entry_of(row, fields), replayed=bool(replayed))


def _no_time(ttl: float) -> InvalidRequestError:
    return InvalidRequestError(f"ttl must be a positive number of seconds, not {ttl!r}", param="ttl")


def _not_possible(lease: Lease, answer: Sequence[bytes], what: str) -> InvalidRequestError:
    if answer[0] == b"tenant":
        return InvalidRequestError(f"lease {lease.id} belongs to another tenant", param="lease")
    if answer[0] == b"dispatched":
        return InvalidRequestError(f"lease {lease.id} was dispatched: settle it", param="lease")
    state = cast("State | None", answer[1].decode() or None)
    return InvalidRequestError(f"lease {lease.id} {what}: {fate(state)}", param="lease")
