"""What is particular to the transport over aiohttp; what all of them promise is in test_httpx_transport.py."""

from __future__ import annotations

import anyio
import pytest
from loopback import CHUNKED, END, Connection, chunk, saying, upstream, whole

from planar.errors import ConfigurationError, ProviderProtocolError, TruncatedStreamError
from planar.transport import HttpRequest, make_transport, read_whole

aiohttp_module = pytest.importorskip("planar.transport.aiohttp")

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
pytestmark = pytest.mark.anyio


def to(url: str, *, body: bytes = b"{}", method: str = "POST") -> HttpRequest:
    return HttpRequest(url=url, headers={"x-key": "hunter2"}, body=body, method=method, connect=5.0, answer=5.0)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused_with_the_transport_that_can() -> None:
    transport = make_transport("aiohttp")

    with pytest.raises(ConfigurationError, match="transport='httpx'"):
        async with transport.open(to("http://127.0.0.1:1")):
            pass


@on_asyncio
async def test_a_body_above_the_bound_is_refused() -> None:
    transport = aiohttp_module.AiohttpTransport(max_total=10)

    async with upstream(saying(CHUNKED, chunk(b"x" * 20), END)) as server:
        with pytest.raises(ProviderProtocolError, match="10 bytes"):
            async with transport.open(to(server.url)) as response:
                await read_whole(response, limit=100)
        await transport.aclose()


@on_asyncio
async def test_a_large_body_goes_out_whole_and_with_its_length() -> None:
    transport, body = make_transport("aiohttp"), b"x" * (3 << 20)

    async with upstream(saying(whole(b"thanks"))) as server:
        async with transport.open(to(server.url, body=body)) as response:
            await read_whole(response, limit=100)
        await transport.aclose()

    assert server.requests[0].body == body


@on_asyncio
async def test_a_request_carries_no_header_that_nobody_set() -> None:
    transport = make_transport("aiohttp")

    async with upstream(saying(whole(b"[]", headers="set-cookie: a=b\r\n"))) as server:
        for _ in range(2):
            async with transport.open(to(server.url, body=b"", method="GET")) as response:
                await read_whole(response, limit=100)
        await transport.aclose()

    assert [set(arrived.headers) for arrived in server.requests] == [{"host", "accept", "accept-encoding", "x-key"}] * 2


@on_asyncio
async def test_a_body_has_arrived_when_its_end_has() -> None:
    transport, read = make_transport("aiohttp"), anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(b"a"))
        await read.wait()
        await connection.send(chunk(b"b") + END)

    async with upstream(answer) as server:
        async with transport.open(to(server.url)) as response:
            before = response.arrived
            pieces = aiter(response)
            body = await anext(pieces)
            read.set()
            body += await anext(pieces)
            after = response.arrived
        await transport.aclose()

    assert (before, after, body) == (False, True, b"ab")


@on_asyncio
async def test_what_arrived_before_the_connection_broke_is_given_before_the_break() -> None:
    transport, ended = make_transport("aiohttp"), anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(b"a"))
        ended.set()
        raise anyio.ClosedResourceError

    async with upstream(answer) as server:
        async with transport.open(to(server.url)) as response:
            await ended.wait()
            await anyio.wait_all_tasks_blocked()
            pieces = aiter(response)
            first = await anext(pieces)
            with pytest.raises(TruncatedStreamError):
                await anext(pieces)
        await transport.aclose()

    assert first == b"a"
