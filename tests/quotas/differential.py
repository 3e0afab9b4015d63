"""Plays one random sequence of operations on the store in memory and on another one, and compares all they say.

    async def test_it_decides_as_memory_does() -> None:
        await play_many(range(64), open_my_store)

    @examples(30)
    @given(random=st.randoms(use_true_random=False))
    def test_shrunk(random: Random) -> None:
        anyio.run(play, random, open_my_store)

`open_my_store(clock)` gives a fresh, empty store whose time is the `time()` of that clock: it may be set back, which a
store does not follow. Counts are compared after every operation (in a quarter of the sequences after every tenth, since
reading them ends every lease whose time is over), the whole ledger and all sums at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from itertools import cycle
from random import Random
from typing import Any, cast

from test_quota_machine import PALETTE, PROBES, START

from planar.errors import PlanarError, QuotaExceededError
from planar.protocols import QuotaStore
from planar.quotas import MemoryQuotaStore
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, Limit, Price, TenantPath, Usage

TENANTS = ("a", "a/b", "a/b/c", "a/d", "a/b/c/e", "z", "z/b")
SCOPES = ("a", "a/b", "a/b/c", "z")
STEPS = 160
TTLS = (0.000_001, 0.5, 1, 5, 30, 200, 90_000)
PAUSES = (0.000_001, 0.25, 1, 7, 31, 60, 900, 3_600, 86_400)
PRICE = Price.per_million(input="1", output="2.5")

OpenStore = Callable[[FakeClock], Awaitable[QuotaStore]]
Operation = Callable[[QuotaStore], Awaitable[Any]]


class _InTurns:
    def __init__(self, *stores: QuotaStore) -> None:
        self._stores = stores
        self._next = cycle(stores)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._next), name)

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()


def in_turns(*stores: QuotaStore) -> QuotaStore:
    """Several stores on the same books, each of which has the next word."""
    return cast("QuotaStore", _InTurns(*stores))


async def play_many(
    seeds: Iterable[int],
    open_store: OpenStore,
    *,
    steps: int = STEPS,
    steps_back: bool = True,
    one_tree: bool = False,
) -> int:
    """Play a sequence for each seed. How many operations that were.

    Args:
        steps_back: The clock is set back now and then.
        one_tree: All tenants have one root: in some stores each tree for itself notices that time has passed.

    Raises:
        AssertionError: The stores differ; it names the seed, which alone plays the same again.
    """
    count = 0
    for seed in seeds:
        try:
            count += await play(Random(seed), open_store, steps=steps, steps_back=steps_back, one_tree=one_tree)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {error}") from error
    return count


async def play(
    random: Random, open_store: OpenStore, *, steps: int = STEPS, steps_back: bool = True, one_tree: bool = False
) -> int:
    """Play one sequence. How many operations it was.

    Raises:
        AssertionError: The stores differ.
    """
    clock = FakeClock(time=START / 1_000_000)
    store = await open_store(clock)
    try:
        game = _Game(random, clock, store, steps_back=steps_back, one_tree=one_tree)
        await game.begin()
        for step in range(steps):
            await game.step(step)
        await game.end(steps)
    finally:
        await store.aclose()
    return game.played


class _Wall:
    """Has the store in memory follow the wall clock, as those do whose time is that of a machine."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._begun = False

    def monotonic(self) -> float:
        begun, self._begun = self._begun, True
        return self._clock.time() if begun else 0.0

    def time(self) -> float:
        return 0.0


