"""What is known of models, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from operator import attrgetter
from typing import ClassVar

from planar.errors import ConfigurationError
from planar.types._words import JSON, Capability, no_entries

STANDARD_TIERS = frozenset(("default", "standard", "standard_only", "on_demand"))
"""What vendors call the service tier that list prices are for: OpenAI, Anthropic and Gemini, Groq.

Anthropic is asked for `standard_only`, and answers `standard`.
"""
UNTOLD_TIERS = frozenset(("auto", ""))
"""A vendor that answers with these repeats the question: it has not said which tier it billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """What the whole prompt and its answer cost when the prompt is long.

    Attributes:
        above: A prompt of more tokens than this is charged at `price`, from its first token on.
        price: Without steps or tiers of its own.
    """

    above: int
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in whole pico-USD per token (1 USD per million tokens is 1,000,000).

    A kind of token without a rate of its own (`None`) is charged as the kind it is part of.

    Attributes:
        cache_write_1h: For prompts kept an hour.
        cached_audio_input: For tokens that are both cached and audio; without it they are charged as cached.
        call: Per request, in nano-USD.
        steps: Other prices for longer prompts; the highest one whose `above` a prompt exceeds holds for all of it.
        tiers: Prices of other service tiers, by the word that the vendor reports as billed, such as `flex`. They may
            have steps, but no tiers.
        compute_second: Nano-USD per second that the machine worked on the call (`Usage.compute_ms`), for a model that
            runs on machines of yours. 0 unless you set it.
        compute_ms_per_token: Most milliseconds that a token of the prompt or answer takes. Compute is bounded by it
            before the call, and no more than that is charged after it; needed where `compute_second` is set.
        source: Where the figures were read, and `as_of` when.

    Raises:
        ConfigurationError: A figure is negative or no whole number, steps are not in ascending order, a step or tier is
            no `Price` or has what it must not have, or compute is priced without a bound.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    cached_audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    call: int = 0
    compute_second: int = 0
    compute_ms_per_token: int | None = None
    steps: tuple[PriceStep, ...] = ()
    tiers: Mapping[str, Price] = field(default_factory=no_entries, hash=False)
    source: str = ""
    as_of: str = ""
    # What follows from the figures, for those who compute with them on every call.
    _flat: bool = field(init=False, repr=False, compare=False)
    _alone: Price | None = field(init=False, repr=False, compare=False)
    _cached: int = field(init=False, repr=False, compare=False)
    _dearest: tuple[int, int] = field(init=False, repr=False, compare=False)

    FREE: ClassVar[Price]

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ConfigurationError(f"this is no price: {problem}")
        put = object.__setattr__
        put(self, "_flat", not self.steps and not self.compute_second)
        put(self, "_alone", replace(self, steps=(), tiers={}) if self.steps or self.tiers else None)
        put(self, "_cached", self.input if self.cached_input is None else self.cached_input)
        rates = [rate or 0 for rate in _figures(self)]
        put(self, "_dearest", (max(rates[:7]), max(rates[7:11])))

    @classmethod
    def per_million(
        cls,
        *,
        input: Decimal | str | int,
        output: Decimal | str | int,
        cached_input: Decimal | str | int | None = None,
        cache_write: Decimal | str | int | None = None,
        cache_write_1h: Decimal | str | int | None = None,
        source: str = "",
        as_of: str = "",
        steps: Sequence[PriceStep] = (),
        tiers: Mapping[str, Price] | None = None,
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
            cache_write_1h=None if cache_write_1h is None else _pico(cache_write_1h),
            steps=tuple(steps),
            tiers=tiers or {},
            source=source,
            as_of=as_of,
        )

    def applied(self, *, input_tokens: int, tier: str | None = None) -> Price | None:
        """The flat price, without steps and tiers, that holds for one call.

        Args:
            input_tokens: Of the whole prompt.
            tier: The service tier that the vendor reports as billed; `None` where it reports none.

        Returns:
            `None` where nobody has said what that tier costs.
        """
        price = self
        if tier is not None and tier not in UNTOLD_TIERS:
            listed = self.tiers.get(tier)
            if listed is not None:
                price = listed
            elif tier not in STANDARD_TIERS:
                return None
        for step in reversed(price.steps):
            if input_tokens > step.above:
                price = step.price
                break
        price = price if price._alone is None else price._alone
        return price if price.source or not self.source else replace(price, source=self.source, as_of=self.as_of)

    def bounding(self, tier: str | None) -> Price | None:
        """A price that is never below what a call costs which asks for this service tier.

        A vendor may serve at the standard tier what it has no room for at another; one that is asked for `auto`
        chooses for itself.

        Returns:
            `None` where nobody has said what that tier costs.
        """
        if tier is None or (tier in STANDARD_TIERS and tier not in self.tiers):
            return self
        if tier == "auto":
            return _dearest_of((self, *self.tiers.values()))
        listed = self.tiers.get(tier)
        return None if listed is None else _dearest_of((self, listed))


