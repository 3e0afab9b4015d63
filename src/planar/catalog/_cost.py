"""Money from token counts: exact after a call, an upper bound before it, and what is likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, overload

from planar.errors import InvalidRequestError
from planar.types import Candidate, Price, Usage

_PICO_PER_NANO = 1000


@overload
def cost_of(usage: Usage, price: Price) -> int: ...
@overload
def cost_of(usage: Usage, price: Price, tier: str | None) -> int | None: ...
def cost_of(usage: Usage, price: Price, tier: str | None = None) -> int | None:
    """Price one completion in nano-USD, rounded up once.

    Args:
        usage: Counts as the provider reported them. Cached, written, audio and image tokens are part of input,
            reasoning, audio and image tokens are part of output; each is charged once, at its own rate if there is one.
        price: Pico-USD per token by kind.
        tier: The service tier that the vendor reports as billed.

    Returns:
        `None` where nobody has said what that tier costs.

    Raises:
        InvalidRequestError: The usage lacks a total; estimate it first, a missing count is not 0.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        raise InvalidRequestError("usage without input and output tokens cannot be priced: estimate them first")
    if tier is not None or not price._flat:
        applied = price.applied(input_tokens=usage.input_tokens, tier=tier)
        if applied is None:
            return None
        price = applied
    pico = _mixed(usage.input_tokens, price.input, _kinds_of_input(usage, price))
    if price.reasoning is None and price.audio_output is None and price.image_output is None:
        pico += usage.output_tokens * price.output
    else:
        pico += _mixed(
            usage.output_tokens,
            price.output,
            (
                (usage.reasoning_tokens, price.reasoning),
                (usage.audio_output_tokens, price.audio_output),
                (usage.image_output_tokens, price.image_output),
            ),
        )
    if price.compute_second:
        pico += _compute(price, usage.input_tokens + usage.output_tokens, usage.compute_ms)
    return -(-pico // _PICO_PER_NANO) + price.call


_Kinds: TypeAlias = tuple[tuple[int | None, int | None], ...]
"""How many tokens of each kind, and the kind's own rate."""


def _kinds_of_input(usage: Usage, price: Price) -> _Kinds:
    common = (usage.cached_input_tokens, price.cached_input), (usage.cache_write_tokens, price.cache_write)
    if not (usage.cache_write_1h_tokens or usage.audio_input_tokens or usage.image_input_tokens):
        return common
    hour, cached_audio = usage.cache_write_1h_tokens or 0, usage.cached_audio_input_tokens or 0
    return (
        (cached_audio, price._cached if price.cached_audio_input is None else price.cached_audio_input),
        ((usage.cached_input_tokens or 0) - cached_audio, price.cached_input),
        ((usage.cache_write_tokens or 0) - hour, price.cache_write),
        (hour, price.cache_write if price.cache_write_1h is None else price.cache_write_1h),
        ((usage.audio_input_tokens or 0) - cached_audio, price.audio_input),
        (usage.image_input_tokens, price.image_input),
    )


def _mixed(total: int, rate: int, kinds: _Kinds) -> int:
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


def _compute(price: Price, tokens: int, milliseconds: int | None) -> int:
    """Pico-USD of the machine's time: of the most that so many tokens take, where it was not measured."""
    most = tokens * (price.compute_ms_per_token or 0)
    return price.compute_second * (most if milliseconds is None else min(milliseconds, most))


def cost_bound(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost, in nano-USD: every token at the dearest rate of its side.

    With steps it is the dearest of those that a prompt of at most `input_tokens` can reach. For a call that asks for a
    service tier, give it `price.bounding(tier)`.
    """
    dearest_in, dearest_out = price._dearest
    pico = input_tokens * dearest_in + output_tokens * dearest_out
    if price.compute_second:
        pico += _compute(price, input_tokens + output_tokens, None)
    bound = -(-pico // _PICO_PER_NANO) + price.call
    for step in price.steps:
        if input_tokens > step.above:
            bound = max(bound, cost_bound(step.price, input_tokens=input_tokens, output_tokens=output_tokens))
    return bound


def expected_cost(
    price: Price, *, input_tokens: int, cached_tokens: int, output_tokens: int, tier: str | None = None
) -> int:
    """What a call of so many tokens is likely to cost, in nano-USD.

    Args:
        input_tokens: Of the whole prompt.
        cached_tokens: How many of them the cache will probably give.
        output_tokens: Of the whole answer.
        tier: The service tier that is asked for. One that has no price is taken for the standard one, at which most
            vendors serve whoever asks for what they do not have.
    """
    compute = 0
    if tier is not None or not price._flat:
        at_tier = None if tier is None else price.applied(input_tokens=input_tokens, tier=tier)
        price = at_tier or price.applied(input_tokens=input_tokens) or price
        compute = _compute(price, input_tokens - cached_tokens + output_tokens, None)
    pico = (input_tokens - cached_tokens) * price.input + cached_tokens * price._cached + output_tokens * price.output
    return -(-(pico + compute) // _PICO_PER_NANO) + price.call


def expected_costs(candidates: Sequence[Candidate], *, tier: str | None = None) -> list[int | None]:
    """`expected_cost` of each candidate's likely tokens; `None` where its price is unknown.

    It says once more what `expected_cost` says, without a call for each: a router asks it of fifty at once.
    """
    costs: list[int | None] = []
    for one in candidates:
        price = one.info.price
        if price is None:
            costs.append(None)
            continue
        cached, prompt, answer = one.cached_tokens_likely, one.input_tokens_likely, one.output_tokens_likely
        if price._flat and tier is None:
            pico = (prompt - cached) * price.input + cached * price._cached + answer * price.output
            costs.append(-(-pico // _PICO_PER_NANO) + price.call)
        else:
            costs.append(
                expected_cost(price, input_tokens=prompt, cached_tokens=cached, output_tokens=answer, tier=tier)
            )
    return costs
