"""Carries what the owner thread makes to the event loop of whoever asked for it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import anyio
import sniffio

from planar.errors import PlanarError

T = TypeVar("T")
Post: TypeAlias = Callable[[Callable[[], object]], object]


def post_to_this_loop() -> Post:
    """How another thread has something called on the event loop that runs here.

    What it returns raises `RuntimeError` once the loop is closed.
    """
    if sniffio.current_async_library() == "trio":
        return sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]
    return asyncio.get_running_loop().call_soon_threadsafe


class Channel(Generic[T]):
    """Items in one direction: from the owner thread to one consumer on one event loop.

    The owner never waits in here. It looks at `has_room` and decides; the consumer wakes the owner through
    `changed` when it has taken something. The consumer is woken once, however much has come meanwhile.

    Attributes:
        gone: Nobody will take anything any more: the consumer has left, or its loop is closed.
        done: The owner is through with it.
    """

    def __init__(self, *, changed: threading.Condition, post: Post, room: int) -> None:
        self._changed = changed
        self._post = post
        self._room = room
        self._items: list[T] = []
        self._error: PlanarError | None = None
        self._ready: anyio.Event | None = None
        self.gone = False
        self.done = False

    # --- The owner's side ------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Fewer items wait than the consumer is allowed to be behind."""
        return len(self._items) < self._room

    def send(self, items: list[T]) -> None:
        """Hand over items, in order."""
        with self._changed:
            self._items += items
        self._wake()

    def finish(self, error: PlanarError | None = None) -> None:
        """Nothing more comes; with `error`, the consumer gets that after everything that was sent."""
        with self._changed:
            self.done = True
            self._error = error
        self._wake()

    def knock(self) -> None:
        """Find out whether the consumer's loop still exists."""
        self._run(_nothing)

    def _wake(self) -> None:
        with self._changed:
            ready, self._ready = self._ready, None
        if ready is not None:
            self._run(ready.set)

    def _run(self, callback: Callable[[], object]) -> None:
        try:
            self._post(callback)
        except RuntimeError:  # the loop is closed, and with it the task that would have read
            self.gone = True

    # --- The consumer's side ---------------------------------------------------------------------

    async def receive(self) -> list[T]:
        """Everything that came since the last time, at least one item; an empty list is the end.

        Raises:
            PlanarError: What the owner finished with.
        """
        while True:
            with self._changed:
                if self._items:
                    items, self._items = self._items, []
                    self._changed.notify_all()
                    return items
                if self.done:
                    break
                # One event for all that wait: a stream may be left while another task still reads it.
                self._ready = ready = self._ready or anyio.Event()
            await ready.wait()
        if self._error is not None:
            raise self._error
        return []

    async def wait_done(self) -> None:
        """Return once the owner is through; items that were not taken stay untaken."""
        while True:
            with self._changed:
                if self.done:
                    return
                # One event for all that wait: a stream may be left while another task still reads it.
                self._ready = ready = self._ready or anyio.Event()
            await ready.wait()


def _nothing() -> None:
    """Called on the consumer's loop, to see that it is there."""