_figures = attrgetter(
    *("input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "cached_audio_input", "image_input"),
    *("output", "reasoning", "audio_output", "image_output"),
    *("call", "compute_second", "compute_ms_per_token"),
)


def _problem(price: Price) -> str:
    """Why this cannot be a price; empty if it can."""
    strange: list[object] = [value for value in _figures(price) if value is not None and type(value) is not int]
    if strange:
        return f"figures are whole numbers, not {strange[0]!r}: Price.per_million takes USD per million tokens"
    inner: list[object] = [*[step.price for step in price.steps], *price.tiers.values()]
    if not all(isinstance(each, Price) for each in inner):
        return "the price of each step and tier is a Price"
    if min(value or 0 for value in _figures(price)) < 0:
        named = {each.name: getattr(price, each.name) for each in fields(price) if each.init}
        below = [name for name, value in named.items() if isinstance(value, int) and value < 0]
        return f"{', '.join(below)} must not be negative"
    above = [step.above for step in price.steps]
    if any(bound < 0 for bound in above) or above != sorted(set(above)):
        return f"steps ascend by `above`, not {above}"
    if any(step.price.steps or step.price.tiers for step in price.steps):
        return "the price of a step has no steps or tiers of its own"
    nested = [word for word, tier in price.tiers.items() if tier.tiers]
    if nested:
        return f"the tier {nested[0]!r} has tiers of its own"
    if price.compute_second and not price.compute_ms_per_token:
        return "compute_second needs compute_ms_per_token: without it no limit on money can hold"
    return ""


def _dearest_of(prices: Sequence[Price]) -> Price:
    """A price that at every length of the prompt is not below any of these."""

    def at(length: int) -> Price:
        flat = [price for each in prices if (price := each.applied(input_tokens=length)) is not None]
        return Price(
            input=max(price._dearest[0] for price in flat),
            output=max(price._dearest[1] for price in flat),
            call=max(price.call for price in flat),
            compute_second=max(price.compute_second for price in flat),
            compute_ms_per_token=max(price.compute_ms_per_token or 0 for price in flat),
        )

    above = sorted({step.above for price in prices for step in price.steps})
    return replace(at(0), steps=tuple([PriceStep(above=bound, price=at(bound + 1)) for bound in above]))


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
        region: Where the operator says that it is served.
        quality: 0 to 100 on the scale of `quality_source`, which also says when it was read.
        refuses: Parameters of a request that it answers with an error, by our names, such as `temperature`. They are
            left out with a `Notice`; a call with `strict=True` goes to other models.
        tokenizer: The `tiktoken` encoding that counts its prompts.
        deprecated: Its vendor has announced its end.
        source: Where the other figures were read, and `as_of` when. The price has its own.
    """

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    price: Price | None = None
    local: bool = False
    region: str | None = None
    quality: float | None = None
    quality_source: str = ""
    refuses: frozenset[str] | None = None
    tokenizer: str | None = None
    deprecated: bool | None = None
    source: str = ""
    as_of: str = ""
    raw: JSON | None = None
