"""Tool calls that arrive in pieces, put together however a server cuts and labels them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.events import Event, ToolCallDelta, ToolCallEnd, ToolCallStart
from planar.types import ToolCall
from planar.wire._json import as_dict, as_text, dumps, loads

MAX_TOOL_CALLS = 1024
"""Most tool calls that are accepted in one answer (SECURITY T8)."""


@dataclass(slots=True)
class _Call:
    number: int
    id: str = ""
    name: str = ""
    signature: str | None = None
    pieces: list[str] = field(default_factory=list[str])
    started: bool = False


class ToolCalls:
    """Accumulates the calls of one answer.

    A fragment belongs to the call of its `index`; without one to that of its `id`; without either to the one at
    its position in the list. A fragment that names a call which already has another id begins a new call: some
    servers give every call the index 0, or none.
    """

    __slots__ = ("_at", "_by_id", "_calls", "_provider")

    def __init__(self, provider: str | None = None) -> None:
        self._provider = provider
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, fragments: list[Any], events: list[Event]) -> None:
        """Take the `tool_calls` of one chunk or message."""
        for position, fragment in enumerate(fragments):
            fields = as_dict(fragment)
            # `custom` is a tool whose input is free text; some servers send both, one of them empty.
            function = as_dict(fields.get("function"))
            arguments = function.get("arguments")
            if not function.get("name") and as_dict(fields.get("custom")):
                function = as_dict(fields.get("custom"))
                arguments = function.get("input") or arguments
            name = as_text(function.get("name")) or ""
            call = self._call_for(fields, position, name)
            google = as_dict(as_dict(fields.get("extra_content")).get("google"))
            call.signature = as_text(google.get("thought_signature")) or call.signature
            self._extend(call, name, _argument_text(arguments), events)

    def _call_for(self, fields: dict[str, Any], position: int, name: str) -> _Call:
        index, call_id = fields.get("index"), as_text(fields.get("id")) or ""
        slot = index if isinstance(index, int) and not isinstance(index, bool) else None
        if slot is None and call_id in self._by_id:
            return self._by_id[call_id]
        call = self._at.get(position if slot is None else slot)
        if call is None or _begins_another(call, labelled=slot is not None, call_id=call_id, name=name):
            call = self._new(position if slot is None else slot)
        if call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = call
        return call

    def _new(self, slot: int) -> _Call:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise ProviderProtocolError(
                f"the provider sent more than {MAX_TOOL_CALLS} tool calls in one answer", provider=self._provider
            )
        call = _Call(len(self._calls))
        self._calls.append(call)
        self._at[slot] = call
        return call

    def _extend(self, call: _Call, name: str, arguments: str, events: list[Event]) -> None:
        if name and not call.name:
            call.name = name
        if call.name and not call.started:
            self._start(call, events)
        if arguments:
            call.pieces.append(arguments)
            if call.started:
                events.append(ToolCallDelta(call.number, arguments))

    def _start(self, call: _Call, events: list[Event]) -> None:
        call.started = True
        call.id = call.id or f"call_{call.number}"
        events.append(ToolCallStart(call.number, call.id, call.name))
        if call.pieces:  # arguments that came before the name
            events.append(ToolCallDelta(call.number, "".join(call.pieces)))

    def end(self, events: list[Event]) -> None:
        """Say that the answer is whole: every call ends, in the order in which they began."""
        for call in self._calls:
            if not call.started:
                self._start(call, events)
            arguments = "".join(call.pieces)
            events.append(
                ToolCallEnd(
                    call.number,
                    call.id,
                    call.name,
                    arguments,
                    incomplete=not _is_json(arguments),
                    signature=call.signature,
                )
            )


def _begins_another(call: _Call, *, labelled: bool, call_id: str, name: str) -> bool:
    """Whether a fragment for the place of `call` is the first of another call."""
    if call_id:
        return bool(call.id) and call_id != call.id and (bool(name) or not labelled)
    return not labelled and bool(name and call.name and call.pieces)


def _argument_text(arguments: object) -> str:
    """Arguments are JSON text; some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else dumps(arguments).decode()


def _is_json(text: str) -> bool:
    if not text.strip():
        return True  # no arguments at all
    try:
        loads(text.encode(errors="surrogatepass"))
    except ValueError:
        return False
    return True


def arguments_of(call: ToolCall, place: str) -> dict[str, Any]:
    """The arguments of an earlier call as the JSON object that some wires want them as.

    Raises:
        InvalidRequestError: They are no JSON object: they were cut, for instance.
    """
    try:
        arguments: object = call.parsed()
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        message = f"{place}.arguments: this wire sends them as a JSON object, which they are not"
        raise InvalidRequestError(message, param=f"{place}.arguments")
    return cast("dict[str, Any]", arguments)
