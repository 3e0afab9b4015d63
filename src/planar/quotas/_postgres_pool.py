"""Connections to PostgreSQL: a pool for each event loop, errors in Planar's words, and one more try."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from threading import Lock
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import sniffio

from planar.errors import ConfigurationError, MissingExtraError, StoreError
from planar.types import Secret

try:
    import asyncpg
except ModuleNotFoundError as error:
    raise MissingExtraError("asyncpg", extra="postgres") from error

T = TypeVar("T")
_errors: Any = asyncpg.exceptions
_create_pool: Any = cast(Any, asyncpg).create_pool

_FAILURES: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # a TimeoutError is one
    ValueError,  # a text that PostgreSQL has no place for, such as one with a NUL in it
)
_PASSING: tuple[type[Exception], ...] = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    _errors.AdminShutdownError,
    _errors.CrashShutdownError,
    _errors.CannotConnectNowError,
    _errors.IdleSessionTimeoutError,
    _errors.DeadlockDetectedError,
    _errors.SerializationError,
    _errors.InternalClientError,  # what a connection that was cut says of the answer that did not come
)
"""After these the same call may work on another connection. It may have been done already: calls are repeatable."""


class Row(Protocol):
    """One row of an answer."""

    def __getitem__(self, key: str | int) -> Any:
        """A column."""
        ...


class Connection(Protocol):
    """What we use of a connection of asyncpg, which tells type checkers nothing."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any:
        """The first column of the first row."""
        ...

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Without an answer; several statements where there are no arguments."""
        ...

    async def executemany(self, query: str, args: Sequence[Sequence[object]], *, timeout: float | None = None) -> None:
        """The same statement with each of these."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """All or nothing of what is done in the block."""
        ...

    def is_closed(self) -> bool:
        """Whether it was closed by either side."""
        ...


class _Pool(Protocol):
    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...

    async def expire_connections(self) -> None: ...


class _Home:
    """What one event loop has."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = asyncio.Lock()
        self.pool: _Pool | None = None


class Connections:
    """The connections of one store, for as many event loops and processes as use it.

    Args:
        url: With the password, which is in no message.
        size: At most so many connections for each event loop.
        timeout: Seconds for a connection, and again for an answer.
        prepare: Run once on each event loop, before anything else.
    """

    def __init__(
        self, url: str, *, size: int, timeout: float, prepare: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._url = Secret(url)
        self._name = nameable(url)
        self._size = size
        self._timeout = timeout
        self._prepare = prepare
        self._lock = Lock()
        self._homes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Home] = WeakKeyDictionary()

    async def row(self, query: str, *args: object) -> Row:
        """The first row of the answer to one statement."""

        async def ask(connection: Connection) -> Row | None:
            return await connection.fetchrow(query, *args, timeout=self._timeout)

        row = await self.run(ask)
        if row is None:
            raise StoreError(f"the quota store {self._name} gave no answer")
        return row

    async def rows(self, query: str, *args: object) -> Sequence[Row]:
        """All rows of the answer to one statement."""

        async def ask(connection: Connection) -> Sequence[Row]:
            return await connection.fetch(query, *args, timeout=self._timeout)

        return await self.run(ask)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something on a connection, and once more on another one if that connection breaks.

        Raises:
            StoreError: The server cannot be reached, did not answer in time, or failed.
            ConfigurationError: This is trio.
        """
        home = self._home()
        try:
            try:
                return await self._once(home, work)
            except _PASSING:
                # Others in the pool may be as dead as this one, as after a restart of the server.
                if home.pool is not None:
                    await home.pool.expire_connections()
                return await self._once(home, work)
        except _FAILURES as error:
            raise StoreError(f"the quota store {self._name} failed: {_words(error)}") from error

    async def aclose(self) -> None:
        """Close the connections of this event loop when they are free, and those of other loops at once."""
        loop = asyncio.get_running_loop()
        with self._lock:
            homes = dict(self._homes)
            self._homes.clear()
        for each, home in homes.items():
            if home.pool is None or home.pid != os.getpid():
                continue
            if each is loop:
                await self._close(home.pool)
            elif not each.is_closed():
                each.call_soon_threadsafe(home.pool.terminate)

    async def _close(self, pool: _Pool) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await pool.close()
        except TimeoutError:
            pool.terminate()  # the server does not answer, not even to a goodbye

    async def _once(self, home: _Home, work: Callable[[Connection], Awaitable[T]]) -> T:
        pool = home.pool or await self._open(home)
        async with pool.acquire(timeout=self._timeout) as connection:
            try:
                return await work(connection)
            except asyncpg.InterfaceError:
                if connection.is_closed():
                    raise ConnectionResetError("the connection was closed") from None
                raise

    async def _open(self, home: _Home) -> _Pool:
        async with home.lock:
            if home.pool is None:
                pool: _Pool = await _create_pool(
                    self._url.reveal(),
                    min_size=0,
                    max_size=self._size,
                    timeout=self._timeout,
                    reset=_nothing_to_reset,
                    server_settings={
                        "application_name": "planar",
                        "default_transaction_isolation": "read committed",
                        # Planning these statements anew, or compiling them, takes longer than running them; and what
                        # was planned while a table was empty has to do when it is large.
                        "plan_cache_mode": "force_generic_plan",
                        "jit": "off",
                        "enable_seqscan": "off",
                    },
                )
                try:
                    async with pool.acquire(timeout=self._timeout) as connection:
                        await self._prepare(connection)
                except BaseException:
                    pool.terminate()
                    raise
                home.pool = pool
            return home.pool

    def _home(self) -> _Home:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            library = sniffio.current_async_library()
            raise ConfigurationError(
                f"the PostgreSQL store needs asyncio, and this is {library}: asyncpg knows nothing else"
            ) from None
        home = self._homes.get(loop)
        if home is None or home.pid != os.getpid():  # a child process must not talk on its parent's connections
            with self._lock:
                home = self._homes.get(loop)
                if home is None or home.pid != os.getpid():
                    home = self._homes[loop] = _Home()
        return home


def nameable(url: str) -> str:
    """The URL as it may be printed: without a password and without options."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    user = (parts.username or "") + "@" if parts.username else ""
    return f"{parts.scheme}://{user}{where}{parts.path}"


async def _nothing_to_reset(connection: object) -> None:
    """Our statements leave nothing behind; asyncpg's own way of asking would cost a round trip each time."""


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
