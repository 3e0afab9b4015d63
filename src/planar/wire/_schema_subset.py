"""JSON Schema cut down to what a vendor's structured output takes: a table of keywords for each.

What a vendor does not take is told to the model in the description, and Planar checks the answer against the whole
schema, so that nothing that was asked for is lost.

Source: the vendors' documentation of structured output and the types of their SDKs, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from planar.errors import InvalidRequestError
from planar.types import JSON
from planar.wire._json import dumps

_MAX_DEPTH = 64
_ALWAYS = frozenset(
    {"type", "enum", "const", "description", "title", "properties", "required", "items", "$ref", "$defs"}
)
_NODES = frozenset({"items", "additionalProperties"})
_LISTS = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "definitions"})
_SILENT = frozenset({"$schema", "$id", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"})
"""Keywords that bind nobody: they are left out without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """What one vendor takes.

    Attributes:
        keywords: Taken as they are, beside those that every vendor takes.
        renamed: A keyword to the one that takes its place.
        values: For a keyword that is taken only with some values: which.
        closed: Every object must forbid further properties.
    """

    keywords: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[str, Callable[[object], bool]] = field(default_factory=dict[str, Callable[[object], bool]])
    closed: bool = False


_ANTHROPIC_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
ANTHROPIC = Subset(
    keywords=frozenset({"anyOf", "allOf", "additionalProperties", "format", "minItems", "definitions"}),
    renamed={"oneOf": "anyOf"},
    values={"format": lambda value: value in _ANTHROPIC_FORMATS, "minItems": lambda value: value in (0, 1)},
    closed=True,
)
GEMINI = Subset(
    keywords=frozenset(
        {
            "anyOf",
            "oneOf",
            "additionalProperties",
            "format",
            "minItems",
            "maxItems",
            "minimum",
            "maximum",
            "prefixItems",
            "propertyOrdering",
            "$anchor",
        }
    ),
)


def fitted(schema: JSON, subset: Subset) -> JSON:
    """`schema` with nothing in it that the vendor does not take.

    Raises:
        InvalidRequestError: It is no schema, or nested deeper than any vendor takes.
    """
    return _node(schema, subset, "schema", 0)


def _node(schema: object, subset: Subset, place: str, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise InvalidRequestError(f"{place}: a JSON schema must be an object", param=place)
    if depth > _MAX_DEPTH:
        raise InvalidRequestError(f"{place}: nested more than {_MAX_DEPTH} deep", param=place)
    kept: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in cast("Mapping[str, object]", schema).items():
        keyword = subset.renamed.get(name, name)
        check = subset.values.get(keyword)
        if (keyword in _ALWAYS or keyword in subset.keywords) and (check is None or check(value)):
            kept[keyword] = _value(name, value, subset, f"{place}.{name}", depth)
        elif name not in _SILENT:
            told[name] = value
    if subset.closed and (kept.get("type") == "object" or "properties" in kept):
        kept["additionalProperties"] = False
    if told:
        said = kept.get("description")
        bounds = dumps(told).decode()
        kept["description"] = f"{said}\n\n{bounds}" if said else bounds
    return kept


def _value(name: str, value: object, subset: Subset, place: str, depth: int) -> Any:
    if name in _NODES and isinstance(value, Mapping):
        return _node(cast("object", value), subset, place, depth + 1)
    if name in _LISTS and isinstance(value, list):
        listed = enumerate(cast("list[object]", value))
        return [_node(item, subset, f"{place}[{number}]", depth + 1) for number, item in listed]
    if name in _NAMED and isinstance(value, Mapping):
        named = cast("Mapping[str, object]", value)
        return {key: _node(item, subset, f"{place}.{key}", depth + 1) for key, item in named.items()}
    return value
