"""What a request asks for and its wire has no place for: told to the caller, or refused."""

from __future__ import annotations

from typing import NoReturn

from planar.errors import UnsupportedError
from planar.events import Notice


class LeftOut:
    """Collects what was left out of one request.

    Args:
        provider: Named in what is told.
        strict: Nothing may be left out: `drop` refuses like `refuse`.
    """

    __slots__ = ("_provider", "_seen", "_strict", "notices")

    def __init__(self, provider: str, *, strict: bool = False) -> None:
        self._provider = provider
        self._strict = strict
        self._seen: set[str] = set()
        self.notices: list[Notice] = []

    def drop(self, field: str, why: str) -> None:
        """Leave out what the answer does not depend on. Told once per field.

        Raises:
            UnsupportedError: The caller asked to be strict.
        """
        if self._strict:
            self.refuse(field, why)
        if field not in self._seen:
            self._seen.add(field)
            message = f"{self._provider}: {field} was left out: {why}"
            self.notices.append(Notice("parameter_dropped", message, {"field": field}))

    def refuse(self, field: str, why: str) -> NoReturn:
        """Refuse what the answer would be another one without.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(f"{self._provider}: {field}: {why}", provider=self._provider, param=field)
