"""One thread that owns a loaded model, and the queue in front of it."""

from __future__ import annotations

import atexit
import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.to_thread

from planar.errors import (
    ClosedError,
    ConfigurationError,
    OverloadedError,
    PlanarError,
    ProviderServerError,
    StreamInterruptedError,
)
from planar.events import Event
from planar.providers.local._channel import Channel, post_to_this_loop
from planar.providers.local._generation import Cached, Generation
from planar.providers.local._queue import FairQueue
from planar.providers.local._sampling import Sampling
from planar.types import Usage

if TYPE_CHECKING:
    from planar.providers.local._llama import AbortSwitch, LlamaModel
    from planar.providers.local._template import Prompt

T = TypeVar("T")
_log = logging.getLogger("planar.llamacpp")

ROOM: Final = 32
"""Batches, of a token each, that a caller may be behind. Bounds what is computed and never read."""
_KNOCK_EVERY: Final = 1.0
_LEAVING: Final = 10.0
_AT_EXIT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What a local model is doing at this moment.

    Attributes:
        active: Requests that are being computed, queued ones not included.
        tokens_generated: Since the provider was made, over all requests.
    """

    loaded: bool
    active: int
    queued: int
    tokens_generated: int


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One request on its way through the engine.

    Attributes:
        usage: What was computed for it, exact once its channel is done.
    """

    prompt: Prompt
    sampling: Sampling
    tenant: str
    channel: Channel[list[Event]]
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, cached_input_tokens=0, output_tokens=0))


