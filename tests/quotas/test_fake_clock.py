from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.protocols import Clock
from planar.testing.clock import FakeClock


def test_time_stands_still_until_it_is_told_to_pass():
    clock: Clock = FakeClock(time=100, monotonic=5)

    assert (clock.time(), clock.time(), clock.monotonic()) == (100, 100, 5)


def test_both_scales_advance_together():
    clock = FakeClock(time=100, monotonic=5)

    clock.advance(0.25)

    assert (clock.time(), clock.monotonic()) == (100.25, 5.25)


def test_the_wall_clock_is_set_without_the_monotonic_one():
    clock = FakeClock(time=100, monotonic=5)

    clock.set_time(20)
    clock.set_monotonic(6)

    assert (clock.time(), clock.monotonic()) == (20, 6)


def test_a_monotonic_clock_does_not_run_backwards():
    clock = FakeClock(monotonic=5)

    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="backwards"):
        clock.set_monotonic(4.9)


@given(st.lists(st.integers(0, 10**6), max_size=50))
def test_small_steps_add_up_exactly(milliseconds: list[int]):
    clock = FakeClock()
    start = clock.time()

    for step in milliseconds:
        clock.advance(step / 1_000)

    assert round((clock.time() - start) * 1_000) == sum(milliseconds)
