"""One store with slabs in many threads, over the ends of event loops, and in a child process."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from planar.errors import QuotaExceededError
from planar.quotas import MemoryQuotaStore
from planar.quotas.slabs import SlabQuotaStore
from planar.quotas.sqlite import SQLiteQuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, Limit

HOLD = Amount(output_tokens=10, nano_usd=10)


async def reserve(store: SlabQuotaStore, lease_id: str) -> Lease:
    return await store.reserve(LeaseId(lease_id), "acme/search", hold=HOLD, ttl=600, deployment="x:y")


def test_eight_threads_with_a_loop_each_share_slabs_and_never_exceed_a_limit() -> None:
    memory = MemoryQuotaStore(limits={"acme": [Limit.usd("0.000012", per="total")]})
    store = SlabQuotaStore(memory, idle=0.01, life=0.05)
    peaks: list[int] = []
    handed_on: list[Lease] = []
    start = threading.Barrier(8)

    async def hammer(number: int) -> None:
        chance = random.Random(number)
        for attempt in range(200):
            try:
                lease = await reserve(store, f"{number}-{attempt}")
            except QuotaExceededError:
                continue
            usage = await memory.usage("acme")
            peaks.append(usage.nano_usd + (usage.held.nano_usd or 0))
            await store.dispatched(lease)
            handed_on.append(lease)
            if chance.random() < 0.3:
                await anyio.lowlevel.checkpoint()
            other = handed_on.pop(0)  # perhaps another thread's
            await store.settle(other, charge=Charge(amount=HOLD))

    def run(number: int) -> None:
        start.wait()
        anyio.run(hammer, number, backend="trio" if number % 2 else "asyncio")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    asyncio.run(store.aclose())

    assert max(peaks) <= 12_000
    usage = asyncio.run(memory.usage("acme"))
    assert usage.held == Amount()
    assert usage.nano_usd == usage.requests * 10 > 11_000


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_gives_back_what_is_free(backend: str) -> None:
    memory = MemoryQuotaStore()
    store = SlabQuotaStore(memory)
    running: list[Lease] = []

    async def some() -> None:
        for number in range(20):
            running.append(await reserve(store, f"{number}"))
            await store.dispatched(running[-1])

    async def settle() -> None:
        for lease in running:
            await store.settle(lease, charge=Charge(amount=HOLD))
        await store.aclose()

    anyio.run(some, backend=backend)
    held = asyncio.run(memory.usage("acme")).held
    anyio.run(settle, backend=backend)

    assert held == Amount(output_tokens=200, nano_usd=200)
    usage = asyncio.run(memory.usage("acme"))
    assert (usage.held, usage.requests, usage.nano_usd) == (Amount(), 20, 200)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_file_can_stand_behind_slabs(backend: str, tmp_path: Path) -> None:
    async def work() -> None:
        limits = {"acme": [Limit.usd("0.000003", per="total")], "acme/search": [Limit.tokens(10_000, per="day")]}
        one = SlabQuotaStore(SQLiteQuotaStore(tmp_path / "quotas.db", limits=limits))
        two = SlabQuotaStore(SQLiteQuotaStore(tmp_path / "quotas.db"))
        refused: list[QuotaExceededError] = []

        async def request(store: SlabQuotaStore, name: str) -> None:
            try:
                lease = await reserve(store, name)
            except QuotaExceededError as error:
                refused.append(error)
                return
            await store.dispatched(lease)
            await store.settle(lease, charge=Charge(amount=HOLD))

        for turn in range(6):
            async with anyio.create_task_group() as tasks:
                for number in range(64):
                    tasks.start_soon(request, two if number % 2 else one, f"{turn}-{number}")
        await one.aclose()
        await two.aclose()

        store = SQLiteQuotaStore(tmp_path / "quotas.db")
        usage = await store.usage("acme")
        rows = [row async for row in store.ledger()]
        await store.aclose()
        assert (usage.held, usage.concurrent) == (Amount(), 0)
        assert 2_900 <= usage.nano_usd == 10 * len(rows) <= 3_000
        assert len({row.lease_id for row in rows}) == len(rows)
        assert len(rows) + len(refused) == 6 * 64

    anyio.run(work, backend=backend)


FORK = """
import asyncio, os, sys
from planar.quotas import MemoryQuotaStore
from planar.quotas.slabs import SlabQuotaStore
from planar.types import Amount, LeaseId

store = SlabQuotaStore(MemoryQuotaStore(), idle=60)
made = 0

async def reserve(count):
    global made
    for _ in range(count):
        made += 1
        name = LeaseId(f"{os.getpid()}-{made}")
        await store.reserve(name, "acme", hold=Amount(nano_usd=10), ttl=600, deployment="x:y")
    return len(store._keeper.slabs)

runner = asyncio.Runner()
before = runner.run(reserve(20))
child = os.fork()
if child == 0:
    first = asyncio.Runner().run(reserve(1))
    os._exit(0 if before and not first else 1)
runner.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_child_begins_without_its_parents_slabs() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
