"""The verbs that waited, said to a store that is back."""

from __future__ import annotations

from planar.errors import InvalidRequestError, QuotaExceededError, UnknownPriceError
from planar.quotas._contact import Contact
from planar.quotas._spool import Pending
from planar.types import Alert, Amount, Charge, Lease

_TTL = 60.0


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
