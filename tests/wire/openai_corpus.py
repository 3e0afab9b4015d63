"""The recorded exchanges of OpenAI's chat completions and its compatible servers, each with its dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import corpus
from corpus import Folded, run
from planar.types import ResponseInfo
from planar.wire.dialects import DIALECTS, OPENAI, Dialect
from planar.wire.openai_chat import ChatDecoder, WholeDecoder


@dataclass(frozen=True)
class Exchange(corpus.Exchange):
    @property
    def dialect(self) -> Dialect:
        return DIALECTS.get(self.recorded["upstream"], OPENAI)

    def decoder(self, response: ResponseInfo) -> ChatDecoder | WholeDecoder:
        form = ChatDecoder if self.recorded["stream"] else WholeDecoder
        return form(response, self.recorded["upstream"], self.dialect)


def exchanges(keep: Callable[[corpus.Exchange], bool]) -> list[Exchange]:
    found = [case for name in ("openai.chat", "openai_compatible") for case in corpus.exchanges(name, keep)]
    return [Exchange(case.path) for case in found]


def decode(case: Exchange, pieces: Sequence[bytes]) -> Folded:
    """What the body says, fed in these pieces."""
    response = ResponseInfo()
    folded = run(case.decoder(response), pieces, response)
    # Some servers tell the tier once more in a chunk behind the answer's end; it is no part of what was said.
    response.service_tier = None
    return folded
