"""Many at once: nobody overspends, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from chaos import Plan, limits_of, read
from chaos_worker import Customer

from planar.errors import QuotaExceededError
from planar.quotas import MemoryQuotaStore
from planar.types import Amount, Charge, LeaseId, Limit

SCOPES = ("acme", "acme/search", "acme/search/alice")


def test_eight_threads_with_a_loop_each_never_exceed_a_limit():
    store = MemoryQuotaStore(
        limits={
            "acme": [Limit.usd("0.000002", per="total"), Limit.concurrency(5)],
            "acme/search": [Limit.tokens(1_500, per="total")],
        }
    )
    peaks: list[int] = []
    start = threading.Barrier(8)

    async def hammer(number: int) -> None:
        chance = random.Random(number)
        for attempt in range(150):
            lease_id = LeaseId(f"{number}-{attempt}")
            hold = Amount(output_tokens=chance.randint(0, 20), nano_usd=chance.randint(0, 20))
            try:
                lease = await store.reserve(lease_id, "acme/search", hold=hold, ttl=600, deployment="x:y")
            except QuotaExceededError:
                continue
            usage = await store.usage("acme")
            peaks.append(usage.nano_usd + (usage.held.nano_usd or 0))
            assert usage.concurrent <= 5
            assert usage.output_tokens + usage.held.output_tokens <= 1_500
            if chance.random() < 0.2:
                await store.release(lease)
            else:
                await store.settle(lease, charge=Charge(amount=hold))

    def run(number: int) -> None:
        start.wait()
        asyncio.run(hammer(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))

    assert max(peaks) <= 2_000
    usage = asyncio.run(store.usage("acme"))
    assert usage.held == Amount()
    assert usage.nano_usd > 500


@pytest.mark.anyio
async def test_five_hundred_tasks_that_are_cancelled_at_random_leave_nothing_behind():
    big = 10**6
    limits = [Limit.usd(big, per="total"), Limit.tokens(big, per="total"), Limit.concurrency(400)]
    store = MemoryQuotaStore(limits=dict.fromkeys(SCOPES, limits))
    chance = random.Random(7)
    ended = {"settled": 0, "released": 0, "refused": 0}

    async def request(number: int, scope: anyio.CancelScope, steps: int) -> None:
        tenant = SCOPES[number % 3]
        hold = Amount(input_tokens=50, output_tokens=50, nano_usd=100)
        with scope:
            try:
                lease = await store.reserve(LeaseId(str(number)), tenant, hold=hold, ttl=600, deployment="x:y")
            except QuotaExceededError:
                ended["refused"] += 1
                return
            seen, asked = 0, False
            try:
                await anyio.lowlevel.checkpoint()
                await store.dispatched(lease)
                asked = True
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                    seen += 1
                    lease = await store.extend(lease, more=Amount(output_tokens=5, nano_usd=5), ttl=600)
            finally:
                with anyio.CancelScope(shield=True):
                    if asked:
                        used = Amount(input_tokens=40, output_tokens=seen, nano_usd=seen)
                        await store.settle(lease, charge=Charge(amount=used))
                    else:
                        await store.release(lease)
                ended["settled" if asked else "released"] += 1

    async with anyio.create_task_group() as tasks:
        scopes = [anyio.CancelScope() for _ in range(512)]
        for number, scope in enumerate(scopes):
            tasks.start_soon(request, number, scope, chance.randint(0, 12))
        for _ in range(12):
            for scope in chance.sample(scopes, 20):
                scope.cancel()
            await anyio.lowlevel.checkpoint()

    rows = [row async for row in store.ledger()]
    counts = [store._engine.counts(scope, now=0) for scope in SCOPES]
    assert sum(ended.values()) == 512
    assert min(ended.values()) > 0
    assert ended["settled"] > 100
    assert len(rows) == ended["settled"]
    for scope, (money, tokens, places) in zip(SCOPES, counts, strict=True):
        usage = await store.usage(scope)
        assert (usage.held, usage.concurrent, places.held, money.held, tokens.held) == (Amount(), 0, 0, 0, 0)
        assert money.used == usage.nano_usd
        assert tokens.used == usage.input_tokens + usage.output_tokens
    assert counts[0][0].used == sum(row.nano_usd or 0 for row in rows)


class Till:
    """The provider's bill, and what the store acknowledged, of many customers in one process."""

    def __init__(self) -> None:
        self.bill: Counter[str] = Counter()
        self.settled: dict[str, int] = {}
        self._lock = threading.Lock()

    def customer(self, store: MemoryQuotaStore, plan: Plan, name: str) -> Customer:
        chance = random.Random(f"{plan.seed}/{name}")
        return Customer(
            store,
            name=name,
            chance=chance,
            bill=self._charge,
            settled=self.settled.__setitem__,
            ttl=plan.ttl,
            pace=plan.pace,
        )

    def _charge(self, lease_id: str, amount: int) -> None:
        with self._lock:
            self.bill[lease_id] += amount


async def spend_all(customer: Customer, tasks: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(customer.spend_all)


def test_eight_threads_use_all_of_a_budget_and_not_more():
    plan = Plan(budget=8_000, pace=0.005)
    print(plan)
    store, till = MemoryQuotaStore(limits=limits_of(plan)), Till()

    def run(number: int) -> None:
        anyio.run(spend_all, till.customer(store, plan, str(number)), plan.tasks)

    with ThreadPoolExecutor(plan.workers) as threads:
        list(threads.map(run, range(plan.workers)))

    outcome = anyio.run(read, store, plan, till.bill, till.settled)
    outcome.check(least=0.99)


@pytest.mark.anyio
async def test_512_tasks_use_all_of_a_budget_and_not_more():
    plan = Plan(budget=10_000, workers=1, tasks=512, ttl=60.0, crowded=False)
    print(plan)
    store, till = MemoryQuotaStore(limits=limits_of(plan)), Till()

    await spend_all(till.customer(store, plan, "crowd"), plan.tasks)

    outcome = await read(store, plan, till.bill, till.settled)
    outcome.check(least=0.99)


@pytest.mark.anyio
async def test_512_tasks_that_fall_over_and_settle_nothing_waste_little_of_a_budget():
    plan = Plan(budget=10_000, workers=1, tasks=512, ttl=3.0, crowded=False)
    print(plan)
    store, till = MemoryQuotaStore(limits=limits_of(plan)), Till()
    customer = till.customer(store, plan, "crowd")
    chance = random.Random(plan.seed)
    running: list[anyio.CancelScope] = []

    async def fall_over_and_get_up() -> None:
        ended = False
        while not ended:
            with anyio.CancelScope() as scope:
                running.append(scope)
                await customer.spend_all()
            running.remove(scope)
            ended = not scope.cancelled_caught

    async with anyio.create_task_group() as group:
        for _ in range(plan.tasks):
            group.start_soon(fall_over_and_get_up)
        for moment in sorted(chance.uniform(0, 0.8 * plan.budget) for _ in range(60)):
            while till.bill.total() < moment:
                await anyio.sleep(0.001)
            chance.choice(running).cancel()

    outcome = await read(store, plan, till.bill, till.settled)
    outcome.check(least=0.85)
    assert outcome.kinds["expired"] > 0
