"""How many examples a property is tried with: a few in every run, many in the fuzz session."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

TIMES = int(os.environ.get("PLANAR_FUZZ", "1"))
FAULTED = os.environ.get("PLANAR_FAULTED") == "1"
"""The source has a fault that was put there: that it is found is all that matters."""
PHASES = (Phase.generate,) if FAULTED else tuple(Phase)


def examples(count: int) -> settings:
    """Try `count` examples, or as many times that as `PLANAR_FUZZ` says. A slow machine is no failure."""
    return settings(max_examples=count * TIMES, deadline=None, phases=PHASES)
