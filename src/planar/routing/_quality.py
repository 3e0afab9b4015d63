"""How likely each model is to answer a prompt well, learned from prompts whose answers were graded."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from planar.errors import ConfigurationError
from planar.routing._quality_features import NAMES, features_of
from planar.routing._quality_fit import Grades, learn

MOST_MODELS = 64
MOST_LABELS = 1_000
_SQUARED = 5
"""Of so many of the first figures the square counts, too: a model may be at its best in the middle."""
_WIDTH = len(NAMES) + _SQUARED
_FARTHEST = 3.0
"""Standard deviations from the mean beyond which a figure says no more."""
_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedPrompt:
    """A prompt, and how well models answered it.

    Attributes:
        grades: By deployment (`provider:model`), 0 for wrong to 1 for right. A model that was not asked is left out.
        label: What your application knows of the prompt, such as its subject or the feature that sent it.
    """

    text: str
    grades: Mapping[str, float]
    label: str | None = None


class QualityTable:
    """Says of a prompt how good each model's answer will be, 0 to 100, from what the prompt looks like and its label.

    A `planar.protocols.QualityModel`, made by `fit` or `from_json`. It looks at length, numbers, form and kinds of
    words, not at meaning, and keeps no text: a table of two models is a few kilobytes, one of the most models and
    labels that it takes is 3 MB. What it is worth, and where it is worth nothing, is measured in
    docs/explanation/quality-benchmark.md.

    Example:
        >>> rows = [GradedPrompt(text="Add 2 and 2.", grades={"a:small": 1, "b:large": 1})] * 9
        >>> rows += [GradedPrompt(text="Prove it for every n > 2.", grades={"a:small": 0, "b:large": 1})] * 9
        >>> table = QualityTable.fit(rows)
        >>> quality = table.predict("Prove it for every p > 3.")
        >>> quality["a:small"] < quality["b:large"]
        True
    """

    __slots__ = ("_labels", "_models", "_shifts", "_units")

    def __init__(
        self, *, models: Mapping[str, Sequence[float]], labels: Mapping[str, Sequence[float]], scale: Sequence[Any]
    ) -> None:
        self._models = {name: tuple(map(float, weights)) for name, weights in models.items()}
        self._labels = {name: tuple(map(float, odds)) for name, odds in labels.items()}
        self._shifts, self._units = (tuple(map(float, part)) for part in scale)
        widths = {len(weights) for weights in self._models.values()}
        figures = [*self._models.values(), *self._labels.values(), self._shifts, self._units]
        if (
            widths != {_WIDTH + 1}
            or {len(self._shifts), len(self._units)} != {len(NAMES)}
            or any(len(odds) != len(self._models) for odds in self._labels.values())
            or not all(math.isfinite(figure) for part in figures for figure in part)
            or not 1 <= len(self._models) <= MOST_MODELS
            or len(self._labels) > MOST_LABELS
        ):
            raise ConfigurationError("this is not a quality table that this version of Planar has written")

    @classmethod
    def fit(cls, rows: Iterable[GradedPrompt], *, caution: float = 1.0, sharing: float = 3.0) -> QualityTable:
        """Learn from prompts that were graded. The order of the rows does not matter, and a second fit is the same.

        It takes some seconds for a few thousand rows, and blocks: do it offline.

        Args:
            rows: A few hundred per model at least. If some have labels, give `predict` labels, too.
            caution: How much evidence it takes to leave the average: more for fewer rows.
            sharing: How much more it takes to tell one model from the others.

        Raises:
            ConfigurationError: No rows, a grade that is not from 0 to 1, or more than 64 models.
        """
        if not (caution > 0 and sharing > 0):
            raise ConfigurationError("caution and sharing are numbers above 0")
        ordered = sorted(rows, key=_order)
        models = sorted({model for row in ordered for model in row.grades})
        _check(ordered, models)
        counts = Counter([row.label for row in ordered if row.label is not None])
        labels = sorted(sorted(counts, key=lambda label: (-counts[label], label))[:MOST_LABELS])
        raw = [features_of(row.text) for row in ordered]
        shifts, units = _scale(raw)
        figures = [_scaled(row, shifts, units) for row in raw]
        number = {label: place for place, label in enumerate(labels)}
        places = [-1 if row.label is None else number.get(row.label, -1) for row in ordered]
        graded = [_grades_of(model, ordered, figures, places) for model in models]
        learned = learn(graded, figures=_WIDTH, labels=len(labels), penalty=caution, own=sharing)
        return cls(
            models={name: (each.bias, *each.figures) for name, each in zip(models, learned, strict=True)},
            labels={label: [each.labels[place] for each in learned] for label, place in number.items()},
            scale=(shifts, units),
        )

    def predict(self, text: str, *, label: str | None = None) -> dict[str, float]:
        """The chance of a good answer in percent, by deployment. It takes about a tenth of a millisecond,
        and no more than three of them for a prompt of any length.

        A label that was not among the rows says nothing, and is none.
        """
        figures = _scaled(features_of(text), self._shifts, self._units)
        of_label = self._labels.get(label) if label is not None else None
        found: dict[str, float] = {}
        for place, (name, weights) in enumerate(self._models.items()):
            odds = weights[0] + sum(map(mul, weights[1:], figures))
            if of_label is not None:
                odds += of_label[place]
            found[name] = 50 + 50 * math.tanh(odds / 2)  # the logistic function, without an overflow
        return found

    @property
    def models(self) -> tuple[str, ...]:
        """The deployments that it speaks of, sorted."""
        return tuple(self._models)

    def to_json(self) -> str:
        """The table as one line. `from_json` makes one of it that predicts exactly the same."""
        data = {
            "form": _FORM,
            "models": self._models,
            "labels": self._labels,
            "scale": [self._shifts, self._units],
        }
        return json.dumps(data, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> QualityTable:
        """The table that `to_json` wrote.

        Raises:
            ConfigurationError: This is none, or one of another version.
        """
        try:
            data = json.loads(text)
            if data["form"] != _FORM:
                raise ConfigurationError(f"a quality table of form {data['form']!r} is of another version: fit it anew")
            return cls(models=data["models"], labels=data["labels"], scale=data["scale"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise ConfigurationError(f"this is not a quality table: {error}") from error


def _order(row: GradedPrompt) -> tuple[str, str, list[tuple[str, float]]]:
    return row.text, row.label or "", sorted(row.grades.items())


def _check(rows: Sequence[GradedPrompt], models: Sequence[str]) -> None:
    if not models:
        raise ConfigurationError("a quality table is learned from graded prompts, and there are none")
    if len(models) > MOST_MODELS:
        raise ConfigurationError(f"a quality table knows at most {MOST_MODELS} models, not {len(models)}")
    for row in rows:
        for model, grade in row.grades.items():
            if not 0 <= grade <= 1:
                raise ConfigurationError(f"a grade is from 0 for wrong to 1 for right, not {grade!r} for {model}")


def _grades_of(
    model: str, rows: Sequence[GradedPrompt], figures: Sequence[Sequence[float]], labels: Sequence[int]
) -> Grades:
    its = [place for place, row in enumerate(rows) if model in row.grades]
    return Grades(
        rows=[figures[place] for place in its],
        labels=[labels[place] for place in its],
        right=[float(rows[place].grades[model]) for place in its],
    )


def _scale(rows: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """What to take from each figure, and what to multiply it with."""
    shifts: list[float] = []
    units: list[float] = []
    for column in zip(*rows, strict=True):
        mean = math.fsum(column) / len(column)
        spread = math.sqrt(math.fsum([(figure - mean) ** 2 for figure in column]) / len(column))
        shifts.append(mean)
        units.append(1 / spread if spread > 1e-9 else 0.0)
    return shifts, units


_UNIT = 1 / math.sqrt(_WIDTH)  # so that all figures together have a length of about 1, as one label has
_EDGE = _FARTHEST * _UNIT


def _scaled(row: Sequence[float], shifts: Sequence[float], units: Sequence[float]) -> list[float]:
    scaled = [(figure - shift) * unit * _UNIT for figure, shift, unit in zip(row, shifts, units, strict=True)]
    cut = [min(max(figure, -_EDGE), _EDGE) for figure in scaled]
    return [*cut, *[figure * figure / _UNIT - _UNIT for figure in cut[:_SQUARED]]]
