"""The one module that calls llama.cpp: a loaded model, its one sequence of cached tokens, and samplers.

A wrong argument makes llama.cpp end the whole process, so everything is checked here before it is called.
Nothing in here may be used by two threads at once, except `AbortSwitch`.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from planar.errors import (
    ConfigurationError,
    InvalidRequestError,
    MissingExtraError,
    ModelFileError,
    ProviderServerError,
)
from planar.providers.local._generation import CHUNK
from planar.providers.local._sampling import Sampling, check_schema
from planar.types import TokenLogprob

try:
    import llama_cpp
    import numpy
    from llama_cpp import llama_grammar
except ModuleNotFoundError as missing:
    raise MissingExtraError("llama_cpp", extra="llamacpp") from missing
except (ImportError, OSError, RuntimeError, AttributeError) as broken:
    raise ConfigurationError(f"llama-cpp-python is installed but its library does not load: {broken}") from broken

_OLDEST: Final = (0, 3, 36)
_TOO_NEW: Final = (0, 4)
_RANDOM_SEED: Final = 0xFFFFFFFF  # llama.cpp draws one itself
_SEQUENCE: Final = 0
_MAX_PIECE: Final = 1 << 16
_ERROR_LEVEL: Final = 3

_log = logging.getLogger("planar.llamacpp")
_lib: Any = llama_cpp.llama_cpp


def check_binding() -> None:
    """See that the installed binding is one whose structures we know.

    Raises:
        ConfigurationError: It is another version, or it loads a library that is not its own.
    """
    version = str(llama_cpp.__version__)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not _OLDEST <= numbers < _TOO_NEW:
        raise ConfigurationError(
            f"llama-cpp-python {version} is not supported: pip install 'llama-cpp-python>=0.3.36,<0.4'"
        )
    defaults = _lib.llama_context_default_params()
    if (defaults.n_ctx, defaults.n_batch, defaults.n_ubatch, defaults.n_seq_max) != (512, 2048, 512, 1):
        raise ConfigurationError(
            f"the llama.cpp library that is loaded is not the one of llama-cpp-python {version}:"
            " unset LLAMA_CPP_LIB_PATH, or install the package again"
        )


class AbortSwitch:
    """Stops a computation that is running, within milliseconds. May be used by any thread at any time.

    llama.cpp asks a callback hundreds of times per token whether to go on. That callback is the C library's
    `strlen` over a two-byte buffer: it answers 0 or 1 without ever taking Python's lock.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)

    def set(self) -> None:
        """Stop what runs, and whatever is started before `clear`."""
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        """Allow computations again."""
        self._buffer[0] = b"\x00"

    def __bool__(self) -> bool:
        return self._buffer[0] != b"\x00"

    @property
    def address(self) -> ctypes.c_void_p:
        """Where the callback looks. The switch must outlive the context that was given it."""
        return ctypes.cast(self._buffer, ctypes.c_void_p)


