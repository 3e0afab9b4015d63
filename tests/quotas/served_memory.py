"""The memory store of one process, asked by many: what the chaos harness itself is tried on."""

from __future__ import annotations

import pickle
import socketserver
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from planar.errors import PlanarError
from planar.quotas import MemoryQuotaStore
from planar.types import Amount, Charge, Lease, LeaseId, LedgerEntry, Limit, Receipt, UsageReport

STORE = "served_memory:ServedStore"


@contextmanager
def served(store: MemoryQuotaStore, folder: Path) -> Iterator[str]:
    """Answer for `store` at the path that is given, in threads, for as long as the block runs."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            verb, arguments, options = pickle.load(self.rfile)
            try:
                answer: object = _result(_call(store, verb, arguments, options))
            except PlanarError as error:  # it is raised where it was asked for
                answer = error
            self.wfile.write(pickle.dumps(answer))

    path = str(folder / "socket")
    with _Server(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing to say: who asked was killed."""


async def _call(store: MemoryQuotaStore, verb: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> object:
    if verb == "ledger":
        return [row async for row in store.ledger(*arguments, **options)]
    return await getattr(store, verb)(*arguments, **options)


def _result(work: Coroutine[Any, Any, object]) -> object:
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the memory store waits for nothing")


class ServedStore:
    """A `QuotaStore` that asks the one at `path`, over a connection for each verb."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def reserve(self, lease_id: LeaseId, tenant: str, *, hold: Amount, ttl: float, deployment: str) -> Lease:
        return await self._ask("reserve", lease_id, tenant, hold=hold, ttl=ttl, deployment=deployment)

    async def extend(self, lease: Lease, *, more: Amount, ttl: float) -> Lease:
        return await self._ask("extend", lease, more=more, ttl=ttl)

    async def dispatched(self, lease: Lease) -> None:
        return await self._ask("dispatched", lease)

    async def settle(self, lease: Lease, *, charge: Charge) -> Receipt:
        return await self._ask("settle", lease, charge=charge)

    async def release(self, lease: Lease) -> None:
        return await self._ask("release", lease)

    async def refund(self, lease_id: LeaseId, *, amount: Amount, reason: str) -> Receipt:
        return await self._ask("refund", lease_id, amount=amount, reason=reason)

    async def usage(self, tenant: str, *, since: float | None = None, until: float | None = None) -> UsageReport:
        return await self._ask("usage", tenant, since=since, until=until)

    async def ledger(
        self, tenant: str | None = None, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[LedgerEntry]:
        for row in await self._ask("ledger", tenant, since=since, until=until):
            yield row

    async def set_limits(self, tenant: str, *limits: Limit) -> None:
        return await self._ask("set_limits", tenant, *limits)

    async def limits(self, tenant: str) -> tuple[Limit, ...]:
        return await self._ask("limits", tenant)

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def _ask(self, verb: str, *arguments: object, **options: object) -> Any:
        answer = b""
        async with await anyio.connect_unix(self._path) as connection:
            await connection.send(pickle.dumps((verb, arguments, options)))
            async for part in connection:
                answer += part
        result = pickle.loads(answer)
        if isinstance(result, PlanarError):
            raise result
        return result
