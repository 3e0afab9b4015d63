"""What an answer cost that its caller left early: estimated at once, and corrected when the truth arrives."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import planar
from planar.events import Finish, TextDelta, UsageReported
from planar.testing import ScriptedProvider, Step, pause, virtual_backend
from planar.types import Usage

pytestmark = pytest.mark.anyio

TRUTH = Usage(input_tokens=7, output_tokens=500)
DRAIN = planar.AbortPolicy(drain_seconds=10, drain_tokens=100)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def speaking(words: int, *end: Step) -> list[Step]:
    return [TextDelta("Ebro"), *([pause(1), TextDelta("x")] * words), *end]


class Bench:
    def __init__(self, script: list[Step], policy: planar.AbortPolicy | None) -> None:
        self.provider = ScriptedProvider(script, name="one")
        self.client = planar.Planar(providers=[self.provider], aborts={} if policy is None else {"one": policy})

    async def leave(self, *, max_tokens: int | None = None) -> None:
        async with self.client.stream("Rivers?", max_tokens=max_tokens) as stream:
            await anext(stream)

    async def rows(self) -> list[planar.LedgerEntry]:
        return [row async for row in self.client.quotas.ledger()]


async def test_without_a_policy_the_connection_is_closed_at_once() -> None:
    bench = Bench(speaking(3, (UsageReported(TRUTH), Finish("stop"))), None)

    await bench.leave()

    assert bench.provider.open_streams == 0
    await anyio.sleep(60)
    [row] = await bench.rows()
    assert row.flags == {"cut", "estimated"}


async def test_what_was_estimated_is_corrected_when_the_answer_was_read_to_its_count() -> None:
    bench = Bench(speaking(3, (UsageReported(TRUTH), Finish("stop"))), DRAIN)

    await bench.leave()
    [estimate] = await bench.rows()
    await anyio.sleep(60)

    assert estimate.flags == {"cut", "estimated"}
    assert bench.provider.open_streams == 0
    first, correction = await bench.rows()
    assert (correction.kind, correction.flags) == ("correction", {"cut"})
    assert first.input_tokens + correction.input_tokens == TRUTH.input_tokens
    assert first.output_tokens + correction.output_tokens == TRUTH.output_tokens
    report = await bench.client.quotas.usage("default")
    assert (report.requests, report.output_tokens, report.concurrent) == (1, 500, 0)


async def test_what_the_caller_has_is_what_there_was_when_it_left() -> None:
    bench = Bench(speaking(3, (UsageReported(TRUTH), Finish("stop"))), DRAIN)
    async with bench.client.stream("Rivers?") as stream:
        await anext(stream)

    await anyio.sleep(60)
    completion = await stream.completion()

    assert (completion.text, completion.finish_reason) == ("Ebro", "cancelled")


async def test_a_deadline_cuts_and_does_not_fail_what_it_ends() -> None:
    bench = Bench(speaking(300), None)

    with pytest.raises(planar.DeadlineExceededError) as caught:
        await bench.client.infer("Rivers?", timeouts=planar.Timeouts(total=5.5))

    [row] = await bench.rows()
    assert row.flags == {"cut", "estimated"}
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Ebroxxxxx"


@pytest.mark.parametrize(
    "policy",
    [planar.AbortPolicy(drain_seconds=5, drain_tokens=10**6), planar.AbortPolicy(drain_seconds=600, drain_tokens=5)],
    ids=["seconds", "tokens"],
)
async def test_reading_on_has_an_end(policy: planar.AbortPolicy) -> None:
    bench = Bench(speaking(300, (UsageReported(TRUTH), Finish("stop"))), policy)

    await bench.leave()
    await anyio.sleep(20)

    assert bench.provider.open_streams == 0
    [row] = await bench.rows()
    assert row.flags == {"cut", "estimated"}


async def test_a_stream_that_breaks_while_it_is_read_on_leaves_the_estimate() -> None:
    bench = Bench(speaking(2, planar.TruncatedStreamError("cut")), DRAIN)

    await bench.leave()
    await anyio.sleep(20)

    assert bench.provider.open_streams == 0
    assert len(await bench.rows()) == 1


async def test_a_vendor_that_bills_all_is_booked_for_all_that_was_held() -> None:
    bench = Bench(speaking(2, anyio.sleep_forever), planar.AbortPolicy(bills_all=True))

    await bench.leave(max_tokens=300)

    [row] = await bench.rows()
    assert row.output_tokens == 300
    assert row.flags == {"cut", "estimated"}


async def test_a_cancelled_caller_is_followed_by_the_same() -> None:
    bench = Bench(speaking(5, (UsageReported(TRUTH), Finish("stop"))), DRAIN)

    with anyio.move_on_after(2.5):
        await bench.client.infer("Rivers?", wire="streamed")
    await anyio.sleep(20)

    report = await bench.client.quotas.usage("default")
    assert (report.output_tokens, report.concurrent) == (500, 0)
    assert bench.provider.open_streams == 0


async def test_closing_the_client_does_not_wait_for_what_is_read_on() -> None:
    bench = Bench(speaking(2, anyio.sleep_forever), DRAIN)
    await bench.leave()
    before = anyio.current_time()

    await bench.client.aclose()

    assert anyio.current_time() - before < 1
    await anyio.sleep(60)
    assert bench.provider.open_streams == 0


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(planar.ConfigurationError, match="drain_seconds must be"):
        planar.AbortPolicy(drain_seconds=-1)
    with pytest.raises(planar.ConfigurationError, match="'two', but the providers are one"):
        planar.Planar(providers=[ScriptedProvider(name="one")], aborts={"two": DRAIN})
