"""RouteSim: python -m benchmarks.routesim [--quick] [--seed N] [--worlds calm,outage] [--only busy] [--write].

Plays every contender in every world and prints tables, plain or, with `--write`, into the docs, with the picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .arrivals import arrivals
from .contenders import APART, EVERYBODY
from .report import Outcomes, goals, markdown, picture, plain, table
from .simulation import Contender, Outcome, play
from .worlds import WORLDS, World

SEED = 1
DOCS = Path(__file__).parents[2] / "docs" / "explanation"
PAGE = DOCS / "routing-benchmark.md"
PICTURE = DOCS / "routing-benchmark.svg"
DRAWN = ("calm", "outage", "another outage")
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"


def played(worlds: Sequence[World], names: Sequence[str], *, seconds: float, seed: int) -> Outcomes:
    """Everything, in as many processes as there are processors. The order is that of the arguments."""
    apart = {each.name for each in APART}
    jobs = [
        (world.name, name, seconds, seed)
        for world in worlds
        for name in names
        if world.name == "outage" or name not in apart
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return {(job[0], job[1]): outcome for job, outcome in zip(jobs, pool.map(_one, jobs), strict=True)}


def _one(job: tuple[str, str, float, int]) -> Outcome:
    where, name, seconds, seed = job
    world = next(each for each in WORLDS if each.name == where)
    contender: Contender = next(each for each in EVERYBODY if each.name == name)
    return play(contender, world, arrivals(begin=world.begin, seconds=min(seconds, world.seconds), seed=seed), seed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routesim")
    parser.add_argument("--quick", action="store_true", help="six minutes of traffic, and no tables for the docs")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--seconds", type=float, default=1200.0, help="of traffic, at most")
    parser.add_argument("--worlds", default="", help="some of them, by name")
    parser.add_argument("--only", default="", help="contenders whose names contain one of these; no goals then")
    parser.add_argument("--write", action="store_true", help="put tables and picture into the docs")
    asked = parser.parse_args()
    seconds = 360.0 if asked.quick else asked.seconds
    worlds = [each for each in WORLDS if not asked.worlds or each.name in asked.worlds.split(",")]
    names = [each.name for each in EVERYBODY if any(part in each.name for part in asked.only.split(","))]
    began = time.perf_counter()
    found = played(worlds, names, seconds=seconds, seed=asked.seed)
    for world in worlds:
        print(f"\n{world.name}: seconds to the first token, seed {asked.seed}\n{plain(table(world.name, found))}")
    told = goals(found) if len(names) == len(EVERYBODY) else []
    print("\n" + "\n".join(told), file=sys.stdout)
    if asked.write:
        write(found, told)
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)


def write(found: Outcomes, told: Sequence[str]) -> None:
    """Put what was found between the marks on its page."""
    names = list(dict.fromkeys(world for world, _ in found))
    parts = [f"### {name.capitalize()}\n\n{markdown(table(name, found))}\n" for name in names]
    goal = "\n".join(f"- {line.split(maxsplit=1)[0].lower()}: {line.split(maxsplit=1)[1]}" for line in told)
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join([*parts, f"### Goals\n\n{goal}\n"]) + END + rest.split(END)[1])
    picture(found, [name for name in names if name in DRAWN], PICTURE)


if __name__ == "__main__":
    main()
