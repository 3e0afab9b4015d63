"""Keeps what a telemetry raises away from the call that it watches."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from types import TracebackType

from planar.errors import PlanarError
from planar.protocols import RequestContext, RequestObserver, Telemetry
from planar.telemetry._null import NOBODY, NullTelemetry
from planar.types import Completion, Route


def guarded(telemetry: Telemetry) -> Telemetry:
    """The telemetry behind a guard; one that cannot raise, or has its guard, as it is."""
    return telemetry if type(telemetry) is NullTelemetry or isinstance(telemetry, Guard) else Guard(telemetry)


class Guard:
    """Passes everything on to a telemetry, and drops what that raises.

    The first failure is logged as a warning of `planar.telemetry`; all are counted. What is no `Exception`, such as
    `KeyboardInterrupt`, is not held back.

    Attributes:
        dropped: How many times the telemetry raised so far.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self.dropped = 0

    def __repr__(self) -> str:
        return f"Guard({type(self._telemetry).__name__}, dropped={self.dropped})"

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        """Open what the telemetry opens; nothing, if it cannot."""
        with self.during("request"):
            return _Watch(self, self._telemetry.request(context))
        return NOBODY

    def during(self, step: str) -> _Dropping:
        """A block in which an error is dropped instead of raised."""
        return _Dropping(self, step)

    def drop(self, step: str, error: Exception) -> None:
        """Count it, and tell of the first one."""
        with self._lock:
            self.dropped += 1
            first = self.dropped == 1
        if first:
            logging.getLogger("planar.telemetry").warning(
                "%s raised in %s: the call goes on unwatched there; further failures are only counted",
                type(self._telemetry).__name__,
                step,
                exc_info=error,
            )


class _Dropping:
    __slots__ = ("_guard", "_step")

    def __init__(self, guard: Guard, step: str) -> None:
        self._guard = guard
        self._step = step

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._guard.drop(self._step, error)
        return True


class _Watch:
    """One request, from opening to end."""

    __slots__ = ("_entered", "_guard", "_manager")

    def __init__(self, guard: Guard, manager: AbstractContextManager[RequestObserver]) -> None:
        self._guard = guard
        self._manager = manager
        self._entered = False

    def __enter__(self) -> RequestObserver:
        with self._guard.during("__enter__"):
            observer = self._manager.__enter__()
            self._entered = True
            return NOBODY if observer is NOBODY else _Observer(self._guard, observer)
        return NOBODY

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._entered:
            return
        with self._guard.during("__exit__"):
            try:
                self._manager.__exit__(kind, error, traceback)
            except Exception as raised:
                # A generator's manager raises the call's own error again: the call has it already.
                if raised is not error:
                    raise


class _Observer:
    __slots__ = ("_guard", "_observer")

    def __init__(self, guard: Guard, observer: RequestObserver) -> None:
        self._guard = guard
        self._observer = observer

    def routed(self, route: Route) -> None:
        with self._guard.during("routed"):
            self._observer.routed(route)

    def attempt_started(self, number: int, deployment: str) -> None:
        with self._guard.during("attempt_started"):
            self._observer.attempt_started(number, deployment)

    def first_token(self, seconds: float) -> None:
        with self._guard.during("first_token"):
            self._observer.first_token(seconds)

    def attempt_ended(self, number: int, error: PlanarError | None) -> None:
        with self._guard.during("attempt_ended"):
            self._observer.attempt_ended(number, error)

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        with self._guard.during("finished"):
            self._observer.finished(completion, error)
