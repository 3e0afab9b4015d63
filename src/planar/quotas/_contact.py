"""A store that may be away: every verb has a time limit, and who has just failed is not asked by everybody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TypeVar

import anyio

from planar.errors import PlanarError, StoreError
from planar.protocols import Clock, QuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, Limit, Receipt

T = TypeVar("T")


class Contact:
    """The verbs of a store, each asked once and answered in time or not at all.

    After a failure the store counts as away. Nobody asks it for `pause` seconds; then one does, for all.

    Args:
        timeout: Seconds that a verb may take.
        pause: Seconds between two questions while it is away.
        changed: Called with the error that began an outage, and with `None` at its end.

    Attributes:
        since: When this outage began, in seconds since the epoch; `None` while the store answers.
    """

    def __init__(
        self,
        store: QuotaStore,
        *,
        timeout: float,
        pause: float,
        clock: Clock,
        changed: Callable[[StoreError | None], None],
    ) -> None:
        self._store = store
        self._timeout = timeout
        self._pause = pause
        self._clock = clock
        self._changed = changed
        self._lock = Lock()
        self._ask_at = 0.0
        self._why = ""
        self.since: float | None = None

    @property
    def ready(self) -> bool:
        """It answers, or it is time to ask whether it does."""
        return self.since is None or self._clock.monotonic() >= self._ask_at

    def ask_now(self) -> None:
        """Let the next question through, however short ago the last one failed."""
        with self._lock:
            self._ask_at = 0.0

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        """As the store does it; so are all that follow."""
        return await self._ask(lambda: self._store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment))

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        """Hold more."""
        return await self._ask(lambda: self._store.extend(lease, more=more, ttl=ttl))

    async def dispatched(self, lease: Lease) -> None:
        """The provider is being asked."""
        await self._ask(lambda: self._store.dispatched(lease))

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        """Put the truth in place of the hold."""
        return await self._ask(lambda: self._store.settle(lease, charge=charge))

    async def release(self, lease: Lease) -> None:
        """Give the hold back."""
        await self._ask(lambda: self._store.release(lease))

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        """Credit part of a charge."""
        return await self._ask(lambda: self._store.refund(lease_id, amount=amount, reason=reason))

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        """Replace the limits of a scope."""
        await self._ask(lambda: self._store.set_limits(tenant, *limits))

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits of a scope."""
        return await self._ask(lambda: self._store.limits(tenant))

    async def _ask(self, verb: Callable[[], Awaitable[T]]) -> T:
        self._admit()
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._timeout):
                answer = await verb()
                self._answered()
                return answer
        except StoreError as error:
            self._failed(error)
            raise
        except PlanarError:
            self._answered()  # a refusal is an answer
            raise
        late = StoreError(f"the quota store gave no answer within {self._timeout:g} s")
        self._failed(late)
        raise late

    def _admit(self) -> None:
        with self._lock:
            if self.since is None:
                return
            now = self._clock.monotonic()
            if now < self._ask_at:
                raise StoreError(f"the quota store is away: {self._why}")
            # This one asks for all. If it is cancelled, nobody hears of it, and the next may ask.
            self._ask_at = now + max(self._pause, self._timeout)

    def _failed(self, error: StoreError) -> None:
        with self._lock:
            self._ask_at = self._clock.monotonic() + self._pause
            self._why = error.message
            if self.since is not None:
                return
            self.since = self._clock.time()
        self._changed(error)

    def _answered(self) -> None:
        if self.since is not None and self._ends():
            self._changed(None)

    def _ends(self) -> bool:
        with self._lock:
            since, self.since = self.since, None
            return since is not None  # of several that are answered at once, one tells
