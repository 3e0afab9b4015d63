from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.errors import ProviderProtocolError
from planar.wire._json import dumps, is_complete, is_cut, loads
from planar.wire.ndjson import NDJSONParser


def lines_of(*pieces: bytes, max_event: int = 1 << 20) -> list[bytes]:
    parser = NDJSONParser("p", max_event=max_event)
    return [line for piece in pieces for line in parser.feed(piece)] + parser.close()


@given(cuts=st.lists(st.integers(0, 60), max_size=6))
def test_lines_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    body = '{"a":"é"}\n\n{"b":2}\r\n  \n{"c":3}'.encode()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})

    lines = lines_of(*(body[start:end] for start, end in pairwise(places)))

    assert [loads(line) for line in lines] == [{"a": "é"}, {"b": 2}, {"c": 3}]


def test_a_last_line_that_was_cut_is_dropped() -> None:
    assert lines_of(b'{"a":1}\n{"b":') == [b'{"a":1}']


def test_a_line_above_the_bound_is_refused_after_those_before_it() -> None:
    parser = NDJSONParser("p", max_event=10)

    assert parser.feed(b'{"a":1}\n' + b"x" * 11) == [b'{"a":1}']
    with pytest.raises(ProviderProtocolError):
        parser.feed(b"")


@pytest.mark.parametrize("bad", [b"", b"{", b'{"a":NaN}', b'"\xff"', b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5_000])
def test_what_is_not_json_is_a_value_error(bad: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is the promise
        loads(bad)


@pytest.mark.parametrize("bad", [float("nan"), "\ud800", b"x", object(), {"a": {1, 2}}])
def test_what_has_no_json_form_is_a_value_error(bad: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is the promise
        dumps({"value": bad})


DOCUMENT = dumps({"a": 'x\u00e9"\U0001f600', "b": [True, False, None, -1.5e10, {"c": []}]})


@given(cut=st.integers(0, len(DOCUMENT) - 1))
def test_the_beginning_of_a_document_is_cut_and_not_complete(cut: int) -> None:
    assert is_cut(DOCUMENT[:cut])
    assert not is_complete(DOCUMENT[:cut])
    assert is_complete(DOCUMENT)


@pytest.mark.parametrize("more", [b"{}", b" {", b"\n]", b"nonsense"])
def test_a_document_with_something_after_it_is_neither_cut_nor_complete(more: bytes) -> None:
    assert not is_cut(DOCUMENT + more)
    assert not is_complete(DOCUMENT + more)