class LlamaModel:
    """A model in memory, with the keys and values of the one conversation that it looked at last.

    Attributes:
        context: Tokens that prompt and answer may have together.
        partial: Whether the end of the cached tokens can be forgotten while the beginning is kept.

    Raises:
        ModelFileError: llama.cpp does not load this file.
    """

    def __init__(self, path: str, *, context: int, threads: int, gpu_layers: int, abort: AbortSwitch) -> None:
        check_binding()
        _capture_log()
        self._abort = abort  # the context keeps its address
        self._model: Any = _load(path, gpu_layers, abort)
        self._context: Any = None
        try:
            self._refuse_other_kinds(path)
            self._context = self._open_context(path, context, threads)
            self._memory: Any = _lib.llama_get_memory(self._context)
            self._vocab: Any = _lib.llama_model_get_vocab(self._model)
            self._vocab_size = int(_lib.llama_vocab_n_tokens(self._vocab))
            self.context = context
            self._on_gpu = bool(_lib.llama_supports_gpu_offload())
            self._chunk = min(CHUNK, int(_lib.llama_n_batch(self._context)))
            self.partial = not (_lib.llama_model_is_recurrent(self._model) or _lib.llama_model_is_hybrid(self._model))
            self._batch: Any = _lib.llama_batch_init(self._chunk, 0, 1)
            self._piece_buffer = ctypes.create_string_buffer(_MAX_PIECE)
            self._longest_piece = max(len(self._piece(token, special=True)) for token in range(self._vocab_size))
        except BaseException:
            self._free_model()
            raise

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        _lib.llama_batch_free(self._batch)
        self._free_model()

    def tokenize(self, segments: Sequence[str], *, begun: bool) -> list[int] | None:
        """The tokens of a prompt, or `None` if it is certainly longer than the context, without counting.

        Args:
            segments: Each is tokenised by itself. Control tokens written in them are read as such.
            begun: Do not add the token that begins a text.
        """
        tokens: list[int] = []
        encoded = [segment.encode() for segment in segments]
        if sum(map(len, encoded)) > self.context * self._longest_piece:
            return None
        for index, text in enumerate(encoded):
            tokens += self._tokenize(text, add_special=not begun and index == 0)
        return tokens

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for: nothing for a control token, half a character for some."""
        return self._piece(token, special=False)

    def ends_answer(self, token: int) -> bool:
        """The model says with this token that it has finished."""
        return bool(_short.llama_vocab_is_eog(self._vocab, token))

    def decode(self, tokens: Sequence[int], *, position: int) -> bool:
        """Compute some tokens after those that are cached; `False` if the abort switch was set.

        After an abort it is unknown how many were computed: forget them with `truncate`.

        Raises:
            ProviderServerError: llama.cpp failed.
        """
        count = len(tokens)
        fits = 0 < count <= self._chunk and position >= 0 and position + count <= self.context
        if not fits or not all(0 <= token < self._vocab_size for token in tokens):
            raise ProviderServerError(f"a batch of {count} tokens at position {position} must not reach llama.cpp")
        batch = self._batch
        batch.n_tokens = count
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = _SEQUENCE
            batch.logits[index] = index == count - 1
        result = int(_lib.llama_decode(self._context, batch))
        if self._on_gpu:
            _lib.llama_synchronize(self._context)  # it computes on: wait here, without Python's lock
        if result not in (0, 2):
            raise ProviderServerError(f"llama.cpp could not compute {count} tokens at {position} (code {result})")
        return result == 0

    def truncate(self, length: int) -> bool:
        """Forget every cached token from `length` on; `False` if all of them had to be forgotten."""
        if length and self.partial and _lib.llama_memory_seq_rm(self._memory, _SEQUENCE, length, -1):
            return True
        _lib.llama_memory_clear(self._memory, False)
        return length == 0

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler for one answer; close it.

        Raises:
            InvalidRequestError: The grammar or schema is not one.
        """
        return Sampler(self._context, self._vocab, self._vocab_size, sampling, self.piece)

    def _free_model(self) -> None:
        if self._context is not None:
            _lib.llama_free(self._context)
        _lib.llama_model_free(self._model)

    def _refuse_other_kinds(self, path: str) -> None:
        no_chat = not _lib.llama_model_has_decoder(self._model) or _lib.llama_model_has_encoder(self._model)
        if no_chat or _lib.llama_model_is_diffusion(self._model):
            raise ModelFileError(f"{path} is not a model that writes text from left to right", path=path)

    def _open_context(self, path: str, context: int, threads: int) -> Any:
        params = _lib.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = min(CHUNK, context)
        params.n_threads = params.n_threads_batch = threads
        params.abort_callback = _STRLEN
        params.abort_callback_data = self._abort.address
        opened = _lib.llama_init_from_model(self._model, params)
        if not opened or int(_lib.llama_n_ctx(opened)) < context:
            if opened:
                _lib.llama_free(opened)
            raise ModelFileError(
                f"llama.cpp has no memory for a context of {context} tokens of {path}: give a smaller n_ctx;"
                f" it says: {_last_errors()}",
                path=path,
            )
        return opened

    def _tokenize(self, text: bytes, *, add_special: bool) -> list[int]:
        room = len(text) + 2
        buffer = (ctypes.c_int32 * room)()
        count = int(_lib.llama_tokenize(self._vocab, text, len(text), buffer, room, add_special, True))
        if count < 0:
            raise ProviderServerError(f"llama.cpp could not tokenise {len(text)} bytes")
        return buffer[:count]

    def _piece(self, token: int, *, special: bool) -> bytes:
        count = _short.llama_token_to_piece(self._vocab, token, self._piece_buffer, _MAX_PIECE, 0, special)
        if count < 0:
            raise ProviderServerError(f"token {token} stands for more than {_MAX_PIECE} bytes")
        return ctypes.string_at(self._piece_buffer, count)


