"""What an operator's file says of models and prices."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Final, TypeAlias, cast, get_args

from planar.errors import ConfigurationError
from planar.types import Capability, ModelInfo, Price, PriceStep, nano

_Table: TypeAlias = Mapping[str, object]


def read_models(path: str | PathLike[str]) -> dict[str, ModelInfo]:
    """What the tables `[catalog."provider:model"]` of a file say, by deployment.

    Raises:
        ConfigurationError: The file cannot be read, or says what cannot be; all problems are in the message.
    """
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    problems: list[str] = []
    found: dict[str, ModelInfo] = {}
    for key, table in _table(document.get("catalog", {}), "catalog", problems).items():
        place = f'catalog."{key}"'
        provider, colon, model = key.partition(":")
        if not (provider and colon and model):
            problems.append(f"{place}: the key is provider:model, such as 'openai:gpt-6-luna'")
            continue
        found[key] = _model(model, _table(table, place, problems), place, problems)
    if problems:
        raise ConfigurationError(f"{path}: " + "; ".join(problems))
    return found


def _table(value: object, place: str, problems: list[str]) -> _Table:
    if isinstance(value, dict):
        return cast("_Table", value)
    problems.append(f"{place} must be a table, not {value!r}")
    return {}


def _read(table: _Table, readers: Mapping[str, _Reader], place: str, problems: list[str]) -> dict[str, Any]:
    """The values whose names are known and whose form is right; the others are problems."""
    read: dict[str, Any] = {}
    for name, value in table.items():
        if name not in readers:
            problems.append(f"{place} has no key {name!r}: there are {', '.join(readers)}")
            continue
        try:
            read[name] = readers[name](value)
        except ConfigurationError as error:
            problems.append(f"{place}.{name}: {error}")
    return read


def _model(model: str, table: _Table, place: str, problems: list[str]) -> ModelInfo:
    price = table.get("price")
    rest = {name: value for name, value in table.items() if name != "price"}
    known = _read(rest, _OF_A_MODEL, place, problems)
    if price is not None:
        known["price"] = _price(_table(price, f"{place}.price", problems), f"{place}.price", problems)
    return ModelInfo(id=model, **known)


def _price(table: _Table, place: str, problems: list[str], *, steps: bool = True, tiers: bool = True) -> Price | None:
    nested = {"steps"} if steps else set[str]()
    nested |= {"tiers"} if tiers else set()
    rates = _read({name: value for name, value in table.items() if name not in nested}, _OF_A_PRICE, place, problems)
    missing = [name for name in ("input", "output") if name not in table]
    if missing:
        problems.append(f"{place} needs {' and '.join(missing)}")
    if steps:
        rates["steps"] = _steps(table.get("steps", []), f"{place}.steps", problems)
    if tiers:
        rates["tiers"] = _tiers(table.get("tiers", {}), f"{place}.tiers", problems)
    try:
        return None if problems else Price(**rates)
    except ConfigurationError as error:
        problems.append(f"{place}: {error}")
        return None


def _tiers(value: object, place: str, problems: list[str]) -> dict[str, Price | None]:
    tiers: dict[str, Price | None] = {}
    for word, each in _table(value, place, problems).items():
        inner = f"{place}.{word}"
        tiers[word] = _price(_table(each, inner, problems), inner, problems, tiers=False)
    return tiers


def _steps(value: object, place: str, problems: list[str]) -> tuple[PriceStep, ...]:
    if not isinstance(value, list):
        problems.append(f"{place} must be a list of tables, not {value!r}")
        return ()
    steps: list[PriceStep] = []
    for number, each in enumerate(cast("list[object]", value), 1):
        table = dict(_table(each, f"{place}[{number}]", problems))
        above = table.pop("above", None)
        if type(above) is not int:
            problems.append(f"{place}[{number}] needs above, a number of tokens")
        price = _price(table, f"{place}[{number}]", problems, steps=False, tiers=False)
        if price is not None and type(above) is int:
            steps.append(PriceStep(above=above, price=price))
    return tuple(steps)


def _rate(value: object) -> int:
    return Price.per_million(input=cast("str", value), output=0).input


def _money(value: object) -> int:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ConfigurationError(f"an amount in USD is a text, such as '0.01', not {value!r}")
    return nano(value)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ConfigurationError(f"it is a number from 0 to 100, not {value!r}")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"it is a whole number of at least 1, not {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"it is a text, not {value!r}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"it is true or false, not {value!r}")
    return value


def _texts(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise ConfigurationError(f"it is a list of texts, not {value!r}")
    return frozenset(map(_text, cast("list[object]", value)))


def _capabilities(value: object) -> frozenset[str]:
    words = _texts(value)
    unknown = words - set(get_args(Capability))
    if unknown:
        raise ConfigurationError(f"{', '.join(sorted(unknown))} is none: there are {', '.join(get_args(Capability))}")
    return words


_Reader: TypeAlias = Callable[[object], object]
_OF_A_MODEL: Final[Mapping[str, _Reader]] = {
    "context_window": _count,
    "max_output_tokens": _count,
    "capabilities": _capabilities,
    "region": _text,
    "quality": _number,
    "quality_source": _text,
    "refuses": _texts,
    "tokenizer": _text,
    "deprecated": _truth,
    "source": _text,
    "as_of": _text,
}
_OF_A_PRICE: Final[Mapping[str, _Reader]] = {
    "input": _rate,
    "output": _rate,
    "cached_input": _rate,
    "cache_write": _rate,
    "cache_write_1h": _rate,
    "reasoning": _rate,
    "audio_input": _rate,
    "cached_audio_input": _rate,
    "audio_output": _rate,
    "image_input": _rate,
    "image_output": _rate,
    "call": _money,
    "compute_second": _money,
    "compute_ms_per_token": _count,
    "source": _text,
    "as_of": _text,
}
