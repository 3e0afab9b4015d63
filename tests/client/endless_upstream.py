"""A chat server that never stops talking, in a process of its own, so that ours can be weighed without it."""

from __future__ import annotations

import asyncio
import contextlib

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Ebro "},"finish_reason":null}]}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class Asked:
    """How many requests came whole."""

    total = 0


ASKED = Asked()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /asked"):
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n%d" % ASKED.total)
            writer.close()
            return
        length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        ASKED.total += 1
        await asyncio.sleep(0.002)
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(CHUNK)
            await writer.drain()
            await asyncio.sleep(0.001)
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
