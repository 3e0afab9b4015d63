"""How long answers are, learned from the answers to calls of one kind."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(slots=True)
class _Mean:
    """An average of all answers at first, and of the last ones, the older the less, in the long run."""

    tokens: float = 0.0
    count: int = 0

    def add(self, tokens: int, *, cut: bool) -> None:
        # One that was cut off would have been at least so long: it never makes answers look shorter.
        if cut and self.count and tokens < self.tokens:
            return
        self.count = min(self.count + 1, MEMORY)
        self.tokens += (tokens - self.tokens) / self.count


class Lengths:
    """What answers to one kind of call have counted, in all and by deployment."""

    __slots__ = ("_all", "_places")

    def __init__(self) -> None:
        self._all = _Mean()
        self._places: dict[str, _Mean] = {}

    def likely(self, deployment: str) -> int:
        """Tokens of the next answer there: always between the shortest and the longest that were seen.

        The mean, and not the middle: money is a sum, so the one long answer in ten counts. What a deployment's own
        answers say counts the more of them there are; some models think longer than others.
        """
        whole, own = self._all.tokens, self._places.get(deployment)
        if own is not None:
            whole += (own.tokens - whole) * own.count / (own.count + PULL)
        return int(whole + 0.5)

    def learn(self, deployment: str, tokens: int, *, cut: bool) -> None:
        """Take one answer into account. The caller holds the board's lock."""
        self._all.add(tokens, cut=cut)
        own = self._places.get(deployment)
        if own is None:
            if len(self._places) >= PLACES:
                del self._places[next(iter(self._places))]
            own = self._places[deployment] = _Mean()
        own.add(tokens, cut=cut)


class LengthBoard:
    """Predicts how many tokens an answer will have from answers to calls like it.

    Like it are those of the same tenant for the same model name, with or without tools, schema and reasoning as this
    one; where there were none, those of everybody for that model name. It knows counts, never texts.

    It may be used from several threads. Kinds in which nothing was learned for longest are forgotten.

    Args:
        capacity: Most kinds that are remembered, and most model names.
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
            _latest(self._kinds, kind, self._capacity).learn(deployment, tokens, cut=cut)
            _latest(self._models, kind[1], self._capacity).learn(deployment, tokens, cut=cut)


def _latest(known: dict[Key, Lengths], key: Key, capacity: int) -> Lengths:
    """The entry of `key`, moved to the end of those that are kept."""
    entry = known.pop(key, None)
    if entry is None:
        entry = Lengths()
        if len(known) >= capacity:
            del known[next(iter(known))]
    known[key] = entry
    return entry
