"""JSON Schema as OpenAI's strict mode takes it: a subset, in which every object is closed and every property required.

Source: the documentation of structured outputs, "Supported schemas", and the types of the `openai` package 3.54.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from planar.types import JSON

_MAX_DEPTH = 64
_IMPOSSIBLE = frozenset(
    {
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "patternProperties",
        "prefixItems",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords that strict mode refuses, and without which the schema would mean something else."""
_LEFT_OUT = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "default",
        "deprecated",
        "examples",
        "maxContains",
        "maxLength",
        "maxProperties",
        "minContains",
        "minLength",
        "minProperties",
        "readOnly",
        "title",
        "uniqueItems",
        "writeOnly",
    }
)
"""Keywords that strict mode refuses or does not read: remarks, and bounds that Planar checks in the answer itself."""
_NODES = frozenset({"items"})
_LISTS = frozenset({"anyOf", "oneOf"})
_NAMED = frozenset({"properties", "$defs", "definitions"})
_SAYS_WHAT = frozenset({"type", "$ref", "anyOf", "enum", "const"})


class NotStrictError(Exception):
    """The schema says something that strict mode has no words for. The message says what."""


def strict_schema(schema: JSON) -> JSON:
    """`schema` in the form that strict mode takes. It allows nothing that the original forbids, bounds aside.

    Raises:
        NotStrictError: There is no such form; without strict mode the schema can still be sent.
    """
    strict = _node(schema, "schema", 0)
    if strict.get("type") != "object" or "anyOf" in strict:
        raise NotStrictError("schema: it must describe an object")
    return strict


def _node(schema: object, place: str, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise NotStrictError(f"{place}: a schema must be an object")
    if depth > _MAX_DEPTH:
        raise NotStrictError(f"{place}: nested too deeply")
    fields = _without_all_of(cast("Mapping[str, Any]", schema), place)
    if "$ref" in fields:
        return {"$ref": fields["$ref"]} | {
            name: _keyword(name, fields[name], place, depth) for name in ("$defs", "definitions") if name in fields
        }
    refused = sorted(_IMPOSSIBLE & fields.keys())
    if refused:
        raise NotStrictError(f"{place}: strict mode has no {refused[0]!r}")
    strict: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _LEFT_OUT:
            strict["anyOf" if name == "oneOf" else name] = _keyword(name, value, place, depth)
    if not _SAYS_WHAT & strict.keys():
        raise NotStrictError(f"{place}: strict mode needs a type")
    if strict.get("type") == "object" or "properties" in strict:
        _close(strict, place)
    return strict


def _without_all_of(fields: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    parts = fields.get("allOf")
    if parts is None:
        return fields
    rest = {name: value for name, value in fields.items() if name != "allOf"}
    if not isinstance(parts, list) or len(cast("list[object]", parts)) != 1 or not isinstance(parts[0], Mapping):
        raise NotStrictError(f"{place}: strict mode has no 'allOf'")
    return {**rest, **cast("Mapping[str, Any]", parts[0])}


def _keyword(name: str, value: object, place: str, depth: int) -> Any:
    here = f"{place}.{name}"
    if name in _NODES:
        return _node(value, here, depth + 1)
    if name in _LISTS and isinstance(value, list):
        listed = enumerate(cast("list[object]", value))
        return [_node(item, f"{here}[{number}]", depth + 1) for number, item in listed]
    if name in _NAMED and isinstance(value, Mapping):
        named = cast("Mapping[str, object]", value)
        return {key: _node(item, f"{here}.{key}", depth + 1) for key, item in named.items()}
    return value


def _close(strict: dict[str, Any], place: str) -> None:
    if strict.get("additionalProperties", False) is not False:
        raise NotStrictError(f"{place}: strict mode takes no properties beside the named ones")
    strict.setdefault("type", "object")
    strict["additionalProperties"] = False
    strict["required"] = list(strict.setdefault("properties", {}))
