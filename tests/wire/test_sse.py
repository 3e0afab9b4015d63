"""Server-sent events: WHATWG's rules, the deviations that vendors show, and bodies cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.errors import ProviderProtocolError
from planar.wire.sse import SSEParser


def parsed(*pieces: bytes, max_event: int = 1 << 20) -> list[tuple[str | None, bytes]]:
    parser = SSEParser("p", max_event=max_event)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\n", [(None, b"a")], id="one line"),
        pytest.param(b"data:a\n\n", [(None, b"a")], id="no space after the colon"),
        pytest.param(b"data:  a\n\n", [(None, b" a")], id="only one space is removed"),
        pytest.param(b"data: a\ndata: b\n\n", [(None, b"a\nb")], id="lines join with a line feed"),
        pytest.param(
            b"data:\n\ndata\ndata\n\ndata:test\n\n", [(None, b""), (None, b"\n"), (None, b"test")], id="empty"
        ),
        pytest.param(b"data: a\r\rdata: b\r\r", [(None, b"a"), (None, b"b")], id="carriage returns"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [(None, b"a"), (None, b"b")], id="both"),
        pytest.param(b"data: a\n\r\ndata: b\r\n\n", [(None, b"a"), (None, b"b")], id="mixed"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [(None, b"a")], id="a mark at the start is stripped"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="a second mark is part of the field's name"),
        pytest.param(b": keep-alive\n\n:\n\n", [], id="comments"),
        pytest.param(b": c\ndata: a\n\n", [(None, b"a")], id="a comment before data"),
        pytest.param(b"event: x\ndata: a\n\n", [("x", b"a")], id="a named event"),
        pytest.param(b"data: a\nevent: x\n\n", [("x", b"a")], id="the name may come last"),
        pytest.param(b"event: x\n\ndata: a\n\n", [(None, b"a")], id="a name without data is forgotten"),
        pytest.param(b"event:\ndata: a\n\n", [(None, b"a")], id="an empty name is none"),
        pytest.param(b"id: 7\n\n", [], id="an id alone is no event"),
        pytest.param(b"id: 7\nretry: 10\ndata: a\n\n", [(None, b"a")], id="id and retry are read over"),
        pytest.param(b"Data: a\nfoo: b\n\n", [], id="unknown fields"),
        pytest.param(b"\n\n\n\ndata: a\n\n\n\n", [(None, b"a")], id="blank lines"),
        pytest.param(
            "data: a\u2028b\u0085c\x0bd\n\n".encode(), [(None, "a\u2028b\u0085c\x0bd".encode())], id="unicode"
        ),
        pytest.param(b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")], id="bytes that are not UTF-8"),
        pytest.param(b"data: [DONE]", [(None, b"[DONE]")], id="a last block that is the terminal"),
        pytest.param(b'data: {"a":1}\n', [(None, b'{"a":1}')], id="a last block that is JSON"),
        pytest.param(b'data: {"a":1', [], id="a last block that was cut"),
        pytest.param(b"data: 12", [], id="a last number may be half of one"),
    ],
)
def test_a_body_becomes_these_events_however_it_is_cut(body: bytes, events: list[tuple[str | None, bytes]]) -> None:
    assert parsed(body) == events
    assert parsed(*(body[place : place + 1] for place in range(len(body)))) == events
    for cut in range(len(body)):
        assert parsed(body[:cut], body[cut:]) == events


LINES = st.sampled_from(
    [
        b"data: {}",
        b'data: {"t":"\xc3\xa9"}',
        b"data:x",
        b"data",
        b"event: e",
        b": ping",
        b"id: 1",
        b"",
        b"",
        b"x",
        b"\xff",
    ]
)


@given(
    lines=st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_events_do_not_depend_on_where_the_bytes_are_cut(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    body = b"".join(line + end for line, end in lines)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in pairwise(places)]

    assert parsed(*pieces) == parsed(body)


def test_an_event_above_the_bound_is_refused_after_those_before_it() -> None:
    parser = SSEParser("p", max_event=20)

    before = parser.feed(b"data: a\n\n" + b"data: " + b"x" * 15 + b"\n\n")

    assert before == [(None, b"a")]
    with pytest.raises(ProviderProtocolError, match="20 bytes"):
        parser.feed(b"")


@pytest.mark.parametrize("size", [19, 20, 21, 22, 40])
def test_the_bound_does_not_depend_on_where_the_bytes_are_cut(size: int) -> None:
    body = b"data: " + b"x" * (size - 6) + b"\n\n"

    def outcome(*pieces: bytes) -> object:
        try:
            return parsed(*pieces, max_event=20)
        except ProviderProtocolError:
            return "refused"

    assert outcome(body) == ("refused" if size > 20 else [(None, body[6:-2])])
    for cut in range(len(body)):
        assert outcome(body[:cut], body[cut:]) == outcome(body)


def test_a_stream_without_any_end_of_line_is_bounded() -> None:
    parser = SSEParser("p", max_event=100)

    with pytest.raises(ProviderProtocolError):
        for _ in range(200):
            parser.feed(b"x")
