"""What every telemetry has to keep, as tests that any implementation can run.

Needs pytest. Subclass, and provide one fixture: a fresh `telemetry`.

    class TestMyTelemetry(TelemetryContract):
        @pytest.fixture
        def telemetry(self) -> MyTelemetry:
            return MyTelemetry()

        def attempts_of(self, telemetry: MyTelemetry, request_id: str) -> list[str]:
            return [span.deployment for span in telemetry.spans if span.request_id == request_id]

Without `attempts_of` nobody can see whether requests mix, and that test is skipped. The asynchronous tests are marked
`anyio` and run on whatever the fixture `anyio_backend` says.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import anyio
import pytest

from planar.client import Planar
from planar.errors import OverloadedError, PlanarError, QuotaExceededError, RouteExhaustedError
from planar.events import TextDelta
from planar.protocols import RequestContext, RequestObserver, Telemetry
from planar.testing._watch import WAITS, clock_watched, watched
from planar.testing.scripted import ScriptedProvider, Step, reply
from planar.types import (
    Attempt,
    Candidate,
    Completion,
    FinishReason,
    LeaseId,
    Limit,
    Message,
    ModelInfo,
    RetryPolicy,
    Route,
    RouteRequest,
    Timings,
    Usage,
    Verdict,
    usd,
)

AT_ONCE = 0.1
"""Seconds within which a whole request is told, on any machine; the fastest of a few tries counts."""

FIRST, SECOND = "a:m-1", "b:m-2"
BUSY = OverloadedError("busy", provider="a", deployment=FIRST, status=529, retry_after=1.0)


class _CancelledError(BaseException):
    """Stands for the event loop's own: no `Exception`, and none of Planar's."""


def _route() -> Route:
    places = enumerate((FIRST, SECOND))
    return Route(
        request=RouteRequest(model="fast", tenant="acme"),
        router="CostRouter",
        verdicts=tuple(Verdict(candidate=_candidate(name), position=place) for place, name in places),
    )


def _candidate(deployment: str) -> Candidate:
    provider, _, model = deployment.partition(":")
    return Candidate(deployment=deployment, provider=provider, model=model, info=ModelInfo(id=model))


def _completion(reason: FinishReason, *, usage: Usage | None = None) -> Completion:
    attempt = Attempt(number=1, deployment=SECOND, lease_id=LeaseId("1"), usage=usage, cost_usd=usd(5))
    return Completion(
        text="Ebro",
        finish_reason=reason,
        raw_finish_reason=None,
        usage=usage,
        cost_usd=None if usage is None else usd(5),
        provider="b",
        model="m-2",
        route=_route(),
        attempts=(attempt,),
        timings=Timings(ttft=0.1, total=0.2),
        message=Message("assistant", "Ebro"),
    )


Story = Callable[[RequestObserver], BaseException | None]
"""Tells an observer a request as the client does, and gives the error that it ended with."""


def _answered(watch: RequestObserver) -> BaseException | None:
    watch.routed(_route())
    watch.attempt_started(1, FIRST)
    watch.first_token(0.25)
    watch.attempt_ended(1, None)
    watch.finished(_completion("stop", usage=Usage(input_tokens=3, output_tokens=2)), None)
    return None


def _fell_back(watch: RequestObserver) -> BaseException | None:
    watch.routed(_route())
    watch.attempt_started(1, FIRST)
    watch.attempt_ended(1, BUSY)
    watch.attempt_started(2, SECOND)
    watch.first_token(1.5)
    watch.attempt_ended(2, None)
    watch.finished(_completion("length"), None)
    return None


def _exhausted(watch: RequestObserver) -> BaseException | None:
    error = RouteExhaustedError("every deployment failed", attempts=())
    watch.routed(_route())
    watch.attempt_started(1, FIRST)
    watch.attempt_ended(1, BUSY)
    watch.finished(_completion("error"), error)
    return error


def _unrouted(watch: RequestObserver) -> BaseException | None:
    error = PlanarError("no deployment of this name")
    watch.finished(None, error)
    return error


def _refused(watch: RequestObserver) -> BaseException | None:
    error = QuotaExceededError(
        scope="acme", dimension="requests", limit=1, remaining=0, requested=1, kind="spent", retry_after=None
    )
    watch.routed(_route())
    watch.finished(_completion("other"), error)
    return error


def _left(watch: RequestObserver) -> BaseException | None:
    watch.routed(_route())
    watch.attempt_started(1, FIRST)
    watch.first_token(0.0)
    watch.attempt_ended(1, None)
    watch.finished(_completion("cancelled"), None)
    return None


def _cancelled(watch: RequestObserver) -> BaseException | None:
    error = _CancelledError()
    watch.routed(_route())
    watch.attempt_started(1, FIRST)
    watch.attempt_ended(1, None)
    watch.finished(_completion("cancelled"), error)
    return error


STORIES: dict[str, Story] = {
    "answered": _answered,
    "fell back": _fell_back,
    "exhausted": _exhausted,
    "unrouted": _unrouted,
    "refused": _refused,
    "left": _left,
    "cancelled": _cancelled,
}
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())


def context_of(request_id: str = "r-1", **metadata: str) -> RequestContext:
    """A streamed chat of the tenant `acme`."""
    return RequestContext(
        request_id=request_id, tenant="acme", operation="chat", model="fast", streamed=True, metadata=metadata
    )


class TelemetryContract:
    """The promises of `planar.protocols.Telemetry` and `RequestObserver`, one test each."""

    def attempts_of(self, telemetry: Telemetry, request_id: str) -> Sequence[str] | None:
        """The deployments that one request was heard to ask, in order; `None` if that is not kept."""
        return None

    @each_story
    def test_every_course_of_a_request_can_be_told(self, telemetry: Telemetry, story: Story) -> None:
        """Success, failure before and after the router, a caller who goes: none of it raises."""
        for number in range(2):
            _tell(telemetry, story, f"r-{number}")

    @each_story
    def test_no_error_is_swallowed(self, telemetry: Telemetry, story: Story) -> None:
        """The block that it opens lets an error through."""
        opened = telemetry.request(context_of())
        error = story(opened.__enter__())

        swallowed = opened.__exit__(None if error is None else type(error), error, None)

        assert not swallowed, "__exit__ says that the error is to be forgotten"

    def test_nothing_is_said_to_the_one_who_tells(self, telemetry: Telemetry) -> None:
        """A coroutine that nobody awaits would be lost without a word."""
        with telemetry.request(context_of()) as watch:
            said: list[object] = [
                watch.routed(_route()),  # type: ignore[func-returns-value]
                watch.attempt_started(1, FIRST),  # type: ignore[func-returns-value]
                watch.first_token(0.1),  # type: ignore[func-returns-value]
                watch.attempt_ended(1, None),  # type: ignore[func-returns-value]
                watch.finished(_completion("stop"), None),  # type: ignore[func-returns-value]
            ]

        assert said == [None] * 5

    @each_story
    def test_it_never_waits(self, telemetry: Telemetry, story: Story) -> None:
        """Neither for a clock nor for a network, nor for anybody else."""
        seconds: list[float] = []
        _tell(telemetry, story, "first")

        with watched(*WAITS) as waited, clock_watched() as called:
            for number in range(3):
                began = time.perf_counter()
                _tell(telemetry, story, f"r-{number}")
                seconds.append(time.perf_counter() - began)

        assert "sleep" not in called, "the event loop slept"
        assert waited == [], f"the event loop stood still for {waited}"
        assert min(seconds) < AT_ONCE, f"telling one request took {min(seconds):.3g} s"

    def test_anything_may_stand_in_the_context(self, telemetry: Telemetry) -> None:
        """Callers choose tenant and metadata."""
        odd = {"": "", "feature": "žluťoučký 🎉", "long": "x" * 100_000, "line\nbreak": "\x00\r\n", "a.b": "{}%s"}
        context = RequestContext(
            request_id="", tenant="a/b/c/d", operation="chat", model=":", streamed=False, metadata=odd
        )

        with telemetry.request(context) as watch:
            _answered(watch)

    def test_a_request_may_end_elsewhere_than_it_began(self, telemetry: Telemetry) -> None:
        """A stream that was dropped is closed by another task, which has other context variables."""
        elsewhere = contextvars.copy_context()
        opened = telemetry.request(context_of())
        watch = opened.__enter__()

        elsewhere.run(_answered, watch)
        elsewhere.run(opened.__exit__, None, None, None)

    def test_requests_may_overlap(self, telemetry: Telemetry) -> None:
        """The first to begin is the first to end; each hears its own."""
        first, second = telemetry.request(context_of("r-1")), telemetry.request(context_of("r-2"))
        one, two = first.__enter__(), second.__enter__()
        for watch in (one, two):
            watch.routed(_route())
        two.attempt_started(1, SECOND)
        one.attempt_started(1, FIRST)
        one.attempt_ended(1, BUSY)
        two.attempt_ended(1, None)
        one.finished(None, BUSY)
        first.__exit__(OverloadedError, BUSY, None)
        two.finished(_completion("stop"), None)
        second.__exit__(None, None, None)

        heard = [self.attempts_of(telemetry, request_id) for request_id in ("r-1", "r-2")]
        if None in heard:
            pytest.skip("what it keeps cannot be seen: override `attempts_of`")
        assert [list(attempts or ()) for attempts in heard] == [[FIRST], [SECOND]]

    # -- with a client -------------------------------------------------------------------------

    @pytest.mark.anyio
    async def test_an_answer_is_the_same_with_and_without_it(self, telemetry: Telemetry) -> None:
        """In all that does not hang on the time it took."""
        watched_client, plain = _client(telemetry), _client(None)

        async with watched_client, plain:
            ours = await watched_client.infer("Rivers?", model="fast", metadata={"feature": "quiz"})
            theirs = await plain.infer("Rivers?", model="fast", metadata={"feature": "quiz"})

        assert _lasting(ours) == _lasting(theirs)
        assert [attempt.deployment for attempt in ours.attempts] == ["a:default", "b:default"]

    @pytest.mark.anyio
    async def test_a_failure_is_the_same_with_it(self, telemetry: Telemetry) -> None:
        """The caller's error is the provider's, not the telemetry's."""
        async with _client(telemetry, [BUSY], [BUSY]) as client:
            with pytest.raises(PlanarError) as caught:
                await client.infer("Rivers?", model="fast")

        assert isinstance(caught.value, RouteExhaustedError), f"the caller got {caught.value!r}"

    @pytest.mark.anyio
    async def test_a_refusal_is_the_same_with_it(self, telemetry: Telemetry) -> None:
        """Before anybody was asked."""
        async with _client(telemetry) as client:
            await client.quotas.set_limits("acme", Limit.concurrency(0))
            with pytest.raises(QuotaExceededError):
                await client.infer("Rivers?", model="fast", tenant="acme")

    @pytest.mark.anyio
    async def test_a_stream_can_be_left_with_it(self, telemetry: Telemetry) -> None:
        """By its block, and by a cancellation."""
        endless: list[Step] = [TextDelta("Ebro, "), anyio.sleep_forever]
        async with _client(telemetry, endless) as client:
            async with client.stream("Rivers?", model="a:default") as stream:
                left = await anext(stream)
            with anyio.CancelScope() as scope:
                async with client.stream("Rivers?", model="a:default") as stream:
                    await anext(stream)
                    scope.cancel()
                    await anext(stream)

        assert left == "Ebro, "
        assert scope.cancelled_caught

    @pytest.mark.anyio
    async def test_many_at_once_are_answered_with_it(self, telemetry: Telemetry) -> None:
        """Each of them whole."""
        texts: list[str] = []

        async def ask() -> None:
            texts.append((await client.infer("Rivers?", model="fast")).text)

        async with _client(telemetry, reply("Ebro, ", "Tagus")) as client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)

        assert texts == ["Ebro, Tagus"] * 20


def _tell(telemetry: Telemetry, story: Story, request_id: str) -> None:
    opened: AbstractContextManager[RequestObserver] = telemetry.request(context_of(request_id, feature="quiz"))
    error = story(opened.__enter__())
    opened.__exit__(None if error is None else type(error), error, None)


def _client(telemetry: Telemetry | None, *scripts: Sequence[Step]) -> Planar:
    scripts = scripts or ([BUSY], reply("Ebro, ", "Tagus"))
    providers = [ScriptedProvider(script, name=name) for script, name in zip(scripts, "ab", strict=False)]
    models = {"fast": [f"{provider.name}:default" for provider in providers]}
    once_each = RetryPolicy(attempts=len(providers))
    return Planar(providers=providers, models=models, telemetry=telemetry, retry=once_each)


def _lasting(completion: Completion) -> tuple[object, ...]:
    """What of an answer does not depend on when it was given."""
    told = completion
    return (told.text, told.finish_reason, told.usage, told.cost_usd, told.provider, told.model, told.message)
