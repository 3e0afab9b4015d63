"""What it takes to decide: CPU microseconds of `router.plan()` and `client.plan()`, by strategy and candidates.

    python benchmarks/route_plan.py [rounds]

Beside it, in the same rounds, the floor: the likely money of each candidate multiplied out and sorted, no more.
A figure is the median of the rounds' means; the ratio to the floor is paired by round.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from statistics import median

import planar
from planar.routing import CostRouter
from planar.testing import ScriptedProvider, reply
from planar.types import Candidate, Constraints, Health, ModelInfo, Price, RouteRequest

CALLS = 200
PROMPT = [{"role": "system", "content": "Answer briefly. " * 20}, {"role": "user", "content": "Which rivers? " * 40}]
STRATEGIES: tuple[object, ...] = (
    "ordered",
    "cheapest",
    "fastest",
    "quality",
    "balanced",
    planar.Sticky(),
    planar.Weighted({"v0:m0": 3, "v1:m1": 1}),
    planar.Cascade(check=bool),
)
BOUND = Constraints(vendors=frozenset(f"v{n}" for n in range(4)), max_cost_usd=Decimal(1), regions=frozenset({"eu"}))


def infos(count: int) -> dict[str, ModelInfo]:
    chance = random.Random(1)
    return {
        f"v{number % 5}:m{number}": ModelInfo(
            id=f"m{number}",
            context_window=128_000,
            max_output_tokens=8_000,
            capabilities=frozenset({"tools", "json_schema"}),
            price=Price.per_million(
                input=str(chance.randint(1, 10)), output=str(chance.randint(1, 40)), cached_input="0.5"
            ),
            quality=100 * chance.random(),
            region="eu",
        )
        for number in range(count)
    }


def candidates(count: int) -> list[Candidate]:
    chance = random.Random(2)
    return [
        Candidate(
            deployment=name,
            provider=name.partition(":")[0],
            model=info.id,
            info=info,
            input_tokens_bound=1_000,
            output_tokens_bound=1_000,
            cost_bound=10**8,
            input_tokens_likely=300,
            output_tokens_likely=250,
            cached_tokens_likely=80,
            health=Health(ttft_p50=chance.random(), tokens_per_second=60.0, age=3.0),
        )
        for name, info in infos(count).items()
    ]


def client(count: int) -> planar.Planar:
    known = infos(count)
    models: dict[str, list[str]] = {}
    for name in known:
        provider, _, model = name.partition(":")
        models.setdefault(provider, []).append(model)
    return planar.Planar(
        providers=[ScriptedProvider(reply("x"), name=name, models=each) for name, each in models.items()],
        models={"fast": list(known)},
        catalog=planar.Catalog(models=known),
    )


def floor(known: list[Candidate]) -> Callable[[], object]:
    rows = [(one.info.price.input, one.info.price.output, index) for index, one in enumerate(known) if one.info.price]
    return lambda: sorted([(300 * a + 250 * b, index) for a, b, index in rows])


def seconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    for _ in range(CALLS):
        run()
    return (time.process_time() - begin) / CALLS


def contenders(count: int) -> dict[str, Callable[[], object]]:
    known = candidates(count)
    router = CostRouter()
    runs: dict[str, Callable[[], object]] = {}
    for strategy in STRATEGIES:
        name = strategy if isinstance(strategy, str) else strategy.name  # type: ignore[attr-defined]
        asked = RouteRequest(model="fast", tenant="acme", strategy=strategy)
        runs[f"router.plan, {name}"] = lambda asked=asked: router.plan(asked, known)
    bounded = RouteRequest(model="fast", tenant="acme", strategy="balanced", constraints=BOUND)
    runs["router.plan, balanced, three constraints"] = lambda: router.plan(bounded, known)
    whole = client(count)
    runs["client.plan, balanced"] = lambda: whole.plan(PROMPT, model="fast", strategy="balanced", max_tokens=1_000)
    return {"floor": floor(known), **runs}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    print(f"| candidates | what | CPU us, median of {rounds} | over the floor |\n| ---: | --- | ---: | ---: |")
    for count in (1, 2, 10, 50):
        runs = contenders(count)
        for run in runs.values():
            run()
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                taken[name].append(seconds(run))
        for name, each in taken.items():
            ratios = [one / base for one, base in zip(each, taken["floor"], strict=True)]
            print(f"| {count} | {name} | {1e6 * median(each):.1f} | {median(ratios):.1f} |")


if __name__ == "__main__":
    main()
