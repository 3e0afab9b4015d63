"""What hedging does to the time to first token, simulated: two deployments with a heavy tail, on virtual time.

    python benchmarks/hedging.py [CALLS] [SEED]

Each deployment begins to answer after a log-normal time (median 0.4 s); one call in fifty meets a stall of 2 to 60 s on
top (Pareto). Both are independent. Calls arrive at random, 20 a second. The same arrivals and the same draws are used
with and without `hedge=True`, by the client itself and its default `HedgePolicy`; only the clock is simulated.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from random import Random

import anyio

import planar
from planar.events import Finish, TextDelta, UsageReported
from planar.testing import ScriptedProvider, Step, run_virtual
from planar.types import Price, Usage

RATE = 20.0
STALLED = 0.02
PROMPT = "Which rivers of Spain reach the sea, and where? " * 16
PRICE = Price.per_million(input=1, output=4)


def upstream(name: str, seed: int) -> ScriptedProvider:
    """A deployment whose delays depend on the seed alone."""
    random = Random(seed)

    async def wait() -> None:
        delay = 0.4 * random.lognormvariate(0.0, 0.35)
        if random.random() < STALLED:
            delay += min(60.0, 2.0 * random.paretovariate(1.1))
        await anyio.sleep(delay)

    usage = Usage(input_tokens=200, output_tokens=100)
    script: list[Step] = [wait, TextDelta("Ebro"), (UsageReported(usage), Finish("stop", "stop"))]
    return ScriptedProvider(script, name=name, price=PRICE)


@dataclass(slots=True)
class Seen:
    """What one simulation saw."""

    ttft: list[float]
    asked: int
    cost: float

    def at(self, share: float) -> float:
        return sorted(self.ttft)[int(share * (len(self.ttft) - 1))]


async def simulate(calls: int, seed: int, hedge: bool) -> Seen:
    providers = [upstream("one", seed), upstream("two", seed + 1)]
    arrivals = Random(seed + 2)
    ttft: list[float] = []
    cost = 0.0

    async def ask(client: planar.Planar) -> None:
        nonlocal cost
        completion = await client.infer(PROMPT, model="any", hedge=hedge, wire="streamed")
        assert completion.timings.ttft is not None
        ttft.append(completion.timings.ttft)
        cost += float(completion.cost_usd or 0)

    models = {"any": ["one:default", "two:default"]}
    async with planar.Planar(providers=providers, models=models) as client, anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(ask, client)
            await anyio.sleep(arrivals.expovariate(RATE))
    return Seen(ttft, sum(len(provider.received) for provider in providers), cost)


def main(calls: int, seed: int) -> None:
    plain, hedged = (run_virtual(simulate, calls, seed, hedge) for hedge in (False, True))
    print(f"time to first token, seconds, {calls} calls, seed {seed}")
    print("| | p50 | p95 | p99 | p99.9 | calls to providers | money |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, seen in (("without", plain), ("with hedging", hedged)):
        times = " | ".join(f"{seen.at(share):.2f}" for share in (0.5, 0.95, 0.99, 0.999))
        print(f"| {name} | {times} | {seen.asked / calls:.3f} per call | {seen.cost / plain.cost:.3f}x |")
    print(f"p99 with / without: {hedged.at(0.99) / plain.at(0.99):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
