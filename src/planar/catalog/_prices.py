"""What the package `genai-prices` knows of prices, as a snapshot of ours. Needs the extra `prices`.

What `Usage` cannot count has no price here: a model that is also charged by time, pages, characters, video or another
such unit, or at other prices at other hours of the day, is left out, with the reason. Charges beside the tokens, such
as those for searches that a vendor runs, are not part of a price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any, Final

from planar.errors import MissingExtraError

try:
    from genai_prices import data_snapshot, types
except ImportError as missing:
    raise MissingExtraError("genai_prices", extra="prices") from missing

VENDORS: Final[Mapping[str, str]] = {
    "anthropic": "anthropic",
    "deepseek": "deepseek",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "together": "together",
    "xai": "x-ai",
}
"""Our names of vendors, and those of the package."""

_RATES: Final[Mapping[str, str]] = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "cached_audio_input",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "output_image_mtok": "image_output",
    "output_reasoning_mtok": "reasoning",
}
_BESIDE: Final = frozenset(("web_searches_kcount", "storage_searches_kcount"))
_INPUT_ALONE: Final = re.compile("embed|moderation")
"""Models whose answer has no tokens."""


def snapshot(day: datetime | None = None) -> dict[str, Any]:
    """What the package knows, as the document of a `Snapshot`: its own data, or what was fetched with it.

    Args:
        day: Prices hold at this moment; now unless given.
    """
    moment = day or datetime.now(tz=UTC)
    known = data_snapshot.get_snapshot()
    providers = {provider.id: provider for provider in known.providers}
    left_out: dict[str, str] = {}
    vendors: dict[str, Any] = {}
    for vendor, theirs in VENDORS.items():
        provider = providers.get(theirs)
        if provider is None:
            continue
        lines = [_line(vendor, model, moment, left_out) for model in provider.models if _is_served(vendor, model.id)]
        vendors[vendor] = {"source": (provider.pricing_urls or [provider.name])[0], "models": lines}
    name = f"genai-prices {version('genai-prices')}"
    if known.from_auto_update:
        name += f", fetched {known.timestamp.date()}"
    return {"day": str(moment.date()), "made_from": name, "left_out": left_out, "vendors": vendors}


def _is_served(vendor: str, model: str) -> bool:
    # The package keeps what Vertex serves beside what the Gemini API does; we ask the latter.
    return not (vendor == "gemini" and (model.startswith("claude") or model.endswith("-maas")))


def _line(vendor: str, model: types.ModelInfo, moment: datetime, left_out: dict[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": model.id, "names": list(_names(model.match))}
    if model.context_window is not None:
        line["window"] = model.context_window
    if model.deprecated is not None:
        line["deprecated"] = model.deprecated
    try:
        line["price"] = _whole_price(model, moment)
    except _LeftOutError as reason:
        left_out[f"{vendor}:{model.id}"] = str(reason)
        return line
    if until := _until(model, moment):
        line["until"] = until
    return line


class _LeftOutError(Exception):
    """A price of this kind cannot be said in ours."""


def _whole_price(model: types.ModelInfo, moment: datetime) -> dict[str, Any]:
    conditions = model.prices if isinstance(model.prices, list) else []
    if any(isinstance(each.constraint, types.TimeOfDateConstraint) for each in conditions):
        raise _LeftOutError("the price depends on the time of day")
    price = _rates(model.get_prices(moment), model.id)
    tiers: dict[str, Any] = {}
    for when in [variant.when for variant in model.price_variants or ()]:
        ((kind, word),) = when.items()
        if kind not in ("service_tier", "speed", "processing"):
            continue
        named = model.get_prices(moment, when)
        active = [each for each in model.price_variants or () if each.when == when and _is_active(each, moment)]
        if active and (
            kind != "service_tier" or word not in ("default", "standard") or named != model.get_prices(moment)
        ):
            tiers[word] = _rates(named, model.id)
    return {**price, **({"tiers": dict(sorted(tiers.items()))} if tiers else {})}


def _is_active(variant: types.PriceVariant, moment: datetime) -> bool:
    return variant.constraint is None or variant.constraint.active(moment)


def _rates(price: types.ModelPrice, model: str) -> dict[str, Any]:
    """The price with its steps: at each length of the prompt at which any of its rates changes."""
    named: dict[str, Any] = {key: value for key, value in vars(price).items() if value is not None}
    unknown = sorted(named.keys() - _RATES.keys() - _BESIDE)
    if unknown:
        raise _LeftOutError(f"it is also charged by {', '.join(unknown)}")
    rates = {_RATES[key]: value for key, value in named.items() if key in _RATES}
    if "input" not in rates or ("output" not in rates and not _INPUT_ALONE.search(model)):
        raise _LeftOutError("no price is known of its tokens")
    rates.setdefault("output", Decimal(0))
    starts = {tier.start for rate in rates.values() if isinstance(rate, types.TieredPrices) for tier in rate.tiers}
    flat = {name: _at(rate, 0) for name, rate in rates.items()}
    steps = [[start, {name: _at(rate, start + 1) for name, rate in rates.items()}] for start in sorted(starts)]
    return {**flat, **({"steps": steps} if steps else {})}


def _at(rate: Decimal | types.TieredPrices, length: int) -> int:
    """Pico-USD per token for a prompt of this length."""
    if isinstance(rate, types.TieredPrices):
        reached = [tier.price for tier in rate.tiers if length > tier.start]
        rate = reached[-1] if reached else rate.base
    pico = rate * 1_000_000
    if pico != int(pico):
        raise _LeftOutError("its price is finer than a pico-USD per token")
    return int(pico)


def _until(model: types.ModelInfo, moment: datetime) -> str | None:
    """The day from which another price is announced."""
    given = model.prices if isinstance(model.prices, list) else []
    constraints = [each.constraint for each in (*given, *(model.price_variants or ()))]
    days = [
        one.start_date for one in constraints if isinstance(one, types.StartDateConstraint) and not one.active(moment)
    ]
    return str(min(days)) if days else None


def _names(match: object) -> Iterable[str]:
    """A rule of the package as alternatives of ours."""
    if isinstance(match, types.ClauseOr):
        for clause in match.or_:
            yield from _names(clause)
    elif isinstance(match, types.ClauseAnd):
        yield " ".join(pattern for clause in match.and_ for pattern in _names(clause))
    else:
        yield _pattern(match)


_REGEX_PIECES: Final = re.compile(r"\\d\{(\d)\}|(\\d)|(\[-@\])|\\(.)|([a-z0-9@/-])")


def _pattern(clause: object) -> str:
    match clause:
        case types.ClauseEquals(equals=text):
            return text.lower()
        case types.ClauseStartsWith(starts_with=text):
            return f"{text.lower()}*"
        case types.ClauseEndsWith(ends_with=text):
            return f"*{text.lower()}"
        case types.ClauseContains(contains=text):
            return f"*{text.lower()}*"
        case types.ClauseRegex(regex=r"^(?!.*-[tT][tT][sS](?:$|-))"):
            return "!*-tts !*-tts-*"
        case types.ClauseRegex(regex=text):
            return _glob(text)
        case _:
            raise ValueError(f"{clause!r} is a rule of a kind that is not known here")


def _glob(regex: str) -> str:
    """A regular expression of letters and digits as a pattern.

    Raises:
        ValueError: It has anything else in it.
    """
    inner = regex.removeprefix("^").removesuffix("$")
    pattern = "" if regex.startswith("^") else "*"
    at = 0
    while at < len(inner):
        piece = _REGEX_PIECES.match(inner, at)
        if piece is None:
            raise ValueError(f"{regex!r} has no form as a pattern")
        many, digit, choice, escaped, plain = piece.groups()
        pattern += "[0-9]" * int(many) if many else "[0-9]" if digit else choice or escaped or plain
        at = piece.end()
    return pattern if regex.endswith("$") else f"{pattern}*"
