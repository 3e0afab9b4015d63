"""Ids of calls and leases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from planar.client._ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_begins_with_the_time() -> None:
    first, last = new_id(), new_id()

    assert str(UUID(first)) == first
    assert (UUID(first).version, UUID(first).variant) == (7, RFC_4122)
    assert first[:13] <= last[:13]


def test_threads_are_given_different_ids() -> None:
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda _: new_id(), range(2000)))

    assert len(set(ids)) == len({made[14:] for made in ids}) == 2000
