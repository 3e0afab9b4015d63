"""How long answers are, learned from the answers to calls of one kind."""

from __future__ import annotations

from threading import Lock
from typing import TypeAlias, TypeVar

Key = TypeVar("Key")

ASSUMED = 256
"""Output tokens that are assumed where nothing was seen."""
MEMORY = 32
"""About so many of the last answers make up a mean."""
PULL = 4
"""A deployment's own mean weighs as much as the kind's after so many answers."""
PLACES = 16
"""Most deployments that are told apart within a kind."""

Kind: TypeAlias = tuple[str, str, int]
"""The tenant, the model's name as it was asked for, and what shapes the answer: tools, a schema, reasoning, as bits."""


class Mean:
    """An average: of all answers at first, and in the long run of the last ones, the older the less.

    Attributes:
        tokens: The average.
        count: Of how many answers; it ends at `MEMORY`.
    """

    __slots__ = ("count", "tokens")

    def __init__(self) -> None:
        self.tokens = 0.0
        self.count = 0

    def add(self, tokens: int, cut: bool) -> None:
        """Take one answer into account, which would have been longer if it was `cut` off."""
        count, mean = self.count, self.tokens
        if cut and tokens < mean:
            return  # it says that the answer had at least so many, and that was expected
        if count < MEMORY:
            self.count = count = count + 1
        self.tokens = mean + (tokens - mean) / count


class Lengths:
    """What answers to one kind of call have counted, by deployment.

    Attributes:
        whole: In all.
    """

    __slots__ = ("_places", "whole")

    def __init__(self) -> None:
        self.whole = Mean()
        self._places: dict[str, Mean] = {}

    def likely(self, deployment: str) -> int:
        """Tokens of the next answer there: always between the shortest and the longest that were seen.

        The mean, and not the middle: money is a sum, so the one long answer in ten counts. What a deployment's own
        answers say counts the more of them there are; some models think longer than others.
        """
        mean, own = self.whole.tokens, self._places.get(deployment)
        if own is not None:
            mean += (own.tokens - mean) * own.count / (own.count + PULL)
        return int(mean + 0.5)

    def learn(self, tokens: int, *, cut: bool, deployment: str) -> None:
        """Take one answer into account. One thread at a time."""
        self.whole.add(tokens, cut)
        own = self._places.get(deployment)
        if own is None:
            if len(self._places) >= PLACES:
                del self._places[next(iter(self._places))]
            own = self._places[deployment] = Mean()
        own.add(tokens, cut)


class LengthBoard:
    """Predicts how many tokens an answer will have from answers to calls like it.

    Like it are those of the same tenant for the same model name, with or without tools, schema and reasoning as this
    one; where there were none, those of everybody for that model name. It knows counts, never texts.

    It may be used from several threads. What nothing was learned of for longest is forgotten.

    Args:
        capacity: Most kinds of call that are remembered, and most model names.
    """

    __slots__ = ("_capacity", "_kinds", "_lock", "_models")

    def __init__(self, *, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._kinds: dict[Kind, Lengths] = {}
        self._models: dict[str, Lengths] = {}

    def of(self, kind: Kind) -> Lengths | None:
        """What is known of such calls; `None` if there was none."""
        return self._kinds.get(kind) or self._models.get(kind[1])

    def learn(self, kind: Kind, deployment: str, tokens: int, *, cut: bool = False) -> None:
        """An answer has come to its end.

        Args:
            tokens: All that it counted, reasoning included.
            cut: `max_tokens` ended it.
        """
        with self._lock:
            self._latest(self._kinds, kind).learn(tokens, cut=cut, deployment=deployment)
            self._latest(self._models, kind[1]).whole.add(tokens, cut)

    def _latest(self, known: dict[Key, Lengths], key: Key) -> Lengths:
        """The entry of `key`, moved to the end of those that are kept."""
        entry = known.pop(key, None)
        if entry is None:
            entry = Lengths()
            if len(known) >= self._capacity:
                del known[next(iter(known))]
        known[key] = entry
        return entry
