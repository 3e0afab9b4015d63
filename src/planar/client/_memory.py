"""What the client remembers of earlier calls, so that the router can expect something of the next one."""

from __future__ import annotations

from dataclasses import dataclass, field

from planar.catalog import likely_tokens
from planar.routing import ASSUMED, CacheBoard, HeadroomBoard, Kind, LengthBoard, Lengths, Topic, Warmth
from planar.types import ChatRequest, FinishReason, TenantPath, Usage

_ENDS = 256
"""Characters of a long text's beginning, and of its end, by which it is known again, beside its length."""
_INSTRUCTS = frozenset(("system", "developer"))
_CUT: frozenset[FinishReason] = frozenset(("length", "context_overflow", "paused"))


@dataclass(slots=True)
class Recollection:
    """What is known when a call is planned.

    Attributes:
        lengths: Of answers to calls like it; `None` if there was none.
        warmth: What the caches have of its prompt; `None` if nothing is known.
        headroom: Nano-USD that its tenant had left, `headroom_age` seconds ago.
    """

    lengths: Lengths | None
    warmth: Warmth | None
    headroom: int | None
    headroom_age: float | None

    def output_tokens(self, deployment: str, most: int | None) -> int:
        """What an answer there will probably count, and never more than `most`."""
        likely = ASSUMED if self.lengths is None else self.lengths.likely(deployment)
        return likely if most is None or likely < most else most


@dataclass(slots=True)
class Memory:
    """Bounded, and gone with the process. What one tenant said decides nothing for another.

    Two things are learned from everybody: how long answers are by the name of a model, for tenants of whom none was
    seen, and how much of what a deployment might have in its cache it finds.
    """

    lengths: LengthBoard = field(default_factory=LengthBoard)
    caches: CacheBoard = field(default_factory=CacheBoard)
    headroom: HeadroomBoard = field(default_factory=HeadroomBoard)

    def recall(self, kind: Kind, topic: Topic, now: float) -> Recollection:
        """What is known of such a call at `now` on the steady clock."""
        left, age = self.headroom.of(kind[0], now)
        return Recollection(self.lengths.of(kind), self.caches.of(topic, now), left, age)

    def answered(
        self, kind: Kind, topic: Topic, deployment: str, usage: Usage, reason: FinishReason, *, now: float, given: bool
    ) -> None:
        """A deployment has answered to the end; `given` if the caller has the answer or will have it."""
        answer = usage.output_tokens or 0
        self.lengths.learn(kind, deployment, answer, cut=reason in _CUT)
        self.caches.answered(
            topic,
            deployment,
            now,
            prompt=usage.input_tokens or 0,
            answer=answer,
            cached=None if usage.estimated else usage.cached_input_tokens or 0,
            hour=bool(usage.cache_write_1h_tokens),
            given=given,
        )


def kind_of(request: ChatRequest, tenant: TenantPath, model: str) -> Kind:
    """Which calls this one is like, as far as the length of the answer goes."""
    shape = 1 if request.tools else 0
    if request.output is not None:
        shape |= 2
    if request.reasoning is not None and request.reasoning != "none":
        shape |= 4
    return tenant, model, shape


def topic_of(request: ChatRequest, tenant: TenantPath, conversation: str | None) -> Topic:
    """Which calls this one has a beginning in common with.

    A conversation is what the caller calls so, or else what begins with the same instructions and the same first
    words of a user, under the same `cache=` key and with tools of the same names. Texts are hashed with Python's own
    salted hash and not kept.
    """
    begun = first = characters = 0
    for message in request.messages:
        text = message.text
        mark = hash(text) if len(text) <= 2 * _ENDS else hash((len(text), text[:_ENDS], text[-_ENDS:]))
        if message.role == "user":
            first = mark
            break
        if message.role not in _INSTRUCTS:
            break
        begun = hash((begun, mark))
        characters += len(text)
    if request.cache is not None or request.tools:
        begun = hash((begun, request.cache, *[tool.name for tool in request.tools]))
    same = hash((begun, first)) if conversation is None else conversation
    if not characters:
        return Topic((tenant, same), None, 0)
    return Topic((tenant, same), (tenant, begun), likely_tokens(characters=characters))
