"""Names with a pattern in them: what a caller asks for, and the deployments that are made of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from planar.errors import ConfigurationError

REGEX = "re:"
"""What an alias begins with that is a regex; no other alias has a colon in it."""


def stars(pattern: str, text: str) -> list[str] | None:
    """What each `*` of the pattern stands for; `None` if the text does not match it, whole and case-sensitive.

    Each takes as little as it can, the last one the rest. In one pass, however many there are.

    Example:
        >>> stars("*-of-*", "best-of-most-of-all")
        ['best', 'most-of-all']
    """
    first, *middle = pattern.split("*")
    if not middle:
        return [] if text == pattern else None
    last = middle.pop()
    place, end = len(first), len(text) - len(last)
    if place > end or not text.startswith(first) or not text.endswith(last):
        return None
    found: list[str] = []
    for literal in middle:
        at = text.find(literal, place, end)
        if at < 0:
            return None
        found.append(text[place:at])
        place = at + len(literal)
    return [*found, text[place:end]]


@dataclass(frozen=True, slots=True, eq=False)
class Wildcard:
    """An alias such as `gpt-*`, for deployments such as `openai:gpt-*`.

    Raises:
        ConfigurationError: A deployment has more stars than the alias can fill.
    """

    alias: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        count = self.alias.count("*")
        for value in self.values:
            if count > 1 and value.count("*") not in (0, count):
                raise ConfigurationError(
                    f"{value!r} has {value.count('*')} stars and the alias {count}: write as many, or none"
                )

    def deployments(self, name: str) -> tuple[str, ...]:
        """The deployments that `name` stands for; none if it does not match."""
        found = stars(self.alias, name)
        return () if found is None else tuple([_filled(value, found) for value in self.values])

    def reach(self, value: str) -> str:
        """A pattern with stars for all that one of its values can become."""
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    r"""An alias such as `re:claude-(.+)`, for deployments such as `anthropic:claude-\1`.

    Raises:
        ConfigurationError: It is no regex, or a deployment refers to a group that it does not have.
    """

    alias: str
    values: tuple[str, ...]
    regex: re.Pattern[str]

    @classmethod
    def of(cls, alias: str, values: Sequence[str]) -> Expression:
        """Compile it, and try what the deployments make of its groups."""
        try:
            regex = re.compile(alias.removeprefix(REGEX))
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigurationError(f"it is no regex: {error}") from error
        for value in values:
            if "*" in value:
                raise ConfigurationError(f"{value!r} has a star: a regex gives what its groups matched, such as \\1")
            try:
                regex.sub(value, "")  # reads the whole of it, whether anything matches or not
            except (re.error, IndexError) as error:
                raise ConfigurationError(f"{value!r} does not fit the regex: {error}") from error
        return cls(alias, tuple(values), regex)

    def deployments(self, name: str) -> tuple[str, ...]:
        """The deployments that `name` stands for; none if it does not match, whole."""
        found = self.regex.fullmatch(name)
        return () if found is None else tuple([found.expand(value) for value in self.values])

    def reach(self, value: str) -> str:
        """A pattern with stars for all that one of its values can become."""
        return re.sub(r"\\(?:g<[^>]*>|\d+)", "*", value)


Pattern: TypeAlias = Wildcard | Expression


def pattern_of(alias: str, values: Sequence[str]) -> Pattern | None:
    """The pattern that an alias is; `None` if it is a plain name.

    Raises:
        ConfigurationError: It cannot be one. The message does not repeat the alias.
    """
    if alias.startswith(REGEX):
        return Expression.of(alias, values)
    return Wildcard(alias, tuple(values)) if "*" in alias else None


def in_order(patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """Wildcards before regexes, and otherwise as they were written."""
    return tuple(sorted(patterns, key=lambda each: isinstance(each, Expression)))


def _filled(value: str, found: Sequence[str]) -> str:
    first, *others = value.split("*")
    taken = [*found] * len(others) if len(found) == 1 else found
    return first + "".join([text + literal for text, literal in zip(taken, others, strict=False)])
