"""Server-sent events without I/O, as every provider but Ollama sends them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from planar.errors import ProviderError, ProviderProtocolError
from planar.wire._base import MAX_EVENT
from planar.wire._json import is_complete

_BOM = b"\xef\xbb\xbf"


class SSEParser:
    """Turns a body, cut anywhere, into `(event name or None, data)` pairs.

    Data stays bytes: it may be invalid UTF-8, which whoever decodes it reports. The name of an event is text with
    U+FFFD for what is not UTF-8. A block with an empty `data:` line gives empty data; one without any gives nothing.
    Comments, `id:` and `retry:` are read over.

    Args:
        provider: Named in errors.
        max_event: Largest block between two blank lines, in bytes.

    Attributes:
        failure: What the next call will raise.
        cut: At the end of the body something was left that is no whole event.
    """

    __slots__ = ("_length", "_max", "_pending", "_provider", "_skip_lf", "_start", "cut", "failure")

    def __init__(self, provider: str | None = None, *, max_event: int = MAX_EVENT) -> None:
        self._provider = provider
        self._max = max_event
        self._pending: list[bytes] = []  # pieces of an unfinished block: joined once, when its end arrives
        self._length = 0
        self._skip_lf = False  # the last read ended in CR: an LF that follows belongs to it
        self._start = True
        self.cut = False
        self.failure: ProviderError | None = None

    def feed(self, data: bytes) -> list[tuple[str | None, bytes]]:
        """The events that these bytes complete.

        Raises:
            ProviderProtocolError: A block is larger than the bound. Events before it in the same bytes are
                returned first, and the next call raises.
        """
        if self.failure is not None:
            raise self.failure
        if self._skip_lf or b"\r" in data:
            data = self._with_lf(data)
        pending = self._pending
        if b"\n\n" not in data and not (data[:1] == b"\n" and pending and pending[-1][-1:] == b"\n"):
            if data:
                pending.append(data)
                self._length += len(data)
            return [] if self._length <= self._max + 1 else self._refuse([])
        if pending:
            pending.append(data)
            data = b"".join(pending)
            pending.clear()
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        if rest:
            pending.append(rest)
        self._length = len(rest)
        if self._start:
            self._start = False
            blocks[0] = blocks[0].removeprefix(_BOM)
        return self._events(blocks, bounded=len(data) <= self._max)

    def close(self) -> list[tuple[str | None, bytes]]:
        """Say that the body has ended.

        A last block without its blank line counts if its data is `[DONE]` or a whole JSON object or list: recorded
        streams of several vendors end so. Anything else that is left was cut and is dropped.
        """
        if self.failure is not None:
            raise self.failure
        block = b"".join(self._pending)
        self._pending.clear()
        if self._start:
            block = block.removeprefix(_BOM)
        event = _event_of(block)
        if event is None or not (event[1].strip() == b"[DONE]" or is_complete(event[1])):
            self.cut = bool(block.strip())
            return []
        return [event]

    def _with_lf(self, data: bytes) -> bytes:
        """CR, LF and CRLF all end a line, wherever the body was cut."""
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._skip_lf = data[-1:] == b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _events(self, blocks: list[bytes], *, bounded: bool) -> list[tuple[str | None, bytes]]:
        events: list[tuple[str | None, bytes]] = []
        for block in blocks:
            if not bounded and len(block) > self._max:
                return self._refuse(events)
            # The two framings that nearly every vendor sends, without a loop over lines.
            if block[:6] == b"data: " and b"\n" not in block:
                events.append((None, block[6:]))
            elif block and (event := _event_of(block)) is not None:
                events.append(event)
        return events if self._length <= self._max + 1 else self._refuse(events)

    def _refuse(self, events: list[tuple[str | None, bytes]]) -> list[tuple[str | None, bytes]]:
        self._pending.clear()
        self.failure = ProviderProtocolError(
            f"the provider sent an event of more than {self._max} bytes", provider=self._provider
        )
        if not events:
            raise self.failure
        return events


def _event_of(block: bytes) -> tuple[str | None, bytes] | None:
    """One block's name and data; `None` if it has no data line.

    Google writes an error into the middle of its streams as bare JSON: a block that begins like an object is data.
    """
    if block[:7] == b"event: ":
        name, found, data = block.partition(b"\ndata: ")
        if found and b"\n" not in data and b"\n" not in name:
            return name[7:].decode(errors="replace") or None, data
    if block.lstrip()[:1] == b"{":
        return None, block
    lines: list[bytes] = []
    event = b""
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            event = value.removeprefix(b" ")
    return (event.decode(errors="replace") or None, b"\n".join(lines)) if lines else None
