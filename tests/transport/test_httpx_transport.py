"""What every transport promises, against a real server on loopback, on both event loops."""

from __future__ import annotations

import asyncio
import threading

import anyio
import httpx
import pytest
from loopback import CHUNKED, END, Connection, chunk, saying, upstream, whole

from planar.errors import (
    ConfigurationError,
    ProviderConnectionError,
    ProviderProtocolError,
    ProviderTimeoutError,
    TruncatedStreamError,
)
from planar.transport import HttpRequest, Transport, header_value, make_transport, read_some, read_whole
from planar.transport._family import HttpxTransport, make_client

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["httpx", "httpx2", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> Transport:
    pytest.importorskip(request.param)
    on_trio = "anyio_backend" in request.fixturenames and "trio" in request.getfixturevalue("anyio_backend")
    if request.param == "aiohttp" and on_trio:
        pytest.skip("aiohttp runs on asyncio only")
    return make_transport(request.param)


def to(url: str, *, answer: float | None = 5.0) -> HttpRequest:
    return HttpRequest(url=url, headers={"authorization": "Bearer hunter2"}, body=b"{}", connect=5.0, answer=answer)


async def body_of(transport: Transport, request: HttpRequest) -> bytes:
    async with transport.open(request) as response:
        return await read_whole(response, limit=1 << 20)


async def test_a_request_goes_out_as_it_was_made_and_the_answer_comes_back(transport: Transport) -> None:
    async with upstream(saying(whole(b"hello", headers="X-One: 1\r\n"))) as server:
        async with transport.open(to(f"{server.url}/a?b=c")) as response:
            body = await read_whole(response, limit=10)
        await transport.aclose()

    (arrived,) = server.requests
    assert (response.status, response.headers["x-one"], body) == (200, "1", b"hello")
    assert (arrived.method, arrived.target, arrived.body) == ("POST", "/a?b=c", b"{}")
    assert arrived.headers["accept-encoding"] == "identity"
    assert arrived.headers["authorization"] == "Bearer hunter2"
    assert arrived.headers["host"] == server.url.removeprefix("http://")


async def test_a_connection_that_was_read_to_its_end_is_used_again(transport: Transport) -> None:
    async with upstream(saying(CHUNKED, chunk(b"a"), END)) as server:
        for _ in range(3):
            assert await body_of(transport, to(server.url)) == b"a"
        await transport.aclose()

    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_redirect_is_an_answer_like_any_other(transport: Transport) -> None:
    async with upstream(saying(whole(b"", status="302 Found", headers="location: http://127.0.0.1:1/\r\n"))) as server:
        async with transport.open(to(server.url)) as response:
            status = response.status
        await transport.aclose()

    assert status == 302
    assert len(server.requests) == 1


async def test_the_environment_is_not_asked_for_a_proxy(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with upstream(saying(whole(b"direct"))) as server:
        body = await body_of(transport, to(server.url))
        await transport.aclose()

    assert body == b"direct"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((CHUNKED, chunk(b"a")), id="no last chunk"),
        pytest.param((CHUNKED, chunk(b"a"), b"5\r\nab"), id="half a chunk"),
        pytest.param((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",), id="shorter than it said"),
    ],
)
async def test_a_body_that_ends_too_early_was_truncated(transport: Transport, pieces: tuple[bytes, ...]) -> None:
    async with upstream(saying(*pieces, close=True)) as server:
        with pytest.raises(TruncatedStreamError):
            await body_of(transport, to(server.url))
        await transport.aclose()


async def test_a_reset_in_the_body_is_a_truncation_after_what_arrived(transport: Transport) -> None:
    read = anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(b"a"))
        await read.wait()
        await connection.reset()

    async with upstream(answer) as server:
        async with transport.open(to(server.url)) as response:
            pieces = aiter(response)
            first = await anext(pieces)
            read.set()
            with pytest.raises(TruncatedStreamError):
                await anext(pieces)
        await transport.aclose()

    assert first == b"a"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"not http at all\r\n\r\n"])
async def test_a_connection_that_breaks_before_the_headers_is_a_connection_error(
    transport: Transport, said: bytes
) -> None:
    async with upstream(saying(said, close=True)) as server:
        with pytest.raises(ProviderConnectionError) as caught:
            await body_of(transport, to(f"{server.url}/?token=hunter2"))
        await transport.aclose()

    assert caught.value.retryable
    assert "hunter2" not in repr(caught.value)