class _Game:
    def __init__(
        self, random: Random, clock: FakeClock, store: QuotaStore, *, steps_back: bool, one_tree: bool
    ) -> None:
        self.random = random
        self.clock = clock
        self.memory = MemoryQuotaStore(clock=_Wall(clock))
        self.store = store
        self.leases: list[Lease] = []
        self.past: list[tuple[str, Operation]] = []
        self.numbers = 0
        self.played = 0
        self.steps_back = steps_back
        self.tenants = [tenant for tenant in TENANTS if tenant[0] == "a" or not one_tree]
        self.scopes = [scope for scope in SCOPES if scope[0] == "a" or not one_tree]
        self.forged = TenantPath("a/forged" if one_tree else "forged")
        self.splits = hasattr(store, "split")
        self.looks_often = random.random() < 0.75

    async def begin(self) -> None:
        for scope in self.scopes:
            await self.set_limits(scope)

    async def step(self, step: int) -> None:
        if self.random.random() < 0.35:
            self.let_time_pass()
        what, operation = self.next_operation()
        await self.compare(f"step {step}, {what}", operation)
        if self.looks_often or step % 10 == 9:
            await self.compare_counts(f"step {step}, {what}")

    async def end(self, steps: int) -> None:
        self.clock.advance(self.random.choice((0, 1, 100_000)))
        for scope in (None, *self.tenants):
            await self.compare(f"end, the ledger of {scope}", lambda store, scope=scope: _rows(store, scope))
        for tenant in self.tenants:
            await self.compare(f"end, the usage of {tenant}", lambda store, tenant=tenant: store.usage(tenant))
        parts = ("tenant", "deployment", "day")
        await self.compare("end, the usage by all", lambda store: store.usage("a", by=parts, tz="Europe/Madrid"))
        since = START / 1_000_000 + self.random.choice((0, 1, 60, 86_400))
        until = since + self.random.choice((0, 7, 4_000, 90_000))
        await self.compare(
            f"end, the usage from {since} to {until}", lambda store: store.usage("a", since=since, until=until)
        )
        await self.compare("end, those rows", lambda store: _rows(store, "a", since=since, until=until))
        await self.compare_counts(f"end, after {steps} steps")

    def let_time_pass(self) -> None:
        if self.steps_back and self.random.random() < 0.06:
            self.clock.set_time(self.clock.time() - self.random.choice((0.5, 20, 4_000)))
        else:
            pause = self.random.choice(PAUSES[: self.random.randint(1, len(PAUSES))])
            self.clock.advance(pause)

    def next_operation(self) -> tuple[str, Operation]:
        draw = self.random.random()
        if draw < 0.03:
            return self.limits_of(self.random.choice(self.scopes))
        if draw < 0.12 and self.past:
            what, operation = self.random.choice(self.past[-20:])
            return f"again: {what}", operation
        if draw < 0.45 or not self.leases:
            return self.remembered(self.reserve())
        if self.splits and self.random.random() < 0.06:
            return self.remembered(self.split(self.lease()))
        verbs = (self.dispatched, self.dispatched, self.settle, self.settle, self.settle, self.extend, self.release)
        verb = self.random.choice((*verbs, self.refund))
        return self.remembered(verb(self.lease()))

    def remembered(self, operation: tuple[str, Operation]) -> tuple[str, Operation]:
        self.past.append(operation)
        return operation

    def reserve(self) -> tuple[str, Operation]:
        self.numbers += 1
        tenant, hold = self.random.choice(self.tenants), self.amount()
        lease_id, ttl = LeaseId(f"lease-{self.numbers:04}"), self.random.choice(TTLS)
        if self.random.random() < 0.03 and self.leases:
            lease_id = self.lease().id

        async def operation(store: QuotaStore) -> Lease:
            return await store.reserve(lease_id, tenant, hold=hold, ttl=ttl, deployment="x:y")

        return f"reserve {lease_id} for {tenant}: {hold}, {ttl} s", operation

    def extend(self, lease: Lease) -> tuple[str, Operation]:
        more, ttl = self.amount(), self.random.choice(TTLS)

        async def operation(store: QuotaStore) -> Lease:
            return await store.extend(lease, more=more, ttl=ttl)

        return f"extend {lease.id} by {more}, {ttl} s", operation

    def dispatched(self, lease: Lease) -> tuple[str, Operation]:
        return f"dispatched {lease.id}", lambda store: store.dispatched(lease)

    def release(self, lease: Lease) -> tuple[str, Operation]:
        return f"release {lease.id}", lambda store: store.release(lease)

    def settle(self, lease: Lease) -> tuple[str, Operation]:
        amount = self.amount()
        flags = frozenset(flag for flag in ("estimated", "cut") if self.random.random() < 0.25)
        charge = Charge(amount=amount, flags=flags)  # type: ignore[arg-type]
        if self.random.random() < 0.3:
            usage = Usage(input_tokens=amount.input_tokens, output_tokens=amount.output_tokens)
            charge = replace(charge, usage=usage, price=PRICE, metadata={"feature": "search"})

        async def operation(store: QuotaStore) -> Any:
            receipt = await store.settle(lease, charge=charge)
            return receipt, dict(receipt.entry.metadata)

        return f"settle {lease.id}: {charge}", operation

    def split(self, lease: Lease) -> tuple[str, Operation]:
        parts: list[LeasePart] = []
        for _ in range(self.random.randint(0, 3)):
            self.numbers += 1
            charge = None if self.random.random() < 0.2 else Charge(amount=self.amount())
            parts.append(LeasePart(id=LeaseId(f"lease-{self.numbers:04}"), hold=self.amount(), charge=charge))
        if self.random.random() < 0.1:
            parts = [replace(part, id=self.lease().id) for part in parts[:1]]
        keep = self.random.choice((None, None, Amount(), self.amount()))

        async def operation(store: Any) -> Any:
            return await store.split(lease, parts=parts, keep=keep)

        return f"split {lease.id}: {parts}, keep {keep}", operation

    def refund(self, lease: Lease) -> tuple[str, Operation]:
        part = Amount(
            input_tokens=self.random.randint(0, 20),
            output_tokens=self.random.randint(0, 20),
            nano_usd=self.random.randint(0, 20),
        )
        return f"refund {lease.id}: {part}", lambda store: store.refund(lease.id, amount=part, reason="broken")

    def limits_of(self, scope: str) -> tuple[str, Operation]:
        limits = self.some_limits(scope)
        return f"limits of {scope}: {limits}", lambda store: store.set_limits(scope, *limits)

    async def set_limits(self, scope: str) -> None:
        await self.compare(*self.limits_of(scope))
        await self.compare(f"read the limits of {scope}", lambda store: store.limits(scope))

    def some_limits(self, scope: str) -> list[Limit]:
        probes = list(PROBES) if scope == "a" else []
        taken = {(probe.dimension, probe.window) for probe in probes}
        bounds: dict[Any, Limit] = {}
        for limit in self.random.sample(PALETTE, self.random.randint(0, 5)):
            if (limit.dimension, limit.window) not in taken:
                amount = limit.amount * (10 if scope == "a" and limit.window != "rate" else 1)
                amount = self.random.choice((amount, amount * 2, max(1, amount // 2)))
                bounds[limit.dimension, limit.window, limit.seconds] = replace(limit, amount=amount)
        return [*probes, *bounds.values()]

    def lease(self) -> Lease:
        lease = self.random.choice(self.leases[-14:] if self.random.random() < 0.9 else self.leases)
        if self.random.random() < 0.02:
            return replace(lease, tenant=self.forged)
        return lease

    def amount(self) -> Amount:
        most = self.random.choice((0, 10, 60))
        return Amount(
            input_tokens=self.random.randint(0, most),
            output_tokens=self.random.randint(0, most),
            nano_usd=None if self.random.random() < 0.03 else self.random.randint(0, most),
        )

    async def compare(self, what: str, operation: Operation) -> None:
        expected, answer = await _outcome(operation, self.memory), await _outcome(operation, self.store)
        self.played += 1
        assert answer == expected, f"{what}:\n  in memory: {expected}\n  the store: {answer}"
        if isinstance(answer, Lease):
            self.leases.append(answer)

    async def compare_counts(self, what: str) -> None:
        for scope in self.scopes:
            expected, counts = await self.memory.counts(scope), await self.store.counts(scope)
            assert counts == expected, f"{what}, the counts of {scope}:\n  in memory: {expected}\n  the store: {counts}"


async def _outcome(operation: Operation, store: QuotaStore) -> Any:
    try:
        return await operation(store)
    except QuotaExceededError as error:
        bounds = error.scope, error.child, error.dimension, error.limit, error.remaining, error.requested
        return "refused", bounds, error.kind, error.retry_after
    except PlanarError as error:
        return type(error).__name__


async def _rows(store: QuotaStore, tenant: str | None, **between: Any) -> list[Any]:
    return [(row, dict(row.metadata)) async for row in store.ledger(tenant, **between)]
