"""An upstream that misbehaves on purpose, over real sockets on loopback, for tests on any event loop."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, cast, get_args

from planar.testing._fault_answer import answer_of
from planar.testing._fault_loop import FaultLoop, SeenRequest
from planar.testing._fault_steps import Move, play
from planar.testing._wires import WIRES, WireName
from planar.testing.faults import Behaviour, Fault, script_of

__all__ = ["FaultServer", "SeenRequest"]

_HOST = "127.0.0.1"


class FaultServer:
    """Answers on one vendor's wire and does to each request what it was told to do.

    It runs in a thread of its own, on real time, so that a client on asyncio, trio or threads can be watched from
    outside its own loop. Every path is answered alike: give `server.url` as the `base_url` of any provider that speaks
    the wire. Whether a stream or a document is sent is what the request asks for.

    Args:
        wire: `openai_chat`, `openai_responses`, `anthropic_messages`, `gemini` or `ollama_chat`.

    Attributes:
        requests: Every request, in the order of their arrival.
        strays: Requests that reached the other host, to which `Fault.REDIRECT` points.

    Example:
        ```python
        with FaultServer(wire="openai_chat") as server:
            server.say(Fault.RESET_IN_BODY, Fault.NONE)  # the second request is served, and all that follow
            client = planar.Planar(providers=[planar.OpenAICompatible(base_url=server.url, name="test")])
            ...
            assert server.wait_closed()
        ```
    """

    def __init__(self, *, wire: WireName) -> None:
        if wire not in get_args(WireName):
            raise ValueError(f"the wires are {', '.join(get_args(WireName))}, not {wire!r}")
        self.wire: WireName = wire
        self.requests: list[SeenRequest] = []
        self.strays: list[SeenRequest] = []
        self._behaviours: Sequence[Behaviour] = (Fault.NONE,)
        self._next = 0
        self._refusing = False
        self._loop: FaultLoop | None = None
        self._address = self._elsewhere = (_HOST, 0)

    def __enter__(self) -> Self:
        self._loop = loop = FaultLoop()
        listener, other = _bound((_HOST, 0)), _bound((_HOST, 0))
        self._listener = listener
        self._address, self._elsewhere = listener.getsockname(), other.getsockname()
        loop.listen(listener, self._answer)
        loop.listen(other, self._stray)
        loop.start()
        self._follow()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop, self._loop = self._running, None
        loop.stop()
        self._listener.close()
        if loop.failure is not None and error is None:
            raise loop.failure

    @property
    def _running(self) -> FaultLoop:
        if self._loop is None:
            raise RuntimeError("the server runs inside its `with` block only")
        return self._loop

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return "http://{}:{}".format(*self._address)

    @property
    def elsewhere(self) -> str:
        """The other host, without a path; what arrives there is in `strays`."""
        return "http://{}:{}".format(*self._elsewhere)

    @property
    def connections(self) -> int:
        """How many connections were ever made, to the other host too."""
        return self._running.accepted

    @property
    def open_connections(self) -> int:
        """How many connections are open now: idle ones and those that only the client has yet to close, too."""
        return len(self._running.connections)

    def say(self, *behaviours: Behaviour) -> None:
        """What to do with the requests from now on, one each; the last is repeated for all further ones.

        A request that is being answered is not touched. `Fault.REFUSED` closes the port, and every idle connection,
        as soon as it is next; as no request will be seen, it can only be the last.

        Raises:
            ValueError: No behaviour, or one after `Fault.REFUSED`.
        """
        if not behaviours or Fault.REFUSED in behaviours[:-1]:
            raise ValueError("say what to do, and nothing after Fault.REFUSED")

        def change() -> None:
            self._behaviours, self._next = behaviours, 0
            self._follow()

        if self._loop is None:
            change()
        else:
            self._loop.call(change)

    def wait_closed(self, timeout: float = 5.0) -> bool:
        """Block this thread until no connection is open; whether that happened within `timeout` seconds.

        Inside an event loop, call it when the loop has nothing left to close, or in a worker thread.
        """
        loop = self._running
        loop.call(lambda: None)  # what was in the backlog has been accepted now
        with loop.changed:
            return loop.changed.wait_for(lambda: not loop.connections, timeout)

    # -- on the loop's thread ----------------------------------------------------------------------

    def _answer(self, request: SeenRequest) -> Iterator[Move]:
        self.requests.append(request)
        behaviour = self._behaviours[min(self._next, len(self._behaviours) - 1)]
        self._next += 1
        self._follow()
        streamed = WIRES[self.wire].wants_stream(request.path, _asked(request))
        answer = answer_of(self.wire, streamed=streamed, elsewhere=self.elsewhere)
        return play(script_of(behaviour)(answer))

    def _stray(self, request: SeenRequest) -> Iterator[Move]:
        self.strays.append(request)
        return play(answer_of(self.wire, streamed=True).respond())

    def _follow(self) -> None:
        """Listen or refuse, as the next behaviour says."""
        loop = self._loop
        refusing = self._behaviours[min(self._next, len(self._behaviours) - 1)] is Fault.REFUSED
        if loop is None or refusing == self._refusing:
            return
        self._refusing = refusing
        if refusing:
            # Bound and deaf: the port stays ours, and whoever connects is refused.
            loop.deafen(self._listener)
            self._listener = _bound(self._address)
        else:
            loop.listen(self._listener, self._answer)


def _bound(address: tuple[str, int]) -> socket.socket:
    listener = socket.socket()
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    return listener


def _asked(request: SeenRequest) -> dict[str, Any]:
    try:
        document: object = request.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
