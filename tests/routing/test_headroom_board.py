"""What tenants could still spend when their store last said so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.routing import HeadroomBoard


def test_of_a_tenant_that_was_never_seen_nothing_is_known() -> None:
    assert HeadroomBoard().of("acme", 5.0) == (None, None)


def test_what_the_store_said_is_known_with_its_age() -> None:
    board = HeadroomBoard()

    board.told("acme", 700, 10.0)

    assert board.of("acme", 12.5) == (700, 2.5)
    assert board.of("umbra", 12.5) == (None, None)


def test_what_a_hold_did_not_use_is_left_again_and_no_word_of_the_stores() -> None:
    board = HeadroomBoard()
    board.told("acme", 700, 10.0)

    board.freed("acme", 250)
    board.freed("umbra", 250)

    assert board.of("acme", 11.0) == (950, 1.0)
    assert board.of("umbra", 11.0) == (None, None)


def test_a_tenant_whose_limit_was_lifted_is_forgotten() -> None:
    board = HeadroomBoard()
    board.told("acme", 700, 10.0)

    board.told("acme", None, 11.0)

    assert board.of("acme", 12.0) == (None, None)


@examples(100)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(-5, 1000)), st.booleans()), max_size=100),
    st.integers(1, 4),
)
def test_it_is_bounded_never_negative_and_keeps_those_that_were_heard_of_last(
    history: list[tuple[int, int | None, bool]], capacity: int
) -> None:
    board = HeadroomBoard(capacity=capacity)
    kept: list[str] = []
    for number, money, freed in history:
        tenant = f"tenant{number}"
        if freed:
            board.freed(tenant, -(money or 0))
            continue
        board.told(tenant, money, 0.0)
        kept = [*(each for each in kept if each != tenant), *([] if money is None else [tenant])][-capacity:]

    assert list(board._known) == kept
    assert all(left >= 0 for left, _ in board._known.values())
