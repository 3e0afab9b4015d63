"""A store that may be away: every verb has a time limit, and who has just failed is not asked by everybody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TypeVar

import anyio

from planar.errors import PlanarError, StoreError
from planar.protocols import Clock, QuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, Limit, LimitCount, Receipt

T = TypeVar("T")


class Circuit:
    """Whether the store is away, and when it may be asked again.

    After a failure nobody asks for `pause` seconds; then one does, for all.

    Args:
        patience: Seconds after which one who asked for all, and was not heard of again, will not be.
        changed: Called with the error that began an outage, and with `None` at its end.

    Attributes:
        since: When this outage began, in seconds since the epoch; `None` while the store answers.
    """

    def __init__(
        self, *, pause: float, patience: float, clock: Clock, changed: Callable[[StoreError | None], None]
    ) -> None:
        self._pause = pause
        self._patience = max(pause, patience)
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

    def admit(self) -> None:
        """Let a question through.

        Raises:
            StoreError: The store is away, and was asked a moment ago.
        """
        with self._lock:
            if self.since is None:
                return
            now = self._clock.monotonic()
            if now < self._ask_at:
                raise StoreError(f"the quota store is away: {self._why}")
            self._ask_at = now + self._patience

    def failed(self, error: StoreError, *, opens: bool) -> None:
        """Take note of a failure; it begins an outage if it `opens` one."""
        if self._begins(error, opens):
            self._changed(error)

    def answered(self) -> None:
        """Take note of an answer: an outage is over."""
        if self.since is not None and self._ends():
            self._changed(None)

    def _begins(self, error: StoreError, opens: bool) -> bool:
        with self._lock:
            self._ask_at = self._clock.monotonic() + self._pause
            self._why = error.message
            if self.since is not None or not opens:
                return False
            self.since = self._clock.time()
            return True

    def _ends(self) -> bool:
        with self._lock:
            since, self.since = self.since, None
            return since is not None  # of several that are answered at once, one tells


class Contact:
    """The verbs of a store, each asked once and answered in time or not at all.

    Whatever goes wrong in a store, other than by an error of ours, is a `StoreError`: what it was told is then written
    down elsewhere.

    Args:
        timeout: Seconds that a verb may take.
        opens: Its failures begin an outage. Those of what is only tried again do not: a row that a store cannot cope
            with must not keep everybody else away from it.
    """

    def __init__(self, store: QuotaStore, circuit: Circuit, *, timeout: float, opens: bool = True) -> None:
        self._store = store
        self._circuit = circuit
        self._timeout = timeout
        self._opens = opens

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

    async def counts(self, tenant: str) -> tuple[LimitCount, ...]:
        """Where the limits of a scope stand."""
        return await self._ask(lambda: self._store.counts(tenant))

    async def _ask(self, verb: Callable[[], Awaitable[T]]) -> T:
        circuit = self._circuit
        circuit.admit()
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._timeout):
                answer = await verb()
                circuit.answered()
                return answer
            failure = StoreError(f"the quota store gave no answer within {self._timeout:g} s")
        except StoreError as error:
            failure = error
        except PlanarError:
            circuit.answered()  # a refusal is an answer
            raise
        except Exception as error:  # noqa: BLE001 - told in the log, and nothing that was used may be lost for it
            failure = StoreError(f"the quota store broke: {type(error).__name__}: {error}")
            failure.__cause__ = error
        circuit.failed(failure, opens=self._opens)
        raise failure
