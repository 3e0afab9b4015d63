"""Cost against accuracy: which share of calls has to go to the strong model, with our quality table and without.

    python benchmarks/qualityroute.py [--docs docs/explanation]

Of 7,096 MMLU questions it is known whether a weak and a strong model answered them (`data/routing/mmlu_pairs.csv.gz`
in the shared material; PLANAR_SHARED says where that is). A hash of the prompt splits them: 50 % to learn from (the
subject table, too), 20 % to choose settings by, 30 % to look at once. APGR and CPT are those of RouteLLM (Ong et al.,
2024, arXiv 2406.18665; its code: github.com/lm-sys/RouteLLM, routellm/evals/evaluate.py).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planar.routing import GradedPrompt, QualityTable

WEAK, STRONG = "mistral:mixtral-8x7b", "openai:gpt-4-1106"
SEED = 20261125
RESAMPLES = 2_000
CAUTIONS = (0.3, 1.0, 3.0)
SHARINGS = (3.0, 10.0, 30.0)
SHRINK = (0, 5, 20, 60)
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One row of the data."""

    subject: str
    text: str
    weak: int
    strong: int

    @property
    def part(self) -> str:
        digest = hashlib.sha256(b"qualityroute:" + self.text.encode()).digest()
        place = int.from_bytes(digest[:2], "big") / 65_536
        return "train" if place < 0.5 else "validation" if place < 0.7 else "test"


def questions() -> list[Question]:
    root = Path(os.environ.get("PLANAR_SHARED", Path(__file__).parents[2] / "shared"))
    with gzip.open(root / "data" / "routing" / "mmlu_pairs.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [
            Question(
                subject=row["subject"],
                text=row["prompt"],
                weak=int(row["weak_correct"]),
                strong=int(row["strong_correct"]),
            )
            for row in csv.DictReader(file)
        ]


def gains(score: Vector, gain: Vector) -> Vector:
    """What is gained by sending the k first to the strong model, for every k; among equals, by chance."""
    _, group, size = np.unique(-score, return_inverse=True, return_counts=True)
    mean = np.bincount(group, gain) / size
    return np.concatenate([[0.0], np.cumsum(np.repeat(mean, size))]) / len(gain)


def apgr(score: Vector, gain: Vector) -> float:
    """The area under the share of the gap that is recovered, over the share of strong calls: 0.5 by chance."""
    curve = gains(score, gain)
    return float((curve.sum() - curve[-1] / 2) / len(gain) / curve[-1])


def cpt(score: Vector, weak: Vector, strong: Vector, *, share: float = 0.95) -> float:
    """The least share of strong calls with which `share` of the strong model's accuracy is reached."""
    curve = weak.mean() + gains(score, strong - weak)
    return float(np.argmax(curve >= share * strong.mean() - 1e-12) / len(weak))


def subject_means(train: Sequence[Question], shrink: float, figure: Callable[[Question], float]) -> dict[str, float]:
    """The mean of a figure per subject, drawn to the overall mean by `shrink` rows of it."""
    overall = sum(map(figure, train)) / len(train)
    table: dict[str, float] = {}
    for subject in sorted({one.subject for one in train}):
        figures = [figure(one) for one in train if one.subject == subject]
        table[subject] = (sum(figures) + shrink * overall) / (len(figures) + shrink)
    return table


def subject_table(train: Sequence[Question], shrink: float) -> dict[str, float]:
    """What is gained by the strong model per subject."""
    return subject_means(train, shrink, lambda one: one.strong - one.weak)


def chosen_means(
    train: Sequence[Question], validation: Sequence[Question], figure: Callable[[Question], float]
) -> dict[str, float]:
    """The means with the shrinkage that misses the validation split least."""
    tables = [subject_means(train, shrink, figure) for shrink in SHRINK]
    return min(tables, key=lambda table: sum((figure(one) - table[one.subject]) ** 2 for one in validation))


def fitted(train: Sequence[Question], *, labels: bool, caution: float, sharing: float) -> QualityTable:
    rows = [
        GradedPrompt(text=one.text, label=one.subject if labels else None, grades={WEAK: one.weak, STRONG: one.strong})
        for one in train
    ]
    return QualityTable.fit(rows, caution=caution, sharing=sharing)


def predicted(table: QualityTable, asked: Sequence[Question], *, labels: bool) -> tuple[Vector, Vector]:
    """The chance of each model to be right, 0 to 1."""
    found = [table.predict(one.text, label=one.subject if labels else None) for one in asked]
    return np.array([each[WEAK] for each in found]) / 100, np.array([each[STRONG] for each in found]) / 100


