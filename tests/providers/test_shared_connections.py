"""A client's copies cost nothing: they have its providers, its store and its connections."""

from __future__ import annotations

import anyio
import pytest
from loopback import Connection, saying, upstream, whole

import planar

pytestmark = pytest.mark.anyio

ANSWER = whole(
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Ebro"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)


async def test_a_copy_shares_the_store_the_providers_and_the_connection() -> None:
    async with upstream(saying(ANSWER)) as server:
        provider = planar.OpenAICompatible(base_url=server.url, name="p", models=["m"])
        async with planar.Planar(providers=[provider]) as client:
            acme = client.with_options(tenant="acme", max_tokens=9)
            for asked in (client, acme, acme.with_options(temperature=0), client):
                await asked.infer("Rivers?", model="p:m")
            used = await client.quotas.usage("acme")

    assert (len(server.requests), server.connections) == (4, 1)
    assert acme.quotas is client.quotas
    assert acme.providers["p"] is client.providers["p"] is provider
    assert used.requests == 2


async def test_closing_the_client_closes_its_copies() -> None:
    client = planar.Planar(providers=[planar.OpenAICompatible(base_url="http://127.0.0.1:1/v1", name="p")])
    copy = client.with_options(model="p:m")

    await client.aclose()

    with pytest.raises(planar.ClosedError):
        copy.stream("Rivers?")


async def test_a_connection_that_does_not_stand_in_time_has_its_own_word() -> None:
    async with upstream(saying(b"")) as server:
        provider = planar.OpenAICompatible(base_url=server.url.replace("http:", "https:"), name="p", models=["m"])
        async with planar.Planar(providers=[provider]) as client:
            with anyio.fail_after(10), pytest.raises(planar.ProviderTimeoutError) as caught:
                await client.infer("Rivers?", model="p:m", timeouts=planar.Timeouts(connect=0.05))

    assert (caught.value.phase, caught.value.deployment) == ("connect", "p:m")
    assert server.requests == []


async def test_the_total_ends_an_answer_that_never_stops_coming() -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await connection.send(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
            await anyio.wait_all_tasks_blocked()

    async with upstream(answer) as server:
        provider = planar.OpenAICompatible(base_url=server.url, name="p", models=["m"])
        async with planar.Planar(providers=[provider]) as client:
            with anyio.fail_after(10), pytest.raises(planar.DeadlineExceededError) as caught:
                await client.infer("Rivers?", model="p:m", timeouts=planar.Timeouts(total=0.2))
            [entry] = [entry async for entry in client.quotas.ledger()]

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("a")
    assert "estimated" in entry.flags
    assert entry.output_tokens > 0
