"""What every provider behind HTTP shares: where it is, with which key, and how one document is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import anyio

from planar._version import __version__
from planar.errors import (
    ConfigurationError,
    ProviderError,
    ProviderTimeoutError,
    RequestError,
)
from planar.transport import (
    HttpRequest,
    HttpResponse,
    Transport,
    TransportName,
    header_value,
    make_transport,
    read_some,
    read_whole,
)
from planar.types import Secret
from planar.wire._base import MAX_TOTAL, WireRequest

REFUSING = 10.0
"""Seconds that the body of a refusal may take."""


class Refusal(Protocol):
    """Reads a vendor's refusal: its status, its headers (names in lower case) and its body."""

    def __call__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float,
        provider: str,
        deployment: str | None,
        secrets: Sequence[Secret],
    ) -> ProviderError | RequestError:
        """The error to raise."""
        ...


def secret_of(api_key: str | Secret | None, *, owner: str) -> Secret | None:
    """A key as it may be kept.

    Raises:
        ConfigurationError: It is empty, or has characters that no key has. The message does not show it.
    """
    if api_key is None:
        return None
    text = api_key.reveal() if isinstance(api_key, Secret) else api_key
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"{owner}: api_key is empty")
    if any(character.isspace() for character in text):
        raise ConfigurationError(f"{owner}: api_key has white space in it: was a line break copied along?")
    header_value("api_key", text)
    return api_key if isinstance(api_key, Secret) else Secret(text)


def checked_base_url(base_url: str, *, owner: str) -> str:
    """An address that paths can be put behind.

    Raises:
        ConfigurationError: It is no http(s) address, or it holds credentials, which would end up in logs.
    """
    try:
        parts = urlsplit(base_url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known, parts = False, urlsplit("")
    if not known or any(character.isspace() for character in base_url):
        raise ConfigurationError(f"{owner}: base_url must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{owner}: base_url must not hold credentials: give api_key= instead")
    return base_url


class Endpoint:
    """One vendor's address, with what every request to it carries.

    Args:
        name: The provider's name, for errors.
        base_url: Paths are put behind it, before its query.
        headers: Sent with every request; they win over ours.
        key: The secret, and the header it travels in with what stands before it, such as
            `("authorization", "Bearer ")`.
        refusal: Reads what the vendor says when it refuses.
        http_client: The caller's own client.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        refusal: Refusal,
        headers: Mapping[str, str] | None = None,
        key: Secret | None = None,
        key_header: tuple[str, str] = ("authorization", "Bearer "),
        http_client: Any = None,
    ) -> None:
        self.name = name
        self.base_url = checked_base_url(base_url, owner=name)
        self._key = key
        self._key_header = key_header
        self._refusal = refusal
        self._headers = {
            "user-agent": f"planar-inference/{__version__}",
            **{field.lower(): header_value(field, value) for field, value in (headers or {}).items()},
        }
        self._client = http_client
        self._library: TransportName = "httpx"
        self._transport: Transport | None = None
        self._urls: dict[str, str] = {}

    def use(self, library: TransportName) -> None:
        """Which HTTP library to load when the first request is made. It says nothing beside a caller's own client."""
        if self._transport is None:
            self._library = library

    @property
    def transport(self) -> Transport:
        """What sends requests: made when it is first needed."""
        if self._transport is None:
            self._transport = make_transport(self._library, client=self._client)
        return self._transport

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be seen in an error."""
        return () if self._key is None else (self._key,)

    def request(self, wire: WireRequest, *, connect: float | None, answer: float | None) -> HttpRequest:
        """The request as it is sent: the one place where the key is revealed."""
        headers = {**wire.headers, **self._headers}
        if self._key is not None:
            field, before = self._key_header
            headers[field] = before + self._key.reveal()
        return HttpRequest(
            url=self._url(wire.path),
            headers=headers,
            body=wire.body,
            method=wire.method,
            connect=connect,
            answer=answer,
        )

    def _url(self, path: str) -> str:
        url = self._urls.get(path)
        if url is None:
            parts = urlsplit(self.base_url)
            place, _, asked = path.partition("?")
            query = "&".join(filter(None, (asked, parts.query)))
            url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + place, query, ""))
            if len(self._urls) < 64:
                self._urls[path] = url
        return url

    async def refused(self, response: HttpResponse, *, now: float, deployment: str | None) -> Exception:
        """The error for a response whose status is not a good one."""
        body = b""
        with anyio.move_on_after(REFUSING):
            try:
                body = await read_some(response)
            except ProviderError:
                body = b""  # the status says enough
        return self._refusal(
            response.status,
            response.headers,
            body,
            now=now,
            provider=self.name,
            deployment=deployment,
            secrets=self.secrets,
        )

    async def fetch(
        self,
        wire: WireRequest,
        *,
        now: float,
        connect: float | None = 10.0,
        answer: float | None = 60.0,
        deployment: str | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """One request whose answer is one document: its headers and its body.

        Raises:
            ProviderError, RequestError: The vendor refused, or cannot be reached, or `answer` seconds went by.
        """
        try:
            with anyio.fail_after(None if connect is None or answer is None else connect + answer):
                async with self.transport.open(self.request(wire, connect=connect, answer=answer)) as response:
                    if not 200 <= response.status < 300:
                        raise await self.refused(response, now=now, deployment=deployment)
                    return response.headers, await read_whole(response, limit=MAX_TOTAL)
        except TimeoutError:
            message = "the provider's answer did not come in time"
            raise ProviderTimeoutError(message, phase="total", provider=self.name, deployment=deployment) from None
        except (ProviderError, RequestError) as error:
            self.sign(error, deployment)
            raise

    def sign(self, error: ProviderError | RequestError, deployment: str | None) -> None:
        """Write down who failed, as far as the error does not say so itself."""
        error.provider = error.provider or self.name
        error.deployment = error.deployment or deployment

    async def aclose(self) -> None:
        """Close the connections of this loop."""
        if self._transport is not None:
            await self._transport.aclose()
