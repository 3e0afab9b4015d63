"""The sockets of a `FaultServer`: one thread, one selector, and no event loop that a client could share or hold up."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, Protocol, cast

from planar.testing._fault_steps import End, Move

_BURST = 64  # moves of one connection before the others have their turn
_SPIN = 0.001  # seconds below which a selector's clock is too coarse
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@dataclass(slots=True)
class SeenRequest:
    """One request as it reached the server, and what became of its answer. Times are `time.monotonic()`.

    Attributes:
        headers: Names in lower case.
        connection: Which connection it came on, counted from 1.
        at: When its last byte had been read.
        sent: Bytes of the response that were handed to the operating system.
        finished: The last step was taken; the connection waits for its next request.
        closed_at: When the client was seen to close or break the connection, idle time after the answer included;
            `None` while it has not, and if the server broke it first. Seen as soon as the operating system tells,
            which on loopback is well below 5 ms.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    at: float
    sent: int = 0
    finished: bool = False
    closed_at: float | None = None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)


class Handler(Protocol):
    """Decides what is done with each request."""

    def __call__(self, request: SeenRequest) -> Iterator[Move]:
        """The moves of its answer."""
        ...


@dataclass(eq=False, slots=True)
class _Connection:
    """One client. `play` gives the moves of the answer that is under way; `None` between two requests."""

    socket: socket.socket
    number: int
    handler: Handler
    inbox: bytearray = field(default_factory=bytearray)
    outbox: memoryview | None = None
    play: Iterator[Move] | None = None
    wake_at: float = 0.0
    request: SeenRequest | None = None
    ended: bool = False  # our half is closed: all that is left is to see the client's

    @property
    def due(self) -> float:
        """When it wants a turn without being asked for one."""
        return inf if self.play is None or self.outbox is not None else self.wake_at


