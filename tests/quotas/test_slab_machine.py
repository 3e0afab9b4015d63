"""Two processes with slabs over one store, killed and paused at any time: nobody overspends, and the book is right."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from effort import examples
from planar.errors import InvalidRequestError, QuotaExceededError
from planar.quotas import MemoryQuotaStore
from planar.quotas._slab_state import fits, plus
from planar.quotas.slabs import SlabQuotaStore
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, Limit

T = TypeVar("T")
TENANTS = ("a/b", "a/b/c", "a/d")
NOTHING = Amount()
small = st.integers(0, 30)
amounts = st.builds(Amount, input_tokens=small, output_tokens=small, nano_usd=small)


@dataclass
class Request:
    process: int
    lease: Lease
    day: int
    asked: bool = False
    settled: Amount | None = None
    ended: bool = False
    killed: bool = False

    @property
    def billed(self) -> Amount:
        """What its provider bills at most: it is asked for what is held."""
        if not self.asked:
            return NOTHING
        return self.lease.hold if self.settled is None else self.settled


class SlabMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.memory = MemoryQuotaStore(clock=self.clock)
        self.made = 0
        self.requests: list[Request] = []
        self.money = self.tokens = 0
        self.refusal: QuotaExceededError | None = None
        self.processes = [self.process(), self.process()]

    def process(self) -> SlabQuotaStore:
        # What its task in the background would do is a rule here: it sleeps for longer than this takes.
        return SlabQuotaStore(self.memory, clock=self.clock, idle=3_600, share=50)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(money=st.integers(50, 3_000), tokens=st.integers(100, 5_000), rate=st.sampled_from([0, 300, 3_000]))
    def limits_are_set(self, money: int, tokens: int, rate: int) -> None:
        self.money, self.tokens = money, tokens
        rates = [Limit.tokens_per_minute(rate)] if rate else []
        self.run(self.memory.set_limits("a", Limit(dimension="nano_usd", amount=money, window="total"), *rates))
        self.run(self.memory.set_limits("a/b", Limit.tokens(tokens, per="day")))

    @rule(process=st.integers(0, 1), tenant=st.sampled_from(TENANTS), hold=amounts, count=st.integers(1, 20))
    def requests_come(self, process: int, tenant: str, hold: Amount, count: int) -> None:
        for _ in range(count):
            self.made += 1
            lease_id = LeaseId(f"r{self.made}")
            store = self.processes[process]
            day = int(self.clock.time() // 86_400)
            try:
                lease = self.run(store.reserve(lease_id, tenant, hold=hold, ttl=30, deployment="x:y"))
            except QuotaExceededError as error:
                self.refusal = error
                return
            assert self.run(store.reserve(lease_id, tenant, hold=hold, ttl=30, deployment="x:y")) == lease
            self.requests.append(Request(process, lease, day))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), count=st.integers(1, 8))
    def they_ask(self, data: st.DataObject, count: int) -> None:
        for request in self.draw(data, count):
            try:
                self.run(self.processes[request.process].dispatched(request.lease))
            except InvalidRequestError:
                request.ended = True
            else:
                request.asked = True

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), more=amounts)
    def one_wants_more(self, data: st.DataObject, more: Amount) -> None:
        [request] = self.draw(data, 1)
        try:
            request.lease = self.run(self.processes[request.process].extend(request.lease, more=more, ttl=30))
        except QuotaExceededError:
            pass
        except InvalidRequestError:
            request.ended = not request.asked

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), count=st.integers(1, 8), percent=st.integers(0, 100))
    def they_end(self, data: st.DataObject, count: int, percent: int) -> None:
        chosen = self.draw(data, count)
        asked = [request for request in chosen if request.asked]
        for request in chosen:
            request.ended = True
            if not request.asked:
                self.run(self.processes[request.process].release(request.lease))
        for request in asked:
            hold = request.lease.hold
            request.settled = Amount(
                input_tokens=hold.input_tokens * percent // 100,
                output_tokens=hold.output_tokens * percent // 100,
                nano_usd=(hold.nano_usd or 0) * percent // 100,
            )
        self.run(self.settle(asked))

    async def settle(self, requests: list[Request]) -> None:
        async def one(request: Request) -> None:
            assert request.settled is not None
            charge = Charge(amount=request.settled)
            store = self.processes[request.process]
            receipt = await store.settle(request.lease, charge=charge)
            again = await store.settle(request.lease, charge=Charge(amount=NOTHING))
            assert (again.entry, again.replayed) == (receipt.entry, True)

        await asyncio.gather(*map(one, requests))

    @rule(process=st.integers(0, 1))
    def its_slabs_are_looked_after(self, process: int) -> None:
        self.run(self.processes[process]._tend())

    @rule(seconds=st.sampled_from([0.5, 4, 6, 29, 31, 70, 86_400]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(process=st.integers(0, 1))
    def a_process_is_killed(self, process: int) -> None:
        for request in self.requests:
            if request.process == process and not request.ended:
                request.ended = request.killed = True
        self.processes[process] = self.process()

    @invariant()
    def the_bill_is_within_the_limits(self) -> None:
        assert sum(request.billed.nano_usd or 0 for request in self.requests) <= self.money
        days = Counter[int]()
        for request in self.requests:
            if request.lease.tenant.startswith("a/b"):
                days[request.day] += request.billed.tokens
        assert all(tokens <= self.tokens for tokens in days.values())

    @invariant()
    def a_refusal_is_true(self) -> None:
        assert self.refusal is None or self.refusal.requested > self.refusal.remaining

    @invariant()
    def what_is_shared_out_is_held(self) -> None:
        now = self.memory._now()
        for process in self.processes:
            for slab in process._keeper.slabs.values():
                record = self.memory._engine._leases.get(slab.lease.id, now)
                if record is not None and record.state == "active" and record.expires > now:
                    shared = plus(slab.free, slab.held())
                    assert fits(shared, (record.costs[1], record.costs[2], record.costs[4]))

    @invariant()
    def the_store_counts_no_more_than_the_limits(self) -> None:
        if self.money:
            [money, *_] = self.counts("a")
            assert money.used + money.held <= self.money  # I1: no estimate is too low here, so there is no debt
            [tokens] = self.counts("a/b")
            assert tokens.used + tokens.held <= self.tokens

    def teardown(self) -> None:
        try:
            if self.money:
                self.it_all_adds_up()
        finally:
            self.runner.close()

    def it_all_adds_up(self) -> None:
        for process in self.processes:
            self.run(process.aclose())
        self.clock.advance(1_000)
        report = self.run(self.memory.usage("a"))
        rows = self.run(self.rows())
        [money, *_] = self.counts("a")
        assert (report.held, report.concurrent, money.held) == (NOTHING, 0, 0)  # I4
        assert money.used == report.nano_usd == sum(row.nano_usd or 0 for row in rows)  # I3
        firsts = Counter(row.lease_id for row in rows if row.kind in ("settled", "expired"))
        seconds = Counter(row.lease_id for row in rows if row.kind == "correction")
        assert set(firsts.values()) <= {1}
        assert set(seconds.values()) <= {1}
        for request in self.requests:
            own = [row for row in rows if row.lease_id == request.lease.id]
            if request.settled is not None:
                assert sum(row.nano_usd or 0 for row in own) == request.settled.nano_usd
                assert sum(row.input_tokens + row.output_tokens for row in own) == request.settled.tokens
                assert firsts[request.lease.id] == 1
            elif not request.asked:
                assert own == []
            elif not request.killed:
                assert firsts[request.lease.id] == 1  # charged, as nobody settled it
        assert report.nano_usd >= sum(request.billed.nano_usd or 0 for request in self.requests)

    async def rows(self) -> list[Any]:
        return [row async for row in self.memory.ledger("a")]

    def counts(self, scope: str) -> list[Any]:
        engine = self.memory._engine
        return list(engine.counts(scope, now=self.memory._now()))

    def alive(self) -> list[Request]:
        return [request for request in self.requests if not request.ended]

    def draw(self, data: st.DataObject, count: int) -> list[Request]:
        alive = self.alive()
        return data.draw(st.lists(st.sampled_from(alive), min_size=1, max_size=count, unique_by=id))


TestSlabMachine = SlabMachine.TestCase
TestSlabMachine.settings = settings(examples(50), stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
