"""A fault in the engine does not stay unseen: the tests of quotas are tests."""

from __future__ import annotations

import os

import pytest
from quota_mutations import MUTATIONS, PROJECT, Mutation, survives

IN_EVERY_RUN = {"the root is skipped", "money is skipped", "an expiry releases", "a settle is settled twice"}
CHOSEN = [each for each in MUTATIONS if os.environ.get("PLANAR_MUTATIONS") == "all" or each.name in IN_EVERY_RUN]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", CHOSEN, ids=lambda mutation: mutation.name)
def test_a_fault_turns_a_test_red(mutation: Mutation) -> None:
    assert not survives(mutation), f"no test has noticed that {mutation.name}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_fault_has_its_one_place(mutation: Mutation) -> None:
    text = (PROJECT / "src/planar/quotas" / mutation.file).read_text()

    assert text.count(mutation.before) == 1
    assert mutation.before != mutation.after
