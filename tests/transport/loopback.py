"""A server on loopback that says exactly what a test wants said, byte for byte, and sees what arrives."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Arrived:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection of a client."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def request(self) -> Arrived | None:
        """The next request; `None` if the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            if not await self._more():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Arrived(method, target, headers, body)

    async def _more(self) -> bool:
        try:
            self._buffer += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def until_gone(self) -> None:
        while await self._more():
            pass

    async def reset(self) -> None:
        """Break the connection rather than end it."""
        raw = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._stream.aclose()


@dataclass
class Upstream:
    url: str
    requests: list[Arrived] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def upstream(answer: Callable[[Connection], Awaitable[None]]) -> AsyncIterator[Upstream]:
    """A server that reads each request and then lets `answer` speak, until a connection's client goes or it returns."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Upstream(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

    async def serve(stream: SocketStream) -> None:
        server.connections += 1
        async with stream:
            connection = Connection(stream)
            while (arrived := await connection.request()) is not None:
                server.requests.append(arrived)
                try:
                    await answer(connection)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    return

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield server
        tasks.cancel_scope.cancel()


def saying(*pieces: bytes, close: bool = False) -> Callable[[Connection], Awaitable[None]]:
    """An answer of these bytes; then, with `close`, the end of the connection."""

    async def answer(connection: Connection) -> None:
        for piece in pieces:
            await connection.send(piece)
        if close:
            raise anyio.ClosedResourceError

    return answer
