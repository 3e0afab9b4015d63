"""Processes that spend one budget through one store while they are killed and stopped, and what must be true after it.

What was really spent is on the bill of a provider that knows nothing of the store: it alone is believed.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import anyio
from chaos_worker import Orders, make_store, work

from planar.protocols import QuotaStore
from planar.types import Amount, LeaseId, LedgerEntry, Limit

SCOPES = (
    "acme",
    "acme/search",
    "acme/ads",
    "acme/search/ann",
    "acme/search/bob",
    "acme/ads/cid",
    "acme/ads/dan",
)
SHARES = {1: 1.0, 2: 0.55, 3: 0.3}
"""What a scope may spend of the whole, by its depth: each of them is in the way at some time."""
_SPANNED = 0.8
# Processes are forked from one that has imported these, which takes much longer than all that they do.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["pytest", "planar.quotas", "anyio._backends._asyncio", "asyncpg", "redis.asyncio"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much there is to spend (nano-USD), and by whom.

    Attributes:
        tasks: Of each worker.
        ttl: Seconds that a lease lives, unless it is extended.
        pace: Seconds that the provider takes, at most.
        crowded: Tenants may make no more requests at the same time than the fleet would on average.
        seed: Of all that is decided by lot; `PLANAR_SEED` gives that of an earlier run. Who comes first is not.
    """

    budget: int
    workers: int = 8
    tasks: int = 4
    ttl: float = 2.0
    pace: float = 0.05
    crowded: bool = True
    seed: int = dataclasses.field(default_factory=lambda: int(os.environ.get("PLANAR_SEED", random.randrange(10**6))))


class Fleet:
    """Workers that spend one budget. Each disturbance is called once, at a random moment while they do."""

    def __init__(self, plan: Plan, *, store: str, url: str, folder: Path) -> None:
        self.plan = plan
        self.killed = 0
        self.counts: Counter[str] = Counter()
        self._store = store
        self._url = url
        self._folder = folder
        self._chance = random.Random(plan.seed)
        self._workers: dict[str, Worker] = {}
        self._paused: dict[str, float] = {}
        self._lives: Counter[int] = Counter()
        self._bill = Bill(folder / "bill")

    def run(self, disturbances: Iterable[Callable[[], bool | None]] = ()) -> None:
        """Spend until all workers say that nothing is left. A disturbance that returns `False` is tried again."""
        due = list(disturbances)
        moments = sorted(self._chance.uniform(0, _SPANNED * self.plan.budget) for _ in due)
        self._chance.shuffle(due)
        try:
            for number in range(self.plan.workers):
                self._start(number)
            for worker in self._workers.values():
                worker.line.recv()  # none begins before all are ready
            for worker in self._workers.values():
                worker.line.send("go")
            self._watch(due, moments)
        finally:
            for worker in self._workers.values():
                worker.kill()

    def kill_one(self) -> bool:
        """`kill -9` for a worker that is at it, and another in its place."""
        name = self._choose()
        if name is None:
            return False
        self._workers.pop(name).kill()
        self.killed += 1
        successor = self._start(int(name.partition(".")[0]))
        successor.line.recv()
        successor.line.send("go")
        return True

    def pause_one(self) -> bool:
        """`SIGSTOP` for a worker that is at it, for longer than its leases live."""
        name = self._choose()
        if name is None:
            return False
        self._workers[name].send(signal.SIGSTOP)
        self._paused[name] = time.monotonic() + 1.5 * self.plan.ttl
        return True

    def _watch(self, due: list[Callable[[], bool | None]], moments: list[float]) -> None:
        before, since = -1, time.monotonic()
        while self._workers:
            if self._bill.read().total != before:
                before, since = self._bill.total, time.monotonic()
            assert time.monotonic() < since + 60, f"nothing happens any more at {before} of {self.plan.budget}"
            while due and self._bill.total >= moments[0] and due[0]() is not False:
                del due[0], moments[0]
            for name in [name for name, until in self._paused.items() if time.monotonic() >= until]:
                del self._paused[name]
                self._workers[name].send(signal.SIGCONT)
            self._bury()
            time.sleep(0.002)
        assert not due, f"{len(due)} disturbances never came: nothing was left to spend"

    def _bury(self) -> None:
        for name, worker in list(self._workers.items()):
            if not worker.process.is_alive():
                errors = (self._folder / f"{name}.log").read_text()
                assert worker.process.exitcode == 0, f"worker {name}:\n{errors[-4000:]}"
                self.counts.update(worker.line.recv())
                self._workers.pop(name).kill()

    def _start(self, number: int) -> Worker:
        plan = self.plan
        name = f"{number}.{self._lives[number]}"
        self._lives[number] += 1
        orders = Orders(
            store=self._store,
            url=self._url,
            folder=str(self._folder),
            name=name,
            seed=plan.seed,
            tasks=plan.tasks,
            ttl=plan.ttl,
            pace=plan.pace,
        )
        worker = self._workers[name] = Worker(orders)
        return worker

    def _choose(self) -> str | None:
        # One that has not spent yet would die in vain.
        names = sorted(name for name in self._workers if name in self._bill.customers and name not in self._paused)
        return self._chance.choice(names) if names else None


