"""Only the client tries again: of one attempt the upstream sees one request, whatever HTTP library carries it."""

from __future__ import annotations

import pytest

import planar
from planar.testing import Fault, FaultServer
from planar.transport import TransportName

pytestmark = pytest.mark.anyio

# aiohttp knows no trio.
CARRIED: tuple[tuple[TransportName, str], ...] = (
    ("httpx", "asyncio"),
    ("httpx", "trio"),
    ("httpx2", "asyncio"),
    ("httpx2", "trio"),
    ("aiohttp", "asyncio"),
)
FAULTS = (Fault.RESET_BEFORE_HEADERS, Fault.RESET_IN_BODY, Fault.UNAVAILABLE, Fault.RATE_LIMITED, Fault.REDIRECT)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("library", "anyio_backend"), CARRIED)
async def test_one_attempt_is_one_request(library: TransportName, fault: Fault) -> None:
    once = planar.RetryPolicy(attempts=1)
    with FaultServer(wire="openai_chat") as server:
        server.say(Fault.NONE, fault, Fault.NONE)  # the first leaves a connection that is kept, and may be tried anew
        provider = planar.OpenAICompatible(base_url=server.url, name="upstream", models=["any"])
        async with planar.Planar(providers=[provider], transport=library, retry=once) as client:
            await client.infer("Rivers?")

            with pytest.raises(planar.ProviderError):
                await client.infer("Rivers?")

        assert len(server.requests) == 2
