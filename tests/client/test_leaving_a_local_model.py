"""Leaving a real model in process: it is idle within a token's time, and the lease is settled with what was used."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import anyio
import pytest

import planar

pytestmark = pytest.mark.anyio

PROMPT = "Write a very long story about a river."


class Local:
    """A client with the real model."""

    def __init__(self, model: str) -> None:
        self.provider = planar.LlamaCpp(model, n_ctx=1024, n_threads=1)
        self.client = planar.Planar(providers=[self.provider])

    @property
    def computed(self) -> int:
        """Tokens that the worker has computed in its life."""
        return self.provider.engine_state().tokens_generated

    async def idle_within_a_token(self, computed: int) -> None:
        """The worker stops, and since `computed` was read it has computed one token more at most."""
        with anyio.fail_after(5):
            while self.provider.engine_state().active:
                await anyio.lowlevel.checkpoint()
        assert self.computed - computed <= 1

    async def settled(self) -> planar.LedgerEntry:
        """The one row of the ledger, when nothing is held any more."""
        with anyio.fail_after(5):
            while (await self.client.quotas.usage("default")).concurrent:
                await anyio.lowlevel.checkpoint()
        [entry] = [entry async for entry in self.client.quotas.ledger("default")]
        assert entry.flags == {"cut"}
        assert entry.usage is not None
        assert not entry.usage.estimated
        return entry


@pytest.fixture
async def local(smollm2: str) -> AsyncIterator[Local]:
    local = Local(smollm2)
    await local.client.infer("Hi", tenant="warm-up", max_tokens=1)
    async with local.client:
        yield local


async def read(stream: planar.Stream, *, tokens: int) -> None:
    for _ in range(tokens):
        await anext(stream)


async def test_leaving_the_block_of_a_local_stream(local: Local) -> None:
    async with local.client.stream(PROMPT, temperature=0) as stream:
        await read(stream, tokens=8)
        computed = local.computed

    await local.idle_within_a_token(computed)
    assert (await local.settled()).output_tokens >= 8
    assert (await stream.completion()).finish_reason == "cancelled"


async def test_breaking_out_of_a_local_stream(local: Local) -> None:
    stream = local.client.stream(PROMPT, temperature=0)
    await read(stream, tokens=8)

    async for _token in stream:
        break
    computed = local.computed
    del stream
    gc.collect()

    await local.idle_within_a_token(computed)
    assert (await local.settled()).output_tokens >= 9


async def test_cancelling_a_local_stream(local: Local) -> None:
    computed = local.computed

    async def ask() -> None:
        async for _token in local.client.stream(PROMPT, temperature=0):
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while local.computed < computed + 4:
            await anyio.lowlevel.checkpoint()
        computed = local.computed
        tasks.cancel_scope.cancel()

    await local.idle_within_a_token(computed)
    assert (await local.settled()).output_tokens >= 4


async def test_cancelling_while_a_long_prompt_is_read(local: Local) -> None:
    computed = local.computed
    long = "The river bends. " * 150

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(local.client.infer, long)
        while not local.provider.engine_state().active:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    await local.idle_within_a_token(computed)
    entry = await local.settled()
    assert entry.output_tokens == 0
    assert entry.input_tokens < 600


async def test_a_local_stream_that_is_left_while_it_waits_was_never_computed(local: Local) -> None:
    async with local.client.stream(PROMPT, tenant="first", temperature=0) as first:
        await read(first, tokens=2)
        with anyio.move_on_after(0.05):
            await local.client.infer(PROMPT)

    entry = await local.settled()
    assert (entry.input_tokens, entry.output_tokens) == (0, 0)
