"""A file decides as memory does, whatever is asked and whenever, by however many stores in turns."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from random import Random

import anyio
import pytest
from differential import STEPS, in_turns, play, play_many
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.protocols import QuotaStore
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.testing.clock import FakeClock


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("stores", "games"), [(1, 24), (2, 40)], ids=["one store", "two stores in turns"])
async def test_operations_on_a_file_have_the_same_answers_as_in_memory(tmp_path: Path, stores: int, games: int) -> None:
    files = count()

    async def open_store(clock: FakeClock) -> QuotaStore:
        path = tmp_path / f"{next(files)}.db"
        return in_turns(*(SQLiteQuotaStore(path, clock=clock) for _ in range(stores)))

    # Time that only a refusal has seen is known to one store alone.
    assert await play_many(range(games), open_store, steps_back=stores == 1) > games * STEPS


@examples(15)
@given(random=st.randoms(use_true_random=False), stores=st.integers(1, 3))
def test_any_few_operations_on_a_file_have_the_same_answers_as_in_memory(random: Random, stores: int) -> None:
    with tempfile.TemporaryDirectory() as folder:

        async def open_store(clock: FakeClock) -> QuotaStore:
            path = Path(folder) / "quotas.db"
            return in_turns(*(SQLiteQuotaStore(path, clock=clock) for _ in range(stores)))

        anyio.run(lambda: play(random, open_store, steps=30, steps_back=stores == 1))
