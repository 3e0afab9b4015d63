"""One thing per event loop: connections must not cross from one to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from sniffio import current_async_library_cvar, thread_local

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Keeps one `T` per running event loop, made when it is first asked for.

    Args:
        make: Makes one.
        close: Closes one, on the loop it was made on.
    """

    __slots__ = ("_close", "_kept", "_make")

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._kept: dict[Any, T] = {}

    def get(self) -> T:
        """The one of the running loop."""
        loop = _running_loop()
        kept = self._kept.get(loop)
        if kept is None:
            # Loops come and go (`asyncio.run` in a row): those that are over must not be kept alive.
            for other in [other for other in list(self._kept) if _is_over(other)]:
                self._kept.pop(other, None)
            kept = self._kept[loop] = self._make()
        return kept

    async def aclose(self) -> None:
        """Close the one of the running loop; ask every other loop that still runs to close its own."""
        mine = self._kept.pop(_running_loop(), None)
        for loop in list(self._kept):
            other = self._kept.pop(loop, None)
            if other is not None and not _is_over(loop):
                _run_on(loop, self._close, other)
        if mine is not None:
            await self._close(mine)


def on_trio() -> bool:
    """Whether trio runs this code. Asked more than once per request: what else might run it is not looked into."""
    return (thread_local.name or current_async_library_cvar.get()) == "trio"


def _running_loop() -> Any:
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


def _is_over(loop: Any) -> bool:
    if hasattr(loop, "is_closed"):
        return bool(loop.is_closed())
    import trio

    try:
        loop.run_sync_soon(lambda: None)
    except trio.RunFinishedError:
        return True
    return False


def _run_on(loop: Any, close: Callable[[T], Awaitable[None]], kept: T) -> None:
    """Close `kept` on its own loop, without waiting for it. A loop that stands still never will."""
    if hasattr(loop, "call_soon_threadsafe"):
        import asyncio

        async def run() -> None:
            await close(kept)

        if loop.is_running():
            asyncio.run_coroutine_threadsafe(run(), loop)
        return
    import trio

    async def run_on_trio() -> None:
        await close(kept)

    try:
        loop.run_sync_soon(trio.lowlevel.spawn_system_task, run_on_trio)
    except trio.RunFinishedError:
        return
