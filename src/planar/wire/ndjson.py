"""Newline-delimited JSON without I/O, as Ollama sends it."""

from __future__ import annotations

from planar.errors import ProviderError, ProviderProtocolError
from planar.wire._base import MAX_EVENT
from planar.wire._json import is_complete


class NDJSONParser:
    """Turns a body, cut anywhere, into its lines. Blank lines are read over; a CR before the LF is white space.

    Args:
        provider: Named in errors.
        max_event: Largest line, in bytes.
    """

    __slots__ = ("_held", "_length", "_max", "_pending", "_provider")

    def __init__(self, provider: str | None = None, *, max_event: int = MAX_EVENT) -> None:
        self._provider = provider
        self._max = max_event
        self._pending: list[bytes] = []  # pieces of half a line: joined once, when its end arrives
        self._length = 0
        self._held: ProviderError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete.

        Raises:
            ProviderProtocolError: A line is larger than the bound. Lines before it in the same bytes are returned
                first, and the next call raises.
        """
        if self._held is not None:
            raise self._held
        head, newline, tail = data.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = b"".join([*self._pending, head]).split(b"\n")
            self._pending.clear()
            self._length = 0
        if tail:
            self._pending.append(tail)
            self._length += len(tail)
        return self._bounded(lines)

    def close(self) -> list[bytes]:
        """Say that the body has ended. A last line without its newline counts if it is a whole JSON object."""
        if self._held is not None:
            raise self._held
        line = b"".join(self._pending)
        self._pending.clear()
        return [line] if is_complete(line) else []

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        kept: list[bytes] = []
        for line in lines:
            if len(line) > self._max:
                return self._refuse(kept)
            if line and not line.isspace():
                kept.append(line)
        return kept if self._length <= self._max else self._refuse(kept)

    def _refuse(self, kept: list[bytes]) -> list[bytes]:
        self._pending.clear()
        self._held = ProviderProtocolError(
            f"the provider sent a line of more than {self._max} bytes", provider=self._provider
        )
        if not kept:
            raise self._held
        return kept
