"""The tenant trees in one Redis: their keys, the scripts that run on them, and which there are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from planar.errors import ConfigurationError
from planar.protocols import Clock
from planar.quotas._calendar import SECOND, Period, period, zone
from planar.quotas._redis_link import BrokenConnectionError, Link, NoScriptError, ResponseError
from planar.quotas._redis_scripts import call_of, keys_of, packed, script
from planar.types import LeaseId, TenantPath

PAGE = 500
"""How many rows, or trees, are asked for at a time."""

_log = logging.getLogger("planar.quotas")
_VERSION = 1
_ROOTS_KEPT = 10_000


class Trees:
    """Runs the scripts. Every key is named after the root of its tree; what is shared by all trees decides nothing.

    Args:
        clock: Where time comes from; `None` is the server's.
        first_limits: Scopes, and the words that set their limits, to be set when the trees are opened.
    """

    def __init__(
        self, link: Link, *, prefix: str, clock: Clock | None, first_limits: Sequence[tuple[TenantPath, list[bytes]]]
    ) -> None:
        if not prefix or {"{", "}"} & set(prefix):
            raise ConfigurationError(f"a prefix is a name without braces, not {prefix!r}")
        self._link = link
        self._prefix = prefix
        self._clock = clock
        self._first_limits = first_limits
        self._opened = False
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._registered: set[str] = set()

    async def run(self, name: str, tenant: str, *words: bytes) -> Any:
        """Run a script on the tree of a tenant; where calendar windows have to be opened, once more with them.

        Raises:
            StoreError: No answer, or none that makes sense.
            ConfigurationError: This is no server for quotas.
        """
        if not self._opened:
            await self._open()
        return await self._decide(name, tenant, words)

    async def ask(self, *commands: bytes) -> list[Any]:
        """Plain commands, in one round trip."""
        if not self._opened:
            await self._open()
        return await self._ask(*commands)

    async def register(self, tenant: str) -> None:
        """See that a root is among those that are known, which are in another slot than its tree."""
        if tenant.partition("/")[0] not in self._registered:
            if not self._opened:
                await self._open()
            await self._register(tenant)

    async def roots(self) -> list[str]:
        """The roots of all trees."""
        [roots] = await self.ask(packed(b"SMEMBERS", self._shared("roots")))
        return sorted(root.decode() for root in roots)

    async def root_of(self, lease_id: LeaseId) -> str | None:
        """The tree that knows this lease, if any does."""
        roots = await self.roots()
        for first in range(0, len(roots), PAGE):
            some = roots[first : first + PAGE]
            questions = [packed(b"HEXISTS", self.keys_of(root)[1], lease_id.encode()) for root in some]
            for root, there in zip(some, await self.ask(*questions), strict=True):
                if there:
                    return root
        return None

    def keys_of(self, tenant: str) -> tuple[bytes, ...]:
        """The keys of a tenant's tree: limits, leases, those that are due, those that have ended, and ledger."""
        root = tenant.partition("/")[0]
        keys = self._keys.get(root)
        if keys is None:
            if len(self._keys) >= _ROOTS_KEPT:
                self._keys.clear()  # nothing but a cache: names are made up by callers, and must not fill memory
            keys = self._keys[root] = keys_of(self._prefix, root)
        return keys

    async def _decide(self, name: str, tenant: str, words: Sequence[bytes]) -> Any:
        by, keys = script(name), self.keys_of(tenant)
        now = b"" if self._clock is None else b"%d" % round(self._clock.time() * SECOND)
        windows = b""
        while True:
            arguments = (now, windows, *words)
            [answer] = await self._send(call_of(by, keys, arguments))
            if isinstance(answer, NoScriptError):
                [answer] = await self._send(call_of(by, keys, arguments, whole=True))
            if isinstance(answer, ResponseError):
                raise self._link.failed(answer) from answer
            if type(answer) is not list or answer[0] != b"windows":
                return cast("Any", answer)
            windows = _windows(*cast("tuple[int, list[bytes]]", answer[1:]))

    async def _ask(self, *commands: bytes) -> list[Any]:
        answers = await self._send(*commands)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise self._link.failed(answer) from answer
        return answers

    async def _send(self, *commands: bytes) -> list[Any]:
        """Ask, again where a connection was dead: whatever is asked has one effect."""
        while True:
            try:
                return await self._link.ask(*commands)
            except BrokenConnectionError:
                await self._set_up_again()

    async def _set_up_again(self) -> None:
        """A server that came back without its data must not let everything pass: it gets the first limits again."""
        [version] = await self._ask(packed(b"GET", self._shared("version")))
        if version is None and self._opened:
            self._opened = False
            self._registered.clear()
            await self._open()

    async def _open(self) -> None:
        """Look whom we talk to, and set the first limits. Doing it twice, at the same time, changes nothing."""
        config, info = await self._send(packed(b"CONFIG", b"GET", b"maxmemory-policy"), packed(b"INFO"))
        told = _info_of(info)
        self._check_version(told.get("redis_version"))
        self._check_policy(_policy(config) or told.get("maxmemory_policy"))
        version = self._shared("version")
        [found] = await self._ask(packed(b"GET", version))
        if found is not None and int(found) > _VERSION:
            raise ConfigurationError(
                f"{self._link.shown}: a newer Planar keeps its quotas under the prefix {self._prefix!r} (version"
                f" {int(found)}, this one knows {_VERSION}): upgrade this one, or use another prefix"
            )
        for scope, words in self._first_limits:
            await self._register(scope)
            await self._decide("set_limits", scope, (scope.encode(), *words))
        # Last: whoever finds it finds the limits as well.
        await self._ask(packed(b"SET", version, b"%d" % _VERSION, b"NX"))
        self._opened = True

    def _check_version(self, version: str | None) -> None:
        # Valkey tells which Redis it is like.
        if version is not None and int(version.partition(".")[0]) < 7:
            raise ConfigurationError(f"{self._link.shown} is Redis {version}: quotas need Redis 7 or Valkey")

    def _check_policy(self, policy: str | None) -> None:
        if policy is None:
            _log.warning(
                "%s does not tell its maxmemory-policy: unless that is noeviction, it may forget what was spent",
                self._link.shown,
            )
        elif policy != "noeviction":
            raise ConfigurationError(
                f"{self._link.shown} may throw away what was spent when its memory is full (maxmemory-policy {policy}):"
                " set it to noeviction, or use a server of its own for quotas"
            )

    async def _register(self, tenant: str) -> None:
        root = tenant.partition("/")[0]
        await self._ask(packed(b"SADD", self._shared("roots"), root.encode()))
        if len(self._registered) >= _ROOTS_KEPT:
            self._registered.clear()
        self._registered.add(root)

    def _shared(self, name: str) -> bytes:
        return f"{self._prefix}:{name}".encode()


def _info_of(info: object) -> dict[str, str]:
    """What INFO tells, line by line; nothing where it is forbidden."""
    lines = info.decode().split("\r\n") if isinstance(info, bytes) else ()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _policy(config: object) -> str | None:
    # CONFIG is forbidden by many who rent out servers; some of them let INFO tell.
    found = cast("list[bytes]", config) if isinstance(config, list) else []
    return found[1].decode() if len(found) == 2 else None


def _windows(now: int, periods: Sequence[bytes]) -> bytes:
    """The calendar windows around `now`: only the client knows time zones."""
    found: list[str] = []
    for name in {each.decode() for each in periods}:
        kind, _, tz = name.partition(" ")
        start, end = period(cast("Period", kind), zone(tz), now)
        found.append(f"{name}={start}:{end}")
    return ";".join(found).encode()
