"""One rule in one world: the real client, on virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import planar
from planar.errors import PlanarError
from planar.protocols import Router
from planar.testing import run_virtual
from planar.types import BreakerPolicy, HedgePolicy, RetryPolicy, Timeouts

from .arrivals import TENANTS, Arrival
from .rules import Rule
from .upstreams import Endpoint, Upstream
from .worlds import World

DEADLINE = 60.0
"""Seconds after which a caller has left: what a call that failed counts as."""
TIMEOUTS = Timeouts(first_token=15.0)
MAX_TOKENS = 1024
_PROMPT = "What is " * 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A rule with what belongs to it. `make` gets the seed and the clock."""

    name: str
    make: Callable[[int, Callable[[], float]], Router]
    breaker: BreakerPolicy | None = None
    hedge: bool = False
    hedging: HedgePolicy | None = None


@dataclass(slots=True)
class Outcome:
    """What one contender met in one world. Times are seconds; a call that failed has the deadline for both."""

    contender: str
    world: str
    ttft: list[float] = field(default_factory=list[float])
    total: list[float] = field(default_factory=list[float])
    failed: int = 0
    usd: float = 0.0
    asked: int = 0
    violations: int = 0
    answered_by: Counter[str] = field(default_factory=Counter[str])

    def at(self, share: float) -> float:
        return sorted(self.ttft)[int(share * (len(self.ttft) - 1))]


def play(contender: Contender, world: World, calls: Sequence[Arrival], seed: int) -> Outcome:
    """Play all calls; the same seed gives the same outcome."""
    gc.disable()
    try:
        return run_virtual(_play, contender, world, calls, seed)
    finally:
        gc.enable()


async def _play(contender: Contender, world: World, calls: Sequence[Arrival], seed: int) -> Outcome:
    loop = asyncio.get_running_loop()
    start = loop.time()

    def now() -> float:
        return loop.time() - start

    outcome = Outcome(contender.name, world.name, [DEADLINE] * len(calls), [DEADLINE] * len(calls))
    router = contender.make(seed, now)
    lengths = {str(call.index): (call.input_tokens, call.output_tokens) for call in calls}
    upstreams = [
        Upstream(
            endpoint,
            world.faults,
            seed,
            now,
            _may,
            listener=router if isinstance(router, Rule) else None,
            resumes=world.resumes,
            lengths=lengths,
        )
        for endpoint in world.endpoints
    ]
    client = planar.Planar(
        providers=upstreams,
        models={"chat": [f"{endpoint.name}:chat" for endpoint in world.endpoints]},
        router=router,
        retry=RetryPolicy(attempts=4),
        breaker=contender.breaker,
        hedging=contender.hedging,
    )
    client._core.random.seed(seed)  # the jitter of its pauses

    async with client, asyncio.TaskGroup() as tasks:
        for call in calls:
            await asyncio.sleep(max(0.0, call.at - now()))
            tasks.create_task(_ask(client, contender, world, call, outcome))
    outcome.usd = sum(each.bill.pico for each in upstreams) / 1e12
    outcome.asked = sum(each.bill.calls for each in upstreams)
    outcome.violations = sum(each.bill.asked_against_policy for each in upstreams)
    return outcome


def _may(tenant: str, endpoint: Endpoint) -> bool:
    constraints = TENANTS[tenant]
    home = constraints.regions is None or endpoint.region in constraints.regions
    return home and endpoint.name not in constraints.excluded_vendors


async def _ask(client: planar.Planar, contender: Contender, world: World, call: Arrival, outcome: Outcome) -> None:
    options: dict[str, Any] = {"resume": "continue"} if world.resumes else {}
    try:
        completion = await client.infer(
            _PROMPT[: 4 * call.input_tokens],
            model="chat",
            tenant=call.tenant,
            constraints=TENANTS[call.tenant],
            timeouts=TIMEOUTS,
            max_tokens=MAX_TOKENS,
            hedge=contender.hedge,
            seed=call.index,
            idempotency_key=str(call.index),
            wire="streamed",
            **options,
        )
    except PlanarError:
        outcome.failed += 1
        return
    timings = completion.timings
    assert timings.ttft is not None
    outcome.answered_by[completion.provider] += 1
    outcome.ttft[call.index] = min(timings.ttft, DEADLINE)
    outcome.total[call.index] = timings.total
