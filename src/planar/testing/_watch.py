"""What code did to the world outside of it, as far as the interpreter tells."""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from types import FrameType
from typing import Any

IO = ("open", "socket.", "os.", "subprocess.", "shutil.", "tempfile.", "glob.")
WAITS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system")


class _Watch(threading.local):
    """What is watched on this thread; nothing as a rule."""

    kinds: tuple[str, ...] = ()
    seen: list[str] | None = None


_WATCH = _Watch()


def _heard(event: str, arguments: tuple[Any, ...], *, watch: _Watch = _WATCH) -> None:
    if watch.seen is not None and event.startswith(watch.kinds):
        watch.seen.append(event)


@functools.cache
def _listen() -> None:
    # An audit hook cannot be taken out again: there is one for all tests, and it costs one look at a local.
    sys.addaudithook(_heard)


@contextmanager
def watched(*kinds: str) -> Generator[list[str]]:
    """The audit events of these kinds that this thread causes inside the block, as they occur."""
    _listen()
    seen: list[str] = []
    with _without_collector():
        _WATCH.kinds, _WATCH.seen = kinds, seen
        try:
            yield seen
        finally:
            _WATCH.seen = None


@contextmanager
def clock_watched() -> Generator[list[str]]:
    """What this thread asks of a clock inside the block, a sleep included, by the function's name.

    Audit events tell of no clock, and of sleeping from Python 3.13 on; a profiler sees both.
    """
    seen: list[str] = []

    def called(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        owner = getattr(function, "__self__", None)
        today = isinstance(owner, type) and issubclass(owner, date) and function.__name__ in ("now", "utcnow", "today")
        if today or getattr(function, "__module__", None) == "time":
            seen.append(function.__qualname__)

    before = sys.getprofile()
    with _without_collector():
        sys.setprofile(called)
        try:
            yield seen
        finally:
            sys.setprofile(before)


@contextmanager
def _without_collector() -> Generator[None]:
    """What others left behind is not closed, and what they hung onto the collector not run, inside the block."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
