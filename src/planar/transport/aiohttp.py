"""HTTP over `aiohttp` (extra `fast`): the least CPU per token, on asyncio only."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from planar.errors import (
    ConfigurationError,
    MissingExtraError,
    ProviderConnectionError,
    ProviderError,
    ProviderProtocolError,
    ProviderTimeoutError,
    TruncatedStreamError,
)
from planar.transport import MAX_TOTAL, HttpRequest, host_of
from planar.transport._family import ssl_context
from planar.transport._loops import PerLoop, on_trio

try:
    import aiohttp
    from yarl import URL
except ModuleNotFoundError as error:
    raise MissingExtraError("aiohttp", extra="fast") from error

_LARGE = 1 << 20
"""A body above this, in bytes, is handed over as a file, so that it is written in pieces."""
_KEPT_URLS = 64
_ADDED = frozenset(("content-type", "user-agent"))
"""Headers that aiohttp adds to a request without them."""


def aiohttp_transport() -> AiohttpTransport:
    """A transport with one `aiohttp.ClientSession` per event loop."""
    return AiohttpTransport()


class AiohttpTransport:
    """Sends requests through one session of aiohttp per event loop.

    A request other than a POST over a connection that the server had just closed is sent again by aiohttp; a POST
    is not.

    Args:
        max_total: Largest body that is accepted, in bytes.
    """

    def __init__(self, *, max_total: int = MAX_TOTAL) -> None:
        self._max_total = max_total
        self._sessions: PerLoop[aiohttp.ClientSession] = PerLoop(_make_session, _close)
        self._urls: dict[str, tuple[URL, str]] = {}
        self._clocks: dict[tuple[float | None, float | None], aiohttp.ClientTimeout] = {}

    def open(self, request: HttpRequest) -> _Exchange:
        """Send, and wait for status and headers. See `planar.transport.Transport`.

        Raises:
            ConfigurationError: The event loop is trio's.
        """
        url, where = self._address(request.url)
        clock = self._clock(request.connect, request.answer)
        return _Exchange(self._sessions.get(), request, url, where, clock, self._max_total)

    def _address(self, text: str) -> tuple[URL, str]:
        known = self._urls.get(text)
        if known is None:
            if len(self._urls) >= _KEPT_URLS:
                self._urls.clear()
            known = self._urls[text] = (URL(text, encoded=True), host_of(text))
        return known

    def _clock(self, connect: float | None, answer: float | None) -> aiohttp.ClientTimeout:
        key = (connect, answer)
        known = self._clocks.get(key)
        if known is None:
            if len(self._clocks) >= _KEPT_URLS:
                self._clocks.clear()
            known = self._clocks[key] = aiohttp.ClientTimeout(total=None, connect=connect, sock_read=answer)
        return known

    async def aclose(self) -> None:
        """Close the session of this loop; ask other loops to close theirs."""
        await self._sessions.aclose()


def _make_session() -> aiohttp.ClientSession:
    if on_trio():
        raise ConfigurationError("transport='aiohttp' runs on asyncio only: use transport='httpx' on trio")
    return aiohttp.ClientSession(
        # A pool that is full is a silent wait before the first token.
        connector=aiohttp.TCPConnector(ssl=ssl_context(), limit=0, keepalive_timeout=30.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"accept-encoding": "identity"},
    )


async def _close(session: aiohttp.ClientSession) -> None:
    await session.close()


class _Exchange:
    """One request and its response; leaving it early closes the connection."""

    __slots__ = (
        "_clock",
        "_max_total",
        "_read",
        "_request",
        "_response",
        "_session",
        "_url",
        "_where",
        "headers",
        "status",
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        request: HttpRequest,
        url: URL,
        where: str,
        clock: aiohttp.ClientTimeout,
        max_total: int,
    ) -> None:
        self._session = session
        self._request: HttpRequest | None = request
        self._url = url
        self._where = where
        self._clock = clock
        self._max_total = max_total
        self._read = 0
        self._response: aiohttp.ClientResponse | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        request, self._request = self._request, None  # a stream that is open for long need not keep its prompt
        assert request is not None
        failure, body = None, request.body
        try:
            self._response = response = await self._session.request(
                request.method,
                self._url,
                data=io.BytesIO(body) if len(body) > _LARGE else body or None,
                headers=request.headers,
                # Only what would be added: to leave out a header costs aiohttp as much as all others together.
                skip_auto_headers=_ADDED - request.headers.keys() or None,
                allow_redirects=False,
                timeout=self._clock,
            )
        except (aiohttp.ClientError, OSError) as error:
            failure = _before_headers(error, self._where)
        else:
            self.status = response.status
            self.headers = {name.lower(): value for name, value in response.headers.items()}
            # How long the body may be silent is decided by whoever reads it: it alone knows what is content.
            protocol = None if response.connection is None else response.connection.protocol
            if protocol is not None and self._clock.sock_read is not None:
                protocol.read_timeout = None
                protocol.start_timeout()
            return self
        # Outside the `except`: the library's error holds the request, and with it the key.
        raise failure

    @property
    def arrived(self) -> bool:
        return self._response is None or self._response.content.is_eof()

    def __aiter__(self) -> AsyncIterator[bytes]:
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise ProviderProtocolError(
                f"{self._where} encoded its answer ({encoding[:20]}) although that was not asked for"
            )
        return self

    async def __anext__(self) -> bytes:
        response = self._response
        if response is None:
            raise StopAsyncIteration
        content = response.content
        try:
            piece = await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            # The break is told before what arrived ahead of it was read; the order of the wire is restored here.
            piece = content._read_nowait(-1)
            failure = None if piece else _in_body(error, self._where)
        else:
            failure = None
        if failure is not None:
            raise failure
        if not piece:
            raise StopAsyncIteration
        self._read += len(piece)
        if self._read > self._max_total:
            raise ProviderProtocolError(f"{self._where} sent a body of more than {self._max_total} bytes")
        return piece

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()  # a body that was read to its end has given its connection back already


def _before_headers(error: Exception, where: str) -> ProviderError:
    """Our word for a failure before any answer. No text with a key in it."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ProviderTimeoutError(f"no connection to {where} in time", phase="connect")
        case TimeoutError():
            return ProviderTimeoutError(f"no answer from {where} in time", phase="first_token")
        case aiohttp.ClientConnectorError():
            return ProviderConnectionError(f"no connection to {where}: {error.os_error}")
        case _:
            kind = type(error).__name__
            return ProviderConnectionError(f"the connection to {where} broke before the answer ({kind})", broke=True)


def _in_body(error: Exception, where: str) -> ProviderError:
    return TruncatedStreamError(f"the connection to {where} broke in the answer ({type(error).__name__})")
