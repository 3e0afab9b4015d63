"""How many tokens a prompt has: by its own vocabulary, by the vendor, by `tiktoken`, else an estimate."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import anyio.to_thread

from planar.catalog import VOCABULARIES, InputBound, Vocabulary, input_bound, texts_of
from planar.errors import ConfigurationError
from planar.protocols import CountsInput
from planar.types import TokenCount

if TYPE_CHECKING:
    from planar.catalog._tiktoken import TextCounter
    from planar.client._deployments import Deployment
    from planar.types import ChatRequest

_MOST_ON_THE_WAY = 2_048
"""Bytes of a prompt that is counted while a call is planned: up to 0.2 ms. A longer one is estimated."""
_NOTHING: Mapping[str, int] = {}
_log = logging.getLogger("planar.tiktoken")


@functools.cache
def _installed() -> bool:
    """Whether there is a `tiktoken`. Looks for it once and does not load it."""
    return importlib.util.find_spec("tiktoken") is not None


class Counting:
    """The vocabularies that a client has at hand.

    Each is loaded when it is first needed, in a thread of its own that ends when that is done, and used from then on.
    One whose file is not on this machine is never fetched; whether it is there is looked up once.

    Args:
        environ: Names the folder of the files, as `tiktoken` reads it; looked at when the first is needed.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, *, vocabularies: Mapping[str, Vocabulary] = VOCABULARIES
    ) -> None:
        self._environ = environ
        self._vocabularies = vocabularies
        self._found: dict[str, TextCounter | None] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def ready(self, tokenizer: str) -> TextCounter | None:
        """What counts with this encoding; `None` while it is loaded, and where that cannot be. Never blocks."""
        if tokenizer not in self._found:
            self._start(tokenizer)
        return self._found[tokenizer]

    async def wait_for(self, tokenizer: str) -> TextCounter | None:
        """As `ready`, once it is known which."""
        self.ready(tokenizer)
        await self._joined(self._threads.get(tokenizer))
        return self._found[tokenizer]

    def texts(self, prompt: InputBound, request: ChatRequest, tokenizers: Iterable[str | None]) -> Mapping[str, int]:
        """Tokens of the prompt's texts, by encoding, of those that are ready: once per call, for all its candidates."""
        if prompt.tokens > _MOST_ON_THE_WAY:
            return _NOTHING
        wanted = set(tokenizers)
        wanted.discard(None)
        if not wanted:
            return _NOTHING
        counters = {name: self.ready(name) for name in wanted if name is not None}
        texts = texts_of(request) if any(counters.values()) else ()
        return {name: counter(texts) for name, counter in counters.items() if counter is not None}

    async def aclose(self) -> None:
        """Wait for what is being loaded."""
        for thread in tuple(self._threads.values()):
            await self._joined(thread)

    async def _joined(self, thread: threading.Thread | None) -> None:
        if thread is not None and thread.is_alive():
            await anyio.to_thread.run_sync(thread.join, abandon_on_cancel=True)

    def _start(self, tokenizer: str) -> None:
        with self._lock:
            if tokenizer in self._found:
                return
            vocabulary = self._vocabularies.get(tokenizer)
            if vocabulary is not None:
                thread = threading.Thread(target=self._load, args=(tokenizer, vocabulary), name="planar-tiktoken")
                self._threads[tokenizer] = thread
                thread.start()
            self._found.setdefault(tokenizer, None)

    def _load(self, tokenizer: str, vocabulary: Vocabulary) -> None:
        path = vocabulary.file(self._environ)
        if path is None or not path.is_file() or not _installed():
            return
        try:
            from planar.catalog._tiktoken import text_counter

            self._found[tokenizer] = text_counter(vocabulary, path)
        except (ConfigurationError, ImportError, OSError) as error:
            _log.warning("prompts for %s are estimated: %s", tokenizer, error)


async def count_tokens(
    counting: Counting, deployment: Deployment, request: ChatRequest, *, ask_vendor: bool
) -> TokenCount:
    """How many tokens the prompt has for this deployment.

    Raises:
        PlanarError: Who was asked could not count it.
    """
    info, name = deployment.info, deployment.name
    if info.local and deployment.counter is not None:
        tokens = await deployment.counter.count_tokens(request, model=deployment.model)
        return TokenCount(tokens=tokens, bound=tokens, exact=True, how="vocabulary", deployment=name)
    prompt = input_bound(request)
    bound = prompt.of(info)
    if ask_vendor:
        provider = deployment.provider
        count = provider.count_input if isinstance(provider, CountsInput) else None
        if count is None and deployment.counter is not None:
            count = deployment.counter.count_tokens
        if count is not None:
            tokens = await count(request, model=deployment.model)
            return TokenCount(tokens=tokens, bound=max(tokens, bound), exact=False, how="vendor", deployment=name)
    counter = None if info.tokenizer is None else await counting.wait_for(info.tokenizer)
    if counter is None:
        return TokenCount(tokens=prompt.likely_of(info), bound=bound, exact=False, how="estimate", deployment=name)
    texts = texts_of(request)
    # It counts without holding the interpreter, so other tasks go on meanwhile.
    short = prompt.tokens <= _MOST_ON_THE_WAY
    counted = counter(texts) if short else await anyio.to_thread.run_sync(counter, texts)
    tokens = prompt.likely_of(info, text=counted)
    return TokenCount(tokens=tokens, bound=bound, exact=False, how="tiktoken", deployment=name)
