from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from planar.errors import PlanarError
from planar.protocols import RequestContext, RequestObserver, Telemetry
from planar.telemetry import NullTelemetry
from planar.testing.telemetry import TelemetryContract
from planar.types import Completion, Route


class TestNullTelemetry(TelemetryContract):
    @pytest.fixture
    def telemetry(self) -> NullTelemetry:
        return NullTelemetry()


class Diary:
    """Writes down which deployments each request asked."""

    def __init__(self) -> None:
        self.pages: dict[str, list[str]] = {}

    def request(self, context: RequestContext) -> AbstractContextManager[RequestObserver]:
        return nullcontext(Page(self.pages.setdefault(context.request_id, [])))


class Page:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def routed(self, route: Route) -> None: ...

    def attempt_started(self, number: int, deployment: str) -> None:
        self._lines.append(deployment)

    def first_token(self, seconds: float) -> None: ...

    def attempt_ended(self, number: int, error: PlanarError | None) -> None: ...

    def finished(self, completion: Completion | None, error: BaseException | None) -> None: ...


class TestTelemetryThatRemembers(TelemetryContract):
    @pytest.fixture
    def telemetry(self) -> Diary:
        return Diary()

    def attempts_of(self, telemetry: Telemetry, request_id: str) -> Sequence[str]:
        assert isinstance(telemetry, Diary)
        return telemetry.pages[request_id]
