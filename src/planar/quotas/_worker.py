"""One thread that does what callers on any number of event loops ask, and all that waits in one go."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import sniffio

from planar.errors import StoreError

T = TypeVar("T")
Post: TypeAlias = Callable[[Callable[[], object]], object]

_AT_ONCE = 64
"""More would keep other processes waiting."""


class Job(Generic[T]):
    """Something to do, and what came of it.

    Attributes:
        gone: Nobody waits for it any more: it is not begun.
    """

    __slots__ = ("error", "gone", "post", "ready", "result", "work")

    def __init__(self, work: T) -> None:
        self.work = work
        self.ready = anyio.Event()
        self.post = _post_to_this_loop()
        self.result: Any = None
        self.error: BaseException | None = None
        self.gone = False


class Worker(Generic[T]):
    """Hands jobs to `run`, which is called in a thread of its own and sets their results and errors.

    The thread is a daemon: what was answered is done, so nothing is lost where nobody stops it.

    Args:
        run: Does jobs. It raises nothing.
        end: Called last of all.
    """

    def __init__(self, run: Callable[[Sequence[Job[T]]], None], *, end: Callable[[], None], name: str) -> None:
        self._run = run
        self._end = end
        self._inbox: SimpleQueue[Job[T] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def do(self, work: T, *, patience: float) -> Any:
        """Have it done, and wait for what comes of it. Cancelled, it is either done or not done.

        Raises:
            StoreError: It was not done within `patience` seconds.
        """
        job = Job(work)
        self._inbox.put(job)
        try:
            with anyio.move_on_after(patience):
                await job.ready.wait()
                if job.error is not None:
                    raise job.error
                return job.result
        finally:
            job.gone = True
        raise StoreError(f"the store was busy for {patience:g} s")

    async def aclose(self, *, patience: float) -> None:
        """End the thread once it has done what it was asked, and wait for that as long. No event loop is blocked."""
        self._inbox.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, patience)

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            jobs, stopping = self._next()
            if jobs:
                self._run(jobs)
                _answer(jobs)
        self._end()

    def _next(self) -> tuple[list[Job[T]], bool]:
        """Those that wait, at least one unless it is time to stop."""
        job = self._inbox.get()
        jobs: list[Job[T]] = []
        while job is not None:
            if not job.gone:
                jobs.append(job)
            if len(jobs) == _AT_ONCE:
                return jobs, False
            try:
                job = self._inbox.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True


def _answer(jobs: Sequence[Job[Any]]) -> None:
    waiting: dict[Post, list[Job[Any]]] = {}
    for job in jobs:
        waiting.setdefault(job.post, []).append(job)
    for post, answered in waiting.items():
        try:
            post(_waker(answered))
        except RuntimeError:
            continue  # the loop is closed, and with it the task that would have read the answer


def _waker(jobs: Sequence[Job[Any]]) -> Callable[[], None]:
    def wake() -> None:
        for job in jobs:
            job.ready.set()

    return wake


def _post_to_this_loop() -> Post:
    """How another thread has something called on the event loop that runs here."""
    if sniffio.current_async_library() == "trio":
        return sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]
    return asyncio.get_running_loop().call_soon_threadsafe
