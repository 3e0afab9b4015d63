"""llama.cpp in this process: a GGUF model as a provider."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from planar.errors import (
    ConfigurationError,
    ContextLengthError,
    MissingExtraError,
    ModelNotFoundError,
    PlanarError,
    ProviderTimeoutError,
    UnsupportedError,
)
from planar.events import Event, Notice
from planar.protocols import Call
from planar.providers.local._engine import Engine, EngineState, Ticket
from planar.providers.local._gguf import ModelCard, check_model_file, read_card, read_summary
from planar.providers.local._messages import conversation
from planar.providers.local._sampling import check_supported, read_sampling
from planar.types import (
    Capability,
    ChatRequest,
    Embeddings,
    EmbedRequest,
    Health,
    ModelInfo,
    Phase,
    Price,
    Timeouts,
    Usage,
)

if TYPE_CHECKING:
    from planar.providers.local._llama import AbortSwitch, LlamaModel
    from planar.providers.local._template import Prompt

_DEFAULT_CONTEXT: Final = 4096
_SMALLEST_CONTEXT: Final = 16
_CAPABILITIES: Final[frozenset[Capability]] = frozenset({"json_schema", "logprobs", "seed"})


class LlamaCpp:
    """A GGUF model that answers in this process, without a server.

    The model is loaded by the first request, in a thread of its own that does all the computing: event loops
    are never blocked, and one provider may be used from several loops and threads at once. One request is
    computed at a time; others wait, in turns between tenants. Leaving a stream stops its computation within a
    token, in the middle of a prompt too.

    A request without `temperature` and `top_p` is sampled as llama.cpp's server does (0.8, top-k 40, top-p
    0.95, min-p 0.05); `extra_body={name: {"top_k": ..., "min_p": ..., "grammar": ...}}` sets the rest, where
    `grammar` is GBNF. Below a temperature of 0.01 the likeliest token is taken. With a seed, or at temperature
    0, the same request gives the same answer on the same machine, whatever was asked before.

    Text in a message that looks like one of the model's control tokens is read as text: a caller cannot begin
    another's turn. A conversation that ends in an assistant's turn is continued from there. What a thinking
    model thinks comes as text, in the model's own tags. `usage` counts what was computed: every sampled token,
    the one that ends the answer included, and of a prompt that was left early what had been read.

    A caller may be 32 tokens behind; then the model waits for it, but not beyond `patience` if others queue.

    Args:
        path: The model file; of a split one, the first part.
        name: The prefix in `name:model`. The model is called `default`, and by its file's name without suffix.
        n_ctx: Tokens of prompt and answer together. Default: what the model was trained with, at most 4096.
        n_threads: Default: physical cores less one, at least one. More than there are idle cores is much slower.
        n_gpu_layers: How many layers a GPU computes, where llama-cpp-python was built for one; -1: all.
        chat_template: Jinja source to use instead of the model's own.
        price: What is charged for it, by token or by second of compute (`Price.compute_second`).
        max_queued: Requests that may wait; the next one gets `OverloadedError`.
        patience: Seconds that a caller who does not read may keep others waiting, before its answer breaks off.
        share_prefixes: Let a tenant profit from a prompt that another has just asked with the same beginning. It
            can then tell, by speed and `cached_input_tokens`, what that beginning was.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        ModelFileError: The file is not there or is no GGUF model.
        ConfigurationError: A value is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "local",
        n_ctx: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int = -1,
        chat_template: str | None = None,
        price: Price = Price.FREE,
        max_queued: int = 256,
        patience: float = 30.0,
        share_prefixes: bool = False,
    ) -> None:
        if importlib.util.find_spec("llama_cpp") is None:
            raise MissingExtraError("llama_cpp", extra="llamacpp")
        self._path = os.fspath(path)
        check_model_file(self._path)
        _check_least("n_ctx", n_ctx, _SMALLEST_CONTEXT)
        _check_least("n_threads", n_threads, 1)
        _check_least("max_queued", max_queued, 1)
        if not patience > 0:
            raise ConfigurationError(f"patience must be more than 0 seconds, not {patience!r}")
        self._name = name
        self._n_ctx = n_ctx
        self._price = price
        self._template_source = chat_template
        self._summary: ModelCard | None = None
        self._prompts: _Prompts | None = None
        self._reading = threading.Lock()
        load = functools.partial(_load, self._path, n_ctx=n_ctx, threads=n_threads, gpu_layers=n_gpu_layers)
        self._engine = Engine(load, name=name, max_queued=max_queued, patience=patience, share_prefixes=share_prefixes)
        # A provider that is dropped without being closed gives the model's memory back.
        weakref.finalize(self, self._engine.stop).atexit = False

    def __repr__(self) -> str:
        return f"LlamaCpp({self._path!r}, name={self._name!r})"

    @property
    def name(self) -> str:
        """The prefix in `name:model`."""
        return self._name

    @asynccontextmanager
    async def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AsyncGenerator[AsyncIterator[Sequence[Event]]]:
        """Queue one request; see `planar.protocols.Provider.stream`.

        Raises:
            InvalidRequestError: A value is out of range, the schema is none, the template refuses the turns.
            UnsupportedError: Images, tools, or a model without a chat template.
            ContextLengthError: The prompt leaves no room for an answer. Nothing was computed.
            OverloadedError: `max_queued` requests wait already.
            ProviderTimeoutError: `first_token` or `stall` passed; waiting in the queue counts.
            ModelFileError: The model cannot be loaded.
            ClosedError: The provider was closed.
        """
        self._check_model(model)
        call.response.usage = Usage(input_tokens=0, cached_input_tokens=0, output_tokens=0)  # so far, exactly
        notices = check_supported(request, strict=call.strict)
        sampling = read_sampling(request, provider=self._name)
        prompt = await self._prompt(request, now=call.clock.time(), strict=call.strict)
        ticket = self._engine.submit(prompt.ready, sampling, tenant=call.tenant)
        call.response.model = self._stem
        try:
            yield _Answer(ticket, [*notices, *prompt.notices], call.timeouts, provider=self._name)
        finally:
            await self._engine.leave(ticket)
            call.response.usage = ticket.usage

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        """Not offered: this provider serves chat.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("LlamaCpp serves chat only, not embeddings", provider=self._name)

    async def models(self) -> Sequence[ModelInfo]:
        """The one model, under its file's name."""
        info = await anyio.to_thread.run_sync(self.describe, self._stem)
        return [] if info is None else [info]

    async def check(self) -> Health:
        """Whether the file is there and is a model. Loads nothing."""
        try:
            await anyio.to_thread.run_sync(read_summary, self._path)
        except PlanarError as error:
            return Health(ok=False, message=error.message)
        state = self._engine.state()
        return Health(ok=True, message="loaded" if state.loaded else "not loaded yet", in_flight=state.active)

    def describe(self, model: str) -> ModelInfo | None:
        """What is known of the model, from the first lines of its file, read once.

        Raises:
            ModelFileError: The file is damaged.
        """
        if not self._serves(model):
            return None
        card = self._summary = self._summary or read_summary(self._path)
        return ModelInfo(
            id=model,
            context_window=_context(card, self._n_ctx),
            capabilities=_CAPABILITIES,
            price=self._price,
            local=True,
            raw={"name": card.name, "architecture": card.architecture, "trained_context": card.context_length},
        )

    def default_models(self) -> Sequence[str]:
        """`default`: there is one model."""
        return ("default",)

    def continues(self, model: str) -> bool:
        """A model in this process goes on from any text, if its template has a way to say so."""
        return True

    async def count_tokens(self, request: ChatRequest, *, model: str) -> int:
        """How many tokens the prompt of `request` has, by the model's own vocabulary. Loads the model.

        Raises:
            ContextLengthError: So many that they were not counted.
            ModelFileError: The model cannot be loaded.
            RequestError: The conversation cannot be put to this model.
        """
        self._check_model(model)
        prompt = (await self._prompt(request, now=time.time(), strict=False)).ready
        return await self._engine.run(functools.partial(_count, prompt=prompt))

    def engine_state(self) -> EngineState:
        """What the model is doing now, for operators and tests."""
        return self._engine.state()

    async def aclose(self) -> None:
        """End what is being computed, and give the model's memory back."""
        await self._engine.aclose()

    @property
    def _stem(self) -> str:
        return Path(self._path).stem

    def _serves(self, model: str) -> bool:
        return model in ("default", self._stem)

    def _check_model(self, model: str) -> None:
        if not self._serves(model):
            raise ModelNotFoundError(
                f"there is no model {model!r} here: it is called 'default' or {self._stem!r}", provider=self._name
            )

    async def _prompt(self, request: ChatRequest, *, now: float, strict: bool) -> _Rendered:
        # In a worker thread: the first time reads the file's header, and a template may take its time.
        return await anyio.to_thread.run_sync(lambda: self._prompt_maker().render(request, now=now, strict=strict))

    def _prompt_maker(self) -> _Prompts:
        with self._reading:
            if self._prompts is None:
                self._prompts = _Prompts(read_card(self._path), self._template_source)
            return self._prompts


