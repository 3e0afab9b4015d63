"""Telemetry that tells nobody."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from planar.errors import PlanarError
from planar.protocols import RequestContext, RequestObserver
from planar.types import Completion, Route


class NullTelemetry:
    """Keeps nothing of any request. Costs nothing: a client that was given it tells it nothing."""

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        """One shared observer that forgets."""
        return NOBODY


class _Nobody:
    def __enter__(self) -> RequestObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def routed(self, route: Route) -> None:
        return None

    def attempt_started(self, number: int, deployment: str) -> None:
        return None

    def first_token(self, seconds: float) -> None:
        return None

    def attempt_ended(self, number: int, error: PlanarError | None) -> None:
        return None

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        return None


NOBODY = _Nobody()
"""The observer that forgets. Who is given it need not tell it anything."""
