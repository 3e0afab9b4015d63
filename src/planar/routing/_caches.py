"""Which deployments probably still have the beginning of a prompt in their cache."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

from planar.types import Price

LEAST = 1024
"""Fewest tokens that are credited: vendors keep no shorter beginning, or do so for next to nothing."""
SECONDS = 300.0
"""How long a prompt is kept after it was last sent, unless it was written for an hour."""
HOUR = 3600.0
LISTED = 0.5
"""The share of a beginning that is expected of a cache that was never seen at work but has a price."""
PRIOR = 2
"""So many answers' worth of that expectation are mixed with what is seen."""
MEMORY = 32
"""About so many of the last answers make up a share."""
PLACES = 8
"""Most deployments that are remembered of one conversation."""

Key: TypeAlias = Hashable
"""A tenant together with what tells a conversation, or a beginning that several share, from others."""


@dataclass(slots=True)
class Topic:
    """What a call may have in common with earlier ones. The tenant is part of both keys. Nothing changes it.

    Attributes:
        conversation: The same for every turn of one conversation.
        beginning: The same for every conversation that begins with the same instructions; `None` if it has none.
        shared: About how many tokens those instructions are.
    """

    conversation: Key
    beginning: Key | None
    shared: int


class _Kept:
    """Where a beginning is kept.

    Attributes:
        places: By deployment, how many tokens, and until when.
        last: Who gave the conversation's last answer.
    """

    __slots__ = ("last", "places")

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, float]] = {}
        self.last: str | None = None

    def note(self, deployment: str, tokens: int, until: float) -> None:
        places = self.places
        before = places.pop(deployment, None)
        if before is not None:
            until = max(until, before[1])
        elif len(places) >= PLACES:
            del places[next(iter(places))]
        places[deployment] = (tokens, until)


_NOTHING = _Kept()


class Warmth:
    """What one call may find in the caches, by deployment. Read it at once: later calls change it.

    Attributes:
        last: Who gave the conversation's last answer; `None` if nobody did.
    """

    __slots__ = ("_beginning", "_board", "_conversation", "_now", "last")

    def __init__(self, board: CacheBoard, conversation: _Kept, beginning: _Kept, now: float) -> None:
        self._board = board
        self._conversation = conversation.places
        self._beginning = beginning.places
        self._now = now
        self.last = conversation.last

    def likely(self, deployment: str, *, price: Price | None, prompt: int) -> int:
        """Tokens of the prompt that its cache probably still has: the longer beginning, by the share kept so far.

        Args:
            price: What it lists.
            prompt: Tokens of the whole prompt; never more than these.
        """
        turn, shared = self._conversation.get(deployment), self._beginning.get(deployment)
        if turn is None and shared is None:
            return 0
        kept = min(prompt, _there(turn, shared, self._now))
        if kept < LEAST:
            return 0
        return int(kept * self._board.share(deployment, listed=price is not None and price.cached_input is not None))


def _there(turn: tuple[int, float] | None, shared: tuple[int, float] | None, now: float) -> int:
    """Tokens of the longer one that is still kept."""
    tokens = 0
    if turn is not None and now < turn[1]:
        tokens = turn[0]
    if shared is not None and now < shared[1] and shared[0] > tokens:
        tokens = shared[0]
    return tokens


class CacheBoard:
    """Remembers what was sent where, for as long as providers keep it, and how much of it they then found.

    Of a conversation's next turn it expects the tokens of the last prompt and answer to be there; of a call that only
    shares its instructions with others, those of the instructions. Providers find less than that, or nothing, so the
    share that a deployment reported in the past is expected again. One that has reported nothing yet is credited with
    half if its price list has a rate for cached tokens, and else with nothing.

    `now` is always seconds on one monotonic clock. It may be used from several threads. It knows no texts; what was
    not used for longest is forgotten.

    Args:
        capacity: Most conversations and beginnings that are remembered.
    """

    __slots__ = ("_capacity", "_kept", "_lock", "_shares")

    def __init__(self, *, capacity: int = 8192) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._kept: dict[Key, _Kept] = {}
        self._shares: dict[str, tuple[float, int]] = {}

    def of(self, topic: Topic, now: float) -> Warmth | None:
        """What is known of such a call; `None` if it has nothing in common with any."""
        conversation = self._kept.get(topic.conversation)
        beginning = None if topic.beginning is None else self._kept.get(topic.beginning)
        if conversation is None and beginning is None:
            return None
        return Warmth(self, conversation or _NOTHING, beginning or _NOTHING, now)

    def share(self, deployment: str, *, listed: bool) -> float:
        """How much of what could be there it has found, 0 to 1."""
        seen, count = self._shares.get(deployment, (0.0, 0))
        return (seen * count + (LISTED * PRIOR if listed else 0.0)) / (count + PRIOR)

    def answered(
        self,
        topic: Topic,
        deployment: str,
        now: float,
        *,
        prompt: int,
        answer: int,
        cached: int | None,
        hour: bool = False,
        given: bool = True,
    ) -> None:
        """A deployment has read a prompt and answered it.

        Args:
            prompt, answer: Tokens.
            cached: How many of the prompt it says it had; `None` if it does not say.
            hour: It was written to a cache that keeps it for an hour.
            given: The caller got the answer, so that the next turn will contain it.
        """
        until = now + (HOUR if hour else SECONDS)
        with self._lock:
            conversation = self._recent(topic.conversation)
            beginning = _NOTHING if topic.beginning is None else self._recent(topic.beginning)
            if cached is not None and prompt >= LEAST:
                there = min(prompt, _there(conversation.places.get(deployment), beginning.places.get(deployment), now))
                if there >= LEAST:
                    self._learn(deployment, min(1.0, cached / there))
            conversation.note(deployment, prompt + answer if given else prompt, until)
            if beginning is not _NOTHING:
                beginning.note(deployment, min(topic.shared, prompt), until)
            if given:
                conversation.last = deployment

    def gave(self, topic: Topic, deployment: str, *, answer: int) -> None:
        """The caller got, after all, an answer of so many tokens that was `given=False` before."""
        with self._lock:
            kept = self._kept.get(topic.conversation)
            if kept is not None and deployment in kept.places:
                tokens, until = kept.places[deployment]
                kept.places[deployment] = (tokens + answer, until)
                kept.last = deployment

    def _learn(self, deployment: str, share: float) -> None:
        seen, count = self._shares.get(deployment, (0.0, 0))
        if not count and len(self._shares) >= self._capacity:
            del self._shares[next(iter(self._shares))]
        count = min(count + 1, MEMORY)
        self._shares[deployment] = (seen + (share - seen) / count, count)

    def _recent(self, key: Key) -> _Kept:
        kept = self._kept.pop(key, None)
        if kept is None:
            kept = _Kept()
            if len(self._kept) >= self._capacity:
                del self._kept[next(iter(self._kept))]
        self._kept[key] = kept
        return kept
