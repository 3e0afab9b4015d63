"""For any pattern of outages, before and after the commit, with processes that die in between: nothing that was used is
lost, and nothing is counted twice."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outages import Setting, reserve

from effort import examples
from planar.errors import InvalidRequestError, StoreError
from planar.testing.faulty_store import StoreFault
from planar.types import Amount, Charge, Lease, Limit

ROOMY = [Limit.usd("1000", per="total"), Limit.concurrency(1_000), Limit.requests(100_000)]
SETTINGS: dict[str, dict[str, Any]] = {
    "rates": {"limits": {"acme": ROOMY[1:]}},
    "budget, closed": {"limits": {"acme": ROOMY}},
    "budget, open": {
        "limits": {"acme": ROOMY},
        "on_store_error": "allow",
        "safe_capacity": Amount(nano_usd=10**12),
    },
}
FAULTS = st.lists(st.sampled_from(["none", "none", "before", "after"]), max_size=8)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reserve", "reserve", "dispatch", "dispatch", "settle", "settle", "extend", "release", "again", "wait",
             "away", "back", "replay", "close", "crash"]
        ),
        st.integers(0, 5),
        st.integers(1, 5_000),
        FAULTS,
    ),
    max_size=30,
)  # fmt: skip


@dataclass
class Request:
    """What its caller knows of a request, which is what must be true in the end."""

    lease: Lease
    hold: int
    dispatched: bool = False
    estimate: int | None = None
    truth: int | None = None
    released: bool = False

    @property
    def used(self) -> int | None:
        return self.estimate if self.truth is None else self.truth


@dataclass
class World:
    setting: Setting
    requests: dict[str, Request] = field(default_factory=dict[str, Request])
    running: list[str] = field(default_factory=list[str])
    number: int = 0

    async def step(self, verb: str, which: int, amount: int, faults: list[StoreFault]) -> None:
        setting = self.setting
        setting.way.plan(*faults)
        setting.clock.advance(1)
        try:
            if verb == "reserve":
                await self.reserve(amount)
            elif verb in ("dispatch", "settle", "extend", "release", "again") and self.running:
                await self.of_a_request(verb, self.requests[self.running[which % len(self.running)]], amount)
            elif verb == "wait":
                setting.clock.advance(which * 15)
            elif verb in ("away", "back"):
                setting.way.always = "before" if verb == "away" else None
            elif verb == "replay":
                await setting.store.replay()
            elif verb in ("close", "crash"):
                await self.another_process(crash=verb == "crash")
        except (StoreError, InvalidRequestError):
            pass  # the caller was told, and knows no more than before

    async def reserve(self, amount: int) -> None:
        self.number += 1
        lease = await reserve(self.setting.store, f"r{self.number}", hold=Amount(nano_usd=amount))
        self.requests[lease.id] = Request(lease, amount)
        self.running.append(lease.id)

    async def of_a_request(self, verb: str, request: Request, amount: int) -> None:
        store = self.setting.store
        if verb == "dispatch":
            await store.dispatched(request.lease)
            request.dispatched = True
        elif verb == "extend":
            request.lease = await store.extend(request.lease, more=Amount(nano_usd=amount), ttl=60)
        elif verb == "release" and not request.dispatched and request.used is None:
            await store.release(request.lease)
            request.released = True
            self.running.remove(request.lease.id)
        elif verb == "settle":
            await self.settle(request, amount, estimated=amount % 2 == 0 and request.used is None)
        elif verb == "again" and request.used is not None:
            await store.settle(request.lease, charge=Charge(amount=Amount(nano_usd=request.used + 1), flags=GUESS))

    async def settle(self, request: Request, amount: int, *, estimated: bool) -> None:
        charge = Charge(amount=Amount(nano_usd=amount), flags=GUESS if estimated else frozenset())
        await self.setting.store.settle(request.lease, charge=charge)
        if estimated:
            request.estimate = amount
        elif request.truth is None:
            request.truth = amount

    async def another_process(self, *, crash: bool) -> None:
        setting = self.setting
        if crash:
            setting.store._spool.close()  # all that the kernel does for a process that is killed
        else:
            await setting.store.aclose()
        setting.store = setting.another_process()
        self.running.clear()

    async def end(self) -> None:
        setting = self.setting
        setting.way.plan()
        setting.way.always = None
        for _ in range(4):
            setting.clock.advance(61)
            await setting.store.replay()
        setting.clock.advance(61)
        assert setting.store.state().waiting == 0
        assert setting.store.state().rejected == 0

    async def check(self) -> None:
        rows = await self.setting.rows()
        for lease_id, request in self.requests.items():
            mine = [row for row in rows if row.lease_id == lease_id]
            charged = sum(row.nano_usd or 0 for row in mine)
            assert sum(row.kind in ("settled", "expired") for row in mine) <= 1
            if request.used is not None:
                assert charged == request.used
            elif request.dispatched:
                assert charged >= request.hold
            elif request.released:
                assert mine == []
        assert {row.lease_id for row in rows} <= set(self.requests) | {f"r{each + 1}" for each in range(self.number)}
        report = await self.setting.real.usage("acme")
        assert (report.concurrent, report.held) == (0, Amount())
        assert report.nano_usd == sum(row.nano_usd or 0 for row in rows)


GUESS = frozenset({"estimated"})


@pytest.mark.parametrize("name", SETTINGS)
@examples(60)
@given(steps=STEPS)
def test_nothing_that_was_used_is_lost_or_counted_twice(
    name: str, steps: list[tuple[str, int, int, list[StoreFault]]]
) -> None:
    async def run(folder: str) -> None:
        world = World(Setting(Path(folder), **SETTINGS[name]))
        for verb, which, amount, faults in steps:
            await world.step(verb, which, amount, faults)
        await world.end()
        await world.check()
        await world.setting.store.aclose()

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(run, folder)
