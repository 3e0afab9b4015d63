"""HTTP over `httpx2`, the maintained continuation of httpx (extra `httpx2`)."""

from __future__ import annotations

from planar.errors import MissingExtraError
from planar.transport._family import HttpxTransport, make_client

try:
    import httpx2  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise MissingExtraError("httpx2", extra="httpx2") from error


def httpx2_transport() -> HttpxTransport:
    """A transport with one `httpx2.AsyncClient` per event loop."""
    return HttpxTransport(make=lambda: make_client(httpx2))
