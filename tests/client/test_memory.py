"""What earlier calls say about the next: lengths, caches, speed and headroom, as the router sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import planar
from planar.client._memory import topic_of
from planar.events import Finish, ReasoningDelta, TextDelta, UsageReported
from planar.testing import ScriptedProvider, Step, pause, virtual_backend
from planar.types import Candidate, ChatRequest, Message, Price, TenantPath, Tool, Usage

pytestmark = pytest.mark.anyio

PRICE = Price.per_million(input=1, output=1, cached_input="0.1")
INSTRUCTIONS = Message("system", "Answer in one word. " * 400)  # about 2000 tokens


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def said(
    tokens: int, *, prompt: int = 10, cached: int | None = None, reason: str = "stop", **counts: int
) -> list[Step]:
    usage = Usage(input_tokens=prompt, output_tokens=tokens, cached_input_tokens=cached, **counts)  # type: ignore[arg-type]
    return [TextDelta("Ebro"), pause(1), UsageReported(usage), Finish(reason)]  # type: ignore[arg-type]


def client_of(*scripts: Sequence[Step], names: Sequence[str] = ("one",), **options: Any) -> planar.Planar:
    return planar.Planar(
        providers=[ScriptedProvider(*scripts, name=name, price=PRICE) for name in names],
        models={"any": [f"{name}:default" for name in names]},
        **options,
    )


def seen(client: planar.Planar, prompt: Any = "Rivers?", **options: Any) -> Candidate:
    return client.plan(prompt, model="any", **options).order[0]


async def test_before_the_first_answer_a_length_is_assumed_and_said_to_be() -> None:
    client = client_of(said(50))

    route = client.plan("Rivers?", model="any")

    assert not route.request.length_seen
    assert route.order[0].output_tokens_likely == 256


async def test_the_length_of_answers_is_learned_by_tenant_and_shape() -> None:
    client = client_of(said(50), said(1000))
    await client.infer("Rivers?", model="any", tenant="acme")
    await client.infer("Rivers?", model="any", tenant="acme", reasoning="high")

    assert client.plan("Mountains?", model="any", tenant="acme").request.length_seen
    assert seen(client, tenant="acme").output_tokens_likely == 50
    assert seen(client, tenant="acme", reasoning="low").output_tokens_likely == 1000
    assert seen(client, tenant="umbra").output_tokens_likely == 525


async def test_a_likely_length_is_never_more_than_the_call_allows() -> None:
    client = client_of(said(1000))
    await client.infer("Rivers?", model="any")

    assert seen(client, max_tokens=20).output_tokens_likely == 20


async def test_an_answer_that_was_left_or_failed_teaches_nothing() -> None:
    broken: list[Step] = [TextDelta("Ebr"), planar.StreamInterruptedError("cut")]
    client = client_of(said(1000), broken)
    async with client.stream("Rivers?", model="any") as stream:
        async for _ in stream:
            break
    with pytest.raises(planar.StreamInterruptedError):
        await client.infer("Rivers?", model="any")

    assert not client.plan("Rivers?", model="any").request.length_seen


async def test_speed_is_measured_from_the_first_token_on() -> None:
    client = client_of(said(51))
    await client.infer("Rivers?", model="any", wire="streamed")

    assert seen(client).health.tokens_per_second == 50


async def test_thoughts_that_are_not_shown_are_no_speed() -> None:
    hidden = client_of(said(1051, reasoning_tokens=1000))
    shown = client_of([ReasoningDelta("Let me see"), *said(1051, reasoning_tokens=1000)])
    for client in (hidden, shown):
        await client.infer("Rivers?", model="any", wire="streamed")

    assert seen(hidden).health.tokens_per_second == 50
    assert seen(shown).health.tokens_per_second == 1050


async def test_the_next_turn_of_a_conversation_finds_its_beginning_where_it_was() -> None:
    client = client_of(said(100, prompt=4000), names=("one", "two"))
    turns = [Message("user", "Rivers? " * 2500)]
    await client.infer(turns, model="two:default", tenant="acme")
    turns += [Message("assistant", "Ebro"), Message("user", "And mountains?")]

    first, second = client.plan(turns, model="any", tenant="acme").order

    assert (first.served_last, first.cached_tokens_likely) == (False, 0)
    assert (second.served_last, second.cached_tokens_likely) == (True, 2050)


async def test_another_tenants_conversation_says_nothing() -> None:
    client = client_of(said(100, prompt=4000))
    turns = [INSTRUCTIONS, Message("user", "Rivers? " * 1500)]
    for options in ({}, {"conversation": "c1"}, {"cache": "k"}):
        await client.infer(turns, model="any", tenant="acme", **options)

        stranger = seen(client, turns, tenant="umbra", **options)
        assert (stranger.served_last, stranger.cached_tokens_likely) == (False, 0)
        assert seen(client, turns, tenant="acme", **options).cached_tokens_likely > 0


async def test_conversations_that_share_instructions_share_those() -> None:
    client = client_of(said(100, prompt=9000))
    await client.infer([INSTRUCTIONS, Message("user", "Rivers? " * 900)], model="any")

    other = seen(client, [INSTRUCTIONS, Message("user", "Mountains?")])

    assert not other.served_last
    assert other.cached_tokens_likely == 1000


async def test_a_conversation_with_an_id_is_known_by_it_alone() -> None:
    client = client_of(said(100, prompt=4000))
    await client.infer("Rivers? " * 1500, model="any", conversation="c1")

    assert seen(client, "Mountains? " * 1500, conversation="c1").served_last
    assert not seen(client, "Rivers? " * 1500, conversation="c2").served_last
    assert not seen(client, "Rivers? " * 1500).served_last


@pytest.mark.parametrize("value", ["", "  ", "x" * 257, 5])
def test_an_id_of_a_conversation_that_cannot_be_one_is_refused(value: Any) -> None:
    with pytest.raises(planar.InvalidRequestError, match="conversation must be"):
        client_of(said(1)).stream("Rivers?", conversation=value)


async def test_the_id_of_a_conversation_does_not_leave_the_process() -> None:
    provider = ScriptedProvider("Ebro", name="one")
    client = planar.Planar(providers=[provider])

    await client.infer("Rivers?", conversation="secret-id")

    assert "secret-id" not in repr(provider.received)


async def test_a_provider_that_finds_nothing_is_soon_not_credited() -> None:
    client = client_of(said(100, prompt=4000, cached=0))
    for _ in range(40):
        await client.infer("Rivers? " * 1500, model="any")

    assert seen(client, "Rivers? " * 1500).cached_tokens_likely < 150


def topic(*messages: Message, cache: str | None = None, tools: Sequence[str] = ()) -> object:
    known = tuple(Tool(name=name, parameters={}) for name in tools)
    return topic_of(ChatRequest(messages=messages, cache=cache, tools=known), TenantPath("acme"), None).conversation


def test_a_conversation_is_known_by_its_beginning() -> None:
    hello, long = Message("user", "hello"), Message("user", "a" * 600 + "b" * 600)
    same = topic(INSTRUCTIONS, hello)

    assert same == topic(INSTRUCTIONS, hello, Message("assistant", "hi"), Message("user", "more"))
    assert topic(long) == topic(Message("user", (planar.Text("a" * 600), planar.Text("b" * 600))))
    different = {
        same,
        topic(hello),
        topic(INSTRUCTIONS, Message("user", "hullo")),
        topic(Message("system", "other"), hello),
        topic(Message("system", "hello")),
        topic(INSTRUCTIONS, hello, cache="k"),
        topic(INSTRUCTIONS, hello, tools=["weather"]),
        topic(long),
        topic(Message("user", "a" * 601 + "b" * 600)),
    }
    assert len(different) == 9


async def test_what_a_tenant_has_left_is_known_from_its_last_call() -> None:
    client = client_of(said(100, prompt=100))
    await client.quotas.set_limits("acme", planar.Limit.usd("1", per="day"))
    before = client.plan("Rivers?", model="any", tenant="acme").request

    await client.infer("Rivers?", model="any", tenant="acme", max_tokens=500)

    after = client.plan("Rivers?", model="any", tenant="acme").request
    assert (before.headroom, before.headroom_age) == (None, None)
    assert after.headroom == 1_000_000_000 - 200_000
    assert after.headroom_age == 1.0
    assert client.plan("Rivers?", model="any", tenant="umbra").request.headroom is None


async def test_a_refusal_says_what_is_left_too() -> None:
    client = client_of(said(100))
    await client.quotas.set_limits("acme", planar.Limit.usd("0.000000500", per="day"))

    with pytest.raises(planar.QuotaExceededError):
        await client.infer("Rivers?", model="any", tenant="acme", on_low_budget="refuse", max_tokens=500)

    assert client.plan("Rivers?", model="any", tenant="acme").request.headroom == 500


async def test_what_is_held_while_a_long_answer_comes_is_not_left_and_comes_back() -> None:
    words: list[Step] = [[TextDelta("river ")] * 300 for _ in range(10)]
    usage = Usage(input_tokens=10, output_tokens=3000)
    client = client_of([*words, UsageReported(usage), Finish("stop")])
    await client.quotas.set_limits("acme", planar.Limit.usd("1", per="day"))
    left: list[int | None] = []

    async with client.stream("Rivers?", model="any", tenant="acme") as stream:
        async for _ in stream:
            left.append(client.plan("Rivers?", model="any", tenant="acme").request.headroom)
    left.append(client.plan("Rivers?", model="any", tenant="acme").request.headroom)

    known = [each for each in left if each is not None]
    assert min(known) <= 1_000_000_000 - 3_000_000
    assert known[-1] == 1_000_000_000 - 3_010_000


async def test_a_rejected_answer_is_in_the_cache_but_was_not_given() -> None:
    client = client_of(said(100, prompt=4000), names=("one", "two"))
    cascade = planar.Cascade(check=lambda completion: False, otherwise="ordered")
    await client.infer("Rivers? " * 2500, model="any", strategy=cascade)

    first, second = client.plan("Rivers? " * 2500, model="any").order

    assert (first.served_last, first.cached_tokens_likely) == (False, 2000)
    assert (second.served_last, second.cached_tokens_likely) == (True, 2050)


def test_a_quality_table_is_asked_with_the_question_and_its_label_and_decides_by_prompt() -> None:
    asked: list[tuple[str, str | None]] = []

    class Grader:
        def predict(self, text: str, *, label: str | None = None) -> dict[str, float]:
            asked.append((text, label))
            return {"two:default": 90.0, "one:default": 40.0}

    client = client_of(said(10), names=("one", "two"), quality=Grader())
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Prove it."},
    ]

    route = client.plan(conversation, model="any", strategy="quality", metadata={"label": "maths"})

    assert asked == [("Prove it.", "maths")]
    assert [(one.deployment, one.quality) for one in route.order] == [("two:default", 90.0), ("one:default", 40.0)]


def test_chance_is_new_for_each_call_and_repeated_by_a_seed() -> None:
    client = client_of(said(10), names=("one", "two"))
    weights = planar.Weighted({"one:default": 1, "two:default": 1})

    firsts = {client.plan("Rivers?", model="any", strategy=weights).order[0].deployment for _ in range(64)}
    seeded = {client.plan("Rivers?", model="any", strategy=weights, seed=3).order[0].deployment for _ in range(64)}

    assert firsts == {"one:default", "two:default"}
    assert len(seeded) == 1


async def test_an_answer_that_passed_its_check_was_given() -> None:
    client = client_of(said(100, prompt=4000), names=("one", "two"))
    cascade = planar.Cascade(check=lambda completion: True, otherwise="ordered")
    await client.infer("Rivers? " * 2500, model="any", strategy=cascade)

    found = seen(client, "Rivers? " * 2500)

    assert (found.served_last, found.cached_tokens_likely) == (True, 2050)


async def test_the_rest_of_an_answer_says_nothing_about_whole_ones() -> None:
    one = ScriptedProvider([TextDelta("Ebr"), planar.StreamInterruptedError("cut")], name="one", price=PRICE)
    two = ScriptedProvider(said(3), name="two", price=PRICE, continues=True)
    client = planar.Planar(providers=[one, two], models={"any": ["one:default", "two:default"]})

    await client.infer("Rivers?", model="any", resume="continue")

    assert not client.plan("Rivers?", model="any").request.length_seen