class Worker:
    """One process that spends, and the line on which it is told to."""

    def __init__(self, orders: Orders) -> None:
        self.line: Connection
        self.line, end = _forks.Pipe()
        self.process: ForkServerProcess = _forks.Process(target=work, args=(orders, end), daemon=True)
        self.process.start()
        end.close()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """`kill -9`, if it still runs."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.line.close()


class Bill:
    """Lines of `lease amount`, read as they are appended."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.total = 0
        self.leases: defaultdict[str, int] = defaultdict(int)
        self.customers: set[str] = set()
        self._path = path
        self._read = 0

    def read(self) -> Bill:
        """Take up what was appended since."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._read += len(lines + newline)
        for line in lines.decode().splitlines():
            lease_id, amount = line.split()
            self.leases[lease_id] += int(amount)
            self.total += int(amount)
            self.customers.add(lease_id.partition("-")[0])
        return self


def limits_of(plan: Plan) -> dict[str, tuple[Limit, ...]]:
    """Money, tokens, requests at the same time and requests a minute, on every scope."""
    return {scope: _limits(plan, scope, round(SHARES[scope.count("/") + 1] * plan.budget)) for scope in SCOPES}


def _limits(plan: Plan, scope: str, money: int) -> tuple[Limit, ...]:
    places = plan.workers * plan.tasks
    return (
        Limit(dimension="nano_usd", amount=money, window="total"),
        Limit.tokens(2 * money, per="total"),
        Limit.concurrency(places // 4 if plan.crowded and scope.count("/") == 2 else 2 * places),
        Limit.requests(10**6),
    )


def spend(
    plan: Plan,
    *,
    store: str,
    url: str,
    folder: Path,
    disturbances: Callable[[Fleet], Sequence[Callable[[], bool | None]]] = lambda _: (),
) -> Outcome:
    """Set the limits, let the fleet spend, wait until nothing is held, and read everything that there is to know."""
    print(f"{plan} on {url}")  # shown where a test fails: the seed is in it
    anyio.run(_set_limits, store, url, limits_of(plan))
    fleet = Fleet(plan, store=store, url=url, folder=folder)
    begin = time.monotonic()
    fleet.run(disturbances(fleet))
    seconds = time.monotonic() - begin
    outcome = anyio.run(_read, store, url, plan, folder)
    print(f"{outcome.used:.1%} in {seconds:.1f} s, {fleet.killed} killed, {dict(fleet.counts)}, rows {outcome.kinds}")
    return dataclasses.replace(outcome, counts=fleet.counts)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one scope has used: as its limits count it, as its usage says, and as its ledger rows add up to."""

    requests: int
    counted: tuple[int, int]
    reported: tuple[int, int]
    booked: tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended. `bill` and `settled` are by lease, and were written by nobody who knows the store."""

    plan: Plan
    bill: dict[str, int]
    settled: dict[str, int]
    rows: list[LedgerEntry]
    scopes: dict[str, Scope]
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def used(self) -> float:
        """The provider's bill as a part of the budget."""
        return sum(self.bill.values()) / self.plan.budget

    @property
    def kinds(self) -> dict[str, int]:
        """How many rows of each kind."""
        return dict(Counter(row.kind for row in self.rows))

    def check(self, *, least: float, most: float = 1.0) -> None:
        """Nobody overspent, little was left over, and all books agree."""
        assert least <= self.used <= most, f"{self.used:.2%} of the budget is on the bill"
        self.check_acknowledged()
        self.check_books()
        net = self._net()
        for lease_id, amount in self.bill.items():
            assert net.get(lease_id, -1) >= amount, f"{lease_id}: {amount} on the bill, {net.get(lease_id)} charged"

    def check_acknowledged(self) -> None:
        """Every settle that the store acknowledged is in the ledger, once, with its sum."""
        net = self._net()
        for lease_id, amount in self.settled.items():
            assert net.get(lease_id) == amount, f"{lease_id}: {amount} settled, {net.get(lease_id)} in the ledger"

    def check_books(self) -> None:
        """One terminal row per lease, counters equal to rows, parents equal to their children."""
        ends = Counter(row.lease_id for row in self.rows if row.kind in ("settled", "expired"))
        corrected = Counter(row.lease_id for row in self.rows if row.kind == "correction")
        assert max(ends.values()) == 1
        assert max(corrected.values(), default=0) <= 1
        assert set(corrected) <= set(ends)
        for name, scope in self.scopes.items():
            assert scope.counted == scope.reported == scope.booked, f"{name}: {scope}"
        for name, scope in self.scopes.items():
            children = [each for child, each in self.scopes.items() if child.rpartition("/")[0] == name]
            if children:
                sums = tuple(map(sum, zip(*(each.counted for each in children), strict=True)))
                assert scope.counted == sums, f"{name}: {scope.counted}, but its children {sums}"
                assert scope.requests == sum(each.requests for each in children), f"{name}: {self.scopes}"

    def _net(self) -> dict[str, int]:
        net: dict[str, int] = defaultdict(int)
        for row in self.rows:
            net[row.lease_id] += row.nano_usd or 0
        return dict(net)


