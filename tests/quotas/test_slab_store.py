"""What slabs save, what they never do, and what becomes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from counted_store import CountedStore, LoopClock

from planar.errors import ConfigurationError, InvalidRequestError, QuotaExceededError, StoreError, UnknownPriceError
from planar.quotas import MemoryQuotaStore
from planar.quotas.slabs import SlabQuotaStore
from planar.testing import FakeClock, virtual_backend
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit

HOLD = Amount(input_tokens=100, output_tokens=50, nano_usd=1_000)
USED = Amount(input_tokens=90, output_tokens=10, nano_usd=600)
NOTHING = Amount()
RICH = Limit.usd(1_000, per="total")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def stores(*limits: Limit, latency: float = 0.0, **cut: Any) -> tuple[SlabQuotaStore, CountedStore]:
    clock = LoopClock()
    far = CountedStore(MemoryQuotaStore(limits={"acme": limits}, clock=clock), latency=latency)
    return SlabQuotaStore(far, clock=clock, **cut), far


async def reserve(store: SlabQuotaStore, lease_id: str, *, hold: Amount = HOLD, tenant: str = "acme/search") -> Lease:
    return await store.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=60, deployment="x:y")


async def request(store: SlabQuotaStore, lease_id: str, *, tenant: str = "acme/search", used: Amount = USED) -> None:
    lease = await reserve(store, lease_id, tenant=tenant)
    await store.dispatched(lease)
    await store.settle(lease, charge=Charge(amount=used))


async def rows(store: SlabQuotaStore | CountedStore) -> list[LedgerEntry]:
    return [row async for row in store.ledger()]


async def at_once(count: int, work: Callable[[int], Awaitable[object]]) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(work, number)


async def warm_up(store: SlabQuotaStore, count: int = 40, *, tenant: str = "acme/search") -> None:
    """So much came lately that the next slab is a large one."""
    for number in range(count):
        await store.release(await reserve(store, f"warm-{tenant}-{number}", tenant=tenant))
    await store._keeper.give_back()


async def test_most_reservations_cost_no_round_trip() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    far.trips.clear()

    leases = [await reserve(store, f"{number}") for number in range(320)]
    for lease in leases:
        await store.dispatched(lease)

    assert sum(far.trips.values()) <= 2 * 320 / 32 + 4
    assert far.inner._engine.held("acme", now=0)[0].nano_usd <= 1_000 * (320 + 64)
    assert (await store.usage("acme")).held.nano_usd == 320_000
    assert (await store.usage("acme")).concurrent == 320
    await store.aclose()


async def test_rows_that_wait_together_are_written_together() -> None:
    store, far = stores(RICH, latency=0.01)
    await at_once(64, lambda number: request(store, f"first-{number}"))
    far.trips.clear()
    far.split_sizes.clear()

    async def work(number: int) -> None:
        for turn in range(10):
            await request(store, f"{number}-{turn}")

    await at_once(64, work)

    assert sum(far.trips.values()) < 640 * 3 / 8
    assert max(far.split_sizes) >= 16
    assert len(await rows(store)) == 704
    assert (await store.usage("acme")).nano_usd == 704 * 600
    await store.aclose()
    assert (await far.usage("acme")).held == NOTHING


async def test_what_settle_has_answered_is_in_the_stores_ledger() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    lease = await reserve(store, "one")
    await store.dispatched(lease)

    receipt = await store.settle(lease, charge=Charge(amount=USED, metadata={"a": "b"}))

    assert await rows(far) == [receipt.entry]
    assert (receipt.entry.lease_id, receipt.entry.tenant, receipt.entry.metadata) == ("one", "acme/search", {"a": "b"})
    assert far.trips["settle"] == 0
    refund = await store.refund(lease.id, amount=Amount(nano_usd=100), reason="broken")
    assert refund.entry.nano_usd == -100
    await store.aclose()


@pytest.mark.parametrize(
    "limit",
    [
        Limit.requests(10_000),
        Limit.concurrency(100),
        Limit.rolling(10_000, dimension="requests", seconds=60),
        Limit(dimension="requests", amount=10_000, window="day"),
    ],
    ids=lambda limit: f"{limit.dimension} {limit.window}",
)
async def test_where_single_requests_are_limited_they_pass_through(limit: Limit) -> None:
    store, far = stores(RICH, limit)

    for number in range(50):
        await request(store, f"{number}")

    assert far.trips["reserve"] == far.trips["settle"] == 50
    assert far.trips["split"] == 0
    await store.aclose()


async def test_a_limit_on_requests_that_another_process_sets_is_kept_within_twice_the_life_of_a_slab() -> None:
    store, far = stores(RICH, life=5)
    await warm_up(store)
    await far.set_limits("acme", RICH, Limit.requests(1, per="hour"))

    await anyio.sleep(10)
    await request(store, "one")

    with pytest.raises(QuotaExceededError) as refusal:
        await request(store, "two")
    assert refusal.value.dimension == "requests"
    await store.aclose()


async def test_a_price_that_is_not_known_passes_through() -> None:
    store, _ = stores(RICH)
    await warm_up(store)

    with pytest.raises(UnknownPriceError):
        await reserve(store, "one", hold=Amount(nano_usd=None))
    lease = await reserve(store, "two")
    with pytest.raises(UnknownPriceError):
        await store.extend(lease, more=Amount(output_tokens=1, nano_usd=None), ttl=60)
    await store.aclose()


async def test_a_quiet_tenant_takes_no_slab() -> None:
    store, far = stores(RICH)

    for number in range(4):
        await request(store, f"{number}")
        await anyio.sleep(60)

    assert far.trips["reserve"] == far.trips["settle"] == 4
    assert far.trips["split"] == 0


async def test_a_limit_can_be_used_to_its_end_by_two_processes() -> None:
    one, far = stores(Limit(dimension="nano_usd", amount=1_000_000, window="total"), latency=0.002)
    other = SlabQuotaStore(far, clock=LoopClock())
    refused: list[QuotaExceededError] = []

    async def work(number: int) -> None:
        store = one if number % 2 else other
        for turn in range(100):
            try:
                await request(store, f"{number}-{turn}", used=HOLD)
            except QuotaExceededError as error:
                refused.append(error)
                await anyio.sleep(error.retry_after or 2)

    await at_once(32, work)

    used = (await one.usage("acme")).nano_usd
    assert 990_000 <= used <= 1_000_000
    assert refused
    assert all((error.scope, error.dimension) == ("acme", "nano_usd") for error in refused)
    assert len(await rows(far)) == used // 1_000
    await one.aclose()
    await other.aclose()
    assert (await far.usage("acme")).held == NOTHING


async def test_a_slab_holds_no_more_than_its_share() -> None:
    store, far = stores(Limit(dimension="nano_usd", amount=100_000, window="total"), share=10)
    await warm_up(store)

    for number in range(4):
        await reserve(store, f"{number}")

    assert (await far.usage("acme")).held.nano_usd <= 20_000
    await store.aclose()


async def test_what_lies_idle_is_given_back_before_a_refusal() -> None:
    store, far = stores(Limit(dimension="nano_usd", amount=32_000, window="total"), share=100)
    await warm_up(store)
    lease = await reserve(store, "one")
    held = (await far.usage("acme")).held.nano_usd

    await reserve(store, "large", hold=Amount(nano_usd=31_000))

    assert held is not None
    assert held > 2_000
    with pytest.raises(QuotaExceededError) as refusal:
        await reserve(store, "two")
    assert (refusal.value.kind, refusal.value.remaining, refusal.value.scope) == ("busy", 0, "acme")
    await store.settle(lease, charge=Charge(amount=HOLD))


async def test_slabs_that_nobody_uses_are_given_back_without_traffic() -> None:
    store, far = stores(RICH, idle=1)
    await warm_up(store)
    running = await reserve(store, "one")
    before = (await far.usage("acme")).held

    await anyio.sleep(2.1)
    shrunk = (await far.usage("acme")).held
    await store.release(running)
    await anyio.sleep(1.1)

    assert before.tokens > 150
    assert shrunk == HOLD
    assert (await far.usage("acme")).held == NOTHING
    assert await rows(far) == []


async def test_closing_leaves_nothing_running() -> None:
    store, _ = stores(RICH, idle=1_000)
    await warm_up(store)
    await reserve(store, "one")
    began = anyio.current_time()

    await store.aclose()
    while store._keeper._watched:
        await anyio.lowlevel.checkpoint()

    assert anyio.current_time() == began


async def test_closing_gives_all_back_and_charges_what_is_still_asked() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    asked, reserved = await reserve(store, "asked"), await reserve(store, "reserved")
    await store.dispatched(asked)

    await store.aclose()

    report = await far.usage("acme")
    assert (report.held, report.concurrent) == (NOTHING, 0)
    assert [(row.lease_id, row.kind, row.nano_usd) for row in await rows(far)] == [("asked", "expired", 1_000)]
    late = await store.settle(asked, charge=Charge(amount=USED))
    assert (late.entry.kind, late.entry.nano_usd) == ("correction", -400)
    await store.release(reserved)
    await request(store, "after")
    assert far.trips["settle"] == 2


async def test_an_overrun_takes_from_the_slab_before_it_is_debt() -> None:
    store, _ = stores(Limit(dimension="nano_usd", amount=4_000, window="total"), share=100)
    await warm_up(store)
    lease = await reserve(store, "one")

    await store.settle(lease, charge=Charge(amount=Amount(nano_usd=3_500)))

    with pytest.raises(QuotaExceededError) as refusal:
        await reserve(store, "two")
    assert (refusal.value.kind, refusal.value.remaining) == ("spent", 500)


async def test_a_long_answer_is_extended_from_the_slab_and_then_by_the_store() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    lease = await reserve(store, "one")
    far.trips.clear()

    for _ in range(3):
        lease = await store.extend(lease, more=Amount(output_tokens=50, nano_usd=100), ttl=60)
    free = far.trips["extend"]
    lease = await store.extend(lease, more=Amount(output_tokens=100_000), ttl=60)

    assert free == 0
    assert far.trips["extend"] == 1
    assert lease.hold == Amount(input_tokens=100, output_tokens=100_200, nano_usd=1_300)
    assert (await store.usage("acme")).held == lease.hold
    await store.settle(lease, charge=Charge(amount=lease.hold))
    await store.aclose()
    assert (await far.usage("acme")).held == NOTHING


async def test_extensions_at_once_all_get_what_they_were_told() -> None:
    store, far = stores(RICH, latency=0.01, share=1)
    await warm_up(store)
    leases = [await reserve(store, f"{number}") for number in range(20)]
    longer: list[Lease] = []

    async def extend(number: int) -> None:
        more = Amount(output_tokens=1_000 + number, nano_usd=5_000)
        longer.append(await store.extend(leases[number], more=more, ttl=60))

    await at_once(20, extend)

    held = (await far.usage("acme")).held
    assert held.output_tokens >= sum(lease.hold.output_tokens for lease in longer)
    assert (held.nano_usd or 0) >= sum(lease.hold.nano_usd or 0 for lease in longer)
    await at_once(20, lambda number: store.settle(longer[number], charge=Charge(amount=longer[number].hold)))
    await store.aclose()
    report = await far.usage("acme")
    assert (report.held, report.nano_usd) == (NOTHING, 20 * 6_000)


async def test_a_request_that_is_kept_alive_keeps_its_slab_alive() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    lease = await reserve(store, "one")
    await store.dispatched(lease)

    for _ in range(20):
        await anyio.sleep(30)
        lease = await store.extend(lease, more=NOTHING, ttl=60)
    await store.settle(lease, charge=Charge(amount=USED))

    assert [(row.lease_id, row.kind) for row in await rows(far)] == [("one", "settled")]
    await store.aclose()
    assert (await far.usage("acme")).held == NOTHING


async def test_requests_of_a_new_day_are_of_its_budget() -> None:
    store, far = stores(Limit(dimension="nano_usd", amount=40_000, window="day"), share=100, life=60, idle=60)
    midnight = 86_400 - LoopClock().time() % 86_400
    await anyio.sleep(midnight - 3)
    await warm_up(store, 30)
    await request(store, "yesterday", used=HOLD)
    await anyio.sleep(4)

    for number in range(40):
        await request(store, f"today-{number}", used=HOLD)

    with pytest.raises(QuotaExceededError) as refusal:
        await request(store, "beyond")
    assert refusal.value.kind == "spent"
    today = LoopClock().time() // 86_400 * 86_400
    assert (await far.usage("acme", since=today)).nano_usd == 40_000


async def test_a_process_that_is_killed_is_charged_what_its_slabs_held() -> None:
    store, far = stores(Limit(dimension="nano_usd", amount=100_000, window="total"))
    await warm_up(store)
    leases = [await reserve(store, f"{number}") for number in range(5)]
    for lease in leases:
        await store.dispatched(lease)
    store._keeper.slabs.clear()  # as nobody is left who would look after them

    await anyio.sleep(100)

    report = await far.usage("acme")
    assert 5_000 <= report.nano_usd <= 20_000
    assert report.held == NOTHING
    assert all(row.kind == "expired" for row in await rows(far))


async def test_a_process_that_stood_still_is_charged_once_and_corrects_it() -> None:
    clock = FakeClock()
    memory = MemoryQuotaStore(clock=clock)
    store = SlabQuotaStore(memory, clock=clock, idle=3_600)
    await warm_up(store)
    leases = [await reserve(store, f"{number}") for number in range(5)]
    for lease in leases[:4]:
        await store.dispatched(lease)
    clock.advance(200)
    presumed = (await memory.usage("acme")).nano_usd

    sums: list[int] = []
    for lease in leases[:4]:
        await store.settle(lease, charge=Charge(amount=USED))
        sums.append((await memory.usage("acme")).nano_usd)

    assert presumed > 5_000  # the whole slab, while nobody knows better
    assert sums == [3_600, 3_200, 2_800, 2_400]
    with pytest.raises(InvalidRequestError):
        await store.dispatched(leases[4])
    await store.aclose()
    assert (await memory.usage("acme")).held == NOTHING


async def test_a_row_that_could_not_be_written_is_written_when_it_is_settled_again() -> None:
    store, far = stores(RICH)
    await warm_up(store)
    leases = [await reserve(store, f"{number}") for number in range(2)]

    for number, breaks in enumerate((far.breaks_before, far.breaks_after)):
        breaks.add("split")
        with pytest.raises(StoreError):
            await store.settle(leases[number], charge=Charge(amount=USED))
        breaks.clear()
        receipt = await store.settle(leases[number], charge=Charge(amount=USED))
        assert receipt.entry.nano_usd == 600

    assert sorted(row.lease_id for row in await rows(far)) == ["0", "1"]
    await store.aclose()
    assert (await far.usage("acme")).held == NOTHING


async def test_a_row_whose_caller_left_is_written_by_the_next_or_in_the_background() -> None:
    store, far = stores(RICH, latency=1)
    await warm_up(store, 3)
    leases = [await reserve(store, f"{number}") for number in range(2)]

    for lease in leases:
        with anyio.move_on_after(0.1):
            await store.settle(lease, charge=Charge(amount=USED))
    await anyio.sleep(5)

    assert sorted(row.lease_id for row in await rows(far)) == ["0", "1"]
    await store.aclose()


@pytest.mark.parametrize("moment", [0.1, 0.6, 1.1, 1.6, 2.1, 2.6, 3.1, 3.6])
async def test_who_leaves_while_a_slab_is_taken_leaves_nothing_held(moment: float) -> None:
    store, far = stores(RICH, latency=1)
    await warm_up(store, 2)
    far.trips.clear()

    with anyio.move_on_after(moment):
        await reserve(store, "one")

    await anyio.sleep(2.5)
    assert store._demands["acme/search", "x:y"].filling is False
    await store.aclose()
    await anyio.sleep(100)
    assert (await far.usage("acme")).held == NOTHING
    assert await rows(far) == []


async def test_a_wrong_part_is_in_nobodys_way() -> None:
    store, far = stores(RICH, latency=0.01)
    await warm_up(store)
    leases = [await reserve(store, f"{number}") for number in range(3)]
    await far.inner.reserve(LeaseId("1"), "acme", hold=NOTHING, ttl=600, deployment="x:y")
    wrong: list[int] = []

    async def settle(number: int) -> None:
        try:
            await store.settle(leases[number], charge=Charge(amount=USED))
        except InvalidRequestError:
            wrong.append(number)

    await at_once(3, settle)

    assert wrong == [1]
    assert sorted(row.lease_id for row in await rows(far)) == ["0", "2"]


async def test_an_unusable_store_or_number_is_refused() -> None:
    memory = MemoryQuotaStore()

    class Plain:
        reserve = extend = dispatched = settle = release = refund = usage = set_limits = limits = memory.reserve
        ledger = memory.ledger
        aclose = memory.aclose

    with pytest.raises(ConfigurationError, match="Plain cannot split leases"):
        SlabQuotaStore(Plain())  # type: ignore[arg-type]
    for numbers in ({"size": 0}, {"share": 101}, {"share": 0}, {"life": 0.0}, {"idle": float("inf")}):
        with pytest.raises(ConfigurationError):
            SlabQuotaStore(memory, **numbers)  # type: ignore[arg-type]
