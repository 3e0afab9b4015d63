"""An upstream of OpenAI's chat wire that costs little: `python mock.py PORT`.

The model's name says what it does: `mock-<tokens>-<milliseconds between two>`. Without a gap a stream comes as fast as
the socket takes it, one HTTP chunk per event.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

_MODEL = re.compile(rb'"model": ?"mock-(\d+)(?:-(\d+))?"')
_STREAMED = re.compile(rb'"stream": ?true')
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)
_USAGE = {"prompt_tokens": 20, "completion_tokens": 32, "total_tokens": 52}
_HEAD = {"id": "chatcmpl-0123456789", "created": 1764000000, "model": "mock"}


def _event(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _chunk(b"data: " + json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}).encode())


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%s\n\n\r\n" % (len(event) + 2, event)


TOKEN = _event({"content": " a word or two"})
END = (
    _event({}, "stop")
    + _chunk(b"data: " + json.dumps({**_HEAD, "choices": [], "usage": _USAGE}).encode())
    + _chunk(b"data: [DONE]")
    + b"0\r\n\r\n"
)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def whole(tokens: int) -> bytes:
    message = {"role": "assistant", "content": " a word or two" * tokens}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""
        self.room = asyncio.Event()
        self.room.set()
        self.speaking: asyncio.Task[None] | None = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.speaking is not None:
            self.speaking.cancel()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return
        self.buffer = b""
        model = _MODEL.search(body)
        tokens, gap = (int(model[1]), int(model[2] or 0)) if model else (1, 0)
        if _STREAMED.search(body):
            self.speaking = asyncio.get_running_loop().create_task(self.speak(tokens, gap / 1000))
        else:
            self.transport.write(whole(tokens))

    async def speak(self, tokens: int, gap: float) -> None:
        self.transport.write(STREAM)
        step = 1 if gap else 128
        for sent in range(0, tokens, step):
            self.transport.write(TOKEN * min(step, tokens - sent))
            await self.room.wait()
            if gap:
                await asyncio.sleep(gap)
        self.transport.write(END)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
