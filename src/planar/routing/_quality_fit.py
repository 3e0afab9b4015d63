"""Learns how often each model is right from prompts that were graded. Pure Python, and the same rows give the same.

Every model has a logistic regression over the same figures. Its weights are a part that all models share, for what is
hard for one is hard for the others, and a part of its own that is held closer to nothing: that is what lets a few
thousand rows say something about the difference between two models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul

Vector = list[float]
_ALMOST_FREE = 1e-3
"""The penalty on what a model gets right on average: none to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """The rows that one model was graded on.

    Attributes:
        rows: Figures of each, on one scale.
        labels: Of each, by number; -1 for none.
        right: Of each, 0 to 1.
    """

    rows: Sequence[Sequence[float]]
    labels: Sequence[int]
    right: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What was learned of one model: log-odds to begin with, per unit of each figure, and per label."""

    bias: float
    figures: Vector
    labels: Vector


def learn(graded: Sequence[Grades], *, figures: int, labels: int, penalty: float, own: float) -> list[Weights]:
    """The weights that make the grades most likely, each model's in the order of `graded`.

    Args:
        graded: Each model's rows.
        figures, labels: How many there are.
        penalty: How strongly weights are held to 0.
        own: How many times more strongly what a model has of its own.
    """
    width = figures + labels
    scale = [1 / math.sqrt(penalty)] * width
    for _ in graded:
        scale += [1 / math.sqrt(_ALMOST_FREE), *[1 / math.sqrt(penalty * own)] * width]
    columns = [list(zip(*each.rows, strict=True)) for each in graded]

    def objective(point: Vector) -> tuple[float, Vector]:
        weights = list(map(mul, point, scale))
        slope = [0.0] * len(point)
        loss = sum(map(mul, point, point)) / 2
        for number, each in enumerate(graded):
            start = width + number * (width + 1)
            found = _sum_of(weights[:width], weights[start : start + width + 1], figures)
            part, missed = _missed(each, found)
            loss += part
            toward = [sum(map(mul, column, missed)) for column in columns[number]]
            of_labels = [0.0] * labels
            for label, miss in zip(each.labels, missed, strict=True):
                if label >= 0:
                    of_labels[label] += miss
            toward += of_labels
            slope[:width] = [one + other for one, other in zip(slope[:width], toward, strict=True)]
            slope[start : start + width + 1] = [sum(missed), *toward]
        return loss, [part * by + at for part, by, at in zip(slope, scale, point, strict=True)]

    best = list(map(mul, minimum(objective, [0.0] * len(scale)), scale))
    starts = [width + number * (width + 1) for number in range(len(graded))]
    return [_sum_of(best[:width], best[start : start + width + 1], figures) for start in starts]


def _sum_of(shared: Vector, own: Vector, figures: int) -> Weights:
    both = [one + other for one, other in zip(shared, own[1:], strict=True)]
    return Weights(bias=own[0], figures=both[:figures], labels=both[figures:])


def _missed(grades: Grades, weights: Weights) -> tuple[float, Vector]:
    """How unlikely the grades are, and by how much each was missed."""
    of_label = [*weights.labels, 0.0]  # the last one is that of rows without a label, numbered -1
    loss = 0.0
    missed: Vector = []
    for row, label, right in zip(grades.rows, grades.labels, grades.right, strict=True):
        odds = weights.bias + of_label[label] + sum(map(mul, row, weights.figures))
        small = math.exp(-abs(odds))
        loss += max(odds, 0.0) + math.log1p(small) - right * odds
        missed.append((1 / (1 + small) if odds >= 0 else small / (1 + small)) - right)
    return loss, missed


def minimum(
    objective: Callable[[Vector], tuple[float, Vector]], start: Vector, *, steps: int = 100, memory: int = 8
) -> Vector:
    """Where a smooth convex function is least, by L-BFGS with halved steps.

    Source: Nocedal and Wright, Numerical Optimization, second edition, algorithm 7.4
    """
    point = start
    value, slope = objective(point)
    pairs: list[tuple[Vector, Vector, float]] = []
    for _ in range(steps):
        way = _direction(slope, pairs)
        down = sum(map(mul, way, slope))
        length = 1.0
        while True:
            there = [at - length * by for at, by in zip(point, way, strict=True)]
            new_value, new_slope = objective(there)
            if new_value <= value - 1e-4 * length * down or length < 1e-6:
                break
            length /= 2
        moved = [new - old for new, old in zip(there, point, strict=True)]
        turned = [new - old for new, old in zip(new_slope, slope, strict=True)]
        bend = sum(map(mul, moved, turned))
        gained = value - new_value
        if gained <= 0:
            break
        if bend > 1e-12:
            pairs = [*pairs, (moved, turned, 1 / bend)][-memory:]
        point, value, slope = there, new_value, new_slope
        if gained < 1e-7 * (1 + abs(value)):
            break
    return point


def _direction(slope: Vector, pairs: Sequence[tuple[Vector, Vector, float]]) -> Vector:
    way = list(slope)
    shares: Vector = []
    for moved, turned, inverse in reversed(pairs):
        share = inverse * sum(map(mul, moved, way))
        shares.append(share)
        way = [at - share * by for at, by in zip(way, turned, strict=True)]
    if pairs:
        _, turned, inverse = pairs[-1]
        first = 1 / (inverse * sum(map(mul, turned, turned)))
    else:
        first = 1 / max(1.0, math.sqrt(sum(map(mul, slope, slope))))
    way = [at * first for at in way]
    for (moved, turned, inverse), share in zip(pairs, reversed(shares), strict=True):
        back = share - inverse * sum(map(mul, turned, way))
        way = [at + back * by for at, by in zip(way, moved, strict=True)]
    return way
