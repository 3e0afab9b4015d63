"""What the table in `docs/explanation/failures.md` claims, on fewer calls than the table has."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from planar.testing import run_virtual

SIMULATION = Path(__file__).parents[2] / "benchmarks" / "hedging.py"


@pytest.fixture
def hedging(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hedging_simulation", SIMULATION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_hedging_halves_the_tail_for_at_most_five_percent_more_calls(hedging: ModuleType) -> None:
    calls = 2000

    plain = run_virtual(hedging.simulate, calls, 1, False)
    hedged = run_virtual(hedging.simulate, calls, 1, True)

    assert plain.asked == calls
    assert hedged.asked <= 1.05 * calls
    assert hedged.at(0.99) <= 0.5 * plain.at(0.99)
    assert hedged.cost <= 1.05 * plain.cost
