"""HTTP over any client with the interface of `httpx.AsyncClient`, whichever package it comes from."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from types import TracebackType
from typing import Any, Self

from planar.errors import (
    ProviderConnectionError,
    ProviderError,
    ProviderProtocolError,
    ProviderTimeoutError,
    TruncatedStreamError,
)
from planar.transport import MAX_TOTAL, HttpRequest, host_of
from planar.transport._loops import PerLoop


@cache
def ssl_context() -> ssl.SSLContext:
    """What every connection trusts, whichever library makes it: the system's certificates, always verified."""
    return ssl.create_default_context()


def make_client(package: Any) -> Any:
    """A client of this package as Planar wants it: its own trust, no environment, no redirects, room for all."""
    return package.AsyncClient(
        verify=ssl_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # every request carries its own
        # A pool that is full is a silent wait before the first token.
        limits=package.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=30.0),
    )


class HttpxTransport:
    """Sends requests through a client of the httpx family: one per event loop, or the caller's own for all.

    The family is known by its interface alone: errors by the names of their classes, requests by the class that the
    client itself builds.

    Args:
        client: The caller's; used as it is and never closed.
        make: Makes a client for a loop, where the caller gave none.
        max_total: Largest body that is accepted, in bytes.
    """

    def __init__(self, client: Any = None, *, make: Callable[[], Any], max_total: int = MAX_TOTAL) -> None:
        self._client = client
        self._max_total = max_total
        self._clients: PerLoop[Any] = PerLoop(make, _close)
        self._request_class: Any = None
        self._body_class: Any = None
        self._urls: dict[str, Any] = {}

    def open(self, request: HttpRequest) -> _Exchange:
        """Send, and wait for status and headers. See `planar.transport.Transport`."""
        client = self._clients.get() if self._client is None else self._client
        return _Exchange(client, self._build(client, request), request.url, self._max_total)

    def _build(self, client: Any, request: HttpRequest) -> Any:
        url = self._urls.get(request.url)
        if url is None:
            # Parsing is slow: the client's own classes are asked for once per address.
            built = client.build_request(request.method, request.url)
            self._request_class = type(built)
            if len(self._urls) >= 64:
                self._urls.clear()
            url = self._urls[request.url] = built.url
        timeout = {"connect": request.connect, "pool": request.connect, "write": request.answer, "read": request.answer}
        headers = {"accept-encoding": "identity", **request.headers}
        made = self._request_class(
            request.method, url, headers=headers, content=request.body, extensions={"timeout": timeout}
        )
        if request.body:
            if self._body_class is None:
                self._body_class = _body_class(type(made.stream))
            made.stream = self._body_class(request.body)
        return made

    async def aclose(self) -> None:
        """Close the client of this loop; ask other loops to close theirs. A caller's client stays open."""
        await self._clients.aclose()


async def _close(client: Any) -> None:
    await client.aclose()


def _body_class(library: Any) -> Any:
    """The library's own kind of body without its generator, of which trio complains when it is dropped half-way."""

    class Body(library):  # type: ignore[misc]
        def __init__(self, data: bytes) -> None:
            super().__init__(data)  # pyright: ignore[reportUnknownMemberType]
            self._data = data

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _Once(self._data)

    return Body


class _Once:
    __slots__ = ("_left",)

    def __init__(self, data: bytes) -> None:
        self._left: bytes | None = data

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data, self._left = self._left, None
        if data is None:
            raise StopAsyncIteration
        return data


class _Exchange:
    """One request and its response; leaving it early closes the connection."""

    __slots__ = ("_body", "_client", "_max_total", "_read", "_request", "_response", "_where", "headers", "status")

    def __init__(self, client: Any, request: Any, url: str, max_total: int) -> None:
        self._client = client
        self._max_total = max_total
        self._request = request
        self._where = host_of(url)
        self._response: Any = None
        self._body: AsyncIterator[bytes] | None = None
        self._read = 0
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        failure: ProviderError | None = None
        try:
            self._response = await self._client.send(self._request, stream=True, auth=None, follow_redirects=False)
        except Exception as error:
            failure = _before_headers(error, self._where)
            if failure is None:
                raise
        if failure is not None:
            # Outside the `except`: the library's error holds the request, and with it the key.
            raise failure
        # How long the body may be silent is decided by whoever reads it: it alone knows what is content.
        self._request.extensions["timeout"]["read"] = None
        self.status = self._response.status_code
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._response.headers.raw
        }
        return self

    @property
    def arrived(self) -> bool:
        return False

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body is None:
            encoding = self.headers.get("content-encoding", "identity").strip().lower()
            if encoding not in ("", "identity"):
                raise ProviderProtocolError(
                    f"{self._where} encoded its answer ({encoding[:20]}) although that was not asked for"
                )
            # The bytes as they come: the client's own ways to read them put a generator more around every piece.
            self._body = aiter(self._response.stream)
        return self

    async def __anext__(self) -> bytes:
        if self._body is None:
            raise StopAsyncIteration
        try:
            piece = b""
            while not piece:
                piece = await self._body.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            failure = _in_body(error, self._where)
            if failure is None:
                raise
        else:
            self._read += len(piece)
            if self._read > self._max_total:
                raise ProviderProtocolError(f"{self._where} sent a body of more than {self._max_total} bytes")
            return piece
        raise failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is None:
            return
        await self._response.aclose()
        if self._body is None:
            return
        # The library reads through a stack of generators. Closing the outer one leaves the inner ones to the
        # garbage collector, which trio warns of; reading on from a closed connection ends all of them.
        try:
            while True:
                await self._body.__anext__()
        except StopAsyncIteration:
            return
        except Exception as ended:
            if _in_body(ended, self._where) is None:
                raise


def _family(error: BaseException) -> frozenset[str]:
    """The names of an error's classes, if it is of the httpx family: two packages, one interface."""
    classes = type(error).__mro__
    if not any(cls.__module__.partition(".")[0].startswith(("httpx", "httpcore")) for cls in classes):
        return frozenset()
    return frozenset(cls.__name__ for cls in classes)


def _before_headers(error: Exception, where: str) -> ProviderError | None:
    """Our word for a failure before any answer; `None` if it is none of the library's. No text with a key in it."""
    names = _family(error)
    if not names:
        return None
    if names & {"ConnectTimeout", "PoolTimeout"}:
        return ProviderTimeoutError(f"no connection to {where} in time", phase="connect")
    if "TimeoutException" in names:
        return ProviderTimeoutError(f"no answer from {where} in time", phase="first_token")
    if "ConnectError" in names:
        return ProviderConnectionError(f"no connection to {where}: {_why(error)}")
    if names & {"TransportError", "HTTPError"}:
        return ProviderConnectionError(
            f"the connection to {where} broke before the answer ({type(error).__name__})", broke=True
        )
    return None


def _why(error: BaseException) -> str:
    """The library's words, or where it has none (on trio) those of what lies behind it."""
    behind: BaseException | None = error
    while behind is not None:
        if words := str(behind):
            return words
        behind = behind.__cause__ or behind.__context__
    return type(error).__name__


def _in_body(error: Exception, where: str) -> ProviderError | None:
    names = _family(error)
    if "TimeoutException" in names:
        return ProviderTimeoutError(f"{where} stopped in the middle of its answer", phase="stall")
    if names & {"TransportError", "HTTPError", "StreamError"}:
        return TruncatedStreamError(f"the connection to {where} broke in the answer ({type(error).__name__})")
    return None
