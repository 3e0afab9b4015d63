"""What every quota store makes of a limit's policies: overage, alerts and shares."""

from __future__ import annotations

import pytest

from planar.errors import QuotaExceededError, UnknownPriceError
from planar.protocols import QuotaStore
from planar.testing.clock import FakeClock
from planar.types import Alert, Amount, Charge, Lease, LeaseId, LedgerEntry, Limit

DAY = 86_400


@pytest.mark.anyio
class PoliciesContract:
    """The promises of `Limit.overage`, `Limit.alerts` and `Limit.share`, one test each."""

    @pytest.mark.parametrize("limit", [Limit.usd("0.000001"), Limit.rolling(1_000, dimension="nano_usd", seconds=60)])
    async def test_a_budget_that_only_warns_lets_all_pass(self, store: QuotaStore, limit: Limit) -> None:
        """It bounds no answer, and its rows say nothing of it."""
        await store.set_limits("acme", _with(limit, overage="warn"))

        first = await _settle(store, "one", nano_usd=1_500)
        second = await _settle(store, "two", nano_usd=1_500)

        assert (first.flags, second.flags) == (frozenset(), frozenset())
        lease = await _reserve(store, "three", nano_usd=5_000)
        assert not lease.headroom.bounded
        assert (await store.usage("acme")).nano_usd == 3_000

    @pytest.mark.parametrize("limit", [Limit.usd("0.000001"), Limit.rolling(1_000, dimension="nano_usd", seconds=60)])
    async def test_who_pays_as_they_go_finds_it_on_each_row(self, store: QuotaStore, limit: Limit) -> None:
        """From the one on that overdraws the budget; what costs nothing more is not marked."""
        await store.set_limits("acme", _with(limit, overage="pay"))

        rows = [await _settle(store, f"lease-{number}", nano_usd=500) for number in range(3)]
        free = await _settle(store, "free", nano_usd=0)

        assert [sorted(row.flags) for row in rows] == [[], [], ["overage"]]
        assert free.flags == frozenset()
        assert [sorted(row.flags) async for row in store.ledger("acme")] == [[], [], ["overage"], []]

    async def test_what_is_presumed_spent_overdraws_too(self, store: QuotaStore, clock: FakeClock) -> None:
        """And so does a correction of it."""
        await store.set_limits("acme", Limit.usd("0.000001", per="total", overage="pay", alerts=[150, 250]))
        lease = await _reserve(store, "one", nano_usd=1_500, ttl=30)
        await store.dispatched(lease)
        clock.advance(31)

        [row] = [row async for row in store.ledger()]
        receipt = await store.settle(lease, charge=Charge(amount=Amount(nano_usd=2_500)))

        assert (row.kind, sorted(row.flags)) == ("expired", ["estimated", "overage"])
        assert [alert.percent for alert in row.alerts] == [150]
        assert (receipt.entry.kind, sorted(receipt.entry.flags)) == ("correction", ["overage"])
        assert [alert.percent for alert in receipt.entry.alerts] == [250]

    async def test_an_unknown_price_is_refused_by_any_limit_on_money(self, store: QuotaStore) -> None:
        """One that lets all pass has to count, too."""
        await store.set_limits("acme", Limit.usd("1", overage="pay"))

        with pytest.raises(UnknownPriceError):
            await store.reserve(LeaseId("one"), "acme", hold=Amount(nano_usd=None), ttl=60, deployment="openai:x")

    async def test_the_row_that_reaches_a_percentage_tells_of_it_once(
        self, store: QuotaStore, clock: FakeClock
    ) -> None:
        """Of every budget on the path; a row that leaps over several tells of each."""
        await store.set_limits("acme", Limit.usd("0.00001", per="day", alerts=[50, 80, 100]))
        await store.set_limits("acme/search", Limit.tokens(100, per="total", alerts=[10]))

        first = await _settle(store, "one", nano_usd=4_999)
        second = await _settle(store, "two", nano_usd=1, tokens=10)
        third = await _settle(store, "three", nano_usd=5_000)
        midnight = clock.time() // DAY * DAY
        clock.advance(DAY)
        next_day = await _settle(store, "four", nano_usd=5_000)

        day = {"scope": "acme", "dimension": "nano_usd", "window": "day", "amount": 10_000}
        half = Alert(percent=50, since=midnight, **day)  # type: ignore[arg-type]
        tokens = Alert(scope="acme/search", dimension="tokens", window="total", amount=100, since=None, percent=10)
        assert first.alerts == ()
        assert set(second.alerts) == {half, tokens}
        assert [alert.percent for alert in third.alerts] == [80, 100]
        assert [(alert.percent, alert.since) for alert in next_day.alerts] == [(50, midnight + DAY)]
        assert len({alert.id for row in (second, third, next_day) for alert in row.alerts}) == 5
        assert [row.alerts async for row in store.ledger()] == [row.alerts for row in (first, second, third, next_day)]

    async def test_a_repeated_settle_is_answered_with_the_same_alerts(self, store: QuotaStore) -> None:
        """As one whose reply was lost has to be: `replayed` says that it was told before."""
        await store.set_limits("acme", Limit.usd("0.000001", alerts=[100]))
        lease = await _reserve(store, "one", nano_usd=1_000)
        charge = Charge(amount=Amount(nano_usd=1_000))

        first = await store.settle(lease, charge=charge)
        again = await store.settle(lease, charge=charge)

        assert [alert.percent for alert in first.entry.alerts] == [100]
        assert (again.entry, again.replayed) == (first.entry, True)

    async def test_what_is_given_back_is_not_told_again(self, store: QuotaStore) -> None:
        """A refund lowers what is used; reaching the same percentage again is no news. Another amount is."""
        await store.set_limits("acme", Limit.usd("0.00001", alerts=[50]))
        told = await _settle(store, "one", nano_usd=5_000)
        await store.refund(LeaseId("one"), amount=Amount(nano_usd=1_000), reason="broken")
        silent = await _settle(store, "two", nano_usd=1_000)

        await store.set_limits("acme", Limit.usd("0.00002", alerts=[50]))
        below = await _settle(store, "three", nano_usd=4_999)
        again = await _settle(store, "four", nano_usd=1)

        assert [len(row.alerts) for row in (told, silent, below, again)] == [1, 0, 0, 1]
        assert again.alerts[0].amount == 20_000

    async def test_a_limit_that_is_set_late_tells_of_what_comes(self, store: QuotaStore) -> None:
        """Nobody crossed what had been passed before it was set."""
        await _settle(store, "one", nano_usd=6_000)

        await store.set_limits("acme", Limit.usd("0.00001", alerts=[50, 80]))
        rows = [await _settle(store, "two", nano_usd=1_000), await _settle(store, "three", nano_usd=1_000)]

        assert [[alert.percent for alert in row.alerts] for row in rows] == [[], [80]]

    @pytest.mark.parametrize(
        "limit",
        [Limit.usd("0.00001", per="day", share=50), Limit.usd("0.00001", per="total", share=50)],
    )
    async def test_a_child_holds_no_more_than_its_share_of_what_is_left(self, store: QuotaStore, limit: Limit) -> None:
        """The children of a child count with it; its sibling and the scope itself have their own room."""
        await store.set_limits("acme", limit)
        mine = await _reserve(store, "mine", tenant="acme/search/alice", nano_usd=3_000)

        assert mine.headroom.nano_usd == 2_000
        with pytest.raises(QuotaExceededError) as refusal:
            await _reserve(store, "more", tenant="acme/search/bob", nano_usd=2_001)
        with pytest.raises(QuotaExceededError) as extension:
            await store.extend(mine, more=Amount(nano_usd=2_001), ttl=60)

        for error in (refusal.value, extension.value):
            assert (error.scope, error.child, error.dimension) == ("acme", "acme/search", "nano_usd")
            assert (error.limit, error.remaining, error.requested) == (5_000, 2_000, 2_001)
        assert (refusal.value.kind, extension.value.kind) == ("busy", "spent")
        assert "acme/search" in str(refusal.value)
        await _reserve(store, "sibling", tenant="acme/chat", nano_usd=5_000)
        await _reserve(store, "own", tenant="acme", nano_usd=2_000)
        await store.release(mine)
        await _reserve(store, "after", tenant="acme/search", nano_usd=3_000)

    async def test_a_share_is_of_what_is_not_yet_used(self, store: QuotaStore, clock: FakeClock) -> None:
        """And is refused for ever, for today or for now, each with its own time to come back."""
        await store.set_limits("acme", Limit.usd("0.00001", per="day", share=50))
        await _settle(store, "used", nano_usd=4_000)
        ends = DAY - clock.time() % DAY

        never, today, now = [await _refused(store, nano_usd) for nano_usd in (5_001, 3_001, None)]

        assert (never.kind, never.retry_after, never.limit) == ("spent", None, 5_000)
        assert (today.kind, today.remaining) == ("spent", 3_000)
        assert today.retry_after == pytest.approx(ends, abs=0.01)
        assert (now.kind, now.remaining) == ("busy", 0)
        assert now.retry_after == pytest.approx(60, abs=0.01)

    async def test_places_are_shared_too(self, store: QuotaStore) -> None:
        """Half of four places is two."""
        await store.set_limits("acme", Limit.concurrency(4, share=50))
        one = await _reserve(store, "one")
        await _reserve(store, "two")

        with pytest.raises(QuotaExceededError) as refusal:
            await _reserve(store, "three")
        await _reserve(store, "sibling", tenant="acme/chat")
        await store.settle(one, charge=Charge(amount=Amount()))
        await _reserve(store, "four")

        assert (refusal.value.dimension, refusal.value.child, refusal.value.limit) == ("concurrency", "acme/search", 2)

    async def test_a_share_that_is_set_late_counts_what_is_held(self, store: QuotaStore, clock: FakeClock) -> None:
        """And one that is taken away is forgotten."""
        held = await _reserve(store, "held", nano_usd=5_000)

        await store.set_limits("acme", Limit.usd("0.00001", per="total", share=50))
        with pytest.raises(QuotaExceededError):
            await _reserve(store, "refused", nano_usd=1)
        await store.settle(held, charge=Charge(amount=Amount(nano_usd=2_000)))
        await _reserve(store, "fits", nano_usd=4_000)
        await store.set_limits("acme", Limit.usd("0.00001", per="total"))

        await _reserve(store, "fits, too", nano_usd=4_000)
        with pytest.raises(QuotaExceededError) as refusal:
            await _reserve(store, "does not", nano_usd=1)
        assert refusal.value.child is None


