"""How long an answer will be, going by answers to calls like it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.routing import LengthBoard
from planar.routing._lengths import PLACES, Kind

KIND: Kind = ("acme", "fast", 0)
answers = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100_000), st.booleans()), min_size=1, max_size=60)


def test_of_calls_like_which_there_was_none_nothing_is_known() -> None:
    assert LengthBoard().of(KIND) is None


def test_a_few_answers_make_up_their_mean() -> None:
    board = LengthBoard()

    for tokens in (100, 100, 1000):
        board.learn(KIND, "a:m", tokens)

    lengths = board.of(KIND)
    assert lengths is not None
    assert lengths.likely("a:m") == 400


def test_what_was_long_ago_counts_less() -> None:
    board = LengthBoard()
    for tokens in [1000] * 100 + [10] * 100:
        board.learn(KIND, "a:m", tokens)

    lengths = board.of(KIND)

    assert lengths is not None
    assert 10 <= lengths.likely("a:m") < 60


def test_calls_of_another_shape_are_predicted_by_their_own_answers() -> None:
    board = LengthBoard()
    board.learn(KIND, "a:m", 1000)
    board.learn(("acme", "fast", 1), "a:m", 10)

    lengths = board.of(KIND)

    assert lengths is not None
    assert lengths.likely("a:m") == 1000


def test_for_a_tenant_of_whom_none_was_seen_the_models_name_decides() -> None:
    board = LengthBoard()
    board.learn(KIND, "a:m", 1000)
    board.learn(("umbra", "fast", 1), "a:m", 500)

    lengths = board.of(("new", "fast", 0))

    assert lengths is not None
    assert lengths.likely("a:m") == 750
    assert board.of(("new", "best", 0)) is None


def test_another_tenants_answers_change_nothing_once_a_tenant_has_its_own() -> None:
    board = LengthBoard()
    board.learn(KIND, "a:m", 100)

    for _ in range(50):
        board.learn(("umbra", "fast", 0), "a:m", 100_000)

    lengths = board.of(KIND)
    assert lengths is not None
    assert lengths.likely("a:m") == 100


def test_deployments_that_think_longer_are_told_apart() -> None:
    board = LengthBoard()
    for _ in range(50):
        board.learn(KIND, "quick:m", 100)
        board.learn(KIND, "thinker:m", 2000)

    lengths = board.of(KIND)

    assert lengths is not None
    assert lengths.likely("quick:m") < 300
    assert lengths.likely("thinker:m") > 1800
    assert 300 < lengths.likely("unseen:m") < 1800


def test_an_answer_that_was_cut_off_never_makes_answers_look_shorter() -> None:
    board = LengthBoard()
    board.learn(KIND, "a:m", 800)

    for _ in range(20):
        board.learn(KIND, "a:m", 16, cut=True)

    lengths = board.of(KIND)
    assert lengths is not None
    assert lengths.likely("a:m") == 800


@examples(200)
@given(answers)
def test_a_prediction_is_between_the_shortest_and_the_longest_that_were_seen(seen: list[tuple[str, int, bool]]) -> None:
    board = LengthBoard()
    for place, tokens, cut in seen:
        board.learn(KIND, place, tokens, cut=cut)
    lengths = board.of(KIND)

    assert lengths is not None
    for place in "abcd":
        assert min(tokens for _, tokens, _ in seen) <= lengths.likely(place) <= max(tokens for _, tokens, _ in seen)


@examples(50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=200), st.integers(1, 5))
def test_kinds_models_and_places_are_bounded_and_the_latest_are_kept(
    calls: list[tuple[int, int]], capacity: int
) -> None:
    board = LengthBoard(capacity=capacity)
    kinds: list[Kind] = []
    for number, place in calls:
        kind: Kind = (f"tenant{number}", f"model{number}", 0)
        board.learn(kind, f"p{place}:m", 5)
        kinds = [*(each for each in kinds if each != kind), kind]

    assert list(board._kinds) == kinds[-capacity:]
    assert len(board._models) <= capacity
    assert all(len(lengths._places) <= PLACES for lengths in board._kinds.values())


def test_threads_may_share_it() -> None:
    board = LengthBoard(capacity=3)

    def work(number: int) -> None:
        for step in range(300):
            kind: Kind = (f"tenant{(number + step) % 7}", "fast", 0)
            board.learn(kind, f"p{step % 5}:m", 7)
            lengths = board.of(kind)
            assert lengths is None or lengths.likely("p1:m") == 7

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))

    assert len(board._kinds) <= 3
