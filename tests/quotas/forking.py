"""A program that uses one store before a fork, in the child and after it, and prints how many requests there were."""

from __future__ import annotations

import asyncio
import os
import sys

from planar.quotas import open_store
from planar.types import Amount, Charge, LeaseId

store = open_store(sys.argv[1])


async def spend(name: str) -> None:
    lease = await store.reserve(LeaseId(name), "acme", hold=Amount(), ttl=60, deployment="x:y")
    await store.settle(lease, charge=Charge(amount=Amount()))


async def main() -> bool:
    await spend("before")
    child = os.fork()
    if child == 0:
        return True
    os.waitpid(child, 0)  # noqa: ASYNC222 - nothing else runs here
    await spend("after")
    print((await store.usage("acme")).requests)
    await store.aclose()
    return False


if asyncio.run(main()):  # the child, in a loop of its own
    asyncio.run(spend("child"))
    os._exit(0)
