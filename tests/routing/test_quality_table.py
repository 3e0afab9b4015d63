"""What a quality table promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.errors import ConfigurationError
from planar.protocols import QualityModel
from planar.routing import GradedPrompt, QualityTable
from planar.routing._quality_features import MOST_TEXT, NAMES, features_of

SMALL, LARGE = "a:small", "b:large"


def graded(count: int = 120, *, seed: int = 1) -> list[GradedPrompt]:
    """The small model fails where there is something to prove, and at law."""
    random = Random(seed)
    rows: list[GradedPrompt] = []
    for number in range(count):
        hard, label = number % 2 == 0, random.choice(["law", "art", None])
        text = f"Prove why n = {number} is not least." if hard else f"Who painted picture {number}?"
        right = random.random() < (0.2 if hard or label == "law" else 0.9)
        rows.append(GradedPrompt(text=text, label=label, grades={SMALL: float(right), LARGE: 1.0}))
    return rows


TABLE = QualityTable.fit(graded())


@given(text=st.text(max_size=300), label=st.none() | st.sampled_from(("law", "art", "never seen", "")))
@examples(60)
def test_a_table_that_was_read_back_predicts_exactly_the_same(text: str, label: str | None) -> None:
    again = QualityTable.from_json(TABLE.to_json())

    assert again.predict(text, label=label) == TABLE.predict(text, label=label)
    assert again.to_json() == TABLE.to_json()


@given(text=st.text() | st.text(min_size=2 * MOST_TEXT, max_size=2 * MOST_TEXT + 50) | st.just("\ud800"))
@examples(60)
def test_every_text_has_a_quality_from_0_to_100_at_every_model(text: str) -> None:
    found = TABLE.predict(text)

    assert list(found) == [SMALL, LARGE]
    assert all(0 <= quality <= 100 for quality in found.values())
    assert len(features_of(text)) == len(NAMES)


@given(order=st.permutations(range(30)))
@examples(5)
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    rows = graded(30)

    assert QualityTable.fit([rows[place] for place in order]).to_json() == QualityTable.fit(rows).to_json()


def test_it_learns_from_the_text_what_is_hard_for_whom() -> None:
    hard, easy = TABLE.predict("Prove why n = 7777 is not least."), TABLE.predict("Who painted picture 7777?")

    assert hard[SMALL] < 50 < easy[SMALL]
    assert hard[LARGE] - hard[SMALL] > easy[LARGE] - easy[SMALL]


def test_a_label_says_more_and_one_that_was_not_seen_says_nothing() -> None:
    text = "Who painted picture 7777?"

    assert TABLE.predict(text, label="law")[SMALL] < TABLE.predict(text, label="art")[SMALL]
    assert TABLE.predict(text, label="chess") == TABLE.predict(text)


def test_models_need_not_have_answered_the_same_prompts() -> None:
    rows = [
        GradedPrompt(text=row.text, grades={model: row.grades[model]})
        for number, row in enumerate(graded())
        for model in [(SMALL, LARGE)[number // 2 % 2]]
    ]

    found = QualityTable.fit(rows).predict("Prove why n = 7777 is not least.")

    assert found[SMALL] < found[LARGE]


def test_a_table_keeps_no_text_and_is_small() -> None:
    written = TABLE.to_json()

    assert "painted" not in written.lower()
    assert len(written) < 4_000
    assert isinstance(TABLE, QualityModel)
    assert TABLE.models == (SMALL, LARGE)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [GradedPrompt(text="a", grades={})],
        [GradedPrompt(text="a", grades={SMALL: 1.5})],
        [GradedPrompt(text="a", grades={SMALL: float("nan")})],
        [GradedPrompt(text="a", grades={f"a:{number}": 1 for number in range(65)})],
    ],
)
def test_what_cannot_be_learned_from_is_refused(rows: list[GradedPrompt]) -> None:
    with pytest.raises(ConfigurationError):
        QualityTable.fit(rows)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        QualityTable.fit(graded(10), caution=0)


def broken(name: str, value: object) -> str:
    return json.dumps({**json.loads(TABLE.to_json()), name: value})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        broken("form", 2),
        broken("models", {}),
        broken("models", {SMALL: [1.0]}),
        broken("labels", {"law": [1.0]}),
        broken("labels", {"law": ["x", 1.0]}),
        broken("scale", [[1.0], [1.0]]),
        broken("scale", 1),
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        QualityTable.from_json(text)


def test_the_benchmarks_figures_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = pytest.importorskip("numpy")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import qualityroute

    weak, strong = numpy.array([0.0, 0, 1, 1]), numpy.array([1.0, 1, 1, 0])
    gain = strong - weak
    by_chance, oracle = numpy.zeros(4), gain

    assert qualityroute.apgr(by_chance, gain) == pytest.approx(0.5)
    # The gap is 1 of 4: with one call 1 is recovered, with two 2, then 2, then 1; the trapezoid of 0, 1, 2, 2, 1.
    assert qualityroute.apgr(oracle, gain) == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)
    assert qualityroute.cpt(oracle, weak, strong) == 0.25
    assert qualityroute.cascade(weak, strong, 1.0) == (0.5, 1.0)
    sys.modules.pop("qualityroute")
