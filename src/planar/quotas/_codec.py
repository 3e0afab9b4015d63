"""Ledger rows, limits and what else a store keeps, as plain data and back: nothing is lost or rounded on the way.

A field that has its default is left out. A field that is not known is passed over: a newer Planar may have written it.
So a new field with a default needs no change here, nor of what is already stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, NewType, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from planar.errors import PlanarError, StoreError
from planar.types import LedgerEntry, Limit, TenantPath

T = TypeVar("T")
_Reader: TypeAlias = Callable[[Any], Any]
_PLAIN = frozenset((str, int, float, bool, NoneType))


def entry_to_dict(entry: LedgerEntry) -> dict[str, Any]:
    """A ledger row as plain data."""
    return to_dict(entry)


def entry_from_dict(data: Mapping[str, Any]) -> LedgerEntry:
    """The ledger row that was written.

    Raises:
        StoreError: This is none.
    """
    return from_dict(LedgerEntry, data)


def limit_to_dict(limit: Limit) -> dict[str, Any]:
    """A limit as plain data."""
    return to_dict(limit)


def limit_from_dict(data: Mapping[str, Any]) -> Limit:
    """The limit that was written.

    Raises:
        StoreError: This is none, or is of a kind that this version does not know: it cannot be kept.
    """
    return from_dict(Limit, data)


def to_dict(data: object) -> dict[str, Any]:
    """Any of the frozen dataclasses as plain data, in the order of their fields, without what has its default."""
    written: dict[str, Any] = {}
    kind: Any = type(data)
    for name, default, _ in _shape(kind):
        value = getattr(data, name)
        if value is not default and value != default:
            written[name] = _plain(value)
    return written


def from_dict(kind: type[T], data: Mapping[str, Any]) -> T:
    """What `to_dict` was given.

    Raises:
        StoreError: A field is missing, or is not what it should be.
    """
    try:
        return cast(T, _read(kind, data))
    except (TypeError, ValueError, ArithmeticError, PlanarError) as error:
        raise StoreError(f"what was stored is not a {kind.__name__}: {error}") from error


def to_json(data: Mapping[str, Any]) -> str:
    """One line of ASCII, without spaces, the same for the same data.

    What JSON has no place for, such as an object or an infinite number in a provider's own `Usage.raw`, is written as
    its text: a charge is not lost for the sake of a note beside it.
    """
    try:
        return _line(data)
    except ValueError:
        return _line(_finite(data))


def from_json(text: str | bytes) -> dict[str, Any]:
    """The object that `to_json` wrote.

    Raises:
        StoreError: It is not a JSON object.
    """
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"what was stored is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise StoreError("what was stored is JSON, but not an object")
    return cast("dict[str, Any]", data)


def _line(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), default=_as_json, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in cast("Iterable[Any]", value)]
    return value


def _as_json(value: object) -> object:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else str(value)


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str | Decimal):
        return str(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value).items()
        return {name: to_dict(each) if is_dataclass(each) else each for name, each in entries}
    if isinstance(value, tuple | frozenset):
        items = [_plain(each) for each in cast("Iterable[Any]", value)]
        return items if isinstance(value, tuple) else sorted(items)
    return to_dict(value)


def _read(kind: Any, data: Mapping[str, Any]) -> Any:
    if not isinstance(data, Mapping):
        raise TypeError(f"an object is needed, not {data!r}")
    given = {name: read(data[name]) for name, _, read in _shape(kind) if name in data}
    return kind(**given)


@cache
def _shape(kind: Any) -> tuple[tuple[str, object, _Reader], ...]:
    """Of each field: its name, its default, and what reads it."""
    hints = get_type_hints(kind)
    return tuple((each.name, _default(each), _reader(hints[each.name])) for each in fields(kind) if each.init)


def _default(each: Field[Any]) -> object:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _reader(hint: Any) -> _Reader:
    """What turns plain data into a value of this type.

    Raises:
        TypeError: No such type is known: a field of a new kind has to be thought of here.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, NewType):
        return _reader(hint.__supertype__)
    if hint is TenantPath:
        return TenantPath
    if hint is Decimal:
        return Decimal
    if hint in _PLAIN:
        return partial(_checked, hint)
    if origin is Literal:
        return partial(_one_of, frozenset(inner))
    if origin in (Union, UnionType) and len(inner) == 2 and NoneType in inner:
        return partial(_unless_none, _reader(next(each for each in inner if each is not NoneType)))
    if origin is frozenset or (origin is tuple and inner[1:] == (...,)):
        return partial(_each, origin, _reader(inner[0]))
    if origin is Mapping:
        return partial(_mapped, _reader(inner[1])) if is_dataclass(inner[1]) else partial(_checked, dict)
    if is_dataclass(hint):
        return partial(_read, hint)
    raise TypeError(f"{hint!r} has no form as plain data")


def _checked(kind: type, value: Any) -> Any:
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)  # some writers of JSON leave the point out
    if type(value) is not kind or kind is float:
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


def _one_of(words: frozenset[Any], value: Any) -> Any:
    if value not in words:
        raise ValueError(f"{value!r} is not known here")
    return value


def _unless_none(read: _Reader, value: Any) -> Any:
    return None if value is None else read(value)


def _mapped(read: _Reader, value: Any) -> Any:
    return {name: read(each) for name, each in _checked(dict, value).items()}


def _each(kind: Callable[[Any], Any], read: _Reader, value: Any) -> Any:
    return kind(map(read, _checked(list, value)))
