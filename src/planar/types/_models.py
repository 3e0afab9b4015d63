"""What is known of models, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from planar.errors import ConfigurationError
from planar.types._words import JSON, Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in whole pico-USD per token (1 USD per million tokens is 1,000,000).

    A kind of token without a rate of its own (`None`) is charged as the kind it is part of.

    Attributes:
        cache_write_1h: For prompts kept an hour.
        call: Per request, in nano-USD.
        source: Where the figures were read, and `as_of` when.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    call: int = 0
    source: str = ""
    as_of: str = ""

    FREE: ClassVar[Price]

    @classmethod
    def per_million(
        cls,
        *,
        input: Decimal | str | int,
        output: Decimal | str | int,
        cached_input: Decimal | str | int | None = None,
        cache_write: Decimal | str | int | None = None,
        source: str = "",
        as_of: str = "",
    ) -> Price:
        """A price from USD per million tokens, as vendors list it.

        Raises:
            ConfigurationError: A rate is negative, not a number, or finer than a pico-USD per token.
        """
        return cls(
            input=_pico(input),
            output=_pico(output),
            cached_input=None if cached_input is None else _pico(cached_input),
            cache_write=None if cache_write is None else _pico(cache_write),
            source=source,
            as_of=as_of,
        )


def _pico(usd_per_million: Decimal | str | int) -> int:
    given: object = usd_per_million
    try:
        # A float is refused: 0.1 is not the tenth that was meant.
        known = isinstance(given, Decimal | str | int) and not isinstance(given, bool)
        pico = Decimal(usd_per_million) * 1_000_000 if known else Decimal(-1)
        exact = pico.is_finite() and pico >= 0 and pico == pico.to_integral_value()
    except ArithmeticError:
        pico, exact = Decimal(0), False
    if not exact:
        raise ConfigurationError(
            f"a price of {usd_per_million!r} USD per million tokens is not a whole number of pico-USD per token:"
            " write a Decimal, a str or an int of at least 0"
        )
    return int(pico)


Price.FREE = Price(input=0, output=0, source="computed in this process; set a price to charge for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known of one model at one provider. What is not known is `None`, never a guess.

    Attributes:
        context_window: Tokens of prompt and answer together.
        capabilities: `None` where nobody has listed them; then no capability excludes the model.
        local: It runs in this process.
        quality: 0 to 100, with its source in the catalog.
    """

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    price: Price | None = None
    local: bool = False
    region: str | None = None
    quality: float | None = None
    raw: JSON | None = None