async def _reserve(
    store: QuotaStore,
    lease_id: str,
    *,
    tenant: str = "acme/search",
    nano_usd: int = 0,
    tokens: int = 0,
    ttl: float = 60,
) -> Lease:
    hold = Amount(output_tokens=tokens, nano_usd=nano_usd)
    return await store.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment="openai:x")


async def _settle(store: QuotaStore, lease_id: str, *, nano_usd: int, tokens: int = 0) -> LedgerEntry:
    lease = await _reserve(store, lease_id, nano_usd=nano_usd, tokens=tokens)
    await store.dispatched(lease)
    charge = Charge(amount=Amount(output_tokens=tokens, nano_usd=nano_usd))
    return (await store.settle(lease, charge=charge)).entry


async def _refused(store: QuotaStore, nano_usd: int | None) -> QuotaExceededError:
    if nano_usd is None:
        await _reserve(store, "holds all", nano_usd=3_000)
    with pytest.raises(QuotaExceededError) as refusal:
        await _reserve(store, "refused", nano_usd=nano_usd or 1)
    return refusal.value


def _with(limit: Limit, *, overage: str) -> Limit:
    return Limit(
        dimension=limit.dimension,
        amount=limit.amount,
        window=limit.window,
        seconds=limit.seconds,
        overage=overage,  # type: ignore[arg-type]
    )
