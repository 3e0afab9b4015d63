"""The local provider keeps the contract of every provider, with the real model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from local_support import question

from planar.protocols import Provider
from planar.providers.local.llamacpp import LlamaCpp
from planar.testing.providers import Asked, ProviderContract


class TestLlamaCpp(ProviderContract):
    question = question(temperature=0.0, max_tokens=3)
    fills = ("model", "usage")
    fills_when_left = ("model", "usage")

    @pytest.fixture
    async def provider(self, request: pytest.FixtureRequest, llama: LlamaCpp, smollm2: str) -> AsyncIterator[LlamaCpp]:
        if "closed" not in request.node.name:
            yield llama
            return
        provider = LlamaCpp(smollm2, n_ctx=512, n_threads=1)
        yield provider
        await provider.aclose()

    @pytest.fixture
    def failing(self, provider: LlamaCpp) -> Asked:
        return provider, question("a river and " * 3000)

    @pytest.fixture
    def slow(self, provider: LlamaCpp) -> Asked:
        return provider, question("Count to a thousand.", temperature=0.0, max_tokens=400)

    def open_answers(self, provider: Provider) -> int:
        assert isinstance(provider, LlamaCpp)
        return provider.engine_state().active
