"""Events folded into the answer: the one place where `infer` and `stream` agree on what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from planar.events import (
    Citation,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageReported,
)
from planar.types import (
    JSON,
    CitedSource,
    FinishReason,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)


@dataclass(slots=True)
class _Thought:
    text: list[str] = field(default_factory=list[str])
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    details: list[JSON] = field(default_factory=list[JSON])

    def part(self) -> Reasoning:
        return Reasoning(
            text="".join(self.text),
            signature=self.signature,
            encrypted=self.encrypted,
            id=self.id,
            details=tuple(self.details),
        )


@dataclass(slots=True)
class _Words:
    text: list[str]
    signature: str | None = None

    def part(self) -> Text:
        return Text("".join(self.text), signature=self.signature)


@dataclass(slots=True)
class _Request:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])
    signature: str | None = None

    def part(self) -> ToolCall:
        return ToolCall(id=self.id, name=self.name, arguments="".join(self.arguments), signature=self.signature)


class Fold:
    """What has been said so far. `add` every event; read the parts at any time."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_thought",
        "_words",
        "characters",
        "citations",
        "deltas",
        "finish",
        "logprobs",
        "notices",
        "refusals",
        "usage",
    )

    def __init__(self) -> None:
        self._blocks: list[_Words | _Thought | _Request] = []
        self._words: _Words | None = None
        self._thought: _Thought | None = None
        self._calls: dict[int, _Request] = {}
        self.refusals: list[str] = []
        self.citations: list[CitedSource] = []
        self.logprobs: list[TokenLogprob] = []
        self.notices: list[str] = []
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.characters = 0
        self.deltas = 0

    def take(self, batch: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in batch:
            words = self._words
            if type(event) is TextDelta and words is not None and not event.logprobs and event.signature is None:
                # One more piece of the same text: what nearly every token is, without a call.
                self.deltas += 1
                self.characters += len(event.text)
                words.text.append(event.text)
            else:
                self.add(event)

    def add(self, event: Event) -> None:
        """Take one more event."""
        match event:
            case TextDelta():
                self._text(event)
            case UsageReported(usage=usage):
                self.usage = usage
            case Finish():
                self.finish = event
            case ReasoningDelta():
                self._reason(event)
            case ToolCallStart(index=index, id=id, name=name):
                self._count(name)
                self._words = self._thought = None
                self._calls[index] = _Request(id, name)
                self._blocks.append(self._calls[index])
            case ToolCallDelta(index=index, arguments=arguments):
                self._count(arguments)
                self._calls[index].arguments.append(arguments)
            case ToolCallEnd(index=index):
                call = self._calls[index]
                call.id, call.name, call.signature = event.id, event.name, event.signature
                call.arguments = [event.arguments]
            case RefusalDelta(text=text):
                self._count(text)
                self.refusals.append(text)
            case Citation(source=source):
                self.deltas += 1
                self.citations.append(source)
            case Notice(message=message):
                self.notices.append(message)
            case _:
                pass  # routing and attempts are kept by the loop that makes them

    def _count(self, text: str) -> None:
        self.deltas += 1
        self.characters += len(text)

    def _text(self, event: TextDelta) -> None:
        self._count(event.text)
        words = self._words
        if words is None:
            words = self._words = _Words([])
            self._thought = None
            self._blocks.append(words)
        words.text.append(event.text)
        if event.logprobs:
            self.logprobs.extend(event.logprobs)
        if event.signature is not None:
            words.signature = event.signature
            self._words = None  # the signature is for the text up to here

    def _reason(self, event: ReasoningDelta) -> None:
        self._count(event.text)
        thought = self._thought_of(event)
        if event.text:
            thought.text.append(event.text)
        thought.signature = event.signature or thought.signature
        thought.encrypted = event.encrypted or thought.encrypted
        thought.id = event.id or thought.id
        thought.details.extend(event.details)
        if event.final:
            self._thought = None

    def _thought_of(self, event: ReasoningDelta) -> _Thought:
        """The block that a piece belongs to: the one with its id, else the one that is open, else a new one."""
        if event.id is not None:
            # A wire may tell the end of a thought late, when others have come between.
            for block in self._blocks:
                if isinstance(block, _Thought) and block.id == event.id:
                    return block
        thought = self._thought
        if thought is None or (event.id is not None and thought.id is not None):
            thought = self._thought = _Thought()
            self._words = None
            self._blocks.append(thought)
        return thought

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join([piece for block in self._blocks if isinstance(block, _Words) for piece in block.text])

    @property
    def reasoning(self) -> str:
        """The model's thinking, as far as it is shown."""
        return "".join([piece for block in self._blocks if isinstance(block, _Thought) for piece in block.text])

    @property
    def refusal(self) -> str:
        """The model's words of refusal."""
        return "".join(self.refusals)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model asked for, in order."""
        return tuple([block.part() for block in self._blocks if isinstance(block, _Request)])

    def message(self, text: str | None = None) -> Message:
        """The answer as a turn that can be sent back: signatures and order are kept.

        Args:
            text: The answer's text, where somebody has put it together already.
        """
        blocks = self._blocks
        if not self.refusals and all(isinstance(block, _Words) and block.signature is None for block in blocks):
            return Message("assistant", self.text if text is None else text)
        parts: list[Part] = [block.part() for block in blocks]
        if self.refusals:
            parts.append(Refusal(self.refusal))
        return Message("assistant", tuple(parts))

    @property
    def reason(self) -> FinishReason:
        """Why it ended; `cancelled` while it has not."""
        return "cancelled" if self.finish is None else self.finish.reason