class Engine:
    """Serves one model, one request at a time, to callers on any number of event loops and threads.

    The thread is started by the first request and loads the model; nothing else ever touches it. It is a
    daemon, so that a provider that nobody closed does not keep the interpreter; `stop` ends it in order.

    Every field is guarded by `_changed`, which is never held while the model computes.
    """

    def __init__(
        self,
        load: Callable[[AbortSwitch], LlamaModel],
        *,
        name: str,
        max_queued: int,
        patience: float,
        share_prefixes: bool,
    ) -> None:
        self._load = load
        self._name = name
        self._max_queued = max_queued
        self._patience = patience
        self._share_prefixes = share_prefixes
        self._changed = threading.Condition()
        self._queue: FairQueue[Ticket] = FairQueue()
        self._asides: deque[tuple[Callable[[LlamaModel], Any], Channel[Any]]] = deque()
        self._active: Ticket | None = None
        self._abort: AbortSwitch | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._loaded = False
        self._stopping = False
        self._generated = 0

    # --- For callers, on any thread --------------------------------------------------------------

    def submit(self, prompt: Prompt, sampling: Sampling, *, tenant: str) -> Ticket:
        """Queue a request of the event loop that runs here, and start the thread if need be.

        Raises:
            OverloadedError: Too many wait already.
            ClosedError: The provider was closed.
        """
        channel: Channel[list[Event]] = Channel(changed=self._changed, post=post_to_this_loop(), room=ROOM)
        ticket = Ticket(prompt=prompt, sampling=sampling, tenant=tenant, channel=channel)
        with self._changed:
            self._check_open()
            if len(self._queue) >= self._max_queued:
                raise OverloadedError(f"{len(self._queue)} requests wait for this model", provider=self._name)
            self._queue.put(ticket, tenant=tenant)
            self._rouse()
        return ticket

    async def leave(self, ticket: Ticket) -> None:
        """Stop computing for a ticket, and return once nothing is computed for it any more.

        A computation that runs is aborted in its middle. Shielded: this happens in cancelled tasks.
        """
        with self._changed:
            ticket.channel.gone = True
            queued = self._queue.remove(ticket, tenant=ticket.tenant)
            if not queued and self._active is ticket and self._abort is not None:
                self._abort.set()
            self._changed.notify_all()
        if queued:
            ticket.channel.finish()
        with anyio.move_on_after(_LEAVING, shield=True):
            await ticket.channel.wait_done()

    async def run(self, work: Callable[[LlamaModel], T]) -> T:
        """Have something short done by the owner thread, between two tokens of whatever it computes."""
        channel: Channel[T] = Channel(changed=self._changed, post=post_to_this_loop(), room=1)
        with self._changed:
            self._check_open()
            self._asides.append((work, channel))
            self._rouse()
        return (await channel.receive())[0]

    def stop(self, *, wait: float | None = 0.0) -> None:
        """Refuse what comes, end what is there with `ClosedError`, and end the thread.

        Args:
            wait: Seconds to wait for the thread; `None` for as long as it takes.
        """
        with self._changed:
            self._stopping = True
            if self._abort is not None:
                self._abort.set()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread() and self._process == os.getpid():
            thread.join(wait)

    async def aclose(self) -> None:
        """Stop, and return when the model's memory has been given back. The event loop is not blocked."""
        self.stop()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: self.stop(wait=None))

    def state(self) -> EngineState:
        """What is going on now."""
        with self._changed:
            return EngineState(
                loaded=self._loaded,
                active=int(self._active is not None),
                queued=len(self._queue),
                tokens_generated=self._generated,
            )

    def _check_open(self) -> None:
        if self._stopping:
            raise ClosedError(f"the provider {self._name!r} was closed; make a new one")
        if self._thread is not None and self._process != os.getpid():
            raise ConfigurationError(
                f"the model of {self._name!r} was loaded before a fork: make the provider, or its first call, after it"
            )

    def _rouse(self) -> None:
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._own, name=f"planar-{self._name}", daemon=True)
            self._process = os.getpid()
            atexit.register(self._stop_at_exit)
            self._thread.start()

    def _stop_at_exit(self) -> None:
        # A thread that is still inside llama.cpp while the process tears itself down would crash it.
        self.stop(wait=_AT_EXIT)

    # --- The owner thread ------------------------------------------------------------------------

    def _own(self) -> None:
        try:
            model = self._open()
        except PlanarError as error:
            self._end(error)
            return
        try:
            cached = Cached()
            while (ticket := self._next(model)) is not None:
                self._serve(model, cached, ticket)
        finally:
            model.close()
            self._end(ClosedError(f"the provider {self._name!r} was closed"))

    def _open(self) -> LlamaModel:
        from planar.providers.local._llama import AbortSwitch

        with self._changed:
            self._abort = AbortSwitch()
            if self._stopping:
                self._abort.set()
        try:
            model = self._load(self._abort)
        except PlanarError:
            raise
        except Exception as error:
            raise ProviderServerError(f"the model could not be loaded: {error!r}", provider=self._name) from error
        with self._changed:
            self._loaded = True
        return model

    def _end(self, error: PlanarError) -> None:
        """Give up the thread: whoever waits gets `error`, and a later request starts over."""
        with self._changed:
            if self._stopping and not isinstance(error, ClosedError):
                error = ClosedError(f"the provider {self._name!r} was closed")
            tickets, asides = self._queue.drain(), list(self._asides)
            self._asides.clear()
            self._thread, self._loaded, self._abort = None, False, None
        atexit.unregister(self._stop_at_exit)
        for channel in [*(ticket.channel for ticket in tickets), *(channel for _, channel in asides)]:
            channel.finish(copy.copy(error))

    def _next(self, model: LlamaModel) -> Ticket | None:
        """Wait for the next request; `None` to stop."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._asides or len(self._queue))
                if self._stopping:
                    return None
                if not self._asides:
                    self._active = self._queue.take()
                    if self._abort is not None:
                        self._abort.clear()
                    return self._active
            self._run_asides(model)

    def _run_asides(self, model: LlamaModel) -> None:
        while self._asides:
            work, channel = self._asides.popleft()
            error: PlanarError | None = None
            try:
                channel.send([work(model)])
            except Exception as failure:  # noqa: BLE001  (it is the caller's; the thread goes on)
                error = self._translated(failure)
            channel.finish(error)

    def _serve(self, model: LlamaModel, cached: Cached, ticket: Ticket) -> None:
        error: PlanarError | None = None
        try:
            owner = "" if self._share_prefixes else ticket.tenant
            generation = Generation(model, cached, ticket.prompt, ticket.sampling, owner=owner)
            try:
                self._compute(model, generation, ticket)
            finally:
                ticket.usage = generation.usage
                generation.close()
        except Exception as failure:  # noqa: BLE001  (it is the caller's; the thread goes on)
            error = self._translated(failure)
        with self._changed:
            self._active = None
        ticket.channel.finish(error)

    def _compute(self, model: LlamaModel, generation: Generation, ticket: Ticket) -> None:
        while not generation.finished and self._may_go_on(model, ticket):
            before = generation.sampled
            events = generation.step()
            with self._changed:
                self._generated += generation.sampled - before
            if events:
                ticket.channel.send([events])

    def _may_go_on(self, model: LlamaModel, ticket: Ticket) -> bool:
        """Wait until the caller has room for another batch; `False` if it does not want one any more.

        Raises:
            ClosedError: The provider is being closed.
            StreamInterruptedError: The caller does not read, and others have waited for it long enough.
        """
        since = time.monotonic()
        while True:
            self._run_asides(model)
            with self._changed:
                if self._stopping:
                    raise ClosedError(f"the provider {self._name!r} was closed")
                if ticket.channel.gone or ticket.channel.has_room:
                    return not ticket.channel.gone
                if not self._asides and not self._changed.wait(min(_KNOCK_EVERY, self._patience)):
                    ticket.channel.knock()
                if not len(self._queue):
                    since = time.monotonic()
                elif time.monotonic() - since > self._patience:
                    raise StreamInterruptedError(
                        f"the answer was not read for {self._patience:g} s while other requests waited",
                        provider=self._name,
                    )

    def _translated(self, failure: Exception) -> PlanarError:
        """What a caller is told of a failure: the thread itself must survive every one of them."""
        if isinstance(failure, PlanarError):
            return failure
        _log.error("the engine of %s failed", self._name, exc_info=failure)
        error = ProviderServerError(f"the local engine failed: {failure!r}", provider=self._name)
        error.__cause__ = failure
        return error
