"""JSON at the edge: fast where a fast parser is installed, and one way to fail."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, cast

Parser: TypeAlias = tuple[Callable[[bytes], Any], tuple[type[Exception], ...]]

_parser: Parser | None = None


def loads(data: bytes) -> Any:
    """One JSON document from bytes.

    msgspec reads it where that is installed (the extra `fast`), pydantic's parser otherwise; which one is decided
    at the first call, so that importing a wire costs nothing.

    Raises:
        ValueError: Not JSON, not UTF-8, nested deeper than the parser allows, or a number out of range.
    """
    decode, failures = parser()
    try:
        return decode(data)
    except failures as error:
        raise ValueError(str(error)) from error


def parser() -> Parser:
    """What reads for `loads`, and what it raises, for whoever reads thousands of documents."""
    global _parser
    if _parser is None:
        _parser = _choose()
    return _parser


def _choose() -> Parser:
    try:
        msgspec: Any = importlib.import_module("msgspec")
    except ModuleNotFoundError:
        from pydantic_core import from_json

        return partial(from_json, allow_inf_nan=False, cache_strings="keys"), (ValueError,)
    return msgspec.json.decode, (ValueError, msgspec.DecodeError, RecursionError)


def parser_of(define: Callable[[Any], Any]) -> Parser | None:
    """What reads documents of one shape and refuses all others without building them, where msgspec is installed.

    Args:
        define: Makes the shape, given the package.
    """
    parser()
    msgspec: Any = sys.modules.get("msgspec")
    if msgspec is None:
        return None
    return msgspec.json.Decoder(define(msgspec)).decode, (ValueError, msgspec.DecodeError, RecursionError)


def is_complete(data: bytes) -> bool:
    """Whether `data` is one whole JSON object or list (a bare number might be half of a longer one)."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        loads(data)
    except ValueError:
        return False
    return True


def is_cut(data: bytes) -> bool:
    """Whether `data` is the beginning of a JSON document, or empty: worth calling cut rather than nonsense."""
    from pydantic_core import from_json

    if not data.strip():
        return True
    try:
        from_json(data, allow_partial=True)
    except ValueError:
        return False
    try:
        json.JSONDecoder().raw_decode(data.decode(errors="replace").lstrip())
    except (ValueError, RecursionError):
        return True
    return False  # a whole document, and something after it


def dumps(value: object) -> bytes:
    """JSON as it goes on the wire: compact, UTF-8, nothing that is not JSON.

    Raises:
        ValueError: Something in it has no JSON form: a NaN, a lone surrogate, bytes, an object, a loop.
    """
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error


def _plain(value: object) -> object:
    """Mappings that are not dicts, and nothing else."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    raise TypeError(f"{type(value).__name__} is not JSON")


# `json.dumps` would make one for every call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def as_dict(value: object) -> dict[str, Any]:
    """A JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A JSON list as it is, and anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """A JSON string as it is unless it is empty, and anything else as nothing."""
    return value if isinstance(value, str) and value else None
