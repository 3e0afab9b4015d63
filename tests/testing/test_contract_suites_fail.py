"""A suite that cannot fail shows nothing: each of these implementations is broken in one way, and is found out."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any, TypeAlias

import anyio
import pytest

from planar.errors import OverloadedError, PlanarError, ProviderTimeoutError
from planar.events import AttemptStarted, Event, Finish, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart
from planar.protocols import Call, RequestContext
from planar.routing import CostRouter
from planar.testing import ScriptedProvider, reply
from planar.testing.providers import ProviderContract
from planar.testing.routers import RouterContract
from planar.testing.scripted import Step
from planar.testing.telemetry import STORIES, TelemetryContract
from planar.types import (
    Candidate,
    ChatRequest,
    Completion,
    Constraints,
    Embeddings,
    EmbedRequest,
    Health,
    Message,
    ModelInfo,
    Route,
    RouteRequest,
    Usage,
)

ENDED = reply("Ebro")[1]
USAGE = ENDED[0]  # type: ignore[index]
FINISH = Finish("stop")
IN_ORDER = "test_an_answer_is_deltas_notices_usage_once_and_finish_last"
FOUND_OUT = (AssertionError, pytest.fail.Exception)  # the latter where something should have been raised
Batches = AsyncIterator[Sequence[Event]]


# --- Providers --------------------------------------------------------------------------------


class Broken(ScriptedProvider):
    """One way of being broken per subclass: `around` is the whole block of an answer."""

    def stream(self, request: ChatRequest, *, model: str, call: Call) -> Any:
        return self.around(super().stream(request, model=model, call=call), request, call)

    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        return block


class KeepsAScope(Broken):
    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        with anyio.CancelScope():
            async with block as batches:
                yield batches


class KeepsATaskGroup(Broken):
    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        async with anyio.create_task_group():
            async with block as batches:
                yield batches


class LeavesATask(Broken):
    """Whoever waits for it to end waits for ever."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__()
        self.tasks = tasks

    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        self.tasks.start_soon(anyio.sleep_forever)
        return block


class WrapsErrors(Broken):
    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        async with block as batches:
            try:
                yield batches
            except Exception as error:
                raise RuntimeError("the answer was left") from error


class SwallowsErrors(Broken):
    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        with contextlib.suppress(BaseException):
            async with block as batches:
                yield batches


class NeverLeft(Broken):
    """The block's end does not reach what is behind it."""

    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        yield await block.__aenter__()


class KeepsTheDeadline(Broken):
    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        if call.deadline is not None and call.deadline < anyio.current_time():
            raise ProviderTimeoutError("too late", phase="total")
        return block


class OtherWhenWhole(Broken):
    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        if request.streamed:
            return block
        return ScriptedProvider("Guadalquivir").stream(request, model="m", call=call)


class OneAnswerForAll(Broken):
    """The second caller gets the rest of what the first one is reading."""

    def __init__(self) -> None:
        super().__init__(reply("Ebro, ", "Tagus"))
        self.shared: Any = None

    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        if self.shared is None:
            async with block as self.shared:
                yield self.slowly()
            self.shared = None
        else:
            yield self.slowly()

    async def slowly(self) -> Batches:
        shared = self.shared
        async for batch in shared:
            await anyio.lowlevel.checkpoint()
            yield batch


class Retries(Broken):
    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        self.received.append(self.received[-1])
        async with block as batches:
            yield batches


class ChangesTheRequest(Broken):
    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        dict.update(request.extra_body, {f"{len(request.extra_body)}": {}})  # type: ignore[arg-type]
        return block


class TellsTwoUsages(Broken):
    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        call.response.usage = Usage(input_tokens=1, output_tokens=1)
        return block


class RawInAStream(Broken):
    def around(self, block: Any, request: ChatRequest, call: Call) -> Any:
        call.response.raw = {}
        return block


class Endless(Broken):
    """It begins again where it should say that it is over."""

    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        async with block as batches:
            yield Again(batches)


class Again:
    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.ended = False

    def __aiter__(self) -> Again:
        return self

    async def __anext__(self) -> Sequence[Event]:
        try:
            return await anext(self.batches)
        except StopAsyncIteration:
            if self.ended:
                return []
            self.ended = True
            raise


class NeverSilent(Broken):
    """Knows of no timeout: its silence ends as an answer."""

    @asynccontextmanager
    async def around(self, block: Any, request: ChatRequest, call: Call) -> AsyncIterator[Batches]:
        async with block as batches:
            yield batches


class Renamed(ScriptedProvider):
    @property
    def name(self) -> str:
        return f"scripted-{len(self.received)}"


