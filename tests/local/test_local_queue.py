from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planar.providers.local._queue import FairQueue

ITEMS = st.lists(st.sampled_from("abc"), max_size=20)


def filled(tenants: list[str]) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, tenant in enumerate(tenants):
        queue.put((tenant, number), tenant=tenant)
    return queue


def test_tenants_take_turns() -> None:
    queue = filled(["a", "a", "a", "b", "c", "b"])

    order = [queue.take()[0] for _ in range(6)]

    assert order == ["a", "b", "c", "a", "b", "a"]


@given(tenants=ITEMS)
def test_nobody_is_served_twice_while_another_tenant_waits_for_its_turn(tenants: list[str]) -> None:
    queue = filled(tenants)
    left = {tenant: tenants.count(tenant) for tenant in tenants}
    served = dict.fromkeys(tenants, 0)

    while len(queue):
        tenant, _ = queue.take()
        served[tenant] += 1
        left[tenant] -= 1

        assert all(served[tenant] - served[other] <= 1 for other in served if left[other])


@given(tenants=ITEMS)
def test_within_a_tenant_the_first_to_come_is_served_first(tenants: list[str]) -> None:
    queue = filled(tenants)

    order = [queue.take() for _ in tenants]

    assert all(
        [number for who, number in order if who == tenant] == sorted(number for who, number in order if who == tenant)
        for tenant in set(tenants)
    )


@given(tenants=ITEMS, gone=st.sets(st.integers(0, 19)))
def test_those_who_left_are_not_served_and_the_rest_is(tenants: list[str], gone: set[int]) -> None:
    queue = filled(tenants)
    everything = {(tenant, number) for number, tenant in enumerate(tenants)}
    left = {item for item in everything if item[1] in gone}

    removed = [queue.remove(item, tenant=item[0]) for item in left]

    assert all(removed)
    assert len(queue) == len(everything) - len(left)
    assert {queue.take() for _ in range(len(queue))} == everything - left


def test_what_is_not_there_is_not_removed() -> None:
    queue = filled(["a"])

    assert not queue.remove(("a", 7), tenant="a")
    assert not queue.remove(("a", 0), tenant="b")


def test_an_empty_queue_has_no_next() -> None:
    queue = filled(["a"])

    queue.drain()

    with pytest.raises(KeyError):
        queue.take()
