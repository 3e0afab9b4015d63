"""Who wants a scripted provider need not have what the suites need."""

from __future__ import annotations

import subprocess
import sys

import planar.testing

LOADED = "import sys, planar.testing; print(sorted({'pytest', 'hypothesis', 'planar.client'} & set(sys.modules)))"


def test_the_suites_are_loaded_when_they_are_used() -> None:
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    missing = [name for name in planar.testing.__all__ if not hasattr(planar.testing, name)]

    assert missing == []
    assert not hasattr(planar.testing, "no_such_name")