async def test_nobody_listening_is_a_connection_error_without_the_libraries_own(
    transport: Transport, free_tcp_port: int
) -> None:

    with pytest.raises(ProviderConnectionError) as caught:
        await body_of(transport, to(f"http://127.0.0.1:{free_tcp_port}/?token=hunter2"))
    await transport.aclose()

    assert "hunter2" not in str(caught.value)
    # The library's error holds the request, and with it the key.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_headers_that_do_not_come_in_time_are_a_timeout(transport: Transport) -> None:
    async def answer(connection: Connection) -> None:
        await connection.until_gone()

    async with upstream(answer) as server:
        with pytest.raises(ProviderTimeoutError) as caught:
            await body_of(transport, to(server.url, answer=0.05))
        await transport.aclose()

    assert caught.value.phase == "first_token"


async def test_leaving_early_closes_the_connection(transport: Transport) -> None:
    gone = anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(b"a"))
        await connection.until_gone()
        gone.set()

    async with upstream(answer) as server:
        async with transport.open(to(server.url)) as response:
            await anext(aiter(response))
        with anyio.fail_after(5):
            await gone.wait()
        await transport.aclose()


async def test_being_cancelled_in_a_read_closes_the_connection(transport: Transport) -> None:
    reading, gone = anyio.Event(), anyio.Event()

    async def answer(connection: Connection) -> None:
        await connection.send(CHUNKED + chunk(b"a"))
        await connection.until_gone()
        gone.set()

    async def read() -> None:
        async with transport.open(to(server.url)) as response:
            async for _ in response:
                reading.set()

    async with upstream(answer) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await reading.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await gone.wait()
        await transport.aclose()


async def test_a_body_above_the_bound_is_refused() -> None:
    transport = HttpxTransport(make=lambda: make_client(httpx), max_total=10)
    async with upstream(saying(CHUNKED, chunk(b"x" * 20), END)) as server:
        with pytest.raises(ProviderProtocolError, match="10 bytes"):
            await body_of(transport, to(server.url))
        await transport.aclose()


async def test_an_encoding_that_was_not_asked_for_is_refused(transport: Transport) -> None:
    async with upstream(saying(whole(b"x", headers="content-encoding: gzip\r\n"))) as server:
        with pytest.raises(ProviderProtocolError, match="gzip"):
            await body_of(transport, to(server.url))
        await transport.aclose()


async def test_of_a_refusal_no_more_is_read_than_is_kept(transport: Transport) -> None:
    async with upstream(saying(CHUNKED, chunk(b"x" * 100), END)) as server:
        async with transport.open(to(server.url)) as response:
            kept = await read_some(response, limit=10)
        await transport.aclose()

    assert kept == b"x" * 10


async def test_a_callers_client_is_used_and_left_open() -> None:
    async with httpx.AsyncClient() as client:
        transport = make_transport(client=client)
        async with upstream(saying(whole(b"mine"))) as server:
            body = await body_of(transport, to(server.url))
            await transport.aclose()
            again = await body_of(transport, to(server.url))

    assert body == again == b"mine"


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\x00b", "ключ", "a\x7f"])
async def test_a_header_cannot_be_injected(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        header_value("x-key", value)

    assert value not in str(caught.value)


def test_one_transport_serves_one_loop_after_another(transport: Transport) -> None:

    async def once() -> bytes:
        async with upstream(saying(whole(b"a"))) as server:
            body = await body_of(transport, to(server.url))
            await transport.aclose()
            return body

    assert [asyncio.run(once()) for _ in range(3)] == [b"a"] * 3


def test_closing_on_one_loop_closes_the_connections_of_another_that_runs(transport: Transport) -> None:
    opened, closed = threading.Event(), threading.Event()
    seen: list[bytes] = []

    async def elsewhere() -> None:
        async def answer(connection: Connection) -> None:
            await connection.send(whole(b"a"))
            await connection.until_gone()
            gone.set()

        gone = anyio.Event()
        async with upstream(answer) as server:
            seen.append(await body_of(transport, to(server.url)))
            opened.set()
            with anyio.fail_after(5):
                await gone.wait()
            closed.set()

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    assert opened.wait(5)
    asyncio.run(transport.aclose())

    assert closed.wait(5)
    thread.join(5)
    assert seen == [b"a"]
