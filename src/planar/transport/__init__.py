"""The seam between Planar and HTTP: a request goes out, a status, headers and pieces of bytes come back.

Nothing above this room knows an HTTP library. Importing it loads none either; `make_transport` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, assert_never, get_args
from urllib.parse import urlsplit

from planar.errors import ConfigurationError, ProviderProtocolError

TransportName: TypeAlias = Literal["httpx", "httpx2", "aiohttp"]
TRANSPORTS: tuple[str, ...] = get_args(TransportName)
MAX_TOTAL = 64 << 20
"""Largest body that is accepted, in bytes (SECURITY T8)."""
MAX_REFUSAL = 64 << 10
"""How much of a refusal's body is read, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, ready to be sent.

    Attributes:
        url: Complete. It never holds a key.
        headers: Names in lower case; values were checked by `header_value`.
        connect: Seconds until the connection stands; `None` means without end.
        answer: Seconds from then until the response's headers.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)  # a key is among them
    body: bytes = field(default=b"", repr=False)
    method: str = "POST"
    connect: float | None = None
    answer: float | None = None


class HttpResponse(Protocol):
    """A response whose body is still to come."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def arrived(self) -> bool:
        """All of the body is here: to read it waits for nothing. False where the library does not tell."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, in pieces as large as the socket gives, none of them empty.

        Raises:
            TruncatedStreamError: The connection broke before the body's end.
            ProviderProtocolError: The body is larger than any may be, or encoded in a way that was not asked for.
        """
        ...


class Transport(Protocol):
    """Sends requests. It retries nothing, follows no redirect, and reads no environment."""

    def open(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send, and wait for status and headers.

        Leaving the block before the body's end closes the connection at once. Nothing stays open between two
        pieces but the connection itself: no cancel scope, no task.

        Raises:
            ProviderConnectionError: There is no connection, or it broke before the headers came.
            ProviderTimeoutError: `connect` or `answer` seconds were not enough.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and give up those of other loops."""
        ...


async def read_whole(response: HttpResponse, *, limit: int) -> bytes:
    """The body in one piece.

    Raises:
        ProviderProtocolError: It is larger than `limit` bytes.
        TruncatedStreamError: The connection broke before its end.
    """
    pieces: list[bytes] = []
    length = 0
    async for piece in response:
        length += len(piece)
        if length > limit:
            raise ProviderProtocolError(f"the provider sent a body of more than {limit} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def read_some(response: HttpResponse, *, limit: int = MAX_REFUSAL) -> bytes:
    """As much of the body as `limit` bytes hold, without asking for more: what a refusal says."""
    pieces: list[bytes] = []
    length = 0
    async for piece in response:
        pieces.append(piece)
        length += len(piece)
        if length >= limit:
            break
    return b"".join(pieces)[:limit]


def header_value(name: str, value: str) -> str:
    """`value`, if it can be the value of a header.

    Raises:
        ConfigurationError: It holds a line break or another character that no header may have. The message does
            not show it.
    """
    if not value.isascii() or any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ConfigurationError(f"the value for the header {name!r} has characters that no header may have")
    return value


def host_of(url: str) -> str:
    """Host and port of an address, for errors: nothing else of it may be seen."""
    parts = urlsplit(url)
    return parts.hostname or "the provider" if parts.port is None else f"{parts.hostname}:{parts.port}"


def make_transport(name: TransportName = "httpx", *, client: Any = None) -> Transport:
    """A transport over this HTTP library.

    Args:
        name: Which library to load; without meaning beside `client`.
        client: A caller's own `httpx.AsyncClient`, or one with its interface. It is used as it is, with its proxies
            and its trust, and it is not closed.

    Raises:
        MissingExtraError: The library is not installed.
    """
    if client is not None:
        from planar.transport._family import HttpxTransport

        return HttpxTransport(client, make=lambda: client)
    if name == "httpx":
        from planar.transport.httpx import httpx_transport

        return httpx_transport()
    if name == "httpx2":
        from planar.transport.httpx2 import httpx2_transport

        return httpx2_transport()
    if name == "aiohttp":
        from planar.transport.aiohttp import aiohttp_transport

        return aiohttp_transport()
    assert_never(name)
