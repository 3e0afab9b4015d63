"""A store that can go away, what stands in for it, and requests to make of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planar.protocols import QuotaStore
from planar.quotas import MemoryQuotaStore
from planar.quotas.resilient import ResilientQuotaStore
from planar.testing import FakeClock, FaultyQuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit

HOLD = Amount(input_tokens=100, output_tokens=50, nano_usd=1_000)
USED = Amount(input_tokens=90, output_tokens=10, nano_usd=600)
CHARGE = Charge(amount=USED)
BUDGET = Limit.usd("0.00001", per="total")


class Setting:
    """The real store, the way to it, and the wrapper."""

    def __init__(self, folder: Path, *, limits: dict[str, list[Limit]] | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.options = options
        self.real = MemoryQuotaStore(clock=self.clock, limits=limits)
        self.way = FaultyQuotaStore(self.real)
        self.store = self.another_process()

    def another_process(self) -> ResilientQuotaStore:
        """As a process that begins later, or beside, would make it."""
        return ResilientQuotaStore(self.way, spool=self.folder, clock=self.clock, **self.options)

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.way.always = "before"
        yield
        self.way.always = None
        self.clock.advance(1)

    async def rows(self) -> list[LedgerEntry]:
        return [row async for row in self.real.ledger()]

    async def totals(self, scope: str = "acme") -> tuple[int, int, Amount, int]:
        report = await self.real.usage(scope)
        return report.requests, report.nano_usd, report.held, report.concurrent


async def reserve(
    store: QuotaStore, lease_id: str, *, tenant: str = "acme/search", hold: Amount = HOLD, ttl: float = 60
) -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment="openai:x")


def files(folder: Path, kind: str = "jsonl") -> list[Path]:
    return sorted(folder.glob(f"*.{kind}"))
