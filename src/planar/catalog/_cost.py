"""Money from token counts: exact after a call, an upper bound before it."""

from __future__ import annotations

from planar.errors import InvalidRequestError
from planar.types import Price, Usage

_PICO_PER_NANO = 1000


def cost_of(usage: Usage, price: Price) -> int:
    """Price one completion in nano-USD, rounded up once.

    Args:
        usage: Counts as the provider reported them. Cached, written, audio and image tokens are part of input,
            reasoning and audio tokens are part of output; each is charged once, at its own rate if there is one.
        price: Pico-USD per token by kind.

    Raises:
        InvalidRequestError: The usage lacks a total; estimate it first, a missing count is not 0.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        raise InvalidRequestError("usage without input and output tokens cannot be priced: estimate them first")
    hour = usage.cache_write_1h_tokens or 0
    pico = _mixed(
        usage.input_tokens,
        price.input,
        (
            (usage.cached_input_tokens, price.cached_input),
            ((usage.cache_write_tokens or 0) - hour, price.cache_write),
            (hour, price.cache_write if price.cache_write_1h is None else price.cache_write_1h),
            (usage.audio_input_tokens, price.audio_input),
            (usage.image_input_tokens, price.image_input),
        ),
    )
    pico += _mixed(
        usage.output_tokens,
        price.output,
        ((usage.reasoning_tokens, price.reasoning), (usage.audio_output_tokens, price.audio_output)),
    )
    return -(-pico // _PICO_PER_NANO) + price.call


def _mixed(total: int, rate: int, kinds: tuple[tuple[int | None, int | None], ...]) -> int:
    """Pico-USD of `total` tokens, of which some kinds have a rate of their own."""
    pico = 0
    rest = total
    for count, own_rate in kinds:
        if count and count > 0 and own_rate is not None:
            # A provider whose parts exceed their total must not make the rest negative.
            part = min(count, rest)
            pico += part * own_rate
            rest -= part
    return pico + rest * rate


def cost_bound(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost, in nano-USD: every token at the dearest rate of its side."""
    dearest_in = max(
        rate
        for rate in (
            price.input,
            price.cached_input,
            price.cache_write,
            price.cache_write_1h,
            price.audio_input,
            price.image_input,
        )
        if rate is not None
    )
    dearest_out = max(rate for rate in (price.output, price.reasoning, price.audio_output) if rate is not None)
    return -(-(input_tokens * dearest_in + output_tokens * dearest_out) // _PICO_PER_NANO) + price.call


def expected_cost(price: Price, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    """What a call will probably cost, in nano-USD: what a cache is expected to have at its own rate."""
    pico = input_tokens * price.input + output_tokens * price.output
    cached = price.cached_input
    if cached_tokens and cached is not None:
        pico -= min(cached_tokens, input_tokens) * (price.input - cached)
    return pico // _PICO_PER_NANO + price.call
