"""Text that is read without taking its event apart is the text that taking it apart gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.errors import ProviderError, RequestError
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire._anthropic_answer import MessagesAnswer
from planar.wire._framing import StreamFraming
from planar.wire._openai_decode import _ChatAnswer

ODD: tuple[Any, ...] = (None, 0, 1, True, "", "x", [], {}, [{"token": "x"}], {"content": "y"})
NAMES = ("role", "refusal", "reasoning_content", "tool_calls", "annotations", "unheard_of", "content")


def chunk(delta: object, choice: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    return {"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, **choice}], **top}


CHUNKS = st.builds(
    chunk,
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD), max_size=3).map(
        lambda more: {"content": "a", **more}
    ),
    st.dictionaries(st.sampled_from(("index", "finish_reason", "logprobs")), st.sampled_from(ODD), max_size=2),
    st.dictionaries(
        st.sampled_from(("usage", "error", "x_groq", "citations", "choices")), st.sampled_from(ODD), max_size=1
    ),
)
DELTAS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ("content_block_delta", "content_block_delta", "content_block_stop", "ping", "message_stop")
        ),
        "index": st.sampled_from((0, 0, 0, 1, None, True)),
        "delta": st.sampled_from(
            (
                {"type": "text_delta", "text": "a"},
                {"type": "text_delta", "text": ""},
                {"type": "input_json_delta"},
                {"text": "b"},
                1,
            )
        ),
    }
)


def told(answer: Any, documents: list[dict[str, Any]], *, apart: bool) -> tuple[list[Event], str]:
    framing = StreamFraming(answer, ResponseInfo(), "p", reader=None if apart else answer)
    events: list[Event] = []
    try:
        for document in documents:
            events += framing.feed(f"data: {json.dumps(document)}\n\n".encode())
    except (ProviderError, RequestError) as error:
        return events, str(error)
    return events, ""


@examples(150)
@given(chunks=st.lists(st.just(chunk({"content": "a"}, {}, {})) | CHUNKS, min_size=2, max_size=8))
def test_a_chunk_says_the_same_whether_or_not_it_is_taken_apart(chunks: list[dict[str, Any]]) -> None:
    quick, slow = (_ChatAnswer(ResponseInfo(), "p", counted=True) for _ in range(2))

    assert told(quick, chunks, apart=False) == told(slow, chunks, apart=True)


@examples(150)
@given(deltas=st.lists(DELTAS, min_size=2, max_size=8))
def test_a_delta_says_the_same_whether_or_not_it_is_taken_apart(deltas: list[dict[str, Any]]) -> None:
    quick, slow = (MessagesAnswer(ResponseInfo(), "p") for _ in range(2))

    assert told(quick, deltas, apart=False) == told(slow, deltas, apart=True)


def test_text_alone_is_not_taken_apart() -> None:
    pytest.importorskip("msgspec")
    answer = _ChatAnswer(ResponseInfo(), "p", counted=True)
    told(answer, [chunk({"content": "a"}, {}, {})], apart=False)

    assert answer.text is not None
    assert answer.text(json.dumps(chunk({"content": "b"}, {}, {"usage": None})).encode()) == "b"
    assert answer.text(json.dumps(chunk({"content": "b"}, {}, {"usage": {}})).encode()) is None
    assert answer.text is None


@pytest.mark.parametrize(
    "odd", [b'"\xff"', rb'"\ud800"', rb'"\q"', b'"\x01"', b"NaN", b"01", b"[" * 200_000 + b"]" * 200_000]
)
def test_a_chunk_that_is_not_json_is_refused_where_its_text_alone_is_read(odd: bytes) -> None:
    answer = _ChatAnswer(ResponseInfo(), "p", counted=True)
    framing = StreamFraming(answer, ResponseInfo(), "p", reader=answer)
    plain = b'data: {"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    framing.feed(plain)

    with pytest.raises(ProviderError, match="not JSON"):
        framing.feed(plain.replace(b'"id":"x"', b'"unread":' + odd))