class Sampler:
    """Chooses the tokens of one answer.

    A grammar is asked about the chosen token alone; only when it says no are all tokens put to it and is the
    choice made again, which is what keeps grammars cheap. It is never handed a token that it has not allowed:
    that would end the process.
    """

    def __init__(self, context: Any, vocab: Any, vocab_size: int, sampling: Sampling, piece: Any) -> None:
        self._context = context
        self._vocab_size = vocab_size
        self._piece = piece
        self._top = sampling.logprobs
        self._grammar: Any = _grammar(vocab, sampling)
        self._chain: Any = _chain(sampling)

    def close(self) -> None:
        """Give the memory back."""
        _lib.llama_sampler_free(self._chain)
        if self._grammar is not None:
            _lib.llama_sampler_free(self._grammar)

    def sample(self) -> tuple[int, TokenLogprob | None]:
        """The next token, and how likely it and the alternatives were before any rule was applied.

        Raises:
            ProviderServerError: The grammar leaves no token to go on with.
        """
        row = self._logits().copy() if self._top is not None else None
        token = int(_short.llama_sampler_sample(self._chain, self._context, -1))
        if self._grammar is not None:
            if not self._allows(token):
                self._mask()
                token = int(_short.llama_sampler_sample(self._chain, self._context, -1))
            _short.llama_sampler_accept(self._grammar, token)
        return token, None if row is None else self._logprob(row, token)

    def _logits(self) -> Any:
        pointer = _lib.llama_get_logits_ith(self._context, -1)
        if not pointer:
            raise ProviderServerError("llama.cpp has computed no logits")
        return numpy.ctypeslib.as_array(pointer, shape=(self._vocab_size,))

    def _allows(self, token: int) -> bool:
        candidate = numpy.zeros(1, dtype=_CANDIDATE)
        candidate["id"] = token
        self._apply_grammar(candidate, _short)
        return bool(numpy.isfinite(candidate["logit"][0]))

    def _mask(self) -> None:
        logits = self._logits()
        candidates = numpy.zeros(self._vocab_size, dtype=_CANDIDATE)
        candidates["id"] = numpy.arange(self._vocab_size, dtype=numpy.int32)
        self._apply_grammar(candidates, _lib)
        logits[~numpy.isfinite(candidates["logit"])] = -numpy.inf
        if not numpy.isfinite(logits).any():
            raise ProviderServerError("the grammar allows none of the model's tokens here")

    def _apply_grammar(self, candidates: Any, library: Any) -> None:
        data = candidates.ctypes.data_as(ctypes.POINTER(_lib.llama_token_data))
        array = _lib.llama_token_data_array(data, len(candidates), -1, False)
        library.llama_sampler_apply(self._grammar, ctypes.byref(array))

    def _logprob(self, row: Any, token: int) -> TokenLogprob:
        row -= row.max()
        row -= numpy.log(numpy.exp(row, dtype=numpy.float64).sum())
        top = self._top or 0
        best = numpy.argpartition(-row, range(top))[:top] if top else ()
        return TokenLogprob(
            token=self._text(token),
            logprob=float(row[token]),
            top=tuple((self._text(int(index)), float(row[index])) for index in best),
        )

    def _text(self, token: int) -> str:
        return str(self._piece(token).decode("utf-8", "replace"))