@dataclass(frozen=True, slots=True)
class _Rendered:
    ready: Prompt
    notices: tuple[Notice, ...]


class _Prompts:
    """Makes prompts for one model, from its chat template or another one."""

    def __init__(self, card: ModelCard, source: str | None) -> None:
        from planar.providers.local._template import ChatTemplate

        source = source or card.chat_template
        if source is None:
            raise UnsupportedError("the model's file has no chat template: give LlamaCpp(..., chat_template=)")
        self._card = card
        self._template = ChatTemplate(source, card)

    def render(self, request: ChatRequest, *, now: float, strict: bool) -> _Rendered:
        turns = conversation(request.messages, template=self._template.source, control_tokens=self._card.control_tokens)
        notices: tuple[Notice, ...] = ()
        if turns.dropped_reasoning:
            message = "the chat template has no place for earlier reasoning"
            if strict:
                raise UnsupportedError(message, param="messages")
            notices = (Notice("parameter_dropped", message, {"param": "messages"}),)
        return _Rendered(self._template.render(turns, now=now), notices)


class _Answer:
    """The batches of one answer, with the clocks that the provider has to keep."""

    def __init__(self, ticket: Ticket, notices: list[Notice], timeouts: Timeouts, *, provider: str) -> None:
        self._ticket = ticket
        self._notices: list[Event] = [*notices]
        self._timeouts = timeouts
        self._provider = provider
        self._first_by = None if timeouts.first_token is None else anyio.current_time() + timeouts.first_token
        self._begun = False

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        if self._notices:
            notices, self._notices = self._notices, []
            return notices
        batches = await self._receive()
        if not batches:
            raise StopAsyncIteration
        self._begun = True
        return batches[0] if len(batches) == 1 else [event for batch in batches for event in batch]

    async def _receive(self) -> list[list[Event]]:
        scope = anyio.CancelScope(deadline=self._deadline())
        with scope:
            return await self._ticket.channel.receive()
        phase: Phase = "stall" if self._begun else "first_token"
        seconds = self._timeouts.stall if self._begun else self._timeouts.first_token
        raise ProviderTimeoutError(
            f"the local model gave nothing for {seconds:g} s ({phase})", phase=phase, provider=self._provider
        )

    def _deadline(self) -> float:
        if not self._begun:
            return math.inf if self._first_by is None else self._first_by
        return math.inf if self._timeouts.stall is None else anyio.current_time() + self._timeouts.stall


def _count(model: LlamaModel, *, prompt: Prompt) -> int:
    tokens = model.tokenize(prompt.segments, begun=prompt.begun)
    if tokens is None:
        raise ContextLengthError(f"the prompt is far longer than the context of {model.context}", limit=model.context)
    return len(tokens)


def _load(path: str, abort: AbortSwitch, *, n_ctx: int | None, threads: int | None, gpu_layers: int) -> LlamaModel:
    from planar.providers.local._llama import LlamaModel

    context = _context(read_summary(path), n_ctx)
    return LlamaModel(path, context=context, threads=threads or _spare_cores(), gpu_layers=gpu_layers, abort=abort)


def _context(card: ModelCard, n_ctx: int | None) -> int:
    return n_ctx or min(card.context_length or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)


def _check_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _spare_cores() -> int:
    """Physical cores less one. Where the machine does not say, what it counts is taken for cores."""
    count = os.cpu_count() or 1
    if sys.platform == "linux":
        usable = os.sched_getaffinity(0)
        count = len({_siblings(cpu) for cpu in usable})
    return max(1, count - 1)


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:  # a container that hides it: then each counts for itself
        return str(cpu)
