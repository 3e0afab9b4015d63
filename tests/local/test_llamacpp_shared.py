"""Several callers, callers who leave, and callers who do not read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import anyio
import pytest
from local_support import ask, by_grammar, new_call, question, texts, until

from planar.errors import ClosedError, OverloadedError, ProviderTimeoutError, StreamInterruptedError
from planar.events import TextDelta
from planar.providers.local.llamacpp import LlamaCpp
from planar.types import ChatRequest, Timeouts, Usage

pytestmark = pytest.mark.anyio

ENDLESS = by_grammar('root ::= ("one" | " " | "two") root')  # no way to end
HUGE = question("The river was wide and the night was cold. " * 300, max_tokens=1)


def saying(text: str) -> ChatRequest:
    return by_grammar(f'root ::= "{text}"')


@pytest.fixture
async def busy(llama: LlamaCpp) -> AsyncIterator[LlamaCpp]:
    """The model, writing an answer that has no end while the test runs."""
    async with llama.stream(ENDLESS, model="default", call=new_call(tenant="busy")) as batches:
        await anext(batches)
        yield llama


async def seconds_per_token(llama: LlamaCpp) -> float:
    started = time.perf_counter()
    await ask(llama, question(max_tokens=8, temperature=0.0))
    return (time.perf_counter() - started) / 8


async def test_leaving_in_the_middle_stops_within_a_token(llama: LlamaCpp) -> None:
    usual = await seconds_per_token(llama)
    call = new_call()
    pieces = 0
    async with llama.stream(ENDLESS, model="default", call=call) as batches:
        async for batch in batches:
            pieces += len(texts(batch)) > 0
            if pieces == 5:
                break
        left = time.perf_counter()
    elapsed = time.perf_counter() - left
    state = llama.engine_state()

    await until(lambda: True)
    again = llama.engine_state()

    assert elapsed < 5 * usual + 0.25
    assert (state.active, state.queued) == (0, 0)
    assert again.tokens_generated == state.tokens_generated
    usage = call.response.usage
    assert usage is not None
    assert usage.output_tokens is not None
    assert usage.output_tokens >= pieces


async def test_leaving_while_the_prompt_is_read_stops_at_once_and_counts_what_was_read(llama: LlamaCpp) -> None:
    whole = await llama.count_tokens(HUGE, model="default")
    call = new_call()

    async with llama.stream(HUGE, model="default", call=call):
        await until(lambda: llama.engine_state().active == 1)
        left = time.perf_counter()
    elapsed = time.perf_counter() - left

    assert elapsed < 1.0
    assert llama.engine_state().active == 0
    usage = call.response.usage
    assert usage is not None
    assert usage.input_tokens is not None
    assert usage.input_tokens < whole / 2
    assert usage.output_tokens == 0


async def test_a_cancelled_task_stops_its_computation(llama: LlamaCpp) -> None:
    call = new_call()

    async def read() -> None:
        await ask(llama, ENDLESS, call=call)

    before = llama.engine_state().tokens_generated
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await until(lambda: llama.engine_state().tokens_generated > before + 3)
        tasks.cancel_scope.cancel()

    assert llama.engine_state().active == 0
    assert call.response.usage is not None
    assert call.response.usage.output_tokens == llama.engine_state().tokens_generated - before


async def test_leaving_the_queue_costs_nothing(busy: LlamaCpp) -> None:
    call = new_call()

    async with busy.stream(question(), model="default", call=call):
        queued = busy.engine_state().queued

    assert queued == 1
    assert busy.engine_state().queued == 0
    assert call.response.usage == Usage(input_tokens=0, cached_input_tokens=0, output_tokens=0)


async def test_after_someone_left_the_next_answer_is_right(llama: LlamaCpp) -> None:
    for request in (HUGE, ENDLESS):
        async with llama.stream(request, model="default", call=new_call()):
            await until(lambda: llama.engine_state().active == 1)

        assert (await ask(llama, saying("still here"))).text == "still here"


async def test_callers_at_once_each_get_their_own_answer(llama: LlamaCpp) -> None:
    said = ["one river", "two rivers", "drei Flüsse", "四条河"]
    answers: dict[str, str] = {}

    async def read(text: str) -> None:
        answers[text] = (await ask(llama, saying(text))).text

    async with anyio.create_task_group() as tasks:
        for text in said:
            tasks.start_soon(read, text)

    assert answers == {text: text for text in said}


async def test_a_tenant_with_many_requests_does_not_keep_another_waiting(llama: LlamaCpp) -> None:
    order: list[str] = []

    async def read(tenant: str) -> None:
        await ask(llama, saying("a"), call=new_call(tenant=tenant))
        order.append(tenant)

    async with anyio.create_task_group() as tasks:
        async with llama.stream(ENDLESS, model="default", call=new_call()) as batches:
            await anext(batches)
            for number, tenant in enumerate(["many", "many", "many", "many", "single"], start=1):
                tasks.start_soon(read, tenant)
                await until(lambda number=number: llama.engine_state().queued == number)

    assert order == ["many", "single", "many", "many", "many"]


def test_callers_in_two_loops_and_threads_share_one_model(llama: LlamaCpp) -> None:
    answers: dict[str, str] = {}

    async def read(name: str) -> None:
        for number in range(3):
            answers[f"{name} {number}"] = (await ask(llama, saying(f"{name} {number}"))).text

    threads = [
        threading.Thread(target=anyio.run, args=(read, backend), kwargs={"backend": backend})
        for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(answers) == 6
    assert all(text == said for said, text in answers.items())


async def test_the_event_loop_runs_on_while_the_model_computes(llama: LlamaCpp) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await anyio.sleep(0.002)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await ask(llama, question("The river was wide. " * 30, max_tokens=24))
        tasks.cancel_scope.cancel()

    gaps.sort()
    assert len(gaps) > 50
    assert gaps[len(gaps) // 2] < 0.02
    assert gaps[-1] < 0.5


async def test_tokens_are_counted_while_an_answer_is_written(busy: LlamaCpp) -> None:
    with anyio.fail_after(10):
        counted = await busy.count_tokens(question("one two three"), model="default")

    assert counted > 3
    assert busy.engine_state().active == 1


async def test_an_answer_that_nobody_reads_waits(llama: LlamaCpp) -> None:
    before = llama.engine_state().tokens_generated
    async with llama.stream(ENDLESS, model="default", call=new_call()) as batches:
        await until(lambda: llama.engine_state().tokens_generated >= before + 32)
        for _ in range(3):
            await llama.count_tokens(question(), model="default")
        waiting = llama.engine_state().tokens_generated - before

        read = [event for event in await anext(batches) if isinstance(event, TextDelta)]
        await until(lambda: llama.engine_state().tokens_generated > before + waiting)

    assert waiting <= 40
    assert len(read) >= 32


async def test_a_caller_who_does_not_read_loses_its_place_when_others_wait(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256, patience=0.05)
    try:
        async with provider.stream(ENDLESS, model="default", call=new_call()) as batches:
            await until(lambda: provider.engine_state().tokens_generated >= 32)

            answer = await ask(provider, saying("my turn"))
            with pytest.raises(StreamInterruptedError, match="not read"):
                async for _ in batches:
                    pass
    finally:
        await provider.aclose()

    assert answer.text == "my turn"


def test_a_loop_that_is_gone_frees_the_model(llama: LlamaCpp) -> None:
    async def begin() -> None:
        stream = llama.stream(ENDLESS, model="default", call=new_call())
        kept.append(stream)
        batches = await stream.__aenter__()
        await anext(batches)

    kept: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()

    answer = anyio.run(ask, llama, saying("free again"))

    assert answer.text == "free again"


async def test_a_full_queue_says_so(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256, max_queued=1)
    try:
        async with provider.stream(ENDLESS, model="default", call=new_call()) as batches:
            await anext(batches)
            async with provider.stream(ENDLESS, model="default", call=new_call()):
                with pytest.raises(OverloadedError):
                    await ask(provider, question())
    finally:
        await provider.aclose()


async def test_the_first_token_may_not_take_for_ever(busy: LlamaCpp) -> None:
    call = new_call(timeouts=Timeouts(first_token=0.01))

    with pytest.raises(ProviderTimeoutError) as caught:
        await ask(busy, question(), call=call)

    assert caught.value.phase == "first_token"
    assert busy.engine_state().queued == 0


async def test_a_stall_is_found_out(llama: LlamaCpp) -> None:
    # Nothing of these letters may be shown while they could become the stop sequence.
    silent = by_grammar('root ::= "b" "a"*', temperature=0.0, stop=("a" * 3000,))

    with pytest.raises(ProviderTimeoutError) as caught:
        await ask(llama, silent, call=new_call(timeouts=Timeouts(stall=0.05)))

    assert caught.value.phase == "stall"


async def test_closing_ends_what_is_being_computed_and_what_waits(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256)
    errors: list[Exception] = []

    async def read() -> None:
        try:
            await ask(provider, ENDLESS)
        except ClosedError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)
        await until(lambda: provider.engine_state().tokens_generated > 3)
        await provider.aclose()

    assert len(errors) == 2
    assert not provider.engine_state().loaded


async def test_closing_while_the_model_is_loaded_does_not_wait_for_it(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1)

    async with provider.stream(question(), model="default", call=new_call()) as batches:
        with anyio.fail_after(20):
            await provider.aclose()

            with pytest.raises(ClosedError):
                await anext(batches)


async def test_no_thread_is_left_behind(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256, name="leaves-nothing")
    await ask(provider, saying("a"))
    during = [thread.name for thread in threading.enumerate()]

    await provider.aclose()

    assert "planar-leaves-nothing" in during
    assert "planar-leaves-nothing" not in [thread.name for thread in threading.enumerate()]


async def test_a_provider_that_is_dropped_ends_its_thread(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256, name="dropped")
    await ask(provider, saying("a"))
    [thread] = [thread for thread in threading.enumerate() if thread.name == "planar-dropped"]

    del provider

    await until(lambda: not thread.is_alive())
