"""One answer, a step at a time: read the prompt, then write a token per step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from planar.errors import ContextLengthError, InvalidRequestError
from planar.events import Event, Finish, UsageReported
from planar.providers.local._sampling import Sampling
from planar.providers.local._text import TextAssembler
from planar.types import FinishReason, Usage

if TYPE_CHECKING:
    from planar.providers.local._llama import LlamaModel, Sampler
    from planar.providers.local._template import Prompt

CHUNK: Final = 128
"""Prompt tokens that are computed in one step."""


@dataclass(slots=True)
class Cached:
    """What the model's one sequence holds.

    Attributes:
        owner: Who asked for them. Nobody else may find out, by speed or price, what was asked.
        tokens: Whose keys and values are there, from the beginning of the context.
        exact: So many of them were computed in whole steps from the beginning, as they always are. The rest
            was computed in steps of another size, whose results differ in the last digit.
    """

    owner: str = ""
    tokens: list[int] = field(default_factory=list[int])
    exact: int = 0

    def reusable(self, prompt: list[int], *, owner: str, exactly: bool) -> int:
        """How many tokens of a prompt need not be computed. The last one always is: its result is needed."""
        if owner != self.owner:
            return 0
        limit = min(len(self.tokens), len(prompt) - 1, self.exact if exactly else len(prompt))
        same = 0
        while same < limit and self.tokens[same] == prompt[same]:
            same += 1
        return same


class Generation:
    """The state of one answer on a loaded model. Used by the owner thread only.

    With a seed or at temperature 0, the same request gives the same answer whatever was asked before: the
    prompt is then computed in the same steps each time, and only whole steps are reused. Without, the longest
    common beginning is reused, which is faster and changes the last digits.
    """

    def __init__(self, model: LlamaModel, cached: Cached, prompt: Prompt, sampling: Sampling, *, owner: str) -> None:
        self._model = model
        self._cached = cached
        self._sampling = sampling
        self._prompt = self._checked(model.tokenize(prompt.segments, begun=prompt.begun))
        self._text = TextAssembler(sampling.stop)
        self._room = model.context - len(self._prompt)
        self._reused = self._read = self._reuse(owner)
        self._sampled = 0
        self._seconds = 0.0
        self._pending: list[int] = []
        self._sampler: Sampler = model.sampler(sampling)
        self.finished = False

    def close(self) -> None:
        """Give the sampler's memory back."""
        self._sampler.close()

    @property
    def sampled(self) -> int:
        """Tokens that were chosen so far, the one that ends the answer included."""
        return self._sampled

    @property
    def usage(self) -> Usage:
        """What was computed so far: in the middle of the prompt, only what was read of it."""
        return Usage(
            input_tokens=self._read,
            cached_input_tokens=self._reused,
            output_tokens=self._sampled,
            compute_ms=math.ceil(self._seconds * 1000),
        )

    def step(self) -> list[Event]:
        """Read the next piece of the prompt or write the next token. The last step ends in `Finish`.

        An abort leaves everything as it was before the step; the caller knows that it asked for one.

        Raises:
            ProviderError: llama.cpp failed, or the grammar came to a dead end.
        """
        if self._read == len(self._prompt):
            return self._write() if self._compute(self._pending) else []
        # Steps end at multiples of the chunk, so that a prompt is always cut in the same places.
        end = min(len(self._prompt), (self._read // CHUNK + 1) * CHUNK)
        if self._compute(self._prompt[self._read : end]):
            self._read = end
        return self._write() if end == self._read == len(self._prompt) else []

    def _checked(self, prompt: list[int] | None) -> list[int]:
        limit = self._model.context
        if prompt == []:
            raise InvalidRequestError("the model's chat template makes an empty prompt of this", param="messages")
        if prompt is None or len(prompt) >= limit:
            needs = "far more" if prompt is None else str(len(prompt))
            raise ContextLengthError(
                f"the prompt has {needs} tokens and the context {limit}, which must hold the answer as well",
                tokens=None if prompt is None else len(prompt),
                limit=limit,
            )
        return prompt

    def _reuse(self, owner: str) -> int:
        exactly = self._sampling.reproducible
        same = self._cached.reusable(self._prompt, owner=owner, exactly=exactly)
        if exactly:
            same -= same % CHUNK
        if same < len(self._cached.tokens) and not self._model.truncate(same):
            same = 0
        self._cached.owner = owner
        del self._cached.tokens[same:]
        self._cached.exact = min(self._cached.exact, same - same % CHUNK)
        return same

    def _compute(self, tokens: list[int]) -> bool:
        cached = self._cached
        position = len(cached.tokens)
        done = False
        began = time.monotonic()
        try:
            done = self._model.decode(tokens, position=position)
        finally:
            self._seconds += time.monotonic() - began
            if not done and not self._model.truncate(position):
                cached.tokens.clear()
                cached.exact = 0
        if not done:
            return False
        cached.tokens += tokens
        if position == cached.exact and len(tokens) == CHUNK and len(cached.tokens) <= len(self._prompt):
            cached.exact += CHUNK
        return True

    def _write(self) -> list[Event]:
        token, logprob = self._sampler.sample()
        self._sampled += 1
        self._pending = [token]
        if self._model.ends_answer(token):
            return self._finish("stop", "eos")
        events: list[Event] = list(self._text.feed(self._model.piece(token), logprob))
        if self._text.stopped:
            return [*events, *self._finish("stop", "stop_sequence")]
        if self._sampled == self._sampling.max_tokens:
            return [*events, *self._finish("length", "max_tokens")]
        if self._sampled == self._room:
            return [*events, *self._finish("length", "context_full")]
        return events

    def _finish(self, reason: FinishReason, raw_reason: str) -> list[Event]:
        self.finished = True
        return [*self._text.close(), UsageReported(self.usage), Finish(reason, raw_reason)]