class ShowsItsKey(ScriptedProvider):
    def __repr__(self) -> str:
        return "ShowsItsKey('sk-123')"


class CheckFails(ScriptedProvider):
    async def check(self) -> Health:
        raise OverloadedError("busy")


class CheckFailsWhenClosed(ScriptedProvider):
    async def check(self) -> Health:
        assert not self.closed
        return Health()


class UnwellWithoutAWord(ScriptedProvider):
    async def check(self) -> Health:
        return Health(ok=False)


class ListsTwice(ScriptedProvider):
    async def models(self) -> list[ModelInfo]:
        return [ModelInfo(id="m"), ModelInfo(id="m")]


class LooksItUp(ScriptedProvider):
    def describe(self, model: str) -> ModelInfo | None:
        with open(__file__):
            return super().describe(model)


class CountsWrong(ScriptedProvider):
    async def count_tokens(self, request: ChatRequest, *, model: str) -> int:
        return 9


class OutOfOrder(ScriptedProvider):
    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        vectors = sorted((float(len(text)),) for text in request.inputs)
        return Embeddings(vectors=tuple(vectors), model=model)


class OneTooFew(ScriptedProvider):
    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        return Embeddings(vectors=((1.0,),), model=model)


class ClosesOnce(ScriptedProvider):
    async def aclose(self) -> None:
        assert not self.closed
        self.closed = True


class Suite(ProviderContract):
    """With everything that can be arranged."""

    question = ChatRequest(messages=(Message("user", "Rivers?"),), extra_body={})
    key = "sk-123"
    fills = ("model",)
    fills_when_left = ("usage",)

    def open_answers(self, provider: Any) -> int:
        return provider.open_streams

    def requests_made(self, provider: Any) -> int:
        return len(provider.received)


class CallingSuite(Suite):
    tool_question = Suite.question


Make: TypeAlias = Callable[[], ScriptedProvider]


def says(*steps: Step) -> Make:
    return partial(ScriptedProvider, steps)


