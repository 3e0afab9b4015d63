"""How many examples a property is tried with: a few in every run, many in the fuzz session."""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = int(os.environ.get("PLANAR_FUZZ", "1"))


def examples(count: int) -> settings:
    """Try `count` examples, or as many times that as `PLANAR_FUZZ` says. A slow machine is no failure."""
    return settings(max_examples=count * TIMES, deadline=None)
