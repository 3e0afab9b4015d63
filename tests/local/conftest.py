"""The real model, loaded once for the room."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from planar.providers.local.llamacpp import LlamaCpp


@pytest.fixture(scope="session")
def llama(smollm2: str) -> Iterator[LlamaCpp]:
    provider = LlamaCpp(smollm2, n_threads=1)
    yield provider
    anyio.run(provider.aclose)
