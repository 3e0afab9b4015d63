"""Connections to Redis: some for each event loop, given back only when nothing is left to be read on them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from planar.errors import ConfigurationError, MissingExtraError, StoreError
from planar.types import Secret

try:
    import redis.asyncio as redis
    from redis.exceptions import NoScriptError, RedisError, ResponseError
except ModuleNotFoundError as error:
    raise MissingExtraError("redis", extra="redis") from error

__all__ = ["BrokenConnectionError", "Link", "NoScriptError", "ResponseError", "shown"]

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}


class BrokenConnectionError(Exception):
    """A connection that had been kept was dead: the server was restarted, or is another one. Ask again."""


class _Connection(Protocol):
    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> Any: ...


class Link:
    """Asks one Redis server, from any event loop of asyncio.

    Args:
        url: `redis://`, `rediss://` (TLS), `valkey://` or `valkeys://`, as redis-py reads them.
        connections: At most so many at a time for each event loop; who finds none waits.
        timeout: Seconds for a connection and for each answer.

    Raises:
        ConfigurationError: The URL is none of these.
    """

    def __init__(self, url: str, *, connections: int, timeout: float) -> None:
        scheme, colon, rest = url.partition(":")
        if not colon or scheme not in _SCHEMES:
            raise ConfigurationError(f"{shown(url)!r} is not a URL of Redis or Valkey: redis://host:6379/0")
        if connections < 1:
            raise ConfigurationError(f"connections must be at least 1, not {connections!r}")
        self.shown = shown(url)
        self._url = Secret(f"{_SCHEMES[scheme]}:{rest}")
        self._most = connections
        self._timeout = timeout
        self._lock = threading.Lock()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
        self._factory = self._make_factory()

    async def ask(self, *commands: bytes) -> list[Any]:
        """Send commands in one go and read what each is answered; an error that is an answer is among them.

        Whoever is cancelled meanwhile leaves a connection behind that nobody uses again.

        Raises:
            StoreError: No answer: not reached, not in time, or not by a Redis that may answer.
            BrokenConnectionError: No answer on a connection that had worked before. All that are idle are closed.
        """
        pool = self._pool()
        if not pool.enter():
            try:
                async with asyncio.timeout(self._timeout):
                    await pool.turn()
            except TimeoutError as error:
                raise self.failed("no connection became free in time") from error
        try:
            return await self._ask(pool, b"".join(commands), len(commands))
        finally:
            pool.leave()

    async def aclose(self) -> None:
        """Close the connections of this event loop: those in use as soon as they have their answer."""
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None and pool.pid == os.getpid():
            await pool.close(for_good=True)

    def failed(self, what: object) -> StoreError:
        """The error that says which server it was, without its password."""
        return StoreError(f"{self.shown}: {what}")

    async def _ask(self, pool: _Pool, commands: bytes, count: int) -> list[Any]:
        fresh = not pool.idle
        connection = self._factory() if fresh else pool.idle.pop()
        try:
            async with asyncio.timeout(self._timeout):
                if fresh:
                    await connection.connect()
                await connection.send_packed_command(commands, check_health=False)
                answers = [await _answer(connection) for _ in range(count)]
        except TimeoutError as error:
            await connection.disconnect(nowait=True)
            raise self.failed(f"no answer within {self._timeout:g} s") from error
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            if fresh:
                raise self.failed(error) from error
            await pool.close()
            raise BrokenConnectionError from error
        except BaseException:
            await connection.disconnect(nowait=True)  # which waits for nothing
            raise
        await pool.keep(connection)
        return answers

    def _pool(self) -> _Pool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise ConfigurationError("the store on Redis needs asyncio: on trio use the one on SQLite") from error
        pool = self._pools.get(loop)
        if pool is None or pool.pid != os.getpid():
            with self._lock:
                pool = self._pools[loop] = _Pool(self._most)
        return pool

    def _make_factory(self) -> Any:
        try:
            pool = cast("Any", redis.ConnectionPool).from_url(
                self._url.reveal(), socket_timeout=None, socket_connect_timeout=None, protocol=2
            )
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{self.shown}: {error}") from None
        return pool.make_connection


class _Pool:
    """The connections of one event loop in one process."""

    def __init__(self, most: int) -> None:
        self.pid = os.getpid()
        self.idle: list[_Connection] = []
        self._free = most
        self._closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> bool:
        """Take the right to use a connection, where that is free and nobody waits for it."""
        if not self._free or self._waiting:
            return False
        self._free -= 1
        return True

    async def turn(self) -> None:
        """Wait for it, first come first served."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Let the next one in."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def keep(self, connection: _Connection) -> None:
        """Take back a connection on which nothing is left to be read."""
        if self._closed:
            await connection.disconnect(nowait=True)
        else:
            self.idle.append(connection)

    async def close(self, *, for_good: bool = False) -> None:
        """Close what is idle."""
        self._closed = self._closed or for_good
        while self.idle:
            await self.idle.pop().disconnect(nowait=True)


async def _answer(connection: _Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def shown(url: str) -> str:
    """A URL without its password, to be printed."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or ""
        at = f"{user}:***@" if parts.password else f"{user}@" if user else ""
    except ValueError:
        return "a URL that cannot be read"
    return urlunsplit((parts.scheme, at + host, parts.path, "", ""))
