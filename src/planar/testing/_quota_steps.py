"""What the tests of a quota store do again and again, and with which amounts."""

from __future__ import annotations

from typing import Any

import pytest

from planar.protocols import QuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit

LEAF = "acme/search/alice"
SCOPES = ("acme", "acme/search", "acme/search/alice")
HOLD = Amount(input_tokens=100, output_tokens=50, nano_usd=1_000)
USED = Amount(input_tokens=90, output_tokens=10, nano_usd=600)
NOTHING = Amount()
LIMITS = {
    "requests": Limit.requests(1),
    "requests per day": Limit(dimension="requests", amount=1, window="day"),
    "input tokens per minute": Limit.tokens_per_minute(150, kind="input_tokens"),
    "output tokens per minute": Limit.tokens_per_minute(75, kind="output_tokens"),
    "tokens per minute": Limit.tokens_per_minute(200),
    "concurrency": Limit.concurrency(1),
    "tokens per day": Limit.tokens(200, per="day"),
    "input tokens per week": Limit.tokens(150, per="week", kind="input_tokens"),
    "output tokens in all": Limit.tokens(75, per="total", kind="output_tokens"),
    "money per month": Limit.usd("0.0000015"),
    "money in all": Limit.usd("0.0000015", per="total"),
    "rolling money": Limit.rolling(1_500, dimension="nano_usd", seconds=600),
    "rolling requests": Limit.rolling(1, dimension="requests", seconds=600),
}
"""Each has room for one request of `HOLD`, and for no second one."""

each_limit = pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
each_scope = pytest.mark.parametrize("scope", SCOPES)


async def reserve(
    store: QuotaStore,
    lease_id: str,
    *,
    tenant: str = LEAF,
    hold: Amount = HOLD,
    ttl: float = 60,
    deployment: str = "openai:x",
) -> Lease:
    """Hold `HOLD` for `LEAF`, unless told otherwise."""
    return await store.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment=deployment)


async def settled(store: QuotaStore, lease_id: str, *, tenant: str = LEAF, amount: Amount = USED) -> Lease:
    """Reserve, ask, and settle with `USED`, unless told otherwise."""
    lease = await reserve(store, lease_id, tenant=tenant)
    await store.dispatched(lease)
    await store.settle(lease, charge=Charge(amount=amount))
    return lease


async def rows(store: QuotaStore, tenant: str | None = None, **between: Any) -> list[LedgerEntry]:
    """What the ledger has."""
    return [row async for row in store.ledger(tenant, **between)]
