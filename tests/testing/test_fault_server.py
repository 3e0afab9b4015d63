"""The misbehaving upstream, seen by plain sockets: every primitive does what it says, and every byte is counted."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from planar.testing import FAULTS, Fault, FaultServer
from planar.testing._fault_answer import answer_of
from planar.testing.faults import (
    TEXT,
    Answer,
    Close,
    Drip,
    FaultStep,
    Pause,
    Repeat,
    Reset,
    Send,
    WireName,
    reset_at,
    stall_at,
    storm,
)

SOON = 5.0
WIRES: tuple[WireName, ...] = get_args(WireName)
PATHS = {True: "/models/m:streamGenerateContent?alt=sse", False: "/models/m:generateContent"}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(wire="openai_chat") as running:
        yield running


class Client:
    """A client that asks and then reads what comes, byte by byte."""

    def __init__(self, server: FaultServer) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=SOON)

    def ask(self, *, streamed: bool = True, path: str = "/chat") -> Client:
        body = json.dumps({"stream": streamed}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\nX-Key: k\r\ncontent-length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        return self

    def read(self, count: int) -> bytes:
        read = b""
        while len(read) < count and (piece := self.socket.recv(count - len(read))):
            read += piece
        return read

    def rest(self) -> bytes:
        read = b""
        while piece := self.socket.recv(1 << 18):
            read += piece
        return read

    def until(self, end: bytes) -> bytes:
        read = b""
        while not read.endswith(end):
            piece = self.socket.recv(1)
            assert piece, read
            read += piece
        return read

    def close(self) -> None:
        self.socket.close()


def raw(server: FaultServer, *, streamed: bool = True) -> bytes:
    return answer_of(server.wire, streamed=streamed, elsewhere=server.elsewhere).raw


def say_and_read(server: FaultServer, *steps: FaultStep) -> bytes:
    server.say(steps)
    client = Client(server).ask()
    try:
        return client.rest()
    finally:
        client.close()


def test_a_request_is_answered_and_the_connection_is_kept_for_the_next(server: FaultServer) -> None:
    client = Client(server)

    first = client.ask().read(len(raw(server)))
    second = client.ask(streamed=False, path="/other").read(len(raw(server, streamed=False)))

    assert (first, second) == (raw(server), raw(server, streamed=False))
    assert b"transfer-encoding: chunked" in first
    assert json.loads(second.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"] == TEXT
    assert (server.connections, server.open_connections) == (1, 1)
    assert [(request.method, request.path, request.connection) for request in server.requests] == [
        ("POST", "/chat", 1),
        ("POST", "/other", 1),
    ]
    assert server.requests[0].headers["x-key"] == "k"
    assert server.requests[0].json() == {"stream": True}
    client.close()
    assert server.wait_closed(SOON)
    assert [(request.sent, request.finished) for request in server.requests] == [
        (len(first), True),
        (len(second), True),
    ]


def test_behaviours_are_taken_one_by_one_and_the_last_is_repeated(server: FaultServer) -> None:
    server.say(*storm(2, retry_after_ms=20), Fault.SERVER_ERROR, Fault.UNAUTHORIZED)
    client = Client(server)

    statuses = []
    for _ in range(6):
        head = client.ask().until(b"\r\n\r\n")
        statuses.append(int(head[9:12]))
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        client.read(int(length)) if length else client.until(b"0\r\n\r\n")

    assert statuses == [429, 429, 200, 500, 401, 401]
    client.close()


@pytest.mark.parametrize("offset", [0, 1, 40, -5])
def test_a_reset_comes_after_as_many_bytes_as_were_asked_for(server: FaultServer, offset: int) -> None:
    server.say(reset_at(offset))
    client = Client(server).ask()
    expected = raw(server)[:offset]

    read = client.read(len(expected))
    with pytest.raises(ConnectionResetError):
        client.read(1)

    assert read == expected
    assert server.wait_closed(SOON), "a connection that the server broke is gone at once"
    assert (server.requests[0].sent, server.requests[0].closed_at) == (len(expected), None)
    client.close()


@pytest.mark.parametrize("piece", [None, 0, 1, 3])
def test_a_stall_says_nothing_more_until_the_client_goes(server: FaultServer, piece: int | None) -> None:
    server.say(stall_at(piece))
    client = Client(server).ask()
    answer = answer_of("openai_chat", streamed=True)
    expected = b"" if piece is None else b"".join(step.data for step in answer.until(piece))

    read = client.read(len(expected))
    client.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.read(1)
    left = time.monotonic()
    client.close()

    assert read == expected
    assert server.wait_closed(SOON)
    closed_at = server.requests[0].closed_at
    assert closed_at is not None
    assert not server.requests[0].finished
    assert -0.001 <= closed_at - left <= 0.5


def test_a_stall_with_pings_looks_alive_and_says_nothing(server: FaultServer) -> None:
    server.say(stall_at(0, pings=True))
    client = Client(server).ask()

    client.until(b"\r\n\r\n")
    ping = answer_of("openai_chat", streamed=True).ping
    pings = client.read(3 * len(ping))

    assert pings == 3 * ping
    assert b": keep-alive" in ping
    client.close()


def test_a_drip_is_the_same_bytes_one_at_a_time(server: FaultServer) -> None:
    began = time.monotonic()

    read = say_and_read(server, Drip(b"abcdefghij", gap=0.005), Close())

    assert read == b"abcdefghij"
    assert time.monotonic() - began >= 0.05
    assert server.requests[0].sent == 10


def test_repeats_pauses_and_closes_are_what_they_are_called(server: FaultServer) -> None:
    began = time.monotonic()

    read = say_and_read(
        server, Send(b"<"), Repeat(b"ab", times=3), Pause(0.05), Send(b""), Send(b">"), Close(), Send(b"!")
    )

    assert read == b"<ababab>"
    assert time.monotonic() - began >= 0.05


def test_many_small_pieces_and_a_few_large_ones_all_arrive(server: FaultServer) -> None:
    steps = (Repeat(b"ab", times=1000), Repeat(b"c" * (1 << 20), times=20), Drip(b"de" * 200), Close())

    assert say_and_read(server, *steps) == b"ab" * 1000 + b"c" * (20 << 20) + b"de" * 200


def test_a_server_that_closed_its_half_still_counts_the_client_that_did_not(server: FaultServer) -> None:
    server.say([Send(b"x"), Close()])
    client = Client(server).ask()

    assert client.rest() == b"x"

    assert server.open_connections == 1
    assert not server.wait_closed(0.02)
    client.close()
    assert server.wait_closed(SOON)
    assert server.requests[0].closed_at is not None


def test_a_repeat_without_end_holds_no_memory_and_stops_with_the_client(server: FaultServer) -> None:
    server.say([Repeat(b"y" * 65536)])
    client = Client(server).ask()

    assert client.read(1 << 20) == b"y" * (1 << 20)
    client.close()

    assert server.wait_closed(SOON)
    assert server.requests[0].sent >= 1 << 20


def test_a_client_that_does_not_read_holds_up_nobody_else(server: FaultServer) -> None:
    server.say([Repeat(b"z" * 65536)], Fault.NONE)
    deaf = Client(server).ask()
    deaf.read(1)

    other = Client(server).ask()

    assert other.read(len(raw(server))) == raw(server)
    deaf.close()
    other.close()
    assert server.wait_closed(SOON)


def test_a_refusing_server_is_one_that_is_not_there_and_may_come_back(server: FaultServer) -> None:
    idle = Client(server)
    idle.ask().read(len(raw(server)))

    server.say(Fault.REFUSED)
    with pytest.raises(ConnectionRefusedError):
        Client(server)

    assert idle.read(1) == b"", "a kept connection would not be refused"
    server.say(Fault.NONE, Fault.REFUSED)
    client = Client(server).ask()
    assert client.read(len(raw(server))) == raw(server)
    with pytest.raises(ConnectionRefusedError):
        Client(server)
    idle.close()
    client.close()


def test_a_refusal_can_only_be_the_last() -> None:
    with FaultServer(wire="gemini") as server:
        with pytest.raises(ValueError, match="nothing after"):
            server.say(Fault.REFUSED, Fault.NONE)
        with pytest.raises(ValueError, match="say what to do"):
            server.say()


def test_a_redirect_leads_to_another_host_that_remembers_who_came(server: FaultServer) -> None:
    server.say(Fault.REDIRECT)
    client = Client(server).ask()

    head = client.until(b"\r\n\r\n").decode()

    assert head.startswith("HTTP/1.1 307 ")
    assert f"location: {server.elsewhere}/taken" in head
    assert server.strays == []
    host, _, port = server.elsewhere.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=SOON) as stray:
        stray.sendall(b"GET /taken HTTP/1.1\r\nauthorization: k\r\n\r\n")
        assert stray.recv(5) == b"HTTP/"
    assert [request.headers["authorization"] for request in server.strays] == ["k"]
    client.close()


def test_a_bomb_is_small_on_the_wire_and_large_behind_it(server: FaultServer) -> None:
    answer = answer_of("openai_chat", streamed=False)

    head, body = FAULTS[Fault.GZIP_BOMB].script(answer)

    assert isinstance(head, Send)
    assert isinstance(body, Send)
    assert b"content-encoding: gzip" in head.data
    assert len(body.data) < 100_000
    assert gzip.decompress(body.data) == bytes(64 << 20)


def test_requests_may_come_in_pieces_and_in_a_row(server: FaultServer) -> None:
    client = Client(server)
    both = b"POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}" + b"POST /b HTTP/1.1\r\ncontent-length: 0\r\n\r\n"

    for place in range(0, len(both), 7):
        client.socket.sendall(both[place : place + 7])
        time.sleep(0)

    expected = 2 * raw(server, streamed=False)
    assert client.read(len(expected)) == expected
    assert [request.path for request in server.requests] == ["/a", "/b"]
    client.close()


def test_the_server_leaves_no_thread_and_no_socket() -> None:
    before = threading.active_count()

    with FaultServer(wire="ollama_chat") as server:
        server.say(Fault.STALL)
        client = Client(server).ask()
        client.read(1)

    assert threading.active_count() == before
    client.rest()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        Client(server)


def test_a_script_that_fails_is_told_to_the_test_and_not_to_the_client() -> None:
    def broken(answer: Answer) -> list[FaultStep]:
        raise LookupError("my own mistake")

    with pytest.raises(LookupError, match="my own mistake"):
        with FaultServer(wire="openai_chat") as server:
            server.say(broken)
            client = Client(server).ask()
            with pytest.raises(ConnectionResetError):
                client.read(1)
            client.close()


def test_it_runs_inside_its_block_only() -> None:
    server = FaultServer(wire="openai_chat")

    with pytest.raises(RuntimeError, match="with"):
        _ = server.connections
    with pytest.raises(ValueError, match="the wires are"):
        FaultServer(wire="fax")  # type: ignore[arg-type]


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("wire", WIRES)
def test_every_fault_has_steps_on_every_wire(wire: WireName, streamed: bool) -> None:
    answer = answer_of(wire, streamed=streamed, elsewhere="http://127.0.0.1:1")

    scripts = {fault: named.script(answer) for fault, named in FAULTS.items()}

    assert set(scripts) == set(Fault)
    plain = scripts.pop(Fault.NONE)
    assert all(steps and tuple(steps) != tuple(plain) for steps in scripts.values())


@pytest.mark.parametrize("wire", WIRES)
def test_the_form_is_the_one_that_was_asked_for(wire: WireName) -> None:
    with FaultServer(wire=wire) as server:
        heads: dict[bool, Any] = {}
        for streamed in (True, False):
            client = Client(server).ask(streamed=streamed, path=PATHS[streamed])
            heads[streamed] = client.until(b"\r\n\r\n")
            client.close()

    assert b"transfer-encoding: chunked" in heads[True]
    assert b"application/json" in heads[False]


def test_a_reset_is_a_reset_and_not_an_end(server: FaultServer) -> None:
    server.say([Send(b"x"), Pause(0.02), Reset()])
    client = Client(server).ask()

    assert client.read(1) == b"x"
    with pytest.raises(ConnectionResetError):
        client.read(1)

    client.close()
