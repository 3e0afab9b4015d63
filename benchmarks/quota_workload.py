"""What the benchmarks of quota stores reserve and settle: 3 scopes with 4 limits on each, none of them in the way."""

from __future__ import annotations

from planar.protocols import QuotaStore
from planar.types import Amount, Charge, LeaseId, Limit

SCOPES = ("acme", "acme/search", "acme/search/alice")
LIMITS = (
    Limit.requests(100_000_000),
    Limit.tokens_per_minute(100_000_000),
    Limit.concurrency(1_000),
    Limit.usd(1_000_000),
)
HOLD = Amount(input_tokens=1_200, output_tokens=1_024, nano_usd=4_000_000)
CHARGE = Charge(amount=Amount(input_tokens=1_150, output_tokens=310, nano_usd=1_700_000))


async def pair(store: QuotaStore, lease_id: str) -> None:
    """Reserve and settle."""
    lease = await store.reserve(LeaseId(lease_id), SCOPES[-1], hold=HOLD, ttl=60, deployment="openai:x")
    await store.settle(lease, charge=CHARGE)
