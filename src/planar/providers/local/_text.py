"""Turns a model's tokens into text that may be shown: whole characters, and nothing of a stop sequence."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from planar.events import TextDelta
from planar.types import TokenLogprob


class StopMatcher:
    """Finds the first stop sequence in text that arrives in pieces, and holds back what might become one.

    The result does not depend on where the text is cut: the sequence that is complete first wins, and of
    those that end at the same place the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """What may be shown now. After a match, `matched` says which, and nothing more comes."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return text
        pending = self._held + text
        match = self._first_match(pending)
        if match is not None:
            start, self.matched = match
            self._held = ""
            return pending[:start]
        keep = self._possible_beginning(pending)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def close(self) -> str:
        """The text has ended: what was held back was no stop sequence after all."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> tuple[int, str] | None:
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if not found:
            return None
        _, start, stop = min(found)
        return start, stop

    def _possible_beginning(self, text: str) -> int:
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0


class TextAssembler:
    """Collects the bytes of sampled tokens and gives out deltas.

    A character whose bytes are spread over several tokens comes once it is whole; one that the end of the
    answer cuts in two is not text and does not come. Log-probabilities travel with the text of their token;
    those of a stop sequence stay with it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopMatcher(stops)
        self._decoded = 0
        self._shown = 0
        self._logprobs: list[tuple[int, TokenLogprob]] = []

    @property
    def stopped(self) -> bool:
        """A stop sequence is complete."""
        return self._stops.matched is not None

    def feed(self, piece: bytes, logprob: TokenLogprob | None = None) -> list[TextDelta]:
        """The delta that one more token completes, if it does."""
        if logprob is not None:
            self._logprobs.append((self._decoded, logprob))
        text = self._decoder.decode(piece)
        self._decoded += len(text)
        return self._delta(self._stops.feed(text))

    def close(self) -> list[TextDelta]:
        """The rest, after the last token."""
        return [] if self.stopped else self._delta(self._stops.close())

    def _delta(self, text: str) -> list[TextDelta]:
        if not text:
            return []
        self._shown += len(text)
        logprobs = tuple(logprob for start, logprob in self._logprobs if start < self._shown)
        del self._logprobs[: len(logprobs)]
        return [TextDelta(text, logprobs)]
