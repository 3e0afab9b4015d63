"""What every quota store has to keep, as tests that any implementation can run.

Needs pytest. Subclass, and provide two fixtures: a `clock` that can be advanced, and a fresh, empty `store` whose time
is that clock's. A store with a server's clock passes the fake one's time along with every operation.

    class TestMyStore(QuotaStoreContract):
        @pytest.fixture
        def clock(self) -> FakeClock:
            return FakeClock()

        @pytest.fixture
        async def store(self, clock: FakeClock) -> AsyncIterator[MyStore]:
            store = await MyStore.open(now=clock.time)
            yield store
            await store.aclose()

The tests are marked `anyio` and run on whatever the fixture `anyio_backend` says: by anyio's default every event loop
that is installed. `pytest.register_assert_rewrite("planar.testing")` in your `conftest.py`, before the import, gives
failures with values in them.
"""

from __future__ import annotations

import math

import pytest

from planar.errors import InvalidRequestError, QuotaExceededError, UnknownPriceError, UnknownTenantError
from planar.protocols import QuotaStore
from planar.testing._quota_books import BooksContract
from planar.testing._quota_limits import LimitsContract
from planar.testing._quota_policies import PoliciesContract
from planar.testing._quota_steps import (
    HOLD,
    LEAF,
    NOTHING,
    SCOPES,
    USED,
    each_limit,
    each_scope,
    reserve,
    rows,
    settled,
)
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, LeaseId, Limit