def _grammar(vocab: Any, sampling: Sampling) -> Any:
    source = sampling.grammar
    if sampling.schema is not None:
        source = _grammar_of(sampling.schema)
    if source is None:
        return None
    sampler = _lib.llama_sampler_init_grammar(vocab, source.encode(), b"root")
    if not sampler:
        name = "grammar" if sampling.schema is None else "output"
        # Its parser writes the reason to standard error and to nobody else.
        raise InvalidRequestError("llama.cpp does not accept this grammar, for a reason on standard error", param=name)
    return sampler


def _grammar_of(schema: Any) -> str:
    checked = check_schema(schema)
    try:
        return str(llama_grammar.json_schema_to_gbnf(json.dumps(checked)))
    except Exception as error:  # the converter fails on what it does not know with whatever comes its way
        raise InvalidRequestError(
            f"the output's schema cannot be held to by a local model: {type(error).__name__}: {error}", param="output"
        ) from error


def _chain(sampling: Sampling) -> Any:
    chain = _lib.llama_sampler_chain_init(_lib.llama_sampler_chain_default_params())
    if sampling.greedy:
        _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_greedy())
        return chain
    seed = _RANDOM_SEED if sampling.seed is None else sampling.seed % _RANDOM_SEED
    if sampling.top_k:
        _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_top_k(sampling.top_k))
    _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_top_p(sampling.top_p, 1))
    _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_min_p(sampling.min_p, 1))
    _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_temp(sampling.temperature))
    _lib.llama_sampler_chain_add(chain, _lib.llama_sampler_init_dist(seed))
    return chain


def _load(path: str, gpu_layers: int, abort: AbortSwitch) -> Any:
    _lib.llama_backend_init()
    params = _lib.llama_model_default_params()
    params.n_gpu_layers = gpu_layers

    def go_on(_progress: float, _data: object) -> bool:
        return not abort

    params.progress_callback = asked = _lib.llama_progress_callback(go_on)
    model = _lib.llama_model_load_from_file(os.fsencode(path), params)
    del asked  # llama.cpp asks only while it loads
    if not model:
        raise ModelFileError(f"llama.cpp cannot load {path}: {_last_errors()}", path=path)
    return model


# --- llama.cpp's own words ----------------------------------------------------------------------

_errors: deque[str] = deque(maxlen=3)


def _heard(level: int, text: bytes | None, _: object) -> None:
    line = (text or b"").decode("utf-8", "replace").rstrip()
    if level == _ERROR_LEVEL and line:
        _errors.append(line)
    if line:
        _log.debug("%s", line)


_HEARD: Final = _lib.llama_log_callback(_heard)


def _capture_log() -> None:
    """Send what llama.cpp says to our logger. This is for the whole process: the library has one log."""
    _errors.clear()
    _lib.llama_log_set(_HEARD, None)


def _last_errors() -> str:
    return " / ".join(_errors) or "nothing"


def _strlen() -> Any:
    # The C library itself: on Windows `None` does not open it.
    library: Any = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    return ctypes.cast(library.strlen, _lib.ggml_abort_callback)


class _Short:
    """Calls that take microseconds, without giving up Python's lock: getting it back would take longer."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(_lib._lib._name)
        self.llama_sampler_accept = self._same(library, "llama_sampler_accept")
        self.llama_sampler_apply = self._same(library, "llama_sampler_apply")
        self.llama_sampler_sample = self._same(library, "llama_sampler_sample")
        self.llama_token_to_piece = self._same(library, "llama_token_to_piece")
        self.llama_vocab_is_eog = self._same(library, "llama_vocab_is_eog")

    def _same(self, library: ctypes.PyDLL, name: str) -> Any:
        function, original = getattr(library, name), getattr(_lib, name)
        function.argtypes, function.restype = original.argtypes, original.restype
        return function


_STRLEN: Final = _strlen()
_short: Final = _Short()
_CANDIDATE: Final = numpy.dtype([("id", numpy.int32), ("logit", numpy.float32), ("p", numpy.float32)])
