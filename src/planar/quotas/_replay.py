"""The verbs that waited, said to a store that is back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from operator import attrgetter

import anyio
import anyio.to_thread

from planar.errors import InvalidRequestError, PlanarError, QuotaExceededError, StoreError, UnknownPriceError
from planar.protocols import Clock
from planar.quotas._background import Background
from planar.quotas._contact import Circuit, Contact
from planar.quotas._spool import Pending, Spool
from planar.types import Alert, Amount, Charge, Lease, LeaseId

_logger = logging.getLogger("planar.quotas")
_not_before = attrgetter("not_before")
_LONGEST_PAUSE = 15.0
_LONGEST_WAIT = 60.0
_ENOUGH = 3
"""Failures in a row after which it is the store and not the row."""
_TTL = 60.0


class Replayer:
    """Sees to it that what waits is written when the store is back.

    Args:
        store: What it is written in; its failures are nobody else's.
        pause: Seconds between two looks at what waits.
        running: Whether a lease was granted in this process and is alive.

    Attributes:
        written: How many leases' rows were written late.
    """

    def __init__(
        self,
        spool: Spool,
        store: Contact,
        circuit: Circuit,
        *,
        pause: float,
        clock: Clock,
        running: Callable[[LeaseId], bool],
    ) -> None:
        self._spool = spool
        self._store = store
        self._circuit = circuit
        self._pause = pause
        self._clock = clock
        self._running = running
        self._background = Background()
        self._alone = self._closed = False
        self.written = 0

    @contextmanager
    def alone(self) -> Generator[None]:
        """Whoever asks for it writes, and the work beside everything else waits as long."""
        self._alone = True
        try:
            yield
        finally:
            self._alone = False

    def close(self) -> None:
        """Begin nothing any more."""
        self._closed = True
        self._background.stop()

    async def write_all(self) -> int:
        """Write what the store takes now, however short ago it was asked; return how many leases that was."""
        self._circuit.ask_now()
        return await self._some(self._spool.pending())

    def wake(self) -> None:
        """See that what waits is being written, beside everything else, on this event loop."""
        if len(self._spool) and not self._closed:
            self._background.start(self._until_done)

    async def _until_done(self) -> None:
        while len(self._spool) and not self._closed:
            if self._circuit.ready and not self._alone:
                now = self._clock.monotonic()
                await self._some([each for each in self._spool.pending() if now >= each.not_before])
            await anyio.sleep(self._pause)

    async def _some(self, waiting: Sequence[Pending]) -> int:
        written = failures = 0
        for pending in sorted(waiting, key=_not_before):  # those that were never tried come first
            # One that runs here is written when it has ended: the store would have to be told how it goes on.
            if not pending.charges and self._running(pending.lease.id):
                continue
            try:
                written += await self.write(pending)
                failures = 0
            except QuotaExceededError as error:
                # It was let through and spent, and the limit is in the way of saying so.
                self._postpone(pending, min(max(error.retry_after or inf, self._pause), _LONGEST_WAIT), error)
            except StoreError as error:
                pending.failures += 1
                self._postpone(pending, min(self._pause * 2 ** min(pending.failures, 10), _LONGEST_PAUSE), error)
                failures += 1
                if failures == _ENOUGH or self._circuit.since is not None:
                    break
        return written

    def _postpone(self, pending: Pending, seconds: float, error: Exception) -> None:
        pending.not_before = self._clock.monotonic() + seconds
        _logger.info("what waits of lease %s could not be written yet: %s", pending.lease.id, error)

    async def write(self, pending: Pending) -> bool:
        """Write what waits of one lease; false if the store will never take it, or somebody else was faster.

        Raises:
            StoreError, QuotaExceededError: It waits on.
        """
        rows = pending.rows
        try:
            alerts = await replay(pending, self._store)
        except (StoreError, QuotaExceededError):
            raise
        except PlanarError as error:
            await self._reject(pending, error)
            return False
        for alert in alerts:  # the call that used it is over: nobody but the log is left to tell
            _logger.warning(
                "%s has used %d %% of its %s (%s)", alert.scope, alert.percent, alert.dimension, alert.window
            )
        if not await self.done(pending, rows=rows):
            return False  # somebody else was faster, or there is more to write by now
        self.written += 1
        return True

    async def _reject(self, pending: Pending, reason: PlanarError) -> None:
        _logger.error("the quota store will never take what waits of lease %s: %s", pending.lease.id, reason)
        try:
            text = f"{type(reason).__name__}: {reason}"
            await anyio.to_thread.run_sync(self._spool.reject, pending, text)
        except OSError as error:
            self._postpone(pending, _LONGEST_WAIT, error)

    async def done(self, pending: Pending, *, rows: int) -> bool:
        """Forget those `rows` of it; false if somebody else did, or there is more by now."""
        try:
            return await anyio.to_thread.run_sync(partial(self._spool.done, pending, rows=rows))
        except OSError as error:
            _logger.warning("the spool cannot be written, so a later process will repeat what is done: %s", error)
            return True


async def replay(pending: Pending, store: Contact) -> list[Alert]:
    """Write what waits of one lease, and return the alerts that this caused.

    Done twice, or broken off and done again, it has one effect.

    Raises:
        StoreError: The store is away.
        QuotaExceededError: A lease that was granted meanwhile has no room in the store yet.
        PlanarError: The store will never take it.
    """
    lease, charges = pending.lease, tuple(pending.charges)
    if lease.provisional:
        await _hold(lease, store)
    if pending.dispatched or lease.provisional:
        await _dispatch(lease, store, charged=bool(charges))
    alerts: list[Alert] = []
    for charge in charges:
        receipt = await store.settle(lease, charge=charge)
        alerts += () if receipt.replayed else receipt.entry.alerts
    if pending.released and not charges:
        await store.release(lease)
    return alerts


async def _hold(lease: Lease, store: Contact) -> None:
    """Let the store know of a lease that it never granted."""
    try:
        await _reserve(lease, lease.hold, store)
    except (QuotaExceededError, UnknownPriceError):
        # What was used is known by now or soon: its row needs a lease and no room for a bound.
        await _reserve(lease, Amount(), store)


async def _reserve(lease: Lease, hold: Amount, store: Contact) -> None:
    try:
        await store.reserve(lease.id, lease.tenant, hold=hold, ttl=_TTL, deployment=lease.deployment)
    except InvalidRequestError:
        return  # the store knows it, with another hold or from long ago; if it does not, settling will say so


async def _dispatch(lease: Lease, store: Contact, *, charged: bool) -> None:
    try:
        await store.dispatched(lease)
    except InvalidRequestError:
        # The hold lapsed before the store heard that the provider was asked. It may have been billed, so that without
        # another word it is presumed spent, as it would have been at its end.
        if not charged:
            await store.settle(lease, charge=Charge(amount=lease.hold, flags=frozenset({"estimated"})))
