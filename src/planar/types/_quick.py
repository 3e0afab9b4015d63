"""Frozen data of which every call makes many."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import update_wrapper
from typing import Any, TypeVar

T = TypeVar("T")


def quick(kind: type[T]) -> type[T]:
    """Fill in a frozen dataclass slot by slot: most of what it costs is that each field is set by its name.

    Nothing else is changed: arguments, defaults and `__post_init__` are those that `dataclass` gave it, and once it
    has been made it cannot be altered. A field with a factory must be keyword-only.
    """
    init: Any = kind.__init__
    code = init.__code__
    count = code.co_argcount
    plain, named = code.co_varnames[:count], code.co_varnames[count : count + code.co_kwonlyargcount]
    steps: list[str] = []
    scope: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        name = each.name
        scope[f"put_{name}"] = getattr(kind, name).__set__
        value = name
        if each.default_factory is not MISSING:
            scope[f"make_{name}"], scope["unset"] = each.default_factory, init.__kwdefaults__[name]
            value = f"make_{name}() if {name} is unset else {name}"
        steps.append(f"    put_{name}(self, {value})")
    if hasattr(kind, "__post_init__"):
        steps.append("    self.__post_init__()")
    head = ", ".join([*plain, "*", *named] if named else plain)
    # As `dataclass` does it: of nothing but the names of our own fields.
    exec("\n".join([f"def __init__({head}):", *steps]), scope)  # noqa: S102
    filled = scope["__init__"]
    filled.__defaults__, filled.__kwdefaults__ = init.__defaults__, init.__kwdefaults__
    kind.__init__ = update_wrapper(filled, init)  # type: ignore[method-assign]
    return kind
