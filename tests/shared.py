"""Where the recorded exchanges and other shared material are: read in place, never copied."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(os.environ.get("PLANAR_SHARED", Path(__file__).parents[2] / "shared"))


def shared(name: str) -> Path:
    """The folder or file of this name in the shared material.

    Where it is missing, the module that asks is skipped with one visible line; in CI that is a failure.
    """
    path = ROOT / name
    if not path.exists():
        missing(f"shared material is missing: {path} (set PLANAR_SHARED)")
    return path


def missing(line: str) -> NoReturn:
    """Skip what needs something that is not here, with one visible line; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(line, pytrace=False)
    pytest.skip(line, allow_module_level=True)
