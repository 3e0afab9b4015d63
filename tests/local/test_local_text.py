from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from planar.providers.local._text import StopMatcher, TextAssembler
from planar.types import TokenLogprob

LETTERS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def pieces(whole: str | bytes, cuts: list[int]) -> list:
    bounds = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(bounds)]


def text_before_the_first_stop(text: str, stops: list[str]) -> str:
    """The definition: read letter by letter, and stop where a stop sequence is complete."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


@given(text=LETTERS, stops=STOPS, cuts=st.lists(st.integers(0, 100)))
def test_a_stop_sequence_is_found_wherever_the_text_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    matcher = StopMatcher(stops)

    shown = "".join(matcher.feed(piece) for piece in pieces(text, cuts))
    shown += "" if matcher.matched is not None else matcher.close()

    assert shown == text_before_the_first_stop(text, stops)


@given(text=LETTERS, stops=STOPS, cuts=st.lists(st.integers(0, 100)))
def test_what_was_shown_is_never_taken_back_by_a_stop_sequence(text: str, stops: list[str], cuts: list[int]) -> None:
    matcher = StopMatcher(stops)
    allowed = text_before_the_first_stop(text, stops)
    shown = ""

    for piece in pieces(text, cuts):
        shown += matcher.feed(piece)

        assert allowed.startswith(shown)


def test_text_that_cannot_become_a_stop_sequence_is_shown_at_once() -> None:
    matcher = StopMatcher(["###"])

    shown = [matcher.feed("a"), matcher.feed("b#"), matcher.feed("c"), matcher.feed("##")]

    assert shown == ["a", "b", "#c", ""]


def test_nothing_comes_after_a_stop_sequence() -> None:
    matcher = StopMatcher(["b"])

    shown = [matcher.feed("ab"), matcher.feed("c"), matcher.close()]

    assert shown == ["a", "", ""]
    assert matcher.matched == "b"


@given(text=st.text(max_size=20), cuts=st.lists(st.integers(0, 100)))
def test_characters_come_whole_wherever_their_bytes_are_cut(text: str, cuts: list[int]) -> None:
    assembler = TextAssembler([])

    deltas = [delta for piece in pieces(text.encode(), cuts) for delta in assembler.feed(piece)]

    assert "".join(delta.text for delta in deltas) == text
    assert all(delta.text for delta in deltas)


def test_a_character_that_the_end_cuts_in_two_does_not_come() -> None:
    assembler = TextAssembler([])

    deltas = [*assembler.feed("é🎉".encode()[:-1]), *assembler.close()]

    assert [delta.text for delta in deltas] == ["é"]


def test_log_probabilities_travel_with_the_text_of_their_token() -> None:
    assembler = TextAssembler(["<end>"])
    first, second, third = (TokenLogprob(token=token, logprob=-1.0) for token in ("a<", "b", "<end>"))

    deltas = [*assembler.feed(b"a<", first), *assembler.feed(b"b", second), *assembler.feed(b"<end>", third)]

    assert [(delta.text, delta.logprobs) for delta in deltas] == [("a", (first,)), ("<b", (second,))]
    assert assembler.stopped


def test_the_tokens_of_one_character_report_their_log_probabilities_together() -> None:
    assembler = TextAssembler([])
    halves = [TokenLogprob(token="�", logprob=-1.0), TokenLogprob(token="�", logprob=-2.0)]
    encoded = "é".encode()

    deltas = [*assembler.feed(encoded[:1], halves[0]), *assembler.feed(encoded[1:], halves[1])]

    assert [(delta.text, delta.logprobs) for delta in deltas] == [("é", tuple(halves))]