async def _set_limits(store: str, url: str, limits: dict[str, tuple[Limit, ...]]) -> None:
    opened = make_store(store, url)
    for scope, bounds in limits.items():
        await opened.set_limits(scope, *bounds)
    await opened.aclose()


async def _read(store: str, url: str, plan: Plan, folder: Path) -> Outcome:
    opened = make_store(store, url)
    try:
        return await read(opened, plan, Bill(folder / "bill").read().leases, Bill(folder / "settled").read().leases)
    finally:
        await opened.aclose()


async def read(store: QuotaStore, plan: Plan, bill: dict[str, int], settled: dict[str, int]) -> Outcome:
    """Wait until the last lease has ended, and ask the store for all that it says."""
    with anyio.fail_after(3 * plan.ttl + 10):
        while (await store.usage("acme")).concurrent:
            await anyio.sleep(0.05)
    rows = [row async for row in store.ledger()]
    scopes = {scope: await _scope(store, plan, scope, rows) for scope in SCOPES}
    return Outcome(plan=plan, bill=dict(bill), settled=dict(settled), rows=rows, scopes=scopes)


async def _scope(store: QuotaStore, plan: Plan, scope: str, rows: list[LedgerEntry]) -> Scope:
    report = await store.usage(scope)
    assert (report.held, report.concurrent) == (Amount(), 0), f"{scope} still holds {report}"
    own = [row for row in rows if f"{row.tenant}/".startswith(f"{scope}/")]
    return Scope(
        requests=report.requests,
        counted=await _counted(store, plan, scope),
        reported=(report.nano_usd, report.input_tokens + report.output_tokens),
        booked=(sum(row.nano_usd or 0 for row in own), sum(row.input_tokens + row.output_tokens for row in own)),
    )


async def _counted(store: QuotaStore, plan: Plan, scope: str) -> tuple[int, int]:
    """Money and tokens that the limits of one scope have counted.

    Any caller can see them: where no other limit of the path is as tight, they are what the headroom lacks.
    """
    wide = 2**53
    for each in SCOPES:
        if each == scope or scope.startswith(f"{each}/"):
            await store.set_limits(each, *_limits(plan, each, wide // (4 if each == scope else 2)))
    lease = await store.reserve(LeaseId(f"look-{scope}"), scope, hold=Amount(), ttl=60, deployment="fake:model")
    await store.release(lease)
    assert lease.headroom.nano_usd is not None
    assert lease.headroom.tokens is not None
    return wide // 4 - lease.headroom.nano_usd, wide // 2 - lease.headroom.tokens
