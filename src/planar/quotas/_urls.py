"""Which store a URL means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

from planar.errors import ConfigurationError
from planar.protocols import Clock, QuotaStore
from planar.quotas.memory import MemoryQuotaStore
from planar.types import Limit

_STORES = {
    "sqlite": ("planar.quotas.sqlite", "SQLiteQuotaStore"),
    "redis": ("planar.quotas.redis", "RedisQuotaStore"),
    "rediss": ("planar.quotas.redis", "RedisQuotaStore"),
    "valkey": ("planar.quotas.redis", "RedisQuotaStore"),
    "valkeys": ("planar.quotas.redis", "RedisQuotaStore"),
    "postgresql": ("planar.quotas.postgres", "PostgresQuotaStore"),
    "postgres": ("planar.quotas.postgres", "PostgresQuotaStore"),
}


def open_store(
    url: str,
    *,
    limits: Mapping[str, Sequence[Limit]] | None = None,
    known_tenants_only: bool = False,
    clock: Clock | None = None,
) -> QuotaStore:
    """The store at a URL. Nothing is opened before its first call.

    `memory://` is the memory of this process, `sqlite:///planar.db` a file beside the program and
    `sqlite:////var/lib/planar.db` one by its whole path; `redis://`, `rediss://`, `valkey://`, `postgresql://` and
    `postgres://` are servers.

    Args:
        limits, known_tenants_only, clock: As every store takes them.

    Raises:
        ConfigurationError: The URL is of no kind that is known, or a limit makes no sense.
        MissingExtraError: The driver of that store is not installed.
    """
    scheme, colon, _ = url.partition("://")
    if colon and scheme == "memory":
        return MemoryQuotaStore(limits=limits, known_tenants_only=known_tenants_only, clock=clock)
    if not colon or scheme not in _STORES:
        # The rest of it is not shown: there may be a password in it.
        what = f"{scheme}://" if colon else "what has no scheme"
        known = ", ".join(f"{each}://" for each in ("memory", *_STORES))
        raise ConfigurationError(f"quotas cannot be kept in {what}; write one of {known}")
    module, name = _STORES[scheme]
    make = getattr(import_module(module), name)
    return cast("QuotaStore", make(url, limits=limits, known_tenants_only=known_tenants_only, clock=clock))
