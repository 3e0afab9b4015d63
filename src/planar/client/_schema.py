"""Whether a JSON value has the shape of a JSON schema, as far as answers need it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeGuard

from planar.errors import InvalidRequestError
from planar.types import JSON

_MOST_PROBLEMS = 20
_DEEPEST = 64
_ANNOTATIONS = frozenset({"$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated"}) | frozenset(
    {"description", "examples", "format", "title"}
)

Problem: TypeAlias = str
_Check: TypeAlias = Callable[[Any, Any, JSON, "Validator", str], Iterator[Problem]]


class Validator:
    """Holds values to one schema: the keywords of draft 2020-12 that say something about a single document.

    Args:
        schema: Its own `$ref`s may point into itself; nothing is ever fetched.

    Raises:
        InvalidRequestError: The schema uses a keyword that is not checked here, or a reference that leads nowhere.
            An answer that was not checked is not called valid.
    """

    def __init__(self, schema: JSON) -> None:
        self._root = schema
        self._look_over(schema, depth=0)

    def problems(self, value: Any) -> tuple[Problem, ...]:
        """What is wrong with `value`, a line each, at most twenty; empty if nothing is."""
        found: list[Problem] = []
        for problem in self.check(value, self._root, "answer"):
            found.append(problem)
            if len(found) == _MOST_PROBLEMS:
                break
        return tuple(found)

    def check(self, value: Any, schema: Any, place: str) -> Iterator[Problem]:
        """The problems of one value under one subschema."""
        if schema is True:
            return
        if schema is False:
            yield f"{place}: nothing is allowed here"
            return
        if place.count(".") + place.count("[") > _DEEPEST:
            yield f"{place}: nested more than {_DEEPEST} deep"
            return
        for keyword, wanted in schema.items():
            checked = _CHECKS.get(keyword)
            if checked is not None:
                yield from checked(value, wanted, schema, self, place)

    def resolved(self, reference: str) -> Any:
        """What a `$ref` points at."""
        found: Any = self._root
        if not reference.startswith("#"):
            raise InvalidRequestError(f"output: $ref {reference!r} leads out of the schema", param="output")
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            name = step.replace("~1", "/").replace("~0", "~")
            if not _is_object(found) or name not in found:
                raise InvalidRequestError(f"output: $ref {reference!r} leads nowhere", param="output")
            found = found[name]
        return found

    def _look_over(self, schema: Any, *, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not _is_object(schema) or depth > _DEEPEST:
            raise InvalidRequestError("output: a schema is an object, at most 64 deep", param="output")
        unknown = sorted(set(schema) - _CHECKS.keys() - _ANNOTATIONS)
        if unknown:
            raise InvalidRequestError(
                f"output: the schema's {', '.join(unknown)} cannot be checked: leave it out, or give a pydantic class",
                param="output",
            )
        if "$ref" in schema:
            self.resolved(schema["$ref"])
        for keyword, value in schema.items():
            for part in _parts(keyword, value):
                self._look_over(part, depth=depth + 1)


def _is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _members(value: Any) -> Mapping[str, Any]:
    return value if _is_object(value) else {}


def _elements(value: Any) -> list[Any]:
    return value if _is_array(value) else []


def _parts(keyword: str, value: Any) -> Iterator[Any]:
    """The subschemas that a keyword holds."""
    if keyword in ("properties", "patternProperties", "$defs", "definitions"):
        yield from value.values()
    elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from value
    elif keyword in ("items", "additionalProperties", "not", "contains"):
        yield value


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
}


def _type(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not any(_KINDS[kind](value) for kind in kinds):
        yield f"{place}: must be {' or '.join(kinds)}, not {_shown(value)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _enum(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if not any(_same(value, one) for one in wanted):
        yield f"{place}: must be one of {', '.join(map(_shown, wanted))}, not {_shown(value)}"


def _const(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if not _same(value, wanted):
        yield f"{place}: must be {_shown(wanted)}, not {_shown(value)}"


def _same(one: Any, other: Any) -> bool:
    # In Python `True == 1`; in JSON they differ.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _properties(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    members = _members(value)
    for name, part in wanted.items():
        if name in members:
            yield from validator.check(members[name], part, f"{place}.{name}")


def _pattern_properties(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    members = _members(value)
    for pattern, part in wanted.items():
        for name in members:
            if re.search(pattern, name):
                yield from validator.check(members[name], part, f"{place}.{name}")


def _additional(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    members = _members(value)
    patterns = schema.get("patternProperties", {})
    named = _members(schema.get("properties"))
    for name in members:
        if name in named or any(re.search(pattern, name) for pattern in patterns):
            continue
        if wanted is False:
            yield f"{place}: has {name!r}, which is not among its properties"
        else:
            yield from validator.check(members[name], wanted, f"{place}.{name}")


def _required(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    for name in wanted if _is_object(value) else ():
        if name not in value:
            yield f"{place}: lacks {name!r}"


def _items(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    first = len(schema.get("prefixItems", ()))
    for number, item in enumerate(_elements(value)[first:], start=first):
        yield from validator.check(item, wanted, f"{place}[{number}]")


def _prefix_items(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    for number, (item, part) in enumerate(zip(_elements(value), wanted, strict=False)):
        yield from validator.check(item, part, f"{place}[{number}]")


def _contains(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if _is_array(value) and all(any(validator.check(item, wanted, place)) for item in value):
        yield f"{place}: has no item of the shape that one must have"


def _any_of(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if all(any(validator.check(value, part, place)) for part in wanted):
        yield f"{place}: {_shown(value)} has none of the {len(wanted)} shapes that are allowed"


def _one_of(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    fitting = sum(not any(validator.check(value, part, place)) for part in wanted)
    if fitting != 1:
        yield f"{place}: {_shown(value)} has {fitting} of the shapes of which it must have exactly one"


def _all_of(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    for part in wanted:
        yield from validator.check(value, part, place)


def _not(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if not any(validator.check(value, wanted, place)):
        yield f"{place}: {_shown(value)} has a shape that is excluded"


def _ref(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    yield from validator.check(value, validator.resolved(wanted), place)


def _pattern(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    if isinstance(value, str) and not re.search(wanted, value):
        yield f"{place}: {_shown(value)} does not match {wanted}"


def _unique(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
    items = _elements(value) if wanted else []
    if any(_same(one, other) for number, one in enumerate(items) for other in items[:number]):
        yield f"{place}: has an item twice"


def _bound(kind: type | tuple[type, ...], fits: Callable[[Any, Any], bool], words: str) -> _Check:
    def check(value: Any, wanted: Any, schema: JSON, validator: Validator, place: str) -> Iterator[Problem]:
        if isinstance(value, kind) and not isinstance(value, bool) and not fits(value, wanted):
            yield f"{place}: {_shown(value)} must {words} {wanted}"

    return check


def _is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step))


_NUMBER = (int, float)
_CHECKS: Mapping[str, _Check] = {
    "$ref": _ref,
    "additionalProperties": _additional,
    "allOf": _all_of,
    "anyOf": _any_of,
    "const": _const,
    "contains": _contains,
    "enum": _enum,
    "exclusiveMaximum": _bound(_NUMBER, lambda value, most: value < most, "be less than"),
    "exclusiveMinimum": _bound(_NUMBER, lambda value, least: value > least, "be more than"),
    "items": _items,
    "maxItems": _bound(list, lambda value, most: len(value) <= most, "have at most this many items:"),
    "maxLength": _bound(str, lambda value, most: len(value) <= most, "have at most this many characters:"),
    "maxProperties": _bound(dict, lambda value, most: len(value) <= most, "have at most this many properties:"),
    "maximum": _bound(_NUMBER, lambda value, most: value <= most, "be at most"),
    "minItems": _bound(list, lambda value, least: len(value) >= least, "have at least this many items:"),
    "minLength": _bound(str, lambda value, least: len(value) >= least, "have at least this many characters:"),
    "minProperties": _bound(dict, lambda value, least: len(value) >= least, "have at least this many properties:"),
    "minimum": _bound(_NUMBER, lambda value, least: value >= least, "be at least"),
    "multipleOf": _bound(_NUMBER, _is_multiple, "be a multiple of"),
    "not": _not,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "prefixItems": _prefix_items,
    "properties": _properties,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique,
}
