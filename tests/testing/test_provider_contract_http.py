"""Every provider behind HTTP keeps the contract, against its vendor on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

import pytest
from vendors import (
    CALL,
    CHAT,
    FAIL,
    GEMINI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    SILENT,
    STALL,
    WEATHER,
    Script,
    Vendor,
    asking,
    open_vendor,
)

from planar.protocols import Provider
from planar.providers.anthropic import Anthropic
from planar.providers.gemini import Gemini
from planar.providers.ollama import Ollama
from planar.providers.openai import OpenAI
from planar.providers.openai_compatible import OpenAICompatible
from planar.testing.providers import Asked, ProviderContract

KEY = "sk-hunter2hunter2hunter2"


class HttpContract(ProviderContract):
    """What the vendors' suites share: a server that does as the question says."""

    model = "m-1"
    question = asking("Two rivers in Spain?")
    tool_question = asking(CALL, tools=(WEATHER,))
    key = KEY
    fills = ("model", "response_id")
    script: ClassVar[Script]

    def make(self, url: str) -> Any:
        raise NotImplementedError

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        async with open_vendor(self.script) as self.opened:
            yield self.opened

    @pytest.fixture
    async def provider(self, vendor: Vendor) -> AsyncIterator[Provider]:
        provider = self.make(vendor.server.url)
        yield provider
        await provider.aclose()

    @pytest.fixture
    def failing(self, provider: Provider) -> Asked:
        return provider, asking(FAIL)

    @pytest.fixture
    def slow(self, stalling: Asked) -> Asked:
        return stalling

    @pytest.fixture
    def silent(self, provider: Provider) -> Asked:
        return provider, asking(SILENT)

    @pytest.fixture
    def stalling(self, provider: Provider) -> Asked:
        return provider, asking(STALL)

    def open_answers(self, provider: Provider) -> int:
        return self.opened.speaking

    def requests_made(self, provider: Provider) -> int:
        return self.opened.asked


class TestOpenAICompatible(HttpContract):
    script = CHAT

    def make(self, url: str) -> OpenAICompatible:
        return OpenAICompatible(base_url=f"{url}/v1", api_key=KEY, name="server", region="eu")


class TestOpenAI(HttpContract):
    script = RESPONSES

    def make(self, url: str) -> OpenAI:
        return OpenAI(base_url=f"{url}/v1", api_key=KEY, models=["m-1"])


class TestOpenAIOverChatCompletions(HttpContract):
    script = CHAT

    def make(self, url: str) -> OpenAI:
        return OpenAI(base_url=f"{url}/v1", api_key=KEY, api="chat")


class TestAnthropic(HttpContract):
    script = MESSAGES
    fills_when_left = ("usage",)

    def make(self, url: str) -> Anthropic:
        return Anthropic(base_url=url, api_key=KEY)


class TestGemini(HttpContract):
    script = GEMINI

    def make(self, url: str) -> Gemini:
        return Gemini(base_url=f"{url}/v1beta", api_key=KEY)


class TestOllama(HttpContract):
    script = OLLAMA
    fills = ("model",)

    def make(self, url: str) -> Ollama:
        return Ollama(base_url=url, api_key=KEY, models=["m-1"])


class OtherLibrary(HttpContract):
    script = CHAT
    library: ClassVar[Literal["httpx2", "aiohttp"]]

    def make(self, url: str) -> OpenAICompatible:
        provider = OpenAICompatible(base_url=f"{url}/v1", api_key=KEY, name="server")
        provider.use_transport(self.library)
        return provider


class TestOverHttpx2(OtherLibrary):
    library = "httpx2"


class TestOverAiohttp(OtherLibrary):
    library = "aiohttp"

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"  # as that library does
