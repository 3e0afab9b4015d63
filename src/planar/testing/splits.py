"""What a quota store keeps in which one lease can pay for many requests (`planar.protocols.SplitsLeases`), as tests.

Needs pytest. Subclass beside `QuotaStoreContract`, with the same two fixtures, `store` and `clock`.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from planar.errors import InvalidRequestError, QuotaExceededError
from planar.protocols import QuotaStore, SplitsLeases
from planar.testing.clock import FakeClock
from planar.types import Amount, Charge, Lease, LeaseId, LeasePart, LedgerEntry, Limit

ONE = Amount(input_tokens=100, output_tokens=50, nano_usd=1_000)
FOUR = Amount(input_tokens=400, output_tokens=200, nano_usd=4_000)
USED = Amount(input_tokens=90, output_tokens=10, nano_usd=600)
NOTHING = Amount()
SCOPES = ("acme", "acme/search", "acme/search/alice")


class SplittingStore(QuotaStore, SplitsLeases, Protocol):
    """What the contract is about."""


@pytest.mark.anyio
class SplitContract:
    """The promises of `planar.protocols.SplitsLeases`, one test each."""

    @pytest.mark.parametrize("scope", SCOPES)
    async def test_a_part_puts_the_truth_in_place_of_its_hold(self, store: SplittingStore, scope: str) -> None:
        """On every scope and in every dimension; the rest is held on."""
        await store.set_limits(scope, Limit.usd("0.000004", per="total"), Limit.tokens(600, per="day"))
        lease = await _reserve(store, "whole")

        [receipt] = await store.split(lease, parts=[_part("one", USED)])

        entry = receipt.entry
        assert (entry.lease_id, entry.kind, entry.tenant, entry.deployment) == ("one", "settled", SCOPES[2], "openai:x")
        assert (entry.input_tokens, entry.output_tokens, entry.nano_usd, receipt.replayed) == (90, 10, 600, False)
        assert await _rows(store) == [entry]
        report = await store.usage("acme")
        assert (report.requests, report.nano_usd, report.concurrent) == (1, 600, 1)
        assert report.held == Amount(input_tokens=300, output_tokens=150, nano_usd=3_000)
        await _reserve(store, "beside", hold=Amount(input_tokens=10, output_tokens=40, nano_usd=400))
        with pytest.raises(QuotaExceededError):
            await _reserve(store, "too much", hold=Amount(nano_usd=1))

    async def test_many_parts_are_one_step(self, store: SplittingStore) -> None:
        """If one cannot be, none is."""
        await _reserve(store, "alive", hold=ONE)
        lease = await _reserve(store, "whole")

        with pytest.raises(InvalidRequestError):
            await store.split(lease, parts=[_part("one", USED), _part("alive", USED)], keep=NOTHING)
        before = await store.usage("acme")
        receipts = await store.split(lease, parts=[_part("one", USED), _part("two", ONE), _part("three", NOTHING)])

        assert (before.requests, before.concurrent) == (0, 2)
        assert [receipt.entry.lease_id for receipt in receipts] == ["one", "two", "three"]
        assert (await store.usage("acme")).nano_usd == 1_600

    async def test_a_lease_of_which_nothing_is_kept_ends_without_a_row(self, store: SplittingStore) -> None:
        """Even if it was dispatched: its place is free, and the request that it counted as is given back."""
        await store.set_limits("acme", Limit.concurrency(1), Limit(dimension="requests", amount=3, window="day"))
        lease = await _reserve(store, "whole")
        await store.dispatched(lease)

        await store.split(lease, parts=[_part("one", USED), _part("two", USED)], keep=NOTHING)

        assert [row.lease_id for row in await _rows(store)] == ["one", "two"]
        report = await store.usage("acme")
        assert (report.requests, report.held, report.concurrent) == (2, NOTHING, 0)
        await _reserve(store, "third of the day")
        with pytest.raises(InvalidRequestError):
            await store.extend(lease, more=ONE, ttl=60)

    async def test_what_is_kept_is_a_bound(self, store: SplittingStore) -> None:
        """It takes back what is above it, adds nothing, and may be repeated."""
        await store.set_limits("acme", Limit.usd("0.000004", per="total"))
        lease = await _reserve(store, "whole")

        for _ in range(2):
            await store.split(lease, keep=Amount(input_tokens=1_000, output_tokens=60, nano_usd=1_500))

        assert (await store.usage("acme")).held == Amount(input_tokens=400, output_tokens=60, nano_usd=1_500)
        await _reserve(store, "beside", hold=Amount(nano_usd=2_500))

    async def test_a_repeated_split_has_one_effect(self, store: SplittingStore) -> None:
        """As after a reply that was lost on the way."""
        lease = await _reserve(store, "whole")
        parts = [_part("one", USED), _part("two", ONE)]

        first = await store.split(lease, parts=parts, keep=ONE)
        again = await store.split(lease, parts=parts, keep=ONE)
        await store.split(lease, keep=NOTHING)
        ended = await store.split(lease, parts=parts, keep=NOTHING)

        assert [receipt.entry for receipt in first] == [receipt.entry for receipt in again]
        assert all(receipt.replayed for receipt in [*again, *ended])
        assert len(await _rows(store)) == 2
        report = await store.usage("acme")
        assert (report.nano_usd, report.held, report.concurrent) == (1_600, NOTHING, 0)

    async def test_a_part_is_a_lease_that_was_settled(self, store: SplittingStore) -> None:
        """To be settled again, corrected once, refunded, and not to be used for anything else."""
        whole = await _reserve(store, "whole")
        part = Lease(
            id=LeaseId("one"),
            tenant=whole.tenant,
            hold=ONE,
            expires=whole.expires,
            deployment=whole.deployment,
            headroom=whole.headroom,
        )
        guess = Charge(amount=ONE, flags=frozenset({"estimated"}))
        await store.split(whole, parts=[LeasePart(id=part.id, hold=ONE, charge=guess)])

        truth = await store.settle(part, charge=Charge(amount=USED))
        again = await store.settle(part, charge=Charge(amount=ONE))
        refund = await store.refund(part.id, amount=Amount(nano_usd=100), reason="broken")
        await store.dispatched(part)
        await store.release(part)

        assert (truth.entry.kind, truth.entry.nano_usd) == ("correction", -400)
        assert (again.entry, again.replayed) == (truth.entry, True)
        assert refund.entry.nano_usd == -100
        with pytest.raises(InvalidRequestError):
            await store.extend(part, more=ONE, ttl=60)
        with pytest.raises(InvalidRequestError):
            await _reserve(store, "one", hold=FOUR)
        report = await store.usage("acme")
        assert (report.requests, report.nano_usd) == (1, 500)

    async def test_a_part_that_nobody_settled_is_charged_and_may_be_corrected(self, store: SplittingStore) -> None:
        """Presumed to be what was held, as when a lease expires."""
        lease = await _reserve(store, "whole")

        [presumed] = await store.split(lease, parts=[LeasePart(id=LeaseId("one"), hold=ONE, charge=None)])
        [same] = await store.split(lease, parts=[LeasePart(id=LeaseId("one"), hold=ONE, charge=None)])
        [truth] = await store.split(lease, parts=[_part("one", USED)])

        assert (presumed.entry.kind, presumed.entry.nano_usd) == ("expired", 1_000)
        assert presumed.entry.flags == frozenset({"estimated"})
        assert (same.entry, same.replayed) == (presumed.entry, True)
        assert (truth.entry.kind, truth.entry.nano_usd) == ("correction", -400)
        report = await store.usage("acme")
        assert (report.nano_usd, report.held.nano_usd) == (600, 3_000)

    async def test_a_part_above_its_hold_is_booked(self, store: SplittingStore) -> None:
        """It was spent. What is kept for others is not touched."""
        lease = await _reserve(store, "whole")

        await store.split(lease, parts=[_part("one", FOUR)])

        report = await store.usage("acme")
        assert (report.nano_usd, report.held.nano_usd) == (4_000, 3_000)

    async def test_of_a_lease_that_expired_the_parts_are_booked(self, store: SplittingStore, clock: FakeClock) -> None:
        """And once nothing is kept of it, what was presumed is taken back."""
        await store.set_limits("acme", Limit.usd("0.000009", per="total"))
        lease = await _reserve(store, "whole", ttl=30)
        await store.dispatched(lease)
        clock.advance(31)

        await store.split(lease, parts=[_part("one", USED)])
        before = await store.usage("acme")
        await store.split(lease, parts=[_part("two", USED)], keep=NOTHING)
        await store.split(lease, parts=[_part("two", USED)], keep=NOTHING)

        assert before.nano_usd == 4_600
        assert [(row.lease_id, row.kind) for row in await _rows(store)] == [
            ("whole", "expired"),
            ("one", "settled"),
            ("two", "settled"),
            ("whole", "correction"),
        ]
        assert (await store.usage("acme")).nano_usd == 1_200
        await _reserve(store, "fits", hold=Amount(nano_usd=7_800))

    async def test_a_part_counts_in_the_window_that_reserved(self, store: SplittingStore, clock: FakeClock) -> None:
        """A request across midnight does not eat into the new day."""
        await store.set_limits("acme", Limit.usd("0.000004", per="day"))
        lease = await _reserve(store, "whole", ttl=7 * 86_400)
        clock.advance(86_400)

        await store.split(lease, parts=[_part("one", ONE)], keep=NOTHING)

        await _reserve(store, "of today")

    async def test_an_unknown_price_counts_as_what_was_held(self, store: SplittingStore) -> None:
        """Never zero by ignorance; the row says that it is unknown."""
        await store.set_limits("acme", Limit.usd("0.000004", per="total"))
        lease = await _reserve(store, "whole")

        [receipt] = await store.split(lease, parts=[_part("one", Amount(input_tokens=5, nano_usd=None))], keep=NOTHING)

        assert receipt.entry.nano_usd is None
        with pytest.raises(QuotaExceededError) as refusal:
            await _reserve(store, "two")
        assert refusal.value.remaining == 3_000

    async def test_what_is_not_known_or_anothers_cannot_be_split(self, store: SplittingStore) -> None:
        """Nothing is written."""
        lease = await _reserve(store, "whole")
        other = await _reserve(store, "other", tenant="acme/chat")
        await store.dispatched(other)
        await store.settle(other, charge=Charge(amount=USED))
        unknown = Lease(
            id=LeaseId("nobody's"),
            tenant=lease.tenant,
            hold=ONE,
            expires=lease.expires,
            deployment="openai:x",
            headroom=lease.headroom,
        )

        with pytest.raises(InvalidRequestError):
            await store.split(unknown, parts=[_part("one", USED)])
        with pytest.raises(InvalidRequestError):
            await store.split(lease, parts=[_part("other", USED)])

        assert (await store.usage("acme/search")).requests == 0


def _part(part_id: str, amount: Amount) -> LeasePart:
    return LeasePart(id=LeaseId(part_id), hold=ONE, charge=Charge(amount=amount))


async def _reserve(
    store: QuotaStore, lease_id: str, *, tenant: str = SCOPES[2], hold: Amount = FOUR, ttl: float = 60
) -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment="openai:x")


async def _rows(store: QuotaStore) -> list[LedgerEntry]:
    return [row async for row in store.ledger()]
