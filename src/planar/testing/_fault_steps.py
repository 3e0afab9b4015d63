"""The steps that every fault is made of, and how they are played on one connection. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import TypeAlias, assert_never


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Drip:
    """Write these bytes one at a time, with `gap` seconds after each."""

    data: bytes
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """Write these bytes `times` times over (`None`: for ever), with `gap` seconds after each time."""

    data: bytes
    times: int | None = None
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Write nothing for so many seconds; `None` means for ever, until the client closes."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection (RST) rather than end it. Nothing follows."""


@dataclass(frozen=True, slots=True)
class Close:
    """End our half of the connection (FIN), and wait for the client to end its own. Nothing follows."""


FaultStep: TypeAlias = Send | Drip | Repeat | Pause | Reset | Close
"""What a server can do to a client. After the last step the connection is kept for the next request."""


class End(Enum):
    """How a connection is ended from our side."""

    RESET = auto()
    CLOSE = auto()


Move: TypeAlias = bytes | float | End
"""Bytes to write, seconds to wait (`inf`: for ever), or an end."""


def play(steps: Sequence[FaultStep]) -> Iterator[Move]:
    """The moves of these steps, one by one: a step without end costs no memory."""
    for step in steps:
        match step:
            case Send(data):
                yield data
            case Drip(data, gap):
                for place in range(len(data)):
                    yield data[place : place + 1]
                    yield gap
            case Repeat(data, times, gap):
                for _ in count() if times is None else range(times):
                    yield data
                    yield gap
            case Pause(seconds):
                yield float("inf") if seconds is None else seconds
            case Reset():
                yield End.RESET
                return
            case Close():
                yield End.CLOSE
                return
            case _:
                assert_never(step)
