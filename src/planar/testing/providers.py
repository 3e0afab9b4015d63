"""What every provider has to keep, as tests that any implementation can run.

Needs pytest. Subclass, name a model and a question, and provide one fixture: a fresh `provider`.

    class TestMyProvider(ProviderContract):
        model = "m-1"
        question = ChatRequest(messages=(Message("user", "Three rivers?"),), max_tokens=32, temperature=0)
        key = "sk-123"

        @pytest.fixture
        async def provider(self) -> AsyncIterator[MyProvider]:
            provider = MyProvider(api_key=self.key)
            yield provider
            await provider.aclose()

Only the tests with `closed` in their names close it: one that is slow to make may be shared by the others.

What cannot be seen from outside has to be arranged: each further fixture and method that you override lets more be
checked, and what is not overridden is skipped. The tests are marked `anyio` and run on whatever the fixture
`anyio_backend` says. `pytest.register_assert_rewrite("planar.testing.providers", "planar.testing._answers")` in your
`conftest.py`, before the import, gives failures with values in them.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

import anyio
import pytest

from planar.errors import ProviderError, ProviderTimeoutError, RequestError, UnsupportedError
from planar.events import Event, ToolCallEnd
from planar.protocols import CountsTokens, KnowsModels, Provider
from planar.testing._answers import (
    PATIENCE,
    Answer,
    check_answer,
    failure_of,
    in_time,
    new_call,
    no_scope_is_left_open,
    read_answer,
    read_into,
    read_on,
    read_until_content,
    soon,
    until,
)
from planar.testing._watch import IO, watched
from planar.types import ChatRequest, EmbedRequest, Health, Message, ModelInfo, Timeouts

Asked: TypeAlias = tuple[Provider, ChatRequest]
"""Whom to ask, and what."""

SHORT = 0.05
"""Seconds of silence that are too many, where a test waits for them."""

each_form = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.mark.anyio
class ProviderContract:
    """The promises of `planar.protocols.Provider`, one test each.

    Attributes:
        model: What it serves.
        question: What it can answer.
        tool_question: What it answers by calling a tool.
        embedding_model: For vectors; `model` unless given.
        key: The secret that it was made with, which must not be seen anywhere.
        same_answer_twice: The same question gets the same answer.
        fills: The fields of `planar.protocols.Call.response` that are known after an answer.
        fills_when_left: Those that are known of `slow` when it was left, `usage` for instance.
    """

    model: ClassVar[str] = "default"
    question: ClassVar[ChatRequest] = ChatRequest(messages=(Message("user", "Three rivers in Spain?"),), max_tokens=64)
    tool_question: ClassVar[ChatRequest | None] = None
    embedding_model: ClassVar[str | None] = None
    key: ClassVar[str] = ""
    same_answer_twice: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ()
    fills_when_left: ClassVar[tuple[str, ...]] = ()

    # -- what can be arranged ------------------------------------------------------------------

    @pytest.fixture
    def failing(self) -> Asked:
        """A provider and a question that it fails to answer."""
        return pytest.skip("nothing was given that fails: override the fixture `failing`")

    @pytest.fixture
    def slow(self) -> Asked:
        """A provider and a question whose answer has begun and is far from its end when its first delta arrives."""
        return pytest.skip("nothing was given that takes long: override the fixture `slow`")

    @pytest.fixture
    def silent(self) -> Asked:
        """A provider and a question to which it says nothing for seconds."""
        return pytest.skip("nothing was given that says nothing: override the fixture `silent`")

    @pytest.fixture
    def stalling(self) -> Asked:
        """A provider and a question whose answer begins, and then nothing is said for seconds."""
        return pytest.skip("nothing was given that stalls: override the fixture `stalling`")

    def open_answers(self, provider: Provider) -> int | None:
        """How many answers are being computed, or connections held open for one; `None` if that cannot be told."""
        return None

    def requests_made(self, provider: Provider) -> int | None:
        """How often what is behind the provider was asked for an answer; `None` if that cannot be told."""
        return None

    # -- the answer ----------------------------------------------------------------------------

    @each_form
    async def test_an_answer_is_deltas_notices_usage_once_and_finish_last(
        self, provider: Provider, streamed: bool
    ) -> None:
        """Nothing else, in either form."""
        answer = await self._ask(provider, streamed=streamed)

        assert answer.has_content, "the model said nothing"

    async def test_nothing_follows_the_end(self, provider: Provider) -> None:
        """Who asks again is told again that it is over."""
        async with provider.stream(self.question, model=self.model, call=new_call()) as batches:
            async for _ in batches:
                pass

            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await anext(batches)

    async def test_a_tool_call_is_told_in_order(self, provider: Provider) -> None:
        """Its start, its arguments piece by piece, and its end with all of them."""
        if self.tool_question is None:
            pytest.skip("nothing was given that calls a tool: set `tool_question`")

        answer = await read_answer(provider, self.tool_question, model=self.model)

        assert any(isinstance(event, ToolCallEnd) for event in answer.events), "no tool was called"

    async def test_the_whole_form_says_what_the_streamed_form_says(self, provider: Provider) -> None:
        """In text, in counts, and in how it ended."""
        if not self.same_answer_twice:
            pytest.skip("no two of its answers are the same")

        streamed = await self._ask(provider)
        whole = await self._ask(provider, streamed=False)

        assert whole.text == streamed.text
        assert _counts(whole) == _counts(streamed)
        assert whole.events[-1] == streamed.events[-1]

    async def test_two_answers_at_once_do_not_mix(self, provider: Provider) -> None:
        """Each has its own text, counts and response."""
        alone = await self._ask(provider)
        answers = [Answer(new_call()), Answer(new_call())]

        async with anyio.create_task_group() as tasks:
            for answer in answers:
                tasks.start_soon(partial(read_into, answer, provider, self.question, model=self.model))

        for answer in answers:
            check_answer(answer)
            assert answer.has_content
            if self.same_answer_twice:
                assert answer.text == alone.text
                assert _output(answer) == _output(alone)

    async def test_the_request_is_not_changed(self, provider: Provider) -> None:
        """It goes on to the next deployment as it was."""
        before = copy.deepcopy(self.question)

        await self._ask(provider)

        assert self.question == before

    @each_form
    async def test_what_is_known_of_the_response_is_filled_in(self, provider: Provider, streamed: bool) -> None:
        """And the document of the whole form only where that form was asked for."""
        answer = await self._ask(provider, streamed=streamed)

        response = answer.call.response
        assert [name for name in self.fills if not getattr(response, name)] == []
        assert not streamed or response.raw is None, "`raw` is the answer of the whole form"
        known = response.usage is None or answer.usage is None
        assert known or response.usage == answer.usage, "two places tell two usages of one answer"

    async def test_the_deadline_is_left_to_the_client(self, provider: Provider) -> None:
        """Who keeps it twice reports it as the provider's fault."""
        call = new_call(deadline=anyio.current_time() - 1)

        answer = await read_answer(provider, self.question, model=self.model, call=call)

        assert answer.has_content

    # -- leaving -------------------------------------------------------------------------------

    async def test_an_answer_may_be_left_before_its_first_batch(self, provider: Provider) -> None:
        """And another one be asked for."""
        with in_time():
            async with provider.stream(self.question, model=self.model, call=new_call()):
                pass

        await self._until_idle(provider)
        assert (await self._ask(provider)).has_content

    async def test_an_answer_may_be_left_after_its_first_batch(self, provider: Provider) -> None:
        """And another one be asked for."""
        async with provider.stream(self.question, model=self.model, call=new_call()) as batches:
            await anext(batches)
        await self._until_idle(provider)

        assert (await self._ask(provider)).has_content

    async def test_an_answer_may_be_left_from_another_task(self, provider: Provider) -> None:
        """As a collected stream is, or one that a web framework closes."""
        opened: list[AbstractAsyncContextManager[Any]] = []
        left = anyio.Event()

        async def open_and_wait() -> None:
            manager = provider.stream(self.question, model=self.model, call=new_call())
            await anext(await manager.__aenter__())
            opened.append(manager)
            is_open.set()
            await left.wait()

        with no_scope_is_left_open():
            async with anyio.create_task_group() as tasks:
                is_open = anyio.Event()
                tasks.start_soon(open_and_wait)
                await is_open.wait()
                await opened[0].__aexit__(None, None, None)
                left.set()

        await self._until_idle(provider)
        assert (await self._ask(provider)).has_content

    async def test_no_scope_is_open_between_two_batches(self, provider: Provider) -> None:
        """A scope or task group of the provider around the caller's code would catch the caller's cancellation."""
        manager = provider.stream(self.question, model=self.model, call=new_call())
        opened: list[AsyncIterator[Sequence[Event]]] = []

        with no_scope_is_left_open():
            with anyio.CancelScope():
                opened.append(await manager.__aenter__())
            with anyio.CancelScope():
                await anext(opened[0])
            with anyio.CancelScope():
                await manager.__aexit__(None, None, None)

    async def test_no_task_outlives_an_answer(self, provider: Provider) -> None:
        """Whatever was started for it has ended when the block has."""
        await self._ask(provider)
        before = len(anyio.get_running_tasks())

        await self._ask(provider)

        await until(lambda: len(anyio.get_running_tasks()) <= before, "a task of the answer is still running")

    async def test_an_error_of_the_callers_goes_through(self, provider: Provider) -> None:
        """Neither swallowed nor wrapped."""

        ours, came = LookupError("the caller's own"), None
        try:
            async with provider.stream(self.question, model=self.model, call=new_call()) as batches:
                await anext(batches)
                raise ours
        except Exception as error:  # noqa: BLE001 - which one it is, is what is looked at
            came = error

        assert came is ours, f"the caller's own error became {came!r}"
        await self._until_idle(provider)

    async def test_leaving_ends_the_work(self, slow: Asked) -> None:
        """The computation or the connection, whoever waits for it; and what was used is told where it is known."""
        provider, question = slow
        answer = Answer(new_call())

        with in_time():
            async with provider.stream(question, model=self.model, call=answer.call) as batches:
                await read_until_content(batches, answer)

        await self._until_idle(provider)
        response = answer.call.response
        assert [name for name in self.fills_when_left if getattr(response, name) is None] == []

    async def test_a_cancelled_scope_ends_the_answer(self, slow: Asked) -> None:
        """While it is being waited for, and without another error."""
        provider, question = slow
        answer = Answer(new_call())

        with anyio.CancelScope() as scope:
            async with provider.stream(question, model=self.model, call=answer.call) as batches:
                await read_until_content(batches, answer)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(soon, scope.cancel)
                    await read_on(batches)

        assert scope.cancelled_caught, "the cancellation did not arrive"
        await self._until_idle(provider)

    async def test_a_native_cancel_ends_the_answer(self, slow: Asked, anyio_backend_name: str) -> None:
        """An asyncio task that is cancelled ends as cancelled."""
        if anyio_backend_name != "asyncio":
            pytest.skip("only asyncio has tasks that are cancelled one by one")
        provider, question = slow
        answer, begun = Answer(new_call()), asyncio.Event()

        async def ask() -> None:
            async with provider.stream(question, model=self.model, call=answer.call) as batches:
                await read_until_content(batches, answer)
                begun.set()
                await read_on(batches)

        task = asyncio.create_task(ask())
        await asyncio.wait_for(begun.wait(), PATIENCE)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)

        assert task.done(), "a cancelled answer goes on"
        assert task.cancelled(), f"a cancelled answer ended with {task.exception()!r}"
        await self._until_idle(provider)

    # -- failures ------------------------------------------------------------------------------

    @each_form
    async def test_a_failure_is_the_requests_or_the_providers(self, failing: Asked, streamed: bool) -> None:
        """No other error crosses this line, and none shows the key."""
        provider, question = failing

        error = await failure_of(provider, _in_form(question, streamed), self.model)

        assert isinstance(error, RequestError | ProviderError), f"{error!r} is neither the request's nor the provider's"
        shown = f"{error} {error!r} {error.body}"
        assert not self.key or self.key not in shown, "the error shows the key"
        await self._until_idle(provider)

    async def test_nothing_is_retried(self, failing: Asked) -> None:
        """That is the client's to do, on another deployment if it likes."""
        provider, question = failing
        before = self.requests_made(provider)
        if before is None:
            pytest.skip("nobody counts: override `requests_made`")

        await failure_of(provider, question, self.model)

        made = (self.requests_made(provider) or 0) - before
        assert made <= 1, f"one answer was asked for, and {made} requests were made"

    async def test_silence_before_the_first_delta_has_an_end(self, silent: Asked) -> None:
        """`first_token` is the provider's to keep."""
        provider, question = silent
        timeouts = Timeouts(connect=PATIENCE, first_token=SHORT, stall=PATIENCE)

        error = await failure_of(provider, question, self.model, timeouts)

        assert isinstance(error, ProviderTimeoutError), f"`first_token` passed, and it raised {error!r}"
        assert error.phase == "first_token"
        await self._until_idle(provider)

    async def test_silence_between_two_deltas_has_an_end(self, stalling: Asked) -> None:
        """`stall` is the provider's to keep."""
        provider, question = stalling
        timeouts = Timeouts(connect=PATIENCE, first_token=PATIENCE, stall=SHORT)

        error = await failure_of(provider, question, self.model, timeouts)

        assert isinstance(error, ProviderTimeoutError), f"`stall` passed, and it raised {error!r}"
        assert error.phase == "stall"
        await self._until_idle(provider)

    # -- the rest ------------------------------------------------------------------------------

    async def test_its_name_stands_before_a_colon(self, provider: Provider) -> None:
        """It is some text without one, and stays the same."""
        before = provider.name

        await self._ask(provider)

        assert before.strip()
        assert ":" not in before
        assert provider.name == before

    async def test_it_does_not_show_its_key(self, provider: Provider) -> None:
        """Neither to a log nor to a debugger that prints it."""
        if not self.key:
            pytest.skip("it has no key: set `key`")

        assert self.key not in f"{provider!r} {provider}"

    async def test_check_tells_and_never_raises_even_when_closed(self, provider: Provider) -> None:
        """Whatever the matter is, it is told."""
        health: object = await provider.check()
        await provider.aclose()
        closed: object = await provider.check()

        assert isinstance(health, Health)
        assert health.ok, f"it answers, and check() says {health.message!r}"
        assert isinstance(closed, Health)

    async def test_check_does_not_raise_where_answers_fail(self, failing: Asked) -> None:
        """It tells."""
        health: object = await failing[0].check()

        assert isinstance(health, Health)
        assert health.ok or health.message, "something is wrong, and it does not say what"

    async def test_models_are_listed_once_each(self, provider: Provider) -> None:
        """Those that it serves now."""
        infos = await provider.models()

        ids = [info.id for info in infos]
        assert all(isinstance(info, ModelInfo) for info in infos)  # pyright: ignore[reportUnnecessaryIsInstance]
        assert all(ids)
        assert len(ids) == len(set(ids)), f"a model is listed twice: {ids}"

    async def test_describing_a_model_asks_nobody(self, provider: Provider) -> None:
        """What it reads once, it may read in the first call; every router waits for the others."""
        if not isinstance(provider, KnowsModels):
            pytest.skip("it does not describe its models")
        provider.describe(self.model)

        with watched(*IO) as done:
            described = provider.describe(self.model)
            defaults = [provider.describe(model) for model in provider.default_models()]

        assert done == [], f"describing a model did {done}"
        assert described is not None, f"it answers by {self.model!r}, and says that it certainly does not serve it"
        assert None not in defaults, "it names a default model that it does not serve"

    async def test_a_prompt_is_counted_as_it_is_charged(self, provider: Provider) -> None:
        """The count that is held beforehand is the one that comes with the answer."""
        if not isinstance(provider, CountsTokens):
            pytest.skip("it does not count prompts")

        counted = await provider.count_tokens(self.question, model=self.model)

        usage = (await self._ask(provider)).usage
        assert usage is not None
        assert counted == usage.input_tokens

    async def test_texts_become_vectors_in_their_order_or_are_refused(self, provider: Provider) -> None:
        """One for each, and the same text has the same one wherever it stands."""
        texts = ("Ebro", "The Tagus is the longest river of the peninsula.")
        model = self.embedding_model or self.model
        try:
            found = await provider.embed(EmbedRequest(inputs=texts), model=model, call=new_call())
        except UnsupportedError:
            return

        turned = await provider.embed(EmbedRequest(inputs=texts[::-1]), model=model, call=new_call())

        assert len(found.vectors) == len(texts)
        for vector, again in zip(found.vectors, turned.vectors[::-1], strict=True):
            assert vector == pytest.approx(again, abs=1e-3)

    async def test_closed_twice_is_closed_once(self, provider: Provider) -> None:
        """After use and after none."""
        await provider.aclose()
        await provider.aclose()

    async def test_nothing_is_open_when_closed_after_an_answer(self, provider: Provider) -> None:
        """Nor is anything said against a second time."""
        await self._ask(provider)

        await provider.aclose()
        await provider.aclose()

        await self._until_idle(provider)

    # -- how it is done ------------------------------------------------------------------------

    async def _ask(self, provider: Provider, *, streamed: bool = True) -> Answer:
        return await read_answer(provider, _in_form(self.question, streamed), model=self.model)

    async def _until_idle(self, provider: Provider) -> None:
        await until(lambda: not self.open_answers(provider), "the block was left, and the work goes on")


def _in_form(question: ChatRequest, streamed: bool) -> ChatRequest:
    return replace(question, streamed=streamed)


def _counts(answer: Answer) -> tuple[int | None, int | None] | None:
    return None if answer.usage is None else (answer.usage.input_tokens, answer.usage.output_tokens)


def _output(answer: Answer) -> int | None:
    return None if answer.usage is None else answer.usage.output_tokens
