"""What tenants could still spend when their store last said so."""

from __future__ import annotations

from threading import Lock


class HeadroomBoard:
    """Remembers what is left of tenants' money, from what reserving and settling say anyway.

    A tenant without a limit on money is not remembered. What other processes spend meanwhile is not known, so it may
    be too much or, after a window has begun anew, too little: a reason to ask somebody cheaper first, never to refuse.

    `now` is always seconds on one monotonic clock. It may be used from several threads.

    Args:
        capacity: Most tenants that are remembered. The one of whom nothing was heard for longest is forgotten.
    """

    __slots__ = ("_capacity", "_known", "_lock")

    def __init__(self, *, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._known: dict[str, tuple[int, float]] = {}

    def of(self, tenant: str, now: float) -> tuple[int | None, float | None]:
        """Nano-USD that were left, and seconds since the store said so; `None` twice where nothing is known."""
        known = self._known.get(tenant)
        return (None, None) if known is None else (known[0], max(0.0, now - known[1]))

    def told(self, tenant: str, nano_usd: int | None, now: float) -> None:
        """The store said what is left beyond all that is held; `None`: no limit on money applies."""
        known = self._known
        if nano_usd is None:
            if tenant in known:
                with self._lock:
                    known.pop(tenant, None)
            return
        with self._lock:
            known.pop(tenant, None)
            if len(known) >= self._capacity:
                del known[next(iter(known))]
            known[tenant] = (max(0, nano_usd), now)

    def freed(self, tenant: str, nano_usd: int) -> None:
        """A hold was replaced by what was used, so many nano-USD less; more, if negative."""
        if tenant in self._known:
            with self._lock:
                known = self._known.get(tenant)
                if known is not None:
                    self._known[tenant] = (max(0, known[0] + nano_usd), known[1])
