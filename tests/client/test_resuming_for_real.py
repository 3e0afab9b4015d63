"""The rest of an answer that broke off, from a real model in this process and from a real llama.cpp server."""

from __future__ import annotations

import pytest

import planar
from planar.events import Resumed, TextDelta
from planar.testing import ScriptedProvider

pytestmark = pytest.mark.anyio

BEGUN = "1, 2, 3, 4, 5, 6, 7, 8, 9,"


def breaking() -> ScriptedProvider:
    return ScriptedProvider([TextDelta(BEGUN), planar.TruncatedStreamError("cut")], name="first")


async def continued(provider: planar.Provider, model: str) -> None:
    client = planar.Planar(providers=[breaking(), provider], models={"any": ["first:default", model]})
    async with client:
        stream = client.stream("Count from 1 to 30.", model="any", resume="continue", temperature=0.0, max_tokens=48)
        events = [event async for event in stream.events()]
        completion = await stream.completion()

    assert Resumed(2, model, "continue") in events
    assert completion.text.startswith(BEGUN)
    rest = completion.text.removeprefix(BEGUN)
    assert rest.startswith(" 10, 11, 12"), f"it goes on where it stopped, nothing is said twice: {rest!r}"
    assert completion.usage is not None
    assert completion.attempts[1].usage is not None
    assert 0 < (completion.attempts[1].usage.output_tokens or 0) <= 48


async def test_a_model_in_this_process_goes_on(smollm2: str) -> None:
    await continued(planar.LlamaCpp(smollm2), "local:default")


async def test_a_llama_cpp_server_goes_on(llama_server: str) -> None:
    provider = planar.OpenAICompatible(base_url=f"{llama_server}/v1", dialect="llamacpp", name="server")
    await continued(provider, "server:smollm2")
