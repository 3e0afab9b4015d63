"""What every quota store says where a limit has no room, and what it makes of limits that change."""

from __future__ import annotations

import pytest

from planar.errors import QuotaExceededError
from planar.protocols import QuotaStore
from planar.testing._quota_steps import HOLD, NOTHING, each_limit, reserve, settled
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Limit


@pytest.mark.anyio
class LimitsContract:
    """The promises of refusals, of headroom and of `set_limits`, one test each."""

    async def test_spent_and_busy_are_told_apart(self, store: QuotaStore) -> None:
        """Spent is gone for this window; busy may come back any moment."""
        await store.set_limits("acme", Limit.usd("0.0000015", per="day"))
        lease = await reserve(store, "one")

        with pytest.raises(QuotaExceededError) as busy:
            await reserve(store, "two")
        await store.settle(lease, charge=Charge(amount=HOLD))
        with pytest.raises(QuotaExceededError) as spent:
            await reserve(store, "three")

        assert (busy.value.kind, spent.value.kind) == ("busy", "spent")
        assert (busy.value.remaining, spent.value.remaining) == (500, 500)

    @each_limit
    async def test_retry_after_is_true(self, store: QuotaStore, clock: FakeClock, limit: Limit) -> None:
        """The refused request is let in when the clock says so, and not a millisecond before."""
        await store.set_limits("acme/search", limit)
        await settled(store, "one", amount=HOLD)
        if limit.dimension == "concurrency":
            await reserve(store, "still running", ttl=45)

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "two")
        wait = refusal.value.retry_after

        if limit.window == "total":
            assert wait is None
            return
        assert wait is not None
        clock.advance(wait - 0.001)
        with pytest.raises(QuotaExceededError):
            await reserve(store, "three")
        clock.advance(0.001)
        await reserve(store, "four")

    @each_limit
    async def test_waiting_does_not_help_a_request_that_is_too_large(self, store: QuotaStore, limit: Limit) -> None:
        """It would never fit, even if it were alone."""
        if limit.dimension in ("requests", "concurrency"):
            return
        await store.set_limits("acme", limit)

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "one", hold=Amount(input_tokens=1_000, output_tokens=1_000, nano_usd=10_000))

        assert refusal.value.retry_after is None
        assert not refusal.value.retryable

    async def test_the_binding_limit_is_the_one_that_takes_longest(self, store: QuotaStore) -> None:
        """Whoever waits as long as it says is not refused by another."""
        await store.set_limits("acme", Limit.requests(1))
        await store.set_limits("acme/search", Limit.tokens(200, per="day"))
        await store.set_limits("acme/search/alice", Limit.tokens_per_minute(200))
        await settled(store, "one", amount=HOLD)

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "two")

        assert refusal.value.scope == "acme/search"

    async def test_headroom_is_what_the_tightest_limit_leaves(self, store: QuotaStore) -> None:
        """Beyond this lease. Limits on input alone do not bound an answer."""
        await store.set_limits("acme", Limit.tokens(1_000), Limit.usd("0.000009"))
        await store.set_limits("acme/search", Limit.tokens(450, kind="output_tokens"), Limit.usd("0.000003"))
        await store.set_limits("acme/search/alice", Limit.tokens(120, kind="input_tokens"))

        first = await reserve(store, "one")
        elsewhere = await reserve(store, "elsewhere", tenant="globex")

        assert (first.headroom.tokens, first.headroom.nano_usd) == (400, 2_000)
        assert not elsewhere.headroom.bounded

    async def test_a_lower_limit_touches_no_lease(self, store: QuotaStore) -> None:
        """It is for those who come after."""
        await store.set_limits("acme", Limit.usd("0.000003", per="total"))
        lease = await reserve(store, "one")

        await store.set_limits("acme", Limit.usd("0.000001", per="total"))

        with pytest.raises(QuotaExceededError):
            await reserve(store, "two")
        assert (await store.settle(lease, charge=Charge(amount=HOLD))).entry.nano_usd == 1_000
        assert await store.limits("acme") == (Limit.usd("0.000001", per="total"),)
        assert await store.limits("acme/search") == ()

    async def test_a_changed_limit_keeps_what_was_counted(self, store: QuotaStore) -> None:
        """Raising a budget is not a fresh start."""
        await store.set_limits("acme", Limit.usd("0.000001"), Limit.requests(1))
        await settled(store, "one", amount=HOLD)

        await store.set_limits("acme", Limit.usd("0.0000015"), Limit.requests(2))

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "two")
        assert (refusal.value.dimension, refusal.value.remaining) == ("nano_usd", 500)

    async def test_a_new_budget_counts_what_its_window_has_seen(self, store: QuotaStore, clock: FakeClock) -> None:
        """As if it had been there from the first: what was booked, and what is held."""
        await settled(store, "yesterday", amount=HOLD)
        clock.advance(86_400)
        await settled(store, "today", amount=HOLD)
        running = await reserve(store, "running")

        await store.set_limits("acme", Limit.usd("0.0000035", per="day"), Limit.concurrency(2))
        await store.settle(await reserve(store, "fits"), charge=Charge(amount=HOLD))

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "does not")
        assert (refusal.value.kind, refusal.value.remaining) == ("busy", 500)
        await store.settle(running, charge=Charge(amount=NOTHING))
        await reserve(store, "fits now")