def loss_of(table: QualityTable, asked: Sequence[Question], *, labels: bool) -> float:
    """The log-loss of both models: what settings are chosen by, since it is far less noisy than APGR."""
    total = 0.0
    for chance, right in zip(
        predicted(table, asked, labels=labels),
        (np.array([one.weak for one in asked]), np.array([one.strong for one in asked])),
        strict=True,
    ):
        total -= float(np.mean(np.log(np.where(right == 1, chance, 1 - chance))))
    return total


def chosen(train: Sequence[Question], validation: Sequence[Question], *, labels: bool) -> QualityTable:
    tried = []
    for caution in CAUTIONS:
        for sharing in SHARINGS:
            table = fitted(train, labels=labels, caution=caution, sharing=sharing)
            tried.append((loss_of(table, validation, labels=labels), caution, sharing, table))
            print(f"labels={labels} caution={caution} sharing={sharing}: log-loss {tried[-1][0]:.5f}", flush=True)
    _, caution, sharing, table = min(tried, key=lambda each: each[:3])
    print(f"labels={labels}: chosen caution={caution}, sharing={sharing}")
    return table


def chosen_subjects(train: Sequence[Question], validation: Sequence[Question]) -> dict[str, float]:
    """The subject table with the shrinkage that misses the gains of the validation split least."""
    tables = {shrink: subject_table(train, shrink) for shrink in SHRINK}
    errors = {
        shrink: sum((one.strong - one.weak - table[one.subject]) ** 2 for one in validation)
        for shrink, table in tables.items()
    }
    best = min(errors, key=lambda shrink: errors[shrink])
    print(f"subject table: chosen shrinkage {best}")
    return tables[best]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One method on the test split: its figures with 95 % intervals, and its APGR less the subject table's."""

    name: str
    apgr: float
    apgr_range: tuple[float, float]
    more: float
    more_range: tuple[float, float]
    cpt: float
    cpt_range: tuple[float, float]
    curve: Vector


SUBJECT = "subject table"


def lines_of(scores: dict[str, Vector], weak: Vector, strong: Vector) -> list[Line]:
    """Every method on the same questions, and on the same resamples of them."""
    gain = strong - weak
    random = np.random.default_rng(SEED)
    draws = random.integers(0, len(gain), size=(RESAMPLES, len(gain)))
    areas = {name: np.array([apgr(score[draw], gain[draw]) for draw in draws]) for name, score in scores.items()}
    calls = {
        name: np.array([cpt(score[draw], weak[draw], strong[draw]) for draw in draws]) for name, score in scores.items()
    }
    base = apgr(scores[SUBJECT], gain)
    return [
        Line(
            name=name,
            apgr=apgr(score, gain),
            apgr_range=_range(areas[name]),
            more=apgr(score, gain) - base,
            more_range=_range(areas[name] - areas[SUBJECT]),
            cpt=cpt(score, weak, strong),
            cpt_range=_range(calls[name]),
            curve=weak.mean() + gains(score, gain),
        )
        for name, score in scores.items()
    ]


def _range(values: Vector) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def cascade(weak: Vector, strong: Vector, sure: float) -> tuple[float, float]:
    """Ask the weak model, and the strong one if a check rejects the answer: share of strong calls, and accuracy.

    Nobody recorded a check. This one knows the truth and says it with the probability `sure`; both figures are what is
    to be expected of it.
    """
    rejected = np.where(weak == 1, 1 - sure, sure)
    return float(rejected.mean()), float((weak * sure + rejected * strong).mean())


def chances_table(found: Sequence[tuple[str, Vector, Vector, Vector]]) -> str:
    """How far off the chances are of each model being right: mean squared errors, by subject and by quality table."""
    random = np.random.default_rng(SEED)
    rows = [
        "| Model | subject means | quality table, text and subject | less | paired, 95 % |",
        "|---|---:|---:|---:|---|",
    ]
    for name, right, by_subject, by_table in found:
        first, second = (right - by_subject) ** 2, (right - by_table) ** 2
        draws = random.integers(0, len(right), size=(RESAMPLES, len(right)))
        low, high = _range((second - first)[draws].mean(axis=1))
        rows.append(
            f"| {name} | {first.mean():.4f} | {second.mean():.4f} |"
            f" {(second - first).mean():+.4f} | {low:+.4f} to {high:+.4f} |"
        )
    return "\n".join(rows)


def table_of(lines: Sequence[Line]) -> str:
    rows = [
        "| Method | APGR | 95 % interval | less the subject table's | paired, 95 % | CPT 95 % | 95 % interval |",
        "|---|---:|---|---:|---|---:|---|",
    ]
    for one in lines:
        more = ("", "") if one.name == SUBJECT else (f"{one.more:+.3f}", "{:+.3f} to {:+.3f}".format(*one.more_range))
        calls = "{:.1%} to {:.1%}".format(*one.cpt_range)
        rows.append(
            f"| {one.name} | {one.apgr:.3f} | {one.apgr_range[0]:.3f} to {one.apgr_range[1]:.3f} |"
            f" {more[0]} | {more[1]} | {one.cpt:.1%} | {calls} |"
        )
    return "\n".join(rows)