CALL = ToolCallStart(0, "a", "f")
PROVIDERS: list[tuple[str, Make]] = [
    (IN_ORDER, says(TextDelta("Ebro"))),
    (IN_ORDER, says(FINISH, TextDelta("Ebro"))),
    (IN_ORDER, says(TextDelta("Ebro"), FINISH, FINISH)),
    (IN_ORDER, says(TextDelta("Ebro"), USAGE, USAGE, FINISH)),  # type: ignore[arg-type]
    (IN_ORDER, says(AttemptStarted(1, "a:m"), TextDelta("Ebro"), FINISH)),
    (IN_ORDER, says(TextDelta(""), TextDelta("Ebro"), FINISH)),
    (IN_ORDER, says(TextDelta("Ebro"), Finish("end_turn"))),  # type: ignore[arg-type]
    (IN_ORDER, says(FINISH)),
    (IN_ORDER, says(CALL, TextDelta("Ebro"), FINISH)),
    ("test_nothing_follows_the_end", Endless),
    ("test_the_whole_form_says_what_the_streamed_form_says", partial(OtherWhenWhole, "Ebro")),
    ("test_two_answers_at_once_do_not_mix", OneAnswerForAll),
    ("test_the_request_is_not_changed", ChangesTheRequest),
    ("test_what_is_known_of_the_response_is_filled_in", ScriptedProvider),
    ("test_what_is_known_of_the_response_is_filled_in", TellsTwoUsages),
    ("test_what_is_known_of_the_response_is_filled_in", RawInAStream),
    ("test_an_answer_may_be_left_before_its_first_batch", NeverLeft),
    ("test_an_answer_may_be_left_after_its_first_batch", NeverLeft),
    ("test_an_answer_may_be_left_from_another_task", KeepsAScope),
    ("test_an_answer_may_be_left_from_another_task", KeepsATaskGroup),
    ("test_no_scope_is_open_between_two_batches", KeepsAScope),
    ("test_no_scope_is_open_between_two_batches", KeepsATaskGroup),
    ("test_an_error_of_the_callers_goes_through", WrapsErrors),
    ("test_an_error_of_the_callers_goes_through", SwallowsErrors),
    ("test_its_name_stands_before_a_colon", Renamed),
    ("test_its_name_stands_before_a_colon", partial(ScriptedProvider, name="a:b")),
    ("test_it_does_not_show_its_key", ShowsItsKey),
    ("test_check_tells_and_never_raises_even_when_closed", CheckFailsWhenClosed),
    ("test_check_tells_and_never_raises_even_when_closed", UnwellWithoutAWord),
    ("test_models_are_listed_once_each", ListsTwice),
    ("test_describing_a_model_asks_nobody", LooksItUp),
    ("test_describing_a_model_asks_nobody", partial(ScriptedProvider, models=["another"])),
    ("test_a_prompt_is_counted_as_it_is_charged", CountsWrong),
    ("test_texts_become_vectors_in_their_order_or_are_refused", OutOfOrder),
    ("test_texts_become_vectors_in_their_order_or_are_refused", OneTooFew),
    ("test_closed_twice_is_closed_once", ClosesOnce),
    ("test_nothing_is_open_when_closed_after_an_answer", NeverLeft),
]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes to be need not be waited for as long as in earnest."""
    for module in ("_answers", "providers"):
        monkeypatch.setattr(f"planar.testing.{module}.PATIENCE", 0.05)


async def found_out(suite: Any, test: str, *arguments: Any) -> None:
    with pytest.raises(FOUND_OUT):
        await getattr(suite, test)(*arguments)


@pytest.mark.anyio
@pytest.mark.parametrize(("test", "make"), PROVIDERS, ids=[f"{number}" for number, _ in enumerate(PROVIDERS)])
async def test_a_broken_provider_is_found_out(test: str, make: Make) -> None:
    form = (True,) if "streamed" in signature(getattr(Suite, test)).parameters else ()
    await found_out(Suite(), test, make(), *form)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "steps",
    [
        [CALL, FINISH],
        [CALL, CALL, ToolCallEnd(0, "a", "f", ""), FINISH],
        [ToolCallDelta(0, "{}"), FINISH],
        [CALL, ToolCallDelta(0, "{"), ToolCallEnd(0, "a", "f", "{}"), FINISH],
        [CALL, ToolCallEnd(0, "b", "f", ""), FINISH],
        [CALL, ToolCallEnd(0, "a", "f", ""), ToolCallDelta(0, "{}"), FINISH],
        [TextDelta("None."), Finish("tool_calls")],
        [TextDelta("None."), FINISH],
    ],
    ids=["open", "twice", "unbegun", "other arguments", "another", "after its end", "none", "no call"],
)
async def test_a_tool_call_out_of_order_is_found_out(steps: Sequence[Step]) -> None:
    await found_out(CallingSuite(), "test_a_tool_call_is_told_in_order", ScriptedProvider(steps))


@pytest.mark.anyio
async def test_a_task_that_is_left_is_found_out() -> None:
    async with anyio.create_task_group() as tasks:
        await found_out(Suite(), "test_no_task_outlives_an_answer", LeavesATask(tasks))
        tasks.cancel_scope.cancel()


FOREVER = (TextDelta("Ebro, "), anyio.sleep_forever)
SHORT = reply("Ebro, ")
BUSY = OverloadedError("busy")
ARRANGED: list[tuple[str, Make]] = [
    ("test_leaving_ends_the_work", partial(NeverLeft, FOREVER, usage_when_left=Usage())),
    ("test_leaving_ends_the_work", partial(ScriptedProvider, FOREVER)),
    ("test_a_cancelled_scope_ends_the_answer", partial(NeverLeft, FOREVER)),
    ("test_a_failure_is_the_requests_or_the_providers", says(OSError("broken"))),
    ("test_a_failure_is_the_requests_or_the_providers", says(OverloadedError("for sk-123"))),
    ("test_a_failure_is_the_requests_or_the_providers", says(OverloadedError("no", body="sk-123"))),
    ("test_a_failure_is_the_requests_or_the_providers", ScriptedProvider),
    ("test_nothing_is_retried", partial(Retries, [BUSY])),
    ("test_silence_before_the_first_delta_has_an_end", partial(NeverSilent, [anyio.sleep_forever])),
    ("test_silence_before_the_first_delta_has_an_end", says(BUSY)),
    ("test_silence_between_two_deltas_has_an_end", says(TextDelta("a"), ProviderTimeoutError("", phase="total"))),
    ("test_check_does_not_raise_where_answers_fail", UnwellWithoutAWord),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("test", "make"), ARRANGED, ids=[f"{number}" for number, _ in enumerate(ARRANGED)])
async def test_a_provider_that_breaks_where_it_is_arranged_is_found_out(test: str, make: Make) -> None:
    form = (True,) if "streamed" in signature(getattr(Suite, test)).parameters else ()
    await found_out(Suite(), test, (make(), Suite.question), *form)


@pytest.mark.anyio
async def test_a_deadline_that_is_kept_twice_is_found_out() -> None:
    with pytest.raises(ProviderTimeoutError):
        await Suite().test_the_deadline_is_left_to_the_client(KeepsTheDeadline())


@pytest.mark.anyio
async def test_a_check_that_raises_is_found_out() -> None:
    with pytest.raises(OverloadedError):
        await Suite().test_check_does_not_raise_where_answers_fail((CheckFails(), Suite.question))


@pytest.mark.anyio
async def test_a_swallowed_native_cancel_is_found_out(anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has tasks that are cancelled one by one")
    await found_out(
        Suite(), "test_a_native_cancel_ends_the_answer", (SwallowsErrors(FOREVER), Suite.question), "asyncio"
    )


# --- Routers ----------------------------------------------------------------------------------


class Ordered:
    """Plans as it should; `change` is what is wrong with the route."""

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        return self.change(CostRouter().plan(request, candidates))

    def change(self, route: Route) -> Route:
        return route


class Shuffles(Ordered):
    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        return super().plan(request, random.sample(candidates, len(candidates)))


class Forgets(Ordered):
    def change(self, route: Route) -> Route:
        return Route(
            request=route.request,
            router=route.router,
            verdicts=tuple(verdict for verdict in route.verdicts if verdict.position is not None),
        )


class JudgesTwice(Ordered):
    def change(self, route: Route) -> Route:
        return Route(request=route.request, router=route.router, verdicts=route.verdicts * 2)


class CountsFromOne(Ordered):
    def change(self, route: Route) -> Route:
        moved = [
            replace(each, position=None if each.position is None else each.position + 1) for each in route.verdicts
        ]
        return Route(request=route.request, router=route.router, verdicts=tuple(moved))


class GivesNoReason(Ordered):
    def change(self, route: Route) -> Route:
        return Route(
            request=route.request,
            router=route.router,
            verdicts=tuple(replace(each, detail="") for each in route.verdicts),
        )


class KeepsEverybody(Ordered):
    def change(self, route: Route) -> Route:
        kept = [replace(each, position=place, dropped_by=None) for place, each in enumerate(route.verdicts)]
        return Route(request=route.request, router=route.router, verdicts=tuple(kept))


class Obeys(Ordered):
    """Obeys less than it should: what `known` makes of the request."""

    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        return super().plan(self.known(request), candidates)

    def known(self, request: RouteRequest) -> RouteRequest:
        return request


class KnowsNoPolicies(Obeys):
    def known(self, request: RouteRequest) -> RouteRequest:
        return replace(request, policies=())


class TakesTheDeepestPolicy(Obeys):
    def known(self, request: RouteRequest) -> RouteRequest:
        return replace(request, policies=request.policies[-1:])


class KnowsNoPatterns(Obeys):
    def known(self, request: RouteRequest) -> RouteRequest:
        free = replace(request.constraints, models=None, excluded_models=frozenset())
        return replace(request, constraints=free)


class LetsAPolicyReplaceTheCall(Obeys):
    def known(self, request: RouteRequest) -> RouteRequest:
        return replace(request, constraints=Constraints()) if request.policies else request


class TakesAnyStrategy(Ordered):
    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        return super().plan(replace(request, strategy=None), candidates)


class EmptiesTheList(Ordered):
    def plan(self, request: RouteRequest, candidates: Sequence[Candidate]) -> Route:
        route = super().plan(request, candidates)
        if isinstance(candidates, list):
            candidates.clear()
        return route


class LooksAtTheClock(Ordered):
    def change(self, route: Route) -> Route:
        time.monotonic()
        return route


class ReadsAFile(Ordered):
    def change(self, route: Route) -> Route:
        with open(__file__):
            return route


class ReturnsAList(Ordered):
    def change(self, route: Route) -> Any:
        return list(route.order)


@pytest.mark.parametrize(
    ("router", "test"),
    [
        (Shuffles, "test_the_same_input_gives_the_same_route"),
        (Forgets, "test_every_candidate_has_one_verdict"),
        (JudgesTwice, "test_every_candidate_has_one_verdict"),
        (ReturnsAList, "test_every_candidate_has_one_verdict"),
        (CountsFromOne, "test_the_order_counts_from_nought_without_a_gap"),
        (GivesNoReason, "test_who_is_dropped_is_told_why"),
        (KeepsEverybody, "test_no_constraint_is_violated"),
        (KnowsNoPolicies, "test_no_policy_is_violated"),
        (TakesTheDeepestPolicy, "test_no_policy_is_violated"),
        (KnowsNoPatterns, "test_no_constraint_is_violated"),
        (LetsAPolicyReplaceTheCall, "test_a_policy_only_takes_away"),
        (KeepsEverybody, "test_a_deployment_has_what_is_needed"),
        (KnowsNoPolicies, "test_a_deployment_has_what_is_needed"),
        (TakesAnyStrategy, "test_a_strategy_that_it_does_not_know_is_refused"),
        (EmptiesTheList, "test_what_it_is_given_is_not_changed"),
        (LooksAtTheClock, "test_it_reads_no_clock_and_does_no_io"),
        (ReadsAFile, "test_it_reads_no_clock_and_does_no_io"),
    ],
)
def test_a_broken_router_is_found_out(router: Callable[[], Any], test: str) -> None:
    class Routers(RouterContract):
        def router(self) -> Any:
            return router()

    with pytest.raises(FOUND_OUT):
        getattr(Routers(), test)()


# --- Telemetry --------------------------------------------------------------------------------


@dataclass
class Watch:
    """A telemetry and its observer in one; each subclass gets one method wrong."""

    heard: list[str]

    def __init__(self) -> None:
        self.heard = []

    def request(self, context: RequestContext) -> AbstractContextManager[Any]:
        return nullcontext(self)

    def routed(self, route: Route) -> Any: ...

    def attempt_started(self, number: int, deployment: str) -> Any:
        self.heard.append(deployment)

    def first_token(self, seconds: float) -> Any: ...

    def attempt_ended(self, number: int, error: PlanarError | None) -> Any: ...

    def finished(self, completion: Completion | None, error: BaseException | None) -> Any: ...


class SwallowsAll(Watch):
    def request(self, context: RequestContext) -> AbstractContextManager[Any]:
        return Swallowing(self)


class Swallowing(nullcontext[Any]):
    def __exit__(self, *told: object) -> Any:
        return True


class Sleeps(Watch):
    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        time.sleep(0.001)


class Computes(Watch):
    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        until = time.perf_counter() + 0.12
        while time.perf_counter() < until:
            pass


class Mixes(Watch):
    """One list for all requests."""


class Asks(Watch):
    def routed(self, route: Route) -> Any:
        return self


CURRENT: ContextVar[str] = ContextVar("current")


class Misses(Watch):
    """Raises where there is no completion."""

    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        assert completion is not None


class ChokesOnMetadata(Watch):
    def request(self, context: RequestContext) -> AbstractContextManager[Any]:
        assert all(key.isidentifier() for key in context.metadata)
        return super().request(context)


class RemembersTheContext(Watch):
    @contextlib.contextmanager
    def request(self, context: RequestContext) -> Any:
        token = CURRENT.set(context.request_id)
        yield self
        try:
            CURRENT.reset(token)
        except ValueError as error:
            raise AssertionError from error


class ReplacesTheAnswer(Watch):
    def finished(self, completion: Completion | None, error: BaseException | None) -> None:
        if completion is not None:
            object.__setattr__(completion, "text", "Danube")


class RaisesOnFailure(Watch):
    def attempt_ended(self, number: int, error: PlanarError | None) -> None:
        if error is not None:
            raise error


class TelemetrySuite(TelemetryContract):
    def attempts_of(self, telemetry: Any, request_id: str) -> list[str]:
        return telemetry.heard


@pytest.mark.parametrize(
    ("telemetry", "test", "story"),
    [
        (Misses, "test_every_course_of_a_request_can_be_told", "unrouted"),
        (SwallowsAll, "test_no_error_is_swallowed", "refused"),
        (Asks, "test_nothing_is_said_to_the_one_who_tells", None),
        (Sleeps, "test_it_never_waits", "answered"),
        (Computes, "test_it_never_waits", "answered"),
        (ChokesOnMetadata, "test_anything_may_stand_in_the_context", None),
        (RemembersTheContext, "test_a_request_may_end_elsewhere_than_it_began", None),
        (Mixes, "test_requests_may_overlap", None),
    ],
)
def test_a_broken_telemetry_is_found_out(telemetry: Callable[[], Any], test: str, story: str | None) -> None:
    arguments = () if story is None else (STORIES[story],)

    with pytest.raises(AssertionError):
        getattr(TelemetrySuite(), test)(telemetry(), *arguments)


@pytest.mark.anyio
async def test_a_telemetry_that_changes_the_answer_is_found_out() -> None:
    await found_out(TelemetrySuite(), "test_an_answer_is_the_same_with_and_without_it", ReplacesTheAnswer())


def test_a_telemetry_that_raises_what_it_is_told_is_found_out() -> None:
    with pytest.raises(type(BUSY)):
        TelemetrySuite().test_every_course_of_a_request_can_be_told(RaisesOnFailure(), STORIES["fell back"])
