"""What all wires share: the request that goes out, and the shape of a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from planar.events import Event, Notice

MAX_EVENT = 1 << 20
"""Largest single event that is accepted, in bytes (SECURITY T8)."""
MAX_TOTAL = 64 << 20
"""Largest body that is accepted, in bytes (SECURITY T8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One HTTP request without its host and credentials.

    Attributes:
        path: Appended to the provider's base URL; starts with `/`.
        headers: Names in lower case. No key is among them.
        notices: What was left out or changed on the way, to be told to the caller.
    """

    path: str
    body: bytes
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    notices: tuple[Notice, ...] = ()


class Decoder(Protocol):
    """Turns a body, cut anywhere, into events.

    An error does not swallow what came before it in the same bytes: those events are returned, and the next
    call raises, be it `feed(b"")`. Whoever reads the body makes that call before it waits for more.
    """

    def feed(self, data: bytes) -> Sequence[Event]:
        """The events that are complete now; none for half an event or a keep-alive.

        Raises:
            ProviderError: The body reports an error, or is not what the wire allows.
        """
        ...

    def close(self) -> Sequence[Event]:
        """Say that the body has ended. The last events, ending in `Finish`, unless that was given already.

        Raises:
            TruncatedStreamError: The answer had not ended.
        """
        ...
