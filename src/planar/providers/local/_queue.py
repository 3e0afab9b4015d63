"""Who is next: round robin between tenants, first come first served within one."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue in which a tenant with many requests does not keep another's single one waiting.

    Each turn takes the oldest request of the tenant that was served longest ago; a turn is a request,
    whatever its length. Not thread-safe: the owner holds a lock.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, item: T, *, tenant: str) -> None:
        """Add `item` behind everything that its tenant has waiting."""
        self._waiting.setdefault(tenant, deque()).append(item)
        self._size += 1

    def take(self) -> T:
        """Remove the next one.

        Raises:
            KeyError: Nobody waits.
        """
        tenant, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[tenant] = items  # behind the tenants that have not had this round's turn
        self._size -= 1
        return item

    def remove(self, item: T, *, tenant: str) -> bool:
        """Take `item` out of its place; whether it was there."""
        items = self._waiting.get(tenant)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._waiting[tenant]
        self._size -= 1
        return True

    def drain(self) -> list[T]:
        """Take everything out, in no promised order."""
        items = [item for waiting in self._waiting.values() for item in waiting]
        self._waiting.clear()
        self._size = 0
        return items
