"""Quotas that outlive an outage of their store."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from planar.errors import ConfigurationError, InvalidRequestError, StoreError
from planar.protocols import Clock, QuotaStore
from planar.quotas._contact import Circuit, Contact
from planar.quotas._meanwhile import KnownLimits, Meanwhile, PathLimits, has_budget
from planar.quotas._replay import Replayer
from planar.quotas._spool import Spool
from planar.quotas._spool_rows import Row, encode
from planar.types import (
    Amount,
    Charge,
    GroupBy,
    Lease,
    LeaseId,
    LedgerEntry,
    Limit,
    LimitCount,
    Receipt,
    TenantPath,
    UsageReport,
)

_logger = logging.getLogger("planar.quotas")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageState:
    """How a `ResilientQuotaStore` stands.

    Attributes:
        away_since: Seconds since the epoch; `None` while the store answers.
        let_through: Requests granted in this process while the store was away, since it was made.
        refused: Requests refused because the store was away.
        waiting: Leases whose rows wait on the disk.
        replayed: Leases whose rows were written late.
        rejected: Rows that the store will never take; they are in a `.rejected` file beside the spool.
    """

    away_since: float | None
    let_through: int
    refused: int
    waiting: int
    replayed: int
    rejected: int


class ResilientQuotaStore:
    """Any quota store, and what to do while it cannot be reached.

    A store is away when it raises `StoreError`, or has not answered within `timeout`. Meanwhile:

    - Requests of tenants with a budget (a limit on money, or on tokens other than as a rate) are refused with that
      `StoreError`, or with `on_store_error="allow"` let through up to `safe_capacity`. So are those of tenants whose
      limits were never seen.
    - Requests of other tenants are let through, against the limits that were last seen, counted in this process alone.
    - What has begun goes on within what it holds. Settles, dispatches and releases that cannot be written are kept in
      files in `spool`, on the disk before the call returns, and are written in the store when it is back: once,
      whatever was lost on the way.

    Nothing of it is silent: each request that is let through is logged by `planar.quotas` and has a lease that is
    `provisional`, each late row a receipt that is `spooled`, and `state()` counts them.

    What waits is written as soon as the store answers again, by a task of the running event loop that lives until
    nothing waits or `aclose`. A process that begins takes over what a dead one has left in the folder.

    Args:
        store: What to rely on. `aclose` closes it too.
        spool: A folder of this machine, on a disk and not in memory. Processes may share it. Rows have the metadata of
            requests in them, as the ledger has, and no prompt; the folder and its files are for this user alone.
        on_store_error: What becomes of requests of tenants with a budget.
        safe_capacity: With `"allow"`: how much a tenant's root may use in this process while the store is away; a
            measure of 0 is not bounded by it. It begins anew when all of it has been written in the store.
        without_budget: What becomes of the others.
        timeout: Seconds that a verb of the store may take. `usage` and `ledger` take the time they need.
        pause: Seconds between two questions to a store that is away.
        limits_every: Seconds after which the limits of a tenant are read again, in the course of its next request.
        clock: Where time comes from; default is the machine's.

    Raises:
        ConfigurationError: An argument makes no sense, or, when it is first used, the folder cannot be.

    Example:
        >>> from planar import MemoryQuotaStore
        >>> store = ResilientQuotaStore(MemoryQuotaStore(), spool="/var/lib/app/spool")
    """

    def __init__(
        self,
        store: QuotaStore,
        *,
        spool: str | os.PathLike[str],
        on_store_error: Literal["deny", "allow"] = "deny",
        safe_capacity: Amount | None = None,
        without_budget: Literal["allow", "deny"] = "allow",
        timeout: float = 2.0,
        pause: float = 1.0,
        limits_every: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        _check(on_store_error, safe_capacity, without_budget)
        for name, seconds in (("timeout", timeout), ("pause", pause), ("limits_every", limits_every)):
            if not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name} must be a positive number of seconds, not {seconds!r}")
        self._store = store
        self._clock: Clock = clock or _SystemClock()
        self._allow_budgets = on_store_error == "allow"
        self._allow_others = without_budget == "allow"
        self._capacity = safe_capacity or Amount()
        self._timeout = timeout
        self._circuit = Circuit(pause=pause, patience=timeout, clock=self._clock, changed=self._changed)
        self._contact = Contact(store, self._circuit, timeout=timeout)
        self._known = KnownLimits(every=limits_every, clock=self._clock)
        self._spool = Spool(Path(spool))
        self._meanwhile = Meanwhile(capacity=self._capacity, clock=self._clock)
        retries = Contact(store, self._circuit, timeout=timeout, opens=False)
        self._replayer = Replayer(
            self._spool, retries, self._circuit, pause=pause, clock=self._clock, running=self._runs
        )
        self._begun = self._closed = False
        self._let_through = self._refused = 0

    def state(self) -> OutageState:
        """How it stands now. Asks nobody."""
        return OutageState(
            away_since=self._circuit.since,
            let_through=self._let_through,
            refused=self._refused,
            waiting=len(self._spool),
            replayed=self._replayer.written,
            rejected=self._spool.rejected,
        )

    # -- verbs ---------------------------------------------------------------------------------

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """Hold `hold` on every scope of the path until it is settled or `ttl` seconds pass.

        Raises:
            StoreError: The store is away, and requests of this tenant are not let through meanwhile. It may have made
                the hold before it went: that lapses after `ttl`.
            QuotaExceededError, UnknownPriceError, UnknownTenantError, InvalidRequestError: As the store does.
        """
        await self._begin()
        path = TenantPath(tenant)
        meanwhile = self._meanwhile
        if meanwhile.knows(lease_id):
            return await meanwhile.again(lease_id, path, hold=hold, ttl=ttl, deployment=deployment)
        try:
            await self._learn(path)
            return await self._contact.reserve(lease_id, path, hold=hold, ttl=ttl, deployment=deployment)
        except StoreError as error:
            limits, capped = self._terms(path, error)
        lease = await self._meanwhile.reserve(
            lease_id, path, hold=hold, ttl=ttl, deployment=deployment, limits=limits, capped=capped
        )
        self._let_through += 1
        extra = {"lease_id": lease_id, "tenant": str(path), "deployment": deployment}
        _logger.warning("let a request of %s through without the quota store", path, extra=extra)
        return lease

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold `more` beside what `lease` holds, and live `ttl` seconds from now. Go on with the lease returned.

        Raises:
            StoreError: The store is away. What was held may still be used; ask again later.
            QuotaExceededError, UnknownPriceError, InvalidRequestError: As the store does.
        """
        if lease.provisional:
            return await self._meanwhile.extend(lease, more=more, ttl=ttl)
        return await self._contact.extend(lease, more=more, ttl=ttl)

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked. If the store is away it hears of that later: the hold stands all the same.

        Raises:
            StoreError: Neither the store nor the disk took it: do not ask.
            InvalidRequestError: The lease was released or has expired: do not ask.
        """
        await self._begin()
        if lease.provisional:
            await self._meanwhile.dispatched(lease)
            await self._keep("dispatched", lease)
            return
        try:
            await self._contact.dispatched(lease)
        except StoreError:
            await self._keep("dispatched", lease)

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Replace the hold with what was used, now or, with a receipt that is `spooled`, when the store is back.

        Raises:
            StoreError: Neither the store nor the disk took it. It is in the log, and is written in the store if that
                comes back while this process lives.
            InvalidRequestError: As the store does.
        """
        await self._begin()
        if lease.provisional:
            return await self._settle_provisional(lease, charge)
        waiting = self._spool.get(lease.id)
        try:
            if waiting is not None and waiting.charges:
                await self._replayer.write(waiting)  # the first charge stands, whatever comes after
            receipt = await self._contact.settle(lease, charge=charge)
        except StoreError:
            return await self._settle_later(lease, charge)
        if waiting is not None:
            await self._replayer.done(waiting, rows=waiting.rows)
        return receipt

    async def release(self, lease: Lease) -> None:
        """Give the hold back: the provider was never asked.

        Raises:
            StoreError: Neither the store nor the disk took it: the hold lapses by itself.
            InvalidRequestError: The lease was dispatched: settle it.
        """
        await self._begin()
        if lease.provisional:
            await self._meanwhile.release(lease)
            return
        waiting = self._spool.get(lease.id)
        if waiting is not None and waiting.charges:
            return
        if waiting is not None and waiting.dispatched:
            raise InvalidRequestError(f"lease {lease.id} was dispatched: settle it", param="lease")
        try:
            await self._contact.release(lease)
        except StoreError:
            await self._keep("release", lease)

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of what a lease was charged. This waits for nobody: while the store is away it is refused.

        Raises:
            StoreError: The store is away: try again later.
            InvalidRequestError: As the store does.
        """
        await self._begin()
        waiting = self._spool.get(lease_id)
        if waiting is not None:
            await self._replayer.write(waiting)
        return await self._contact.refund(lease_id, amount=amount, reason=reason)

    async def usage(
        self,
        tenant: str,
        *,
        since: float | None = None,
        until: float | None = None,
        by: Sequence[GroupBy] = (),
        tz: str = "UTC",
    ) -> UsageReport:
        """What the store knows that a scope used; what waits is not in it yet."""
        return await self._store.usage(tenant, since=since, until=until, by=by, tz=tz)

    def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows that the store has; what waits is not among them yet."""
        return self._store.ledger(tenant, since=since, until=until)

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of one scope."""
        await self._contact.set_limits(tenant, *limits)
        self._known.learn(tenant, limits)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of one scope, without its parents'."""
        limits = await self._contact.limits(tenant)
        self._known.learn(tenant, limits)
        return limits

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where each limit of one scope stands in the store now; what waits is not counted yet."""
        return await self._contact.counts(tenant)

    async def replay(self) -> int:
        """Write what waits, of dead processes too, as far as the store takes it now; return how many leases that was.

        It happens by itself. This is for who does not want to wait, such as a command before a deployment.

        Raises:
            ConfigurationError: The folder cannot be read.
        """
        self._begun = False
        with self._replayer.alone():
            await self._begin()
            return await self._replayer.write_all()

    async def aclose(self) -> None:
        """Write what still waits if the store takes it at once, leave the rest to the next process, close the store."""
        if self._closed:
            return
        self._closed = True
        self._replayer.close()
        try:
            if len(self._spool):
                with anyio.move_on_after(self._timeout):
                    await self._replayer.write_all()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._spool.close)
                await self._store.aclose()

    # -- while it is away ----------------------------------------------------------------------

    async def _begin(self) -> None:
        """Take over what dead processes left, once, and see that what waits is being written."""
        if self._begun:
            self._replayer.wake()  # the loop on which that was done may be gone
            return
        try:
            found = await anyio.to_thread.run_sync(self._spool.adopt)
        except OSError as error:
            raise ConfigurationError(f"the folder of the spool cannot be used: {error}") from error
        self._begun = True
        if found:
            _logger.warning("an earlier process left rows of %d leases that the quota store did not get", found)
        self._replayer.wake()

    async def _learn(self, tenant: TenantPath) -> None:
        scopes = self._known.due(tenant)
        for place, scope in enumerate(scopes):
            try:
                self._known.learn(scope, await self._contact.limits(scope))
            except BaseException:
                self._known.unread(scopes[place:])
                raise

    def _terms(self, tenant: TenantPath, error: StoreError) -> tuple[PathLimits, bool]:
        """The limits under which a request is let through, and whether the capacity is one of them.

        Raises:
            StoreError: It is not let through.
        """
        limits = self._known.of(tenant)
        capped = limits is None or has_budget(limits)
        if not (self._allow_budgets if capped else self._allow_others):
            self._refused += 1
            raise error
        if self._meanwhile.idle and not any(each.lease.provisional for each in self._spool.pending()):
            # All that was let through in the last outage is in the store's own counts.
            self._meanwhile = Meanwhile(capacity=self._capacity, clock=self._clock)
        return limits or {}, capped

    async def _settle_provisional(self, lease: Lease, charge: Charge) -> Receipt:
        receipt = await self._meanwhile.settle(lease, charge=charge)
        if not receipt.replayed:
            await self._keep("settle", lease, charge)
        # What is used in this process alone says nothing about how much of a budget is.
        entry = replace(receipt.entry, alerts=())
        return replace(receipt, entry=entry, spooled=self._spool.get(lease.id) is not None)

    async def _settle_later(self, lease: Lease, charge: Charge) -> Receipt:
        waiting = self._spool.get(lease.id)
        said = waiting.charges[-1] if waiting is not None and waiting.charges else None
        corrects = said is not None and "estimated" in said.flags and "estimated" not in charge.flags
        if said is not None and not corrects:
            return Receipt(entry=self._entry(lease, said, None), replayed=True, spooled=True)
        await self._keep("settle", lease, charge)
        return Receipt(entry=self._entry(lease, charge, said), spooled=True)

    def _entry(self, lease: Lease, charge: Charge, said: Charge | None) -> LedgerEntry:
        """The row as the store will have it if the lease lives; `said` is the estimate that it corrects."""
        now, before = charge.amount, Amount() if said is None else said.amount
        return LedgerEntry(
            lease_id=lease.id,
            kind="settled" if said is None else "correction",
            tenant=lease.tenant,
            deployment=lease.deployment,
            input_tokens=now.input_tokens - before.input_tokens,
            output_tokens=now.output_tokens - before.output_tokens,
            nano_usd=None if now.nano_usd is None else now.nano_usd - (before.nano_usd or 0),
            time=self._clock.time(),
            usage=charge.usage,
            price=charge.price,
            flags=charge.flags,
            metadata=dict(charge.metadata),
        )

    async def _keep(
        self, kind: Literal["dispatched", "settle", "release"], lease: Lease, charge: Charge | None = None
    ) -> None:
        row = Row(kind=kind, lease=lease, charge=charge)
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._spool.add, row)
        except OSError as error:
            text = encode(row).decode().rstrip()
            _logger.error("neither the quota store nor the disk (%s) takes this row: %s", error, text)
            raise StoreError(f"the quota store is away, and the spool cannot be written: {error}") from error
        finally:
            self._replayer.wake()

    # -- when it is back -----------------------------------------------------------------------

    def _runs(self, lease_id: LeaseId) -> bool:
        return self._meanwhile.running(lease_id)

    def _changed(self, error: StoreError | None) -> None:
        if error is not None:
            _logger.warning("the quota store is away: %s", error)
            return
        _logger.warning(
            "the quota store is back: %d requests were let through meanwhile, rows of %d leases wait",
            self._let_through,
            len(self._spool),
        )
        self._replayer.wake()


class _SystemClock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


def _check(on_store_error: str, safe_capacity: Amount | None, without_budget: str) -> None:
    for name, value in (("on_store_error", on_store_error), ("without_budget", without_budget)):
        if value not in ("deny", "allow"):
            raise ConfigurationError(f"{name} is 'deny' or 'allow', not {value!r}")
    if (on_store_error == "allow") is not (safe_capacity is not None):
        raise ConfigurationError(
            "on_store_error='allow' and safe_capacity=Amount(...) go together: neither is of use alone"
        )
    if safe_capacity is not None and not (safe_capacity.tokens or safe_capacity.nano_usd):
        raise ConfigurationError("a safe_capacity must bound something: tokens, or nano_usd")
