"""HTTP over `httpx`, which is always installed."""

from __future__ import annotations

import httpx

from planar.transport._family import HttpxTransport, make_client


def httpx_transport() -> HttpxTransport:
    """A transport with one `httpx.AsyncClient` per event loop."""
    return HttpxTransport(make=lambda: make_client(httpx))
