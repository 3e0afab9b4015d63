"""Event loops on which time is only counted: a test of a day's timeouts ends at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import anyio

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer whenever nothing else is left to do.

    Sleeps, timeouts and `anyio.current_time()` follow it. Sockets work: bytes that have arrived are read before time
    moves, but time does not wait for bytes that have not, nor for threads. So use it with providers that answer in
    this process, not with real servers.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds; the first loop of a process begins at 1000."""
        return self._jumping.now


class _JumpingSelector(selectors.DefaultSelector):
    """Answers "nothing happened" at once where it was asked to wait, and counts the wait as past."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)  # no timer at all: only another thread can go on from here
        self.now += max(timeout, 0.0)
        return []


def virtual_backend(name: Literal["asyncio", "trio"]) -> tuple[str, dict[str, Any]]:
    """What an `anyio_backend` fixture returns to run tests on virtual time.

    Trio is needed for `"trio"` alone.

    Example:
        >>> virtual_backend("asyncio")
        ('asyncio', {'loop_factory': <class 'planar.testing.virtual.VirtualLoop'>})
    """
    if name == "asyncio":
        return "asyncio", {"loop_factory": VirtualLoop}
    import trio.testing

    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def run_virtual(
    function: Callable[..., Awaitable[T]], *arguments: object, backend: Literal["asyncio", "trio"] = "asyncio"
) -> T:
    """Run an async function to its end on virtual time, as `anyio.run` does on the real one."""
    name, options = virtual_backend(backend)
    return anyio.run(function, *arguments, backend=name, backend_options=options)