def cascade_table(weak: Vector, strong: Vector, best: Line) -> str:
    rows = [
        "| The check is right in | asks the strong model | accuracy | the table's at that share |",
        "|---:|---:|---:|---:|",
    ]
    for sure in (0.6, 0.7, 0.8, 0.9, 1.0):
        share, accuracy = cascade(weak, strong, sure)
        rows.append(f"| {sure:.0%} | {share:.1%} | {accuracy:.3f} | {best.curve[round(share * len(weak))]:.3f} |")
    return "\n".join(rows)


def verdict(line: Line) -> str:
    low, high = line.more_range
    found = f"{line.more:+.3f} ({low:+.3f} to {high:+.3f})"
    if low > 0:
        return f"above the subject table: {found}"
    if high < 0:
        return f"below the subject table: {found}"
    return f"not told apart from the subject table: {found}"


def plot(lines: Sequence[Line], path: Path, points: Sequence[tuple[float, float]]) -> None:
    """Accuracy over the share of strong calls, as a small SVG that is the same for the same figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "qualityroute"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0))
    for one in lines:
        step = max(1, len(one.curve) // 100)
        at = np.unique(np.append(np.arange(0, len(one.curve), step), len(one.curve) - 1))
        axes.plot(at / (len(one.curve) - 1) * 100, one.curve[at] * 100, label=one.name, linewidth=1.2)
    axes.plot([x * 100 for x, _ in points], [y * 100 for _, y in points], "k+", label="cascade, simulated check")
    axes.set(xlabel="calls to the strong model, %", ylabel="answers that are right, %")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write(page: Path, name: str, text: str) -> None:
    """Put a part of the page between its two marks."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    page.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost against accuracy on MMLU, with intervals.")
    parser.add_argument("--docs", type=Path, help="write the tables and the plot into quality-benchmark.md there")
    docs = parser.parse_args().docs
    asked = questions()
    train, validation, test = ([one for one in asked if one.part == part] for part in ("train", "validation", "test"))
    subjects = chosen_subjects(train, validation)
    texts = chosen(train, validation, labels=False)
    labelled = chosen(train, validation, labels=True)
    weak, strong = (np.array([getattr(one, name) for one in test], dtype=float) for name in ("weak", "strong"))
    text_weak, text_strong = predicted(texts, test, labels=False)
    label_weak, label_strong = predicted(labelled, test, labels=True)
    lines = lines_of(
        {
            "random": np.zeros(len(test)),
            "prompt length": np.array([len(one.text) for one in test], dtype=float),
            SUBJECT: np.array([subjects[one.subject] for one in test]),
            "quality table, text alone": text_strong - text_weak,
            "quality table, text and subject": label_strong - label_weak,
            "the same, by the weak model's quality alone": -label_weak,
            "oracle": strong - weak,
        },
        weak,
        strong,
    )
    split = f"{len(train):,} to learn from, {len(validation):,} to choose by, {len(test):,} to look at"
    accuracy = f"weak {weak.mean():.3f}, strong {strong.mean():.3f}, oracle {np.maximum(weak, strong).mean():.3f}"
    found = "\n".join(f"- {line.name}: {verdict(line)}." for line in lines[3:5])
    head = f"Questions: {split}. Accuracy on the last: {accuracy}.\n\n{found}\n\n{table_of(lines)}"
    chances = chances_table(
        [
            (name, right, np.array([means[one.subject] for one in test]), by_table)
            for name, right, means, by_table in (
                ("weak", weak, chosen_means(train, validation, lambda one: one.weak), label_weak),
                ("strong", strong, chosen_means(train, validation, lambda one: one.strong), label_strong),
            )
        ]
    )
    checks = cascade_table(weak, strong, lines[4])
    size = f"The table with {len(subjects)} labels is {len(labelled.to_json()):,} bytes of JSON."
    print(f"{head}\n\n{chances}\n\n{checks}\n\n{size}")
    if docs is not None:
        write(docs / "quality-benchmark.md", "figures", head)
        write(docs / "quality-benchmark.md", "chances", chances)
        write(docs / "quality-benchmark.md", "cascade", checks)
        points = [cascade(weak, strong, sure) for sure in (0.6, 0.7, 0.8, 0.9, 1.0)]
        plot(lines, docs / "quality-benchmark.svg", points)


if __name__ == "__main__":
    main()