@pytest.mark.anyio
class QuotaStoreContract(BooksContract, LimitsContract, PoliciesContract):
    """The promises of `planar.protocols.QuotaStore`, one test each."""

    @each_scope
    @each_limit
    async def test_every_limit_of_every_scope_refuses(self, store: QuotaStore, scope: str, limit: Limit) -> None:
        """No scope on the path and no dimension is skipped, and the refusal names the one in the way."""
        await store.set_limits(scope, limit)
        await reserve(store, "first")

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "second")

        assert (refusal.value.scope, refusal.value.dimension) == (scope, limit.dimension)
        assert refusal.value.limit == limit.amount

    @each_scope
    async def test_a_refusal_writes_nothing(self, store: QuotaStore, clock: FakeClock, scope: str) -> None:
        """What one limit refuses is held by no other, on no scope, and no request is counted."""
        for each in SCOPES:
            await store.set_limits(each, Limit.requests(2), Limit.usd("0.000002"), Limit.concurrency(2))
        await store.set_limits(scope, *await store.limits(scope), Limit.tokens(150, per="total"))

        for number in range(3):
            with pytest.raises(QuotaExceededError):
                await reserve(store, f"refused-{number}", hold=Amount(input_tokens=151, nano_usd=1_000))
        await reserve(store, "fits")

        assert (await store.usage("acme")).held == HOLD
        await store.set_limits(scope, *(await store.limits(scope))[:3])
        await reserve(store, "fits, too")
        with pytest.raises(QuotaExceededError):
            await reserve(store, "does not")

    async def test_another_tenant_has_its_own_room(self, store: QuotaStore) -> None:
        """Neither a sibling nor a tenant whose name begins alike is in the way."""
        await store.set_limits("acme/search", Limit.concurrency(1))
        await reserve(store, "one")

        await reserve(store, "sibling", tenant="acme/chat/alice")
        await reserve(store, "alike", tenant="acme/search-2")

        assert (await store.usage("acme/search")).concurrent == 1
        assert (await store.usage("acme")).concurrent == 3

    async def test_settling_puts_the_truth_in_place_of_the_hold(self, store: QuotaStore) -> None:
        """What was held and not used can be used by the next."""
        await store.set_limits("acme", Limit.usd("0.0000016", per="total"), Limit.tokens_per_minute(250))
        lease = await reserve(store, "one")

        receipt = await store.settle(lease, charge=Charge(amount=USED, flags=frozenset({"cut"}), metadata={"a": "b"}))

        assert not receipt.replayed
        assert (receipt.entry.kind, receipt.entry.tenant, receipt.entry.deployment) == ("settled", LEAF, "openai:x")
        assert (receipt.entry.input_tokens, receipt.entry.output_tokens, receipt.entry.nano_usd) == (90, 10, 600)
        assert (receipt.entry.flags, dict(receipt.entry.metadata)) == (frozenset({"cut"}), {"a": "b"})
        assert await rows(store) == [receipt.entry]
        report = await store.usage(LEAF)
        assert (report.requests, report.input_tokens, report.output_tokens, report.nano_usd) == (1, 90, 10, 600)
        assert (report.held, report.concurrent, report.unpriced) == (NOTHING, 0, 0)
        await reserve(store, "two")

    async def test_a_charge_above_the_hold_is_booked(self, store: QuotaStore) -> None:
        """It was spent, so the next one waits for it."""
        await store.set_limits("acme", Limit.usd("0.000003", per="total"))
        lease = await reserve(store, "one")

        await store.settle(lease, charge=Charge(amount=Amount(nano_usd=2_500)))

        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "two")
        assert (refusal.value.kind, refusal.value.remaining, refusal.value.requested) == ("spent", 500, 1_000)

    async def test_a_release_gives_all_back_but_the_rate_of_requests(self, store: QuotaStore) -> None:
        """Who was let in has been let in."""
        await store.set_limits("acme", Limit.requests(2), Limit.concurrency(1), Limit.tokens_per_minute(150))
        lease = await reserve(store, "one")

        await store.release(lease)

        assert await rows(store) == []
        await store.release(await reserve(store, "two"))
        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "three")
        assert refusal.value.dimension == "requests"

    async def test_an_expired_lease_is_released_if_nobody_was_asked(self, store: QuotaStore, clock: FakeClock) -> None:
        """Nothing is charged, and there is room again with no traffic in between."""
        await store.set_limits("acme", Limit.usd("0.000001", per="total"), Limit.concurrency(1))
        await reserve(store, "one", ttl=30)

        clock.advance(30)

        report = await store.usage("acme")
        assert (report.held, report.concurrent, report.requests) == (NOTHING, 0, 0)
        assert await rows(store) == []
        await reserve(store, "two")

    async def test_an_expired_lease_is_charged_if_the_provider_was_asked(
        self, store: QuotaStore, clock: FakeClock
    ) -> None:
        """The provider bills what it was asked: presumed spent, in full."""
        await store.set_limits("acme", Limit.usd("0.0000015", per="total"), Limit.concurrency(1))
        lease = await reserve(store, "one", ttl=30)
        await store.dispatched(lease)

        clock.advance(31)

        [row] = await rows(store)
        assert (row.kind, row.input_tokens, row.output_tokens, row.nano_usd) == ("expired", 100, 50, 1_000)
        assert (await store.usage("acme")).concurrent == 0
        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "two")
        assert (refusal.value.dimension, refusal.value.kind) == ("nano_usd", "spent")

    async def test_a_refusal_counts_no_lease_whose_time_is_over(self, store: QuotaStore, clock: FakeClock) -> None:
        """However many there are: one operation may end only so many, but a refusal has to be true."""
        await store.set_limits("acme", Limit.usd("0.00004", per="total"))
        for number in range(40):
            await reserve(store, f"lease-{number}", ttl=30)

        clock.advance(31)
        await reserve(store, "all of it", hold=Amount(nano_usd=40_000))

        assert (await store.usage("acme")).concurrent == 1

    async def test_a_late_settle_corrects_the_presumption_once(self, store: QuotaStore, clock: FakeClock) -> None:
        """The difference is a row of its own; the book is never rewritten."""
        await store.set_limits("acme", Limit.usd("0.0000016", per="total"))
        lease = await reserve(store, "one", ttl=30)
        await store.dispatched(lease)
        clock.advance(31)

        receipt = await store.settle(lease, charge=Charge(amount=USED))
        again = await store.settle(lease, charge=Charge(amount=HOLD))

        assert (receipt.entry.kind, receipt.entry.nano_usd) == ("correction", -400)
        assert (receipt.entry.input_tokens, receipt.entry.output_tokens) == (-10, -40)
        assert (again.entry, again.replayed) == (receipt.entry, True)
        assert [row.kind for row in await rows(store)] == ["expired", "correction"]
        report = await store.usage("acme")
        assert (report.requests, report.input_tokens, report.nano_usd) == (1, 90, 600)
        await reserve(store, "two")

    async def test_what_was_estimated_is_corrected_once_by_the_truth(self, store: QuotaStore) -> None:
        """As when a provider tells what an answer had cost after its caller had left."""
        await store.set_limits("acme", Limit.usd("0.0000016", per="total"))
        lease = await reserve(store, "one")
        await store.dispatched(lease)
        await store.settle(lease, charge=Charge(amount=HOLD, flags=frozenset({"estimated", "cut"})))

        guessed_again = await store.settle(lease, charge=Charge(amount=USED, flags=frozenset({"estimated"})))
        truth = await store.settle(lease, charge=Charge(amount=USED, flags=frozenset({"cut"})))
        once_more = await store.settle(lease, charge=Charge(amount=HOLD))

        assert guessed_again.replayed
        assert (truth.entry.kind, truth.entry.nano_usd, truth.replayed) == ("correction", -400, False)
        assert (once_more.entry, once_more.replayed) == (truth.entry, True)
        assert [row.kind for row in await rows(store)] == ["settled", "correction"]
        report = await store.usage("acme")
        assert (report.requests, report.input_tokens, report.nano_usd) == (1, 90, 600)
        await reserve(store, "two")

    async def test_a_late_settle_of_what_was_released_is_booked(self, store: QuotaStore, clock: FakeClock) -> None:
        """The provider was asked after all, so every budget hears of it."""
        await store.set_limits("acme", Limit.usd("0.0000015", per="total"))
        lease = await reserve(store, "one", ttl=30)
        clock.advance(31)

        receipt = await store.settle(lease, charge=Charge(amount=USED))

        assert receipt.entry.kind == "settled"
        with pytest.raises(QuotaExceededError):
            await reserve(store, "two")

    async def test_extending_holds_more_for_longer(self, store: QuotaStore, clock: FakeClock) -> None:
        """Only the addition is checked, on every scope; a refusal leaves what was held."""
        for scope in SCOPES:
            await store.set_limits(scope, Limit.usd("0.0000025", per="total"), Limit.requests(1), Limit.concurrency(1))
        lease = await reserve(store, "one", ttl=30)
        clock.advance(20)

        longer = await store.extend(lease, more=Amount(output_tokens=50, nano_usd=1_000), ttl=30)
        clock.advance(20)
        with pytest.raises(QuotaExceededError) as refusal:
            await store.extend(longer, more=Amount(nano_usd=501), ttl=30)

        assert longer.hold == Amount(input_tokens=100, output_tokens=100, nano_usd=2_000)
        assert longer.headroom.nano_usd == 500
        assert math.isclose(longer.expires, clock.time() + 10, abs_tol=0.01)
        assert (refusal.value.scope, refusal.value.requested, refusal.value.remaining) == ("acme", 501, 500)
        assert (await store.usage("acme")).held == longer.hold

    @each_scope
    async def test_extending_is_checked_on_every_scope(self, store: QuotaStore, scope: str) -> None:
        """Tokens are, as money is."""
        await store.set_limits(scope, Limit.tokens(200, per="day"))
        lease = await reserve(store, "one")

        with pytest.raises(QuotaExceededError) as refusal:
            await store.extend(lease, more=Amount(output_tokens=51), ttl=60)

        assert (refusal.value.scope, refusal.value.dimension) == (scope, "tokens")

    async def test_a_repeated_verb_has_one_effect_and_the_first_answer(self, store: QuotaStore) -> None:
        """As after a reply that was lost on the way."""
        await store.set_limits("acme", Limit.usd("0.000002", per="total"), Limit.concurrency(1), Limit.requests(1))
        lease = await reserve(store, "one")
        more = Amount(nano_usd=1_000)
        charge = Charge(amount=USED)

        assert await reserve(store, "one") == lease
        longer = await store.extend(lease, more=more, ttl=60)
        assert await store.extend(lease, more=more, ttl=60) == longer
        await store.dispatched(longer)
        await store.dispatched(longer)
        receipt = await store.settle(longer, charge=charge)
        repeated = await store.settle(longer, charge=charge)
        part = Amount(nano_usd=100)
        refund = await store.refund(lease.id, amount=part, reason="broken")
        refunded_again = await store.refund(lease.id, amount=part, reason="broken")

        assert (repeated.entry, repeated.replayed) == (receipt.entry, True)
        assert (refunded_again.entry, refunded_again.replayed) == (refund.entry, True)
        assert [row.kind for row in await rows(store)] == ["settled", "refund"]
        report = await store.usage("acme")
        assert (report.requests, report.nano_usd, report.concurrent, report.held) == (1, 500, 0, NOTHING)

    async def test_releasing_twice_gives_back_once(self, store: QuotaStore) -> None:
        """Nor does a release undo a settlement."""
        await store.set_limits("acme", Limit.concurrency(1))
        first = await reserve(store, "one")
        await store.release(first)
        await reserve(store, "two")

        await store.release(first)

        with pytest.raises(QuotaExceededError):
            await reserve(store, "three")
        done = await settled(store, "four", tenant="other")
        await store.release(done)
        assert (await store.usage("other")).requests == 1

    async def test_a_lease_id_is_for_one_request(self, store: QuotaStore) -> None:
        """The same id with another tenant, hold or deployment is a mistake, while the lease lives and after."""
        lease = await reserve(store, "one")

        for _ in range(2):
            with pytest.raises(InvalidRequestError):
                await reserve(store, "one", tenant="acme")
            with pytest.raises(InvalidRequestError):
                await reserve(store, "one", hold=USED)
            with pytest.raises(InvalidRequestError):
                await reserve(store, "one", deployment="openai:y")
            await store.settle(lease, charge=Charge(amount=USED))

        assert (await store.usage("acme")).requests == 1

    async def test_a_lease_that_has_ended_cannot_be_used(self, store: QuotaStore, clock: FakeClock) -> None:
        """No provider is to be asked on a hold that is gone."""
        released = await reserve(store, "released")
        await store.release(released)
        lapsed = await reserve(store, "lapsed", ttl=30)
        done = await settled(store, "settled")
        clock.advance(31)

        for lease in (released, lapsed):
            with pytest.raises(InvalidRequestError):
                await store.dispatched(lease)
        for lease in (released, lapsed, done):
            with pytest.raises(InvalidRequestError):
                await store.extend(lease, more=USED, ttl=30)
        with pytest.raises(InvalidRequestError):
            await store.settle(released, charge=Charge(amount=USED))
        assert (await store.usage("acme")).held == NOTHING

    async def test_what_was_dispatched_is_settled_not_released(self, store: QuotaStore) -> None:
        """The provider may bill it."""
        lease = await reserve(store, "one")
        await store.dispatched(lease)

        with pytest.raises(InvalidRequestError):
            await store.release(lease)

        assert (await store.usage("acme")).held == HOLD

    async def test_a_refund_credits_what_was_charged_and_no_more(self, store: QuotaStore) -> None:
        """As a row with negative numbers, in the budget that was charged."""
        await store.set_limits("acme", Limit.usd("0.0000012", per="total"))
        lease = await settled(store, "one")

        with pytest.raises(InvalidRequestError):
            await store.refund(lease.id, amount=Amount(nano_usd=601), reason="too much")
        with pytest.raises(InvalidRequestError):
            await store.refund(LeaseId("nobody's"), amount=NOTHING, reason="unknown")
        receipt = await store.refund(lease.id, amount=Amount(input_tokens=90, nano_usd=400), reason="broken answer")
        with pytest.raises(InvalidRequestError):
            await store.refund(lease.id, amount=Amount(nano_usd=100), reason="again")

        assert (receipt.entry.kind, receipt.entry.reason) == ("refund", "broken answer")
        assert (receipt.entry.input_tokens, receipt.entry.output_tokens, receipt.entry.nano_usd) == (-90, 0, -400)
        assert (await store.usage("acme")).nano_usd == 200
        await reserve(store, "two")

    async def test_what_is_still_held_cannot_be_refunded(self, store: QuotaStore) -> None:
        """Nothing was charged yet."""
        lease = await reserve(store, "one")

        with pytest.raises(InvalidRequestError):
            await store.refund(lease.id, amount=Amount(nano_usd=1), reason="early")

    async def test_a_settle_counts_in_the_window_that_reserved(self, store: QuotaStore, clock: FakeClock) -> None:
        """A request across midnight does not eat into the new day."""
        await store.set_limits("acme", Limit.usd("0.0000015", per="day"))
        lease = await reserve(store, "one", ttl=7 * 86_400)
        clock.advance(86_400)

        await reserve(store, "two", ttl=86_400)
        await store.settle(lease, charge=Charge(amount=HOLD))

        assert (await store.usage("acme")).nano_usd == 1_000
        with pytest.raises(QuotaExceededError) as refusal:
            await reserve(store, "three")
        assert (refusal.value.kind, refusal.value.remaining) == ("busy", 500)

    async def test_an_unknown_price_is_refused_where_money_is_limited(self, store: QuotaStore) -> None:
        """Never zero by ignorance. Without a money limit it is booked as unknown."""
        unpriced = Amount(input_tokens=10, nano_usd=None)
        free = await reserve(store, "free", hold=unpriced, tenant="globex/a")
        await store.set_limits("acme/search", Limit.usd("5"))

        with pytest.raises(UnknownPriceError) as refusal:
            await reserve(store, "one", hold=unpriced)
        receipt = await store.settle(free, charge=Charge(amount=unpriced))

        assert (refusal.value.scope, refusal.value.deployment) == ("acme/search", "openai:x")
        assert receipt.entry.nano_usd is None
        report = await store.usage("globex")
        assert (report.unpriced, report.nano_usd, report.input_tokens) == (1, 0, 10)
        assert (await store.usage("acme")).concurrent == 0

    async def test_what_cannot_be_priced_any_more_counts_as_it_was_held(self, store: QuotaStore) -> None:
        """The row says that the price is unknown; the budget has to count something, and never less than it may be."""
        await store.set_limits("acme", Limit.usd("0.0000015", per="total"))
        lease = await reserve(store, "one")

        receipt = await store.settle(lease, charge=Charge(amount=Amount(input_tokens=90, nano_usd=None)))

        assert receipt.entry.nano_usd is None
        [count] = await store.counts("acme")
        assert (count.used, count.held) == (1_000, 0)
        with pytest.raises(QuotaExceededError):
            await reserve(store, "two")

    async def test_a_name_that_is_not_a_tenants_is_refused(self, store: QuotaStore) -> None:
        """Before anything is counted."""
        for name in ("", "/", "acme/", "a/b/c/d/e", "acme\n", "../acme"):
            with pytest.raises(UnknownTenantError):
                await reserve(store, "one", tenant=name)

    @pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
    async def test_a_lease_lives_for_a_time(self, store: QuotaStore, ttl: float) -> None:
        """Not for ever, and not for none."""
        with pytest.raises(InvalidRequestError):
            await reserve(store, "one", ttl=ttl)

    async def test_usage_and_ledger_are_cut_by_time_and_scope(self, store: QuotaStore, clock: FakeClock) -> None:
        """The end is excluded, so that periods join without overlap."""
        start = clock.time()
        await settled(store, "one")
        clock.advance(100)
        await settled(store, "two", tenant="acme/chat")
        await settled(store, "three", tenant="globex")

        assert [row.lease_id for row in await rows(store, "acme")] == ["one", "two"]
        assert [row.lease_id for row in await rows(store, "acme/chat")] == ["two"]
        assert [row.lease_id for row in await rows(store, until=start + 100)] == ["one"]
        assert [row.lease_id for row in await rows(store, since=start + 100)] == ["two", "three"]
        assert (await store.usage("acme", since=start + 50)).requests == 1
        assert (await store.usage("acme", since=start, until=start + 100)).requests == 1
        assert (await store.usage("acme")).requests == 2
        assert (await store.usage("nobody")).requests == 0
