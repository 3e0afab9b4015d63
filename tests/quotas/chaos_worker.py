"""Customers who spend a budget until nothing is left: what runs in each of many processes."""

from __future__ import annotations

import importlib
import itertools
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import anyio

from planar.errors import InvalidRequestError, PlanarError, QuotaExceededError, StoreError
from planar.protocols import QuotaStore
from planar.types import Amount, Charge, Lease, LeaseId

T = TypeVar("T")

TENANTS = ("acme/search/ann", "acme/search/bob", "acme/ads/cid", "acme/ads/dan")
MOST = 20  # nano-USD that one request holds at most, before it is extended


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is told. `store` names what makes a store of a URL, as `module:function`."""

    store: str
    url: str
    folder: str
    name: str
    seed: int
    tasks: int
    ttl: float
    pace: float


class Book:
    """A file to which many processes append, each line whole: the provider's bill, or what a store acknowledged."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, lease_id: str, amount: int) -> None:
        os.write(self._file, f"{lease_id} {amount}\n".encode())


class Customer:
    """Reserves, spends and settles at random, with every verb now and then said twice.

    Args:
        bill: Told of each amount at the moment at which a provider would bill it.
        settled: Told of each lease with its sum, once the store has acknowledged its settle.
        pace: Seconds that a provider takes, at most.
    """

    def __init__(
        self,
        store: QuotaStore,
        *,
        name: str,
        chance: random.Random,
        bill: Callable[[str, int], None],
        settled: Callable[[str, int], None],
        ttl: float,
        pace: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._store = store
        self._name = name
        self._chance = chance
        self._bill = bill
        self._settled = settled
        self._ttl = ttl
        self._pace = pace
        self._tenants = list(TENANTS)
        self._low: set[str] = set()
        self._numbers = itertools.count()

    async def spend_all(self) -> None:
        """Make requests, one after another, until every tenant is refused the smallest because all is spent."""
        patience = 4 * self._pace
        while self._tenants:
            tenant = self._chance.choice(self._tenants)
            most = 1 if tenant in self._low else self._chance.randint(1, MOST)
            try:
                await self._request(tenant, most)
                patience = 4 * self._pace
            except QuotaExceededError as refusal:
                self._refused(tenant, most, refusal)
                if refusal.kind == "busy":
                    await anyio.sleep(self._chance.uniform(0, patience))
                    patience = min(3 * patience, 1.0)

    def _refused(self, tenant: str, most: int, refusal: QuotaExceededError) -> None:
        self.counts[refusal.kind] += 1
        if refusal.kind == "busy":
            return
        if most > 1:
            self._low.add(tenant)
        elif tenant in self._tenants:  # another task of this process may have seen it first
            self._tenants.remove(tenant)

    async def _request(self, tenant: str, most: int) -> None:
        lease_id = LeaseId(f"{self._name}-{next(self._numbers)}")
        hold = _amount(most)
        lease = await self._say(
            partial(self._store.reserve, lease_id, tenant, hold=hold, ttl=self._ttl, deployment="fake:model")
        )
        if self._chance.random() < 0.1:
            await self._say(partial(self._store.release, lease))
            self.counts["released"] += 1
            return
        try:
            await self._say(partial(self._store.dispatched, lease))
        except InvalidRequestError:  # it lapsed: nobody may be asked
            self.counts["lapsed"] += 1
            return
        spent = await self._spend(lease)
        try:
            await self._say(partial(self._store.settle, lease, charge=Charge(amount=_amount(spent))))
        except InvalidRequestError:
            self.counts["unknown"] += 1
            return
        self._settled(lease_id, spent)
        self.counts["settled"] += 1

    async def _spend(self, lease: Lease) -> int:
        spent = self._chance.randint(1, lease.hold.nano_usd or 0)
        self._bill(lease.id, spent)
        await anyio.sleep(self._chance.uniform(0, self._pace))
        while self._chance.random() < 0.2:
            more = self._chance.randint(1, 5)
            try:
                lease = await self._say(partial(self._store.extend, lease, more=_amount(more), ttl=self._ttl))
            except (QuotaExceededError, InvalidRequestError):
                self.counts["cut"] += 1
                break
            self._bill(lease.id, more)
            spent += more
            await anyio.sleep(self._chance.uniform(0, self._pace))
        return spent

    async def _say(self, verb: Callable[[], Awaitable[T]]) -> T:
        """Say it until it is answered, and sometimes say it again, afterwards or at the same time."""
        twice = self._chance.random()
        if twice < 0.05:
            return await self._at_the_same_time(verb)
        answer = await self._answered(verb)
        if twice < 0.1:
            await self._answered(verb)
        return answer

    async def _at_the_same_time(self, verb: Callable[[], Awaitable[T]]) -> T:
        answers: list[T] = []
        errors: list[PlanarError] = []

        async def ask() -> None:
            try:
                answers.append(await self._answered(verb))
            except (QuotaExceededError, InvalidRequestError) as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        if not answers:
            raise errors[0]
        return answers[0]  # one may be refused and the other granted, in this order

    async def _answered(self, verb: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await verb()
            except StoreError:
                self.counts["store errors"] += 1
                await anyio.sleep(0.02)


def make_store(name: str, url: str) -> QuotaStore:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(url)


def _amount(nano_usd: int) -> Amount:
    # Twice as many tokens as money, so that neither can stand in for the other.
    return Amount(input_tokens=nano_usd, output_tokens=nano_usd, nano_usd=nano_usd)


async def spend_all(orders: Orders) -> Counter[str]:
    folder = Path(orders.folder)
    store = make_store(orders.store, orders.url)
    customer = Customer(
        store,
        name=orders.name,
        chance=random.Random(f"{orders.seed}/{orders.name}"),
        bill=Book(folder / "bill").write,
        settled=Book(folder / "settled").write,
        ttl=orders.ttl,
        pace=orders.pace,
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(orders.tasks):
            tasks.start_soon(customer.spend_all)
    await store.aclose()
    return customer.counts


def work(orders: Orders, line: Connection) -> None:
    """A process: it says that it is there, begins when it is told, and tells in the end what it has done."""
    with Path(orders.folder, f"{orders.name}.log").open("wb") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    line.send("ready")
    line.recv()
    line.send(anyio.run(spend_all, orders))
