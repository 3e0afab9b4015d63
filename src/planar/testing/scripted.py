"""A provider that says what a test tells it to say."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

import anyio

from planar.errors import UnsupportedError
from planar.events import Event, Finish, TextDelta, UsageReported
from planar.protocols import Call
from planar.types import (
    ChatRequest,
    Embeddings,
    EmbedRequest,
    FinishReason,
    Health,
    ModelInfo,
    Price,
    Usage,
)

Step: TypeAlias = Event | Sequence[Event] | BaseException | Callable[[], Awaitable[None]]
"""An event, a batch of events, an error to raise, or something to wait for: `pause(2.5)`, `anyio.sleep_forever`."""


def pause(seconds: float) -> Step:
    """Say nothing for `seconds`. On virtual time (`planar.testing.run_virtual`) that takes none."""
    return partial(anyio.sleep, seconds)


def reply(*texts: str, input_tokens: int = 10, reason: FinishReason = "stop") -> tuple[Step, ...]:
    """The steps of a plain answer: a delta per text, usage with one output token per text, and the end."""
    usage = Usage(input_tokens=input_tokens, output_tokens=len(texts))
    return (*map(TextDelta, texts), (UsageReported(usage), Finish(reason, reason)))


def _steps(script: str | Sequence[Step]) -> tuple[Step, ...]:
    return reply(*re.findall(r"\S+\s*", script)) if isinstance(script, str) else tuple(script)


@dataclass(frozen=True, slots=True)
class Received:
    """A call as it reached the provider."""

    request: ChatRequest
    model: str
    call: Call


class ScriptedProvider:
    """Answers each call with the next script; the last one is repeated for all further calls.

    Args:
        scripts: The steps of each answer; a text stands for a plain one that comes word by word.
        usage_when_left: What it says was used when an answer is left early; `None`: it cannot tell.
        continues: It goes on with answers that broke off elsewhere: its next script is the rest.
        models: What it serves; any model unless given.
        price: Of all its models; `None` for unknown.

    Attributes:
        received: Every call, in order.
        open_streams: Streams that were entered and not left.

    Example:
        >>> provider = ScriptedProvider("Ebro, Tajo.", name="test")
        >>> provider.open_streams
        0
    """

    def __init__(
        self,
        *scripts: str | Sequence[Step],
        name: str = "scripted",
        models: Sequence[str] = (),
        price: Price | None = Price.FREE,
        context_window: int | None = None,
        usage_when_left: Usage | None = None,
        continues: bool = False,
    ) -> None:
        self._scripts = [_steps(script) for script in scripts] or [reply("ok")]
        self._name = name
        self._models = tuple(models)
        self._price = price
        self._context_window = context_window
        self.usage_when_left = usage_when_left
        self._continues = continues
        self.received: list[Received] = []
        self.open_streams = 0
        self.closed = False

    @property
    def name(self) -> str:
        """The prefix in `name:model`."""
        return self._name

    def describe(self, model: str) -> ModelInfo | None:
        """The same of every model that it serves."""
        if self._models and model not in self._models:
            return None
        return ModelInfo(id=model, price=self._price, context_window=self._context_window)

    def default_models(self) -> Sequence[str]:
        """The models it was given, or one called `default`."""
        return self._models or ("default",)

    def continues(self, model: str) -> bool:
        """As it was told."""
        return self._continues

    def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]]:
        """Play the next script."""
        script = self._scripts[min(len(self.received), len(self._scripts) - 1)]
        self.received.append(Received(request, model, call))
        return _Playing(self, script, call)

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        """Not scripted."""
        raise UnsupportedError("a scripted provider has no embeddings", provider=self._name)

    async def models(self) -> Sequence[ModelInfo]:
        """The models it was given."""
        return [info for model in self.default_models() if (info := self.describe(model)) is not None]

    async def check(self) -> Health:
        """Always well."""
        return Health(age=0.0)

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class _Playing:
    def __init__(self, provider: ScriptedProvider, script: Sequence[Step], call: Call) -> None:
        self._provider = provider
        self._steps = iter(script)
        self._call = call
        self._finished = False

    async def __aenter__(self) -> Self:
        self._provider.open_streams += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._provider.open_streams -= 1
        if not self._finished:
            self._call.response.usage = self._provider.usage_when_left

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                await step()
                continue
            batch = step if isinstance(step, Sequence) else (step,)
            self._finished = any(isinstance(event, Finish) for event in batch)
            return batch
        raise StopAsyncIteration