class FaultLoop:
    """Accepts connections and plays what their handlers say, in a thread of its own.

    Attributes:
        connections: Connections that are open now.
        accepted: Connections that were ever made, by listener.
        changed: Notified whenever a connection has been closed.
        failure: What a handler raised.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._commands: deque[Callable[[], None]] = deque()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, _READ, self._drain_waker)
        self._stopped = False
        self.connections: set[_Connection] = set()
        self.accepted = 0
        self.changed = threading.Condition()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="planar-fault-server", daemon=True)

    # -- from other threads ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def call(self, command: Callable[[], None]) -> None:
        """Run this on the loop's thread, after everything that had happened by now was seen, and wait for it."""
        if threading.current_thread() is self._thread:
            command()
            return
        done = threading.Event()

        def run() -> None:
            command()
            done.set()

        self._commands.append(run)
        self._waker.send(b"x")
        if not done.wait(10):
            raise RuntimeError("the fault server's thread does not answer")

    def stop(self) -> None:
        """Close everything and end the thread."""
        self.call(self._stop)
        self._thread.join(10)
        self._waker.close()
        self._woken.close()

    # -- the loop ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stopped = True

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._turn()
        finally:
            self._selector.unregister(self._woken)  # it outlives the thread: a caller may be waking it right now
            for key in list(self._selector.get_map().values()):
                cast("socket.socket", key.fileobj).close()
            for connection in self.connections:
                connection.socket.close()
            self.connections.clear()
            self._selector.close()

    def _turn(self) -> None:
        commands = len(self._commands)  # those that come later have not seen what the selector will tell now
        due = min((connection.due for connection in self.connections), default=inf)
        wait = 0.0 if commands else max(0.0, due - time.monotonic())
        if 0 < wait < _SPIN:
            time.sleep(wait)
            wait = 0.0
        for key, _events in self._selector.select(None if wait == inf else wait):
            key.data()
        now = time.monotonic()
        for connection in [connection for connection in self.connections if connection.due <= now]:
            self._guarded(connection, self._advance)
        for _ in range(commands):
            self._commands.popleft()()

    def _drain_waker(self) -> None:
        self._woken.recv(4096)

    # -- listeners (on the loop's thread) ----------------------------------------------------------

    def listen(self, listener: socket.socket, handler: Handler) -> None:
        """Accept connections for `handler`."""
        listener.listen(1024)
        self._selector.register(listener, _READ, lambda: self._accept(listener, handler))

    def deafen(self, listener: socket.socket) -> None:
        """Stop accepting, and close what is idle; the socket is closed."""
        self._selector.unregister(listener)
        listener.close()
        for connection in list(self.connections):
            if connection.play is None and not connection.ended:
                self._close(connection)

    def _accept(self, listener: socket.socket, handler: Handler) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            connection = _Connection(client, self.accepted, handler)
            self.connections.add(connection)
            self._selector.register(client, _READ, partial(self._ready, connection))

    # -- connections ------------------------------------------------------------------------------

    def _ready(self, connection: _Connection) -> None:
        self._guarded(connection, self._receive)
        if connection in self.connections and connection.outbox is not None and self._flush(connection):
            self._guarded(connection, self._advance)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(connection)
        elif not connection.ended:
            connection.inbox += data
            self._begin(connection)

    def _begin(self, connection: _Connection) -> None:
        """Start to answer the next request, once it has arrived whole and the last one was answered."""
        if connection.play is not None:
            return
        request = _taken(connection)
        if request is not None:
            connection.request = request
            connection.play = iter(())  # not idle any more, whatever the handler does
            connection.play = connection.handler(request)
            connection.wake_at = 0.0
            self._advance(connection)

    def _guarded(self, connection: _Connection, step: Callable[[_Connection], None]) -> None:
        """Take a step; where a test's own script fails, whoever leaves the server's block is told."""
        try:
            step(connection)
        except Exception as error:  # noqa: BLE001 - raised again on the test's own thread
            self.failure = self.failure or error
            if connection in self.connections:
                self._reset(connection)

    def _advance(self, connection: _Connection) -> None:
        for _ in range(_BURST):
            assert connection.play is not None
            move = next(connection.play, None)
            match move:
                case bytes():
                    connection.outbox = memoryview(move)
                    if not self._flush(connection):
                        return
                case float() | int():
                    if move > 0:
                        connection.wake_at = time.monotonic() + move
                        return
                case End.RESET:
                    self._reset(connection)
                    return
                case End.CLOSE:
                    self._shut(connection)
                    return
                case None:
                    self._finish(connection)
                    return

    def _flush(self, connection: _Connection) -> bool:
        """Whether all of the outbox is with the operating system; if not, the selector tells when there is room."""
        assert connection.outbox is not None
        try:
            count = connection.socket.send(connection.outbox)
        except BlockingIOError:
            self._watch(connection, _READ | _WRITE)
            return False
        except OSError:
            self._gone(connection)
            return False
        if connection.request is not None:
            connection.request.sent += count
        left = connection.outbox[count:]
        connection.outbox = left or None
        self._watch(connection, _READ | _WRITE if left else _READ)
        return not left

    def _watch(self, connection: _Connection, events: int) -> None:
        key = self._selector.get_key(connection.socket)
        if key.events != events:
            self._selector.modify(connection.socket, events, key.data)

    def _finish(self, connection: _Connection) -> None:
        connection.play = None
        if connection.request is not None:
            connection.request.finished = True
        self._begin(connection)

    def _gone(self, connection: _Connection) -> None:
        if connection.request is not None:
            connection.request.closed_at = time.monotonic()
        self._close(connection)

    def _shut(self, connection: _Connection) -> None:
        connection.play, connection.ended = None, True
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._gone(connection)

    def _reset(self, connection: _Connection) -> None:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        connection.play = connection.outbox = None
        with self.changed:
            self.connections.discard(connection)
            self.changed.notify_all()


def _taken(connection: _Connection) -> SeenRequest | None:
    """The request at the beginning of the inbox, which is taken out of it; `None` while it is not whole."""
    end = connection.inbox.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = connection.inbox[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise ValueError("a FaultServer reads only requests that tell their content-length")
    begin = end + 4
    length = int(headers.get("content-length", "0"))
    if len(connection.inbox) < begin + length:
        return None
    body = bytes(connection.inbox[begin : begin + length])
    del connection.inbox[: begin + length]
    method, _, target = first.partition(" ")
    return SeenRequest(
        method=method,
        path=target.rpartition(" ")[0],
        headers=headers,
        body=body,
        connection=connection.number,
        at=time.monotonic(),
    )
