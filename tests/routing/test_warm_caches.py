"""Which deployments probably still have the beginning of a prompt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.routing import CacheBoard, Topic
from planar.routing._caches import PLACES
from planar.types import Price

LISTED = Price.per_million(input=1, output=2, cached_input="0.1")
UNLISTED = Price.per_million(input=1, output=2)
TALK = Topic(("acme", 1), ("acme", 2), 1500)
OTHER_TALK = Topic(("acme", 3), ("acme", 2), 1500)


def likely(
    board: CacheBoard,
    topic: Topic = TALK,
    place: str = "a:m",
    *,
    now: float = 10.0,
    price: Price | None = LISTED,
    prompt: int = 100_000,
) -> int:
    warmth = board.of(topic, now)
    return 0 if warmth is None else warmth.likely(place, price=price, prompt=prompt)


def answered(
    board: CacheBoard,
    topic: Topic = TALK,
    place: str = "a:m",
    *,
    now: float = 0.0,
    prompt: int = 4000,
    answer: int = 200,
    cached: int | None = None,
    hour: bool = False,
) -> None:
    board.answered(topic, place, now, prompt=prompt, answer=answer, cached=cached, hour=hour)


def test_of_a_conversation_that_was_never_seen_nothing_is_known() -> None:
    assert CacheBoard().of(TALK, 0.0) is None


def test_before_a_cache_was_seen_at_work_one_with_a_price_is_credited_with_half() -> None:
    board = CacheBoard()

    answered(board)

    assert likely(board) == 2100
    assert likely(board, price=UNLISTED) == 0
    assert likely(board, price=None) == 0


def test_what_it_reports_is_expected_again() -> None:
    board = CacheBoard()
    for turn in range(40):
        answered(board, now=turn, prompt=4000, cached=3800)

    assert 3700 < likely(board, now=40) < 4000
    assert 3500 < likely(board, now=40, price=UNLISTED) < 4000


def test_one_that_never_finds_anything_is_soon_not_credited() -> None:
    board = CacheBoard()
    for turn in range(40):
        answered(board, now=turn, cached=0)

    assert likely(board, now=40) < 150


def test_a_deployment_that_does_not_say_is_judged_by_its_price_list() -> None:
    board = CacheBoard()
    for turn in range(40):
        answered(board, now=turn, cached=None)

    assert likely(board, now=40) == 2100


@pytest.mark.parametrize(("hour", "seconds"), [(False, 300.0), (True, 3600.0)])
def test_it_is_kept_for_a_time_after_it_was_last_sent(hour: bool, seconds: float) -> None:
    board = CacheBoard()
    answered(board, now=1000, hour=hour)

    assert likely(board, now=1000 + seconds - 1) > 0
    assert likely(board, now=1000 + seconds) == 0


def test_what_was_written_for_an_hour_stays_for_it_when_the_next_turn_only_reads() -> None:
    board = CacheBoard()
    answered(board, now=0, hour=True)
    answered(board, now=60)

    assert likely(board, now=3000) > 0


def test_it_is_never_more_than_the_prompt() -> None:
    board = CacheBoard()
    answered(board, prompt=50_000)

    assert likely(board, prompt=2000) == 1000


def test_what_is_too_short_to_be_kept_is_not_credited() -> None:
    board = CacheBoard()
    answered(board, prompt=500, answer=100)

    assert likely(board) == 0


def test_a_conversation_that_shares_its_instructions_finds_those() -> None:
    board = CacheBoard()
    answered(board, TALK, prompt=20_000)

    assert likely(board, OTHER_TALK) == 750
    warmth = board.of(OTHER_TALK, 1.0)
    assert warmth is not None
    assert warmth.last is None


def test_who_gave_the_last_answer_is_remembered_and_only_by_what_was_given() -> None:
    board = CacheBoard()
    answered(board, place="a:m")
    board.answered(TALK, "b:m", 1.0, prompt=4000, answer=200, cached=None, given=False)
    before = board.of(TALK, 2.0)
    board.gave(TALK, "b:m", answer=200)
    after = board.of(TALK, 2.0)

    assert before is not None
    assert after is not None
    assert (before.last, after.last) == ("a:m", "b:m")
    assert likely(board, place="b:m") == 2100


def test_a_conversation_that_was_forgotten_meanwhile_has_no_last_answer() -> None:
    board = CacheBoard()

    board.gave(TALK, "a:m", answer=5)

    assert board.of(TALK, 0.0) is None


keys = st.tuples(st.sampled_from(["acme", "umbra"]), st.integers(0, 4))
calls = st.lists(
    st.tuples(
        keys,
        st.one_of(st.none(), keys),
        st.sampled_from(["a:m", "b:m", "c:m"]),
        st.floats(0, 500),
        st.integers(0, 20_000),
        st.one_of(st.none(), st.integers(0, 30_000)),
    ),
    max_size=40,
)


@examples(200)
@given(calls, keys, st.integers(0, 20_000), st.floats(0, 500))
def test_what_is_expected_is_within_the_prompt_and_what_was_sent(
    history: list[tuple[tuple[str, int], tuple[str, int] | None, str, float, int, int | None]],
    key: tuple[str, int],
    prompt: int,
    wait: float,
) -> None:
    board = CacheBoard()
    now = 0.0
    for conversation, beginning, place, pause, size, cached in history:
        now += pause
        topic = Topic(("talk", conversation), None if beginning is None else ("begin", beginning), 2000)
        board.answered(topic, place, now, prompt=size, answer=100, cached=cached)

    for place in ("a:m", "b:m", "d:m"):
        found = likely(board, Topic(("talk", key), ("begin", key), 2000), place, now=now + wait, prompt=prompt)
        most = max([2000, *[size + 100 for *_, each, _, size, _ in history if each == place]])
        assert 0 <= found <= min(prompt, most)
    assert all(0 <= board.share(place, listed=True) <= 1 for place in ("a:m", "b:m", "d:m"))


@examples(100)
@given(calls, st.integers(0, 4))
def test_what_one_tenant_said_is_never_expected_for_another(
    history: list[tuple[tuple[str, int], tuple[str, int] | None, str, float, int, int | None]], number: int
) -> None:
    board = CacheBoard()
    for (_, talk), beginning, place, pause, size, cached in history:
        shared = None if beginning is None else ("umbra", "b", beginning[1])
        board.answered(Topic(("umbra", talk), shared, 2000), place, pause, prompt=size, answer=100, cached=cached)

    assert board.of(Topic(("acme", number), ("acme", "b", number), 2000), 0.0) is None


@examples(50)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=150), st.integers(2, 6))
def test_it_is_bounded_and_what_was_not_used_for_longest_is_forgotten(
    history: list[tuple[int, int]], capacity: int
) -> None:
    board = CacheBoard(capacity=capacity)
    used: list[tuple[str, int]] = []
    for talk, place in history:
        key = ("acme", talk)
        board.answered(Topic(key, None, 0), f"p{place}:m", 0.0, prompt=5000, answer=1, cached=4000)
        used = [*(each for each in used if each != key), key]

    assert list(board._kept) == used[-capacity:]
    assert all(len(kept.places) <= PLACES for kept in board._kept.values())
    assert len(board._shares) <= capacity


def test_threads_may_share_it() -> None:
    board = CacheBoard(capacity=4)

    def work(number: int) -> None:
        for step in range(300):
            topic = Topic(("acme", (number * step) % 7), ("acme", "b", step % 3), 1500)
            board.answered(topic, f"p{step % 11}:m", float(step), prompt=3000, answer=1, cached=step)
            assert 0 <= likely(board, topic, f"p{step % 11}:m", now=float(step)) <= 3001

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))

    assert len(board._kept) <= 4
