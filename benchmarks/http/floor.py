"""As little as can be: a socket protocol that knows the one answer it will get, and a parser made for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from contenders import KEY, body


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Said(msgspec.Struct, gc=False):
    delta: _Delta


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Said]


class _Message(msgspec.Struct, gc=False):
    message: _Delta


class _Whole(msgspec.Struct, gc=False):
    choices: list[_Message]


_chunk = msgspec.json.Decoder(_Chunk).decode
_whole = msgspec.json.Decoder(_Whole).decode


class _Wire(asyncio.Protocol):
    """Gives up what it has read so far to one waiting reader, cut at the ends of events."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask(b"")

    def ask(self, request: bytes) -> None:
        self.buffer = b""
        self.waiting: asyncio.Future[None] | None = None
        if request:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.waiting is not None:
            self.waiting.set_result(None)
            self.waiting = None

    async def more(self) -> None:
        self.waiting = asyncio.get_running_loop().create_future()
        await self.waiting


class Floor:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.idle: list[_Wire] = []

    async def ask(self, asked: bytes) -> _Wire:
        if not self.idle:
            _, fresh = await asyncio.get_running_loop().create_connection(_Wire, self.host, self.port)
            self.idle.append(fresh)
        wire = self.idle.pop()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer {KEY}\r\n"
        wire.ask(f"{head}content-length: {len(asked)}\r\n\r\n".encode() + asked)
        return wire

    async def whole(self, model: str) -> str:
        wire = await self.ask(body(model, stream=False))
        while True:
            await wire.more()
            head, found, answer = wire.buffer.partition(b"\r\n\r\n")
            if found and len(answer) == int(head.rpartition(b"content-length: ")[2]):
                self.idle.append(wire)
                return _whole(answer).choices[0].message.content or ""

    async def stream(self, model: str, on_token: Callable[[str], None]) -> None:
        wire = await self.ask(body(model, stream=True))
        while True:
            await wire.more()
            *events, wire.buffer = wire.buffer.split(b"\n\n\r\n")
            for event in events:
                data = event[event.index(b"data: ") + 6 :]
                if data == b"[DONE]":
                    self.idle.append(wire)
                    return
                choices = _chunk(data).choices
                if choices and (text := choices[0].delta.content):
                    on_token(text)
