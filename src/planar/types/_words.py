"""The words that everything else is said in: literals, secrets and money."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NewType, TypeAlias, get_args

from planar.errors import ConfigurationError

JSON: TypeAlias = Mapping[str, Any]
LeaseId = NewType("LeaseId", str)
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal[
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "refusal",
    "context_overflow",
    "paused",
    "error",
    "cancelled",
    "other",
]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[str, ...] = get_args(Effort)
StrategyName: TypeAlias = Literal["ordered", "cheapest", "fastest", "quality", "balanced", "pinned"]
Wire: TypeAlias = Literal["streamed", "whole"]
OnLowBudget: TypeAlias = Literal["clamp", "refuse"]
Capability: TypeAlias = Literal[
    "tools",
    "parallel_tools",
    "json_schema",
    "reasoning",
    "image",
    "file",
    "audio",
    "embeddings",
    "logprobs",
    "seed",
    "caching",
    "sampling",
]
Dimension: TypeAlias = Literal["requests", "input_tokens", "output_tokens", "tokens", "concurrency", "nano_usd"]
GroupBy: TypeAlias = Literal["tenant", "deployment", "day"]
Phase: TypeAlias = Literal["connect", "first_token", "stall", "rate", "total"]
BreakerState: TypeAlias = Literal["closed", "open", "half_open"]
NANO = 1_000_000_000


def no_entries() -> dict[Any, Any]:
    """An empty mapping of its own for each object. `dict[str, Any]` makes one too, in five times the time."""
    return {}


class Secret:
    """A key that cannot be printed, formatted, pickled or copied into a log by accident.

    Only `reveal()` gives the text back; the code that builds a header is the only caller.

    Example:
        >>> key = Secret("sk-123")
        >>> f"{key} {key!r}"
        "Secret('***') Secret('***')"
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.__value

    def __hash__(self) -> int:
        return hash(("Secret", self.__value))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled: hand the key to the process that needs it another way")


def usd(nano_usd: int) -> Decimal:
    """Nano-USD as exact USD.

    Example:
        >>> usd(1_500_000)
        Decimal('0.0015')
    """
    return (Decimal(nano_usd) / NANO).normalize() if nano_usd else Decimal(0)


def nano(amount: Decimal | str | int) -> int:
    """USD as whole nano-USD.

    Raises:
        ConfigurationError: Not a number of at least 0, a float, or finer than a nano-USD.
    """
    try:
        exact = (
            Decimal(amount) * NANO if isinstance(amount, Decimal | str | int) and not isinstance(amount, bool) else None
        )
    except ArithmeticError:
        exact = None
    if exact is None or not exact.is_finite() or exact < 0 or exact != exact.to_integral_value():
        raise ConfigurationError(
            f"{amount!r} is not an amount of USD: write a Decimal, a str or an int of at least 0"
            " with at most nine decimals"
        )
    return int(exact)
