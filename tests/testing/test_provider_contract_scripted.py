"""The provider that tests use keeps the contract, so that what is tested with it is true of others."""

from __future__ import annotations

import anyio
import pytest

from planar.errors import OverloadedError
from planar.events import Finish, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart
from planar.protocols import Provider
from planar.testing import ScriptedProvider, reply
from planar.testing.providers import Asked, ProviderContract
from planar.types import Usage


class TestScriptedProvider(ProviderContract):
    fills_when_left = ("usage",)

    @pytest.fixture
    def provider(self) -> ScriptedProvider:
        return ScriptedProvider(reply("Ebro, ", "Tagus"))

    @pytest.fixture
    def failing(self) -> Asked:
        return ScriptedProvider([TextDelta("Ebro, "), OverloadedError("busy")]), self.question

    @pytest.fixture
    def slow(self) -> Asked:
        used = Usage(input_tokens=10, output_tokens=1)
        return ScriptedProvider([TextDelta("Ebro, "), anyio.sleep_forever], usage_when_left=used), self.question

    def open_answers(self, provider: Provider) -> int:
        assert isinstance(provider, ScriptedProvider)
        return provider.open_streams

    def requests_made(self, provider: Provider) -> int:
        assert isinstance(provider, ScriptedProvider)
        return len(provider.received)


class TestScriptedProviderThatCallsTools(ProviderContract):
    tool_question = ProviderContract.question

    @pytest.fixture
    def provider(self) -> ScriptedProvider:
        return ScriptedProvider(
            [
                ToolCallStart(0, "a", "weather"),
                [ToolCallStart(1, "b", "weather"), ToolCallDelta(0, "{")],
                ToolCallDelta(0, "}"),
                ToolCallEnd(0, "a", "weather", "{}"),
                ToolCallEnd(1, "b", "weather", ""),
                [],
                Finish("tool_calls", "tool_use"),
            ],
            models=["default"],
        )
