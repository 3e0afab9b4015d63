"""Places at scarce deployments, for all the loops and threads of a client: waiting for one, and giving it back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Literal

import anyio

from planar.client._deployments import Deployment, Deployments
from planar.client._loops import Loop
from planar.errors import ClosedError, ConfigurationError, NoPlaceError, UnknownModelError
from planar.routing import FairPlaces, Ticket
from planar.types import QueuePolicy, TenantPath


class _Waiter:
    """Whoever asks for a place. It sleeps on its own loop, and is woken from any."""

    __slots__ = ("_loop", "woken")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.woken: anyio.Event | None = None  # most need none: there is a place

    def wake(self) -> bool:
        return self.woken is None or self._loop.call(self.woken.set)


class Place:
    """A place at a deployment. Given back once, however often it is said."""

    __slots__ = ("_line", "_ticket")

    def __init__(self, line: Line, ticket: Ticket[_Waiter]) -> None:
        self._line = line
        self._ticket = ticket

    def give_back(self, now: float | None = None) -> None:
        """Let the next one in. Callable from any thread, and from a finaliser."""
        self._line.leave(self._ticket, now)


class Line:
    """The places of one scarce deployment or provider, and the queue for them.

    Asking takes the lock. Leaving never waits for it, because a finaliser may have to leave, and may run in the middle
    of whatever its thread was doing: leavers are put down, and whoever can get hold of the lock lets the next ones in.
    """

    def __init__(self, name: str, policy: QueuePolicy) -> None:
        self.name = name
        self._policy = policy
        self._fair = FairPlaces[_Waiter](
            policy.concurrency, length=policy.length, per_tenant=policy.per_tenant, weights=policy.weights
        )
        self._lock = Lock()
        self._leaving = deque[tuple[Ticket[_Waiter], float | None]]()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._fair.waiting

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._fair.taken

    async def place(
        self, deployment: Deployment, tenant: TenantPath, loop: Loop, *, now: float, patient: bool = True
    ) -> Place:
        """Take a place, waiting for it if it must be. Leaving early, however that comes about, leaves nothing.

        Args:
            now: On the steady clock.
            patient: It may wait.

        Raises:
            NoPlaceError: There is no place and no room to wait, or none came in time.
            ClosedError: The client was closed meanwhile.
        """
        waiter = _Waiter(loop)
        try:
            with self._lock:
                may_wait = patient and self._policy.max_wait > 0
                ticket = self._fair.ask(tenant.root, waiter, now, may_wait=may_wait)
                if isinstance(ticket, str):
                    raise self._refusal(ticket, deployment, tenant)
                woken = None if ticket.state == "placed" else anyio.Event()
                waiter.woken = woken
        finally:
            self._let_in()
        if woken is None or await self._wait(ticket, woken):
            return Place(self, ticket)
        if self._closed:
            raise ClosedError(f"the client was closed while this call waited for a place at {self.name}")
        raise self._refusal("too_long", deployment, tenant)

    async def _wait(self, ticket: Ticket[_Waiter], woken: anyio.Event) -> bool:
        """Whether it got a place."""
        try:
            with anyio.move_on_after(self._policy.max_wait):
                await woken.wait()
        except BaseException:
            self.leave(ticket, None)
            raise
        if ticket.state == "waiting":
            self.leave(ticket, None)
            return False  # whatever becomes of the ticket now: a place that comes too late is given back unseen
        return ticket.state == "placed"

    def leave(self, ticket: Ticket[_Waiter], now: float | None) -> None:
        """Give the place of this ticket back, or its place in the queue. A second time changes nothing."""
        self._leaving.append((ticket, now))
        self._let_in()

    def _let_in(self) -> None:
        # Whoever holds the lock comes by here after it: what is put down meanwhile is not forgotten.
        while self._leaving and self._lock.acquire(blocking=False):
            placed: list[Ticket[_Waiter]] = []
            try:
                while self._leaving:
                    ticket, now = self._leaving.popleft()
                    placed.extend(self._fair.leave(ticket, now))
            finally:
                self._lock.release()
            for ticket in placed:
                if not ticket.owner.wake():
                    self._leaving.append((ticket, None))  # its loop is gone

    def close(self) -> None:
        """Send away everybody who waits."""
        with self._lock:
            self._closed = True
            away = self._fair.close()
        self._let_in()
        for ticket in away:
            ticket.owner.wake()

    def _refusal(
        self, reason: Literal["full", "tenant_full", "too_long", "busy"], deployment: Deployment, tenant: TenantPath
    ) -> NoPlaceError:
        fair, policy, root = self._fair, self._policy, tenant.root
        wait = fair.turn() if reason == "full" else fair.wait(root)
        what = {
            "full": f"the queue for {self.name} is full: {fair.waiting} requests wait",
            "tenant_full": f"{policy.per_tenant} requests of {root} wait for {self.name}, as many as may",
            "too_long": f"{root} got no place at {self.name} within max_wait={policy.max_wait:g} s",
            "busy": f"{self.name} has no free place",
        }[reason]
        when = "" if wait is None else f" in about {_rounded(wait):g} s"
        return NoPlaceError(
            f"{what}; try again{when}, or give the route another deployment",
            tenant=root,
            queue=self.name,
            reason=reason,
            waiting=fair.waiting,
            retry_after=wait,
            provider=deployment.provider_name,
            deployment=deployment.name,
        )


def _rounded(seconds: float) -> float:
    return float(math.ceil(seconds)) if seconds > 1 else float(f"{seconds:.1g}")


class Queues:
    """The queues in front of a client's scarce deployments.

    Raises:
        ConfigurationError: One is for what the client does not have.
    """

    def __init__(self, policies: Mapping[str, QueuePolicy], deployments: Deployments) -> None:
        for name in policies:
            if name not in deployments.providers:
                _check_deployment(name, deployments)
        self._lines = {name: Line(name, policy) for name, policy in policies.items()}

    def before(self, deployment: Deployment) -> Line | None:
        """The queue for this deployment: its own, or its provider's; `None` if everybody is let in."""
        return self._lines.get(deployment.name) or self._lines.get(deployment.provider_name)

    def close(self) -> None:
        """Send away everybody who waits."""
        for line in self._lines.values():
            line.close()


def _check_deployment(name: str, deployments: Deployments) -> None:
    if ":" not in name:
        known = ", ".join(deployments.providers)
        raise ConfigurationError(f"queues names {name!r}, which is no provider:model, and the providers are {known}")
    try:
        deployments.resolve(name)
    except UnknownModelError as error:
        raise ConfigurationError(f"queues: {error}") from None
