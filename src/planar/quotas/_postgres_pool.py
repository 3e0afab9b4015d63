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
_connect: Any = cast(Any, asyncpg).connect

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

    async def close(self) -> None:
        """Say goodbye to the server."""
        ...

    def terminate(self) -> None:
        """Close the connection now, whatever is being done on it."""
        ...


class _Home:
    """What one event loop has. (asyncpg's own pool takes longer to lend a connection than PostgreSQL to answer.)"""

    def __init__(self, size: int) -> None:
        self.pid = os.getpid()
        self.slots = asyncio.Semaphore(size)
        self.opening = asyncio.Lock()
        self.prepared = False
        self.closed = False
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """A connection that is free: the one that was used last."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Take a connection back."""
        if self.closed:
            connection.terminate()
        else:
            self._idle.append(connection)

    def drop(self) -> None:
        """Close what is free at once."""
        while self._idle:
            self._idle.pop().terminate()

    async def close(self) -> None:
        """Close what is free, with a goodbye."""
        while connection := self.take():
            await connection.close()


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
                home.drop()  # others may be as dead as this one, as after a restart of the server
                return await self._once(home, work)
        except _FAILURES as error:
            raise StoreError(f"the quota store {self._name} failed: {_words(error)}") from error

    async def aclose(self) -> None:
        """Close the connections that are free, and the others as soon as they are."""
        loop = asyncio.get_running_loop()
        with self._lock:
            homes = dict(self._homes)
            self._homes.clear()
        for each, home in homes.items():
            home.closed = True
            if each is loop:
                await self._close(home)
            elif home.pid == os.getpid() and not each.is_closed():
                each.call_soon_threadsafe(home.drop)

    async def _close(self, home: _Home) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await home.close()
        except _FAILURES:
            home.drop()  # the server does not answer, not even to a goodbye

    async def _once(self, home: _Home, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._timeout if home.slots.locked() else None):
            await home.slots.acquire()
        try:
            connection = home.take() or await self._open(home)
            try:
                result = await work(connection)
            except BaseException as error:
                broke = connection.is_closed()
                # Only where the server itself said no, nothing more is to come on this connection.
                if isinstance(error, asyncpg.PostgresError) and not broke:
                    home.give(connection)
                else:
                    connection.terminate()
                if isinstance(error, asyncpg.InterfaceError) and broke:
                    raise ConnectionResetError("the connection was closed") from error
                raise
            home.give(connection)
            return result
        finally:
            home.slots.release()

    async def _open(self, home: _Home) -> Connection:
        connection: Connection = await _connect(
            self._url.reveal(),
            timeout=self._timeout,
            server_settings={
                "application_name": "planar",
                "default_transaction_isolation": "read committed",
                # Whoever gave up waiting must not stand in the queue of a tree for ever.
                "lock_timeout": str(max(1, round(self._timeout * 1000))),
                # Planning these statements anew, or compiling them, takes longer than running them; and what was
                # planned while a table was empty has to do when it is large.
                "plan_cache_mode": "force_generic_plan",
                "jit": "off",
                "enable_seqscan": "off",
                "enable_bitmapscan": "off",
            },
        )
        try:
            async with home.opening:
                if not home.prepared:
                    await self._prepare(connection)
                    home.prepared = True
        except BaseException:
            connection.terminate()
            raise
        return connection

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
                    home = self._homes[loop] = _Home(self._size)
        return home


def nameable(url: str) -> str:
    """The URL as it may be printed: without a password and without options.

    Raises:
        ConfigurationError: It is no URL of PostgreSQL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError("the URL of the quota store is none") from None  # there may be a password in it
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"a PostgreSQL store has a URL like postgresql://host/database, not {parts.scheme}://")
    where = parts.netloc.rpartition("@")[2]
    user = (parts.username or "") + "@" if parts.username else ""
    return f"{parts.scheme}://{user}{where}{parts.path}"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
