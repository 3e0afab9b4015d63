"""What a budget of one dollar lets through when it is checked after the call, and when it is held before it.

    pip install limits
    python benchmarks/quotas_post_hoc.py

The same requests, with the same costs and durations, once through the rate limiter `limits` in the way in which it can
be used for money (ask whether anything is left, call, then count what the call had cost), and once through Planar
(hold the most that the call can cost, call, then put the truth in its place; near the end, ask for shorter answers).
Time is simulated; nobody waits. `spent` is by the provider's bill.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from limits import RateLimitItemPerMonth
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from planar.catalog import cost_bound, cost_of
from planar.errors import QuotaExceededError
from planar.quotas import MemoryQuotaStore
from planar.testing import FakeClock
from planar.types import Amount, Charge, LeaseId, Limit, Price, Usage

BUDGET = 1_000_000_000
PRICE = Price.per_million(input=3, output=15)
INPUT = 1_200
LONGEST = 1_024
SHORTEST = 16


@dataclass(frozen=True)
class Request:
    """What a call would answer, if it may be so long."""

    number: int
    seconds: float
    output: int

    def cost(self, longest: int) -> int:
        return cost_of(Usage(input_tokens=INPUT, output_tokens=min(self.output, longest)), PRICE)


def requests(seed: int) -> Iterator[Request]:
    random = Random(seed)
    for number in count():
        output = min(LONGEST, max(1, round(random.lognormvariate(5.3, 0.9))))
        yield Request(number, 0.3 + output / 80, output)


Ask = Callable[[Request], Awaitable[int]]
"""How many tokens the request may answer with; 0 to send it away, -1 to have it come again when another has ended."""
Tell = Callable[[Request, int], Awaitable[None]]


async def spend(in_flight: int, ask: Ask, tell: Tell) -> int:
    """What is on the bill when nobody gets in any more and all that are in have ended."""
    coming = requests(seed=7)
    running: list[tuple[float, int, Request, int]] = []
    now, bill, refused = 0.0, 0, 0
    while True:
        waits = False
        while len(running) < in_flight and refused < 20 and not waits:
            request = next(coming)
            longest = await ask(request)
            if longest > 0:
                heapq.heappush(running, (now + request.seconds, request.number, request, longest))
                refused = 0
            waits = longest < 0
            refused += longest == 0
        if not running:
            return bill
        now, _, request, longest = heapq.heappop(running)
        bill += request.cost(longest)
        await tell(request, longest)
        refused = 0  # what it did not use may do for another


async def after_the_fact(in_flight: int) -> int:
    limiter = FixedWindowRateLimiter(MemoryStorage())
    budget = RateLimitItemPerMonth(BUDGET)

    async def ask(request: Request) -> int:
        return LONGEST if limiter.test(budget, "acme") else 0

    async def tell(request: Request, longest: int) -> None:
        limiter.hit(budget, "acme", cost=request.cost(longest))

    return await spend(in_flight, ask, tell)


async def before(in_flight: int) -> int:
    store = MemoryQuotaStore(limits={"acme": [Limit.usd(1, per="month")]}, clock=FakeClock())
    leases = {}

    async def reserve(request: Request, longest: int) -> int:
        hold = Amount(
            input_tokens=INPUT,
            output_tokens=longest,
            nano_usd=cost_bound(PRICE, input_tokens=INPUT, output_tokens=longest),
        )
        name = LeaseId(str(request.number))
        leases[request.number] = await store.reserve(name, "acme", hold=hold, ttl=600, deployment="vendor:model")
        await store.dispatched(leases[request.number])
        return longest

    async def ask(request: Request) -> int:
        try:
            return await reserve(request, LONGEST)
        except QuotaExceededError as error:
            if error.kind == "busy":
                return -1
            left = error.remaining - cost_bound(PRICE, input_tokens=INPUT, output_tokens=0)
            shorter = left * 1000 // PRICE.output
            return await reserve(request, shorter) if shorter >= SHORTEST else 0

    async def tell(request: Request, longest: int) -> None:
        usage = Usage(input_tokens=INPUT, output_tokens=min(request.output, longest))
        amount = Amount(input_tokens=INPUT, output_tokens=usage.output_tokens or 0, nano_usd=cost_of(usage, PRICE))
        await store.settle(leases.pop(request.number), charge=Charge(amount=amount, usage=usage, price=PRICE))

    return await spend(in_flight, ask, tell)


async def main() -> None:
    print("in flight | after the fact | held before")
    for in_flight in (1, 16, 64, 256):
        late, held = await after_the_fact(in_flight), await before(in_flight)
        print(f"{in_flight:9} | {late / BUDGET:14.1%} | {held / BUDGET:11.1%}")


if __name__ == "__main__":
    asyncio.run(main())
