"""One thread that does what callers on any number of event loops ask, and all that waits in one go."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
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
        post: Has something called on the event loop of whoever waits: `wake`.
        done: There is a result or an error.
        gone: Nobody waits for it any more: it is not begun.
    """

    __slots__ = ("done", "error", "gone", "post", "result", "wake", "work")

    def __init__(self, work: T, post: Post, wake: Callable[[], object]) -> None:
        self.work = work
        self.post = post
        self.wake = wake
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.gone = False


class Worker(Generic[T]):
    """Hands jobs to `run`, which is called in a thread of its own and sets their results and errors.

    The thread is a daemon: what was answered is done, so nothing is lost where nobody stops it.

    Args:
        prepare: Called with the first of some jobs. What comes while it waits for something is done with it.
        run: Does jobs, and says for how many seconds it is worth waiting for the next ones. It raises nothing.
        rest: Called where none came in that time.
        end: Called last of all.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Job[T]], None],
        run: Callable[[Sequence[Job[T]]], float],
        rest: Callable[[], None],
        end: Callable[[], None],
        name: str,
    ) -> None:
        self._prepare = prepare
        self._run = run
        self._rest = rest
        self._end = end
        self._inbox: SimpleQueue[Job[T] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def do(self, work: T, *, patience: float) -> Any:
        """Have it done, and wait for what comes of it. Cancelled, it is either done or not done.

        Raises:
            StoreError: It was not done within `patience` seconds.
        """
        wait = self._on_trio if sniffio.current_async_library() == "trio" else self._on_asyncio
        job = await wait(work, patience)
        if not job.done:
            raise StoreError(f"the store was busy for {patience:g} s")
        if job.error is not None:
            raise job.error
        return job.result

    async def _on_asyncio(self, work: T, patience: float) -> Job[T]:
        # By hand: half of what a verb costs is how it gets to the thread and back.
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        job = Job(work, loop.call_soon_threadsafe, partial(_resolve, answered))
        timer = loop.call_later(patience, job.wake)
        self._inbox.put(job)
        try:
            await answered
        finally:
            job.gone = True
            timer.cancel()
        return job

    async def _on_trio(self, work: T, patience: float) -> Job[T]:
        answered = anyio.Event()
        post = sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
        job = Job(work, post, answered.set)
        self._inbox.put(job)
        try:
            with anyio.move_on_after(patience):
                await answered.wait()
        finally:
            job.gone = True
        return job

    async def aclose(self, *, patience: float) -> None:
        """End the thread once it has done what it was asked, and wait for that as long. No event loop is blocked."""
        self._inbox.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, patience)

    def _serve(self) -> None:
        patience, stopping = 0.0, False
        while not stopping:
            jobs, stopping = self._next(patience)
            patience = self._run(jobs)
            _answer(jobs)
        self._end()

    def _next(self, patience: float) -> tuple[list[Job[T]], bool]:
        """Those that wait, and whether it is time to stop."""
        job = self._first(patience)
        if job is not None:
            self._prepare(job)
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

    def _first(self, patience: float) -> Job[T] | None:
        if patience > 0:
            try:
                return self._inbox.get(timeout=patience)
            except Empty:
                self._rest()
        return self._inbox.get()


def _answer(jobs: Sequence[Job[Any]]) -> None:
    waiting: dict[Post, list[Job[Any]]] = {}
    for job in jobs:
        job.done = True
        waiting.setdefault(job.post, []).append(job)
    for post, answered in waiting.items():
        try:
            post(answered[0].wake if len(answered) == 1 else partial(_wake, answered))
        except RuntimeError:
            continue  # the loop is closed, and with it the task that would have read the answer


def _wake(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.wake()


def _resolve(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)
