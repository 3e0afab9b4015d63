"""Whose certificate is trusted, and how long the handshake may take, on all three transports."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, TaskStatus
from anyio.streams.tls import TLSListener, TLSStream
from loopback import saying, upstream, whole

from planar.errors import ProviderConnectionError, ProviderTimeoutError
from planar.transport import HttpRequest, Transport, make_transport, read_whole
from planar.transport._family import HttpxTransport, make_client

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["httpx", "httpx2", "aiohttp"])
def transport(request: pytest.FixtureRequest, anyio_backend: str) -> Transport:
    pytest.importorskip(request.param)
    if request.param == "aiohttp" and anyio_backend == "trio":
        pytest.skip("aiohttp runs on asyncio only")
    return make_transport(request.param)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself has signed, with its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody you know")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def secured(certificate: Path, asked: list[bytes]) -> AsyncIterator[str]:
    """A server that says hello under this certificate; `asked` is what it was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve(stream: TLSStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            await stream.send(whole(b"hello", headers="connection: close\r\n"))

    async def listen(*, task_status: TaskStatus[int]) -> None:
        plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with TLSListener(plain, context, standard_compatible=False) as listener:
            task_status.started(plain.extra(SocketAttribute.local_port))
            await listener.serve(serve)

    async with anyio.create_task_group() as tasks:
        yield f"https://127.0.0.1:{await tasks.start(listen)}"
        tasks.cancel_scope.cancel()


def to(url: str, *, connect: float | None = 10.0) -> HttpRequest:
    return HttpRequest(url=url, headers={"authorization": "Bearer hunter2"}, body=b"{}", connect=connect, answer=10.0)


async def body_of(transport: Transport, request: HttpRequest) -> bytes:
    async with transport.open(request) as response:
        return await read_whole(response, limit=1 << 20)


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_key_is_sent(
    transport: Transport, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "anyio")  # the server's end of it
    asked: list[bytes] = []

    async with secured(certificate, asked) as url:
        with pytest.raises(ProviderConnectionError) as caught:
            await body_of(transport, to(url))
        await transport.aclose()

    assert "certificate" in str(caught.value).lower()
    assert "hunter2" not in str(caught.value)
    assert asked == []


async def test_the_same_certificate_is_taken_by_a_client_that_was_told_to_trust_it(certificate: Path) -> None:
    asked: list[bytes] = []
    trusting = ssl.create_default_context(cafile=str(certificate))

    async with secured(certificate, asked) as url, httpx.AsyncClient(verify=trusting) as client:
        transport = HttpxTransport(client, make=lambda: make_client(httpx))
        body = await body_of(transport, to(url))
        await transport.aclose()

    assert body == b"hello"
    assert len(asked) == 1


async def test_a_handshake_that_never_ends_is_a_connect_timeout(transport: Transport) -> None:
    async with upstream(saying(b"")) as server:
        with anyio.fail_after(10), pytest.raises(ProviderTimeoutError) as caught:
            await body_of(transport, to(server.url.replace("http:", "https:"), connect=0.05))
        await transport.aclose()

    assert caught.value.phase == "connect"
    assert server.requests == []
