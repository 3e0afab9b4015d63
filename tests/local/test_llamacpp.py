"""One caller and the real model."""

from __future__ import annotations

import json
import math
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from local_support import Answer, ask, by_grammar, new_call, question

from planar.errors import (
    ClosedError,
    ConfigurationError,
    ContextLengthError,
    InvalidRequestError,
    ModelFileError,
    ModelNotFoundError,
    ProviderServerError,
    UnsupportedError,
)
from planar.events import Finish, Notice, TextDelta, UsageReported
from planar.protocols import CountsTokens, KnowsModels, Provider
from planar.providers.local.llamacpp import LlamaCpp
from planar.types import EmbedRequest, Message, OutputSchema, Price, Timeouts, Usage

pytestmark = pytest.mark.anyio

STEM = "SmolLM2-135M-Instruct.Q4_1"
LONG = "The river was wide and the night was cold. " * 13


def schema(**properties: object) -> OutputSchema:
    return OutputSchema(
        name="answer", schema={"type": "object", "properties": properties, "required": list(properties)}
    )


async def test_an_answer_is_streamed_in_order_and_counted(llama: LlamaCpp) -> None:
    answer = await ask(llama, question(temperature=0.0, max_tokens=12))

    *deltas, reported, finish = answer.events
    assert len(deltas) > 1
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert isinstance(reported, UsageReported)
    assert finish == Finish("length", "max_tokens")
    assert reported.usage.output_tokens == 12
    assert answer.call.response.usage == reported.usage
    assert answer.call.response.model == STEM


async def test_a_prompt_has_as_many_tokens_as_for_llama_cpps_own_server(llama: LlamaCpp, llama_server: str) -> None:
    theirs = _ask_the_server(llama_server, "Three rivers in Spain?")

    ours = await ask(llama, question("Three rivers in Spain?", temperature=0.0, max_tokens=8))

    assert ours.usage.input_tokens == theirs["usage"]["prompt_tokens"]
    assert ours.text.split()[0] == theirs["choices"][0]["message"]["content"].split()[0]


def _ask_the_server(base_url: str, text: str) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        f"{base_url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


async def test_a_grammar_decides_every_byte_and_characters_come_whole(llama: LlamaCpp) -> None:
    wanted = "日本語 🎉👩‍👩‍👧 žluťoučký"

    answer = await ask(llama, by_grammar(f'root ::= "{wanted}"'))

    assert answer.text == wanted
    assert answer.finish == Finish("stop", "eos")
    assert all("�" not in delta.text for delta in answer.events if isinstance(delta, TextDelta))


async def test_the_end_of_the_answer_counts_as_the_token_it_is(llama: LlamaCpp) -> None:
    answer = await ask(llama, by_grammar('root ::= "a"'))

    assert answer.text == "a"
    assert answer.usage.output_tokens == 2


async def test_a_token_limit_that_cuts_a_character_leaves_it_out(llama: LlamaCpp) -> None:
    answer = await ask(llama, by_grammar('root ::= "🎉🎉"', max_tokens=1))

    assert answer.text == ""
    assert answer.finish.reason == "length"


@pytest.mark.parametrize("stop", ["two", "o, t", " two, th", "e, two, three"])
async def test_no_part_of_a_stop_sequence_is_delivered_whatever_the_tokens(llama: LlamaCpp, stop: str) -> None:
    said = "one, two, three, four"

    answer = await ask(llama, by_grammar(f'root ::= "{said}"', stop=("never", stop)))

    assert answer.text == said[: said.index(stop)]
    assert answer.finish == Finish("stop", "stop_sequence")


async def test_without_a_stop_sequence_what_was_held_back_is_delivered_at_the_end(llama: LlamaCpp) -> None:
    answer = await ask(llama, by_grammar('root ::= "one, tw"', stop=("two",)))

    assert answer.text == "one, tw"


async def test_the_same_seed_gives_the_same_answer_and_another_seed_another(llama: LlamaCpp) -> None:
    texts = [
        (await ask(llama, question("Tell me a story.", seed=seed, temperature=1.5, max_tokens=8))).text
        for seed in (1, 1, 2, -5)
    ]

    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0] != texts[3]


async def test_a_reproducible_answer_does_not_depend_on_what_was_asked_before(llama: LlamaCpp) -> None:
    request = question(LONG + "What was cold?", temperature=0.0, max_tokens=8)
    cold = await ask(llama, request)
    await ask(llama, question(LONG + "Who was it?", max_tokens=5))

    first = await ask(llama, request)
    second = await ask(llama, request)

    assert first.text == second.text == cold.text
    assert second.usage.cached_input_tokens is not None
    assert second.usage.cached_input_tokens > 0
    assert second.usage.cached_input_tokens % 128 == 0


async def test_a_common_beginning_is_computed_once(llama: LlamaCpp) -> None:
    await ask(llama, question(LONG + "What was cold?", max_tokens=1))

    same = await ask(llama, question(LONG + "What was cold?", max_tokens=1))
    other = await ask(llama, question(LONG + "Who was it?", max_tokens=1))

    assert same.usage.input_tokens is not None
    assert same.usage.cached_input_tokens == same.usage.input_tokens - 1
    assert other.usage.cached_input_tokens is not None
    assert 128 < other.usage.cached_input_tokens < same.usage.input_tokens


@pytest.mark.parametrize("shared", [False, True])
async def test_a_tenant_does_not_find_out_what_another_asked_unless_it_may(smollm2: str, shared: bool) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=256, share_prefixes=shared)
    request = question(max_tokens=1)
    try:
        await ask(provider, request, call=new_call(tenant="acme/alice"))
        other = await ask(provider, request, call=new_call(tenant="acme/bob"))
        again = await ask(provider, request, call=new_call(tenant="acme/bob"))
    finally:
        await provider.aclose()

    assert other.usage.input_tokens is not None
    assert other.usage.cached_input_tokens == (other.usage.input_tokens - 1 if shared else 0)
    assert again.usage.cached_input_tokens == other.usage.input_tokens - 1


async def test_a_template_that_says_nothing_is_refused(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=64, chat_template="{# nothing #}")

    with pytest.raises(InvalidRequestError, match="empty"):
        await ask(provider, question())
    await provider.aclose()


async def test_an_answer_has_the_shape_that_was_asked_for(llama: LlamaCpp) -> None:
    output = schema(city={"type": "string", "maxLength": 12}, big={"type": "boolean"}, rivers={"type": "integer"})

    answer = await ask(llama, question("Tell me about Madrid.", output=output, max_tokens=120, seed=3))

    parsed = json.loads(answer.text)
    assert answer.finish.reason == "stop"
    assert isinstance(parsed["city"], str)
    assert isinstance(parsed["big"], bool)
    assert isinstance(parsed["rivers"], int)


async def test_a_schema_may_refer_to_itself_under_any_name(llama: LlamaCpp) -> None:
    node = {
        "type": "object",
        "properties": {"id": {"const": 1}, "next": {"anyOf": [{"$ref": "#/$defs/my_string"}, {"type": "null"}]}},
        "required": ["id", "next"],
    }
    output = OutputSchema(name="list", schema={"$defs": {"my_string": node}, "$ref": "#/$defs/my_string"})

    answer = await ask(llama, question("A list.", output=output, temperature=0.0, max_tokens=60))

    assert answer.text.replace(" ", "").startswith('{"id":1,"next":')


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "no-such-type"},
        {"type": "string", "pattern": "no anchors"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://a.example/schema.json"},
    ],
)
async def test_a_schema_that_cannot_be_held_to_is_refused(llama: LlamaCpp, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await ask(llama, question(output=OutputSchema(name="x", schema=bad)))

    assert caught.value.param == "output"


async def test_a_grammar_that_is_none_is_refused(llama: LlamaCpp) -> None:
    with pytest.raises(InvalidRequestError, match="grammar"):
        await ask(llama, by_grammar("root ::= missing"))


async def test_a_grammar_that_no_token_can_follow_is_an_error_and_not_the_end_of_the_process(llama: LlamaCpp) -> None:
    with pytest.raises(ProviderServerError, match="grammar"):
        await ask(llama, by_grammar('root ::= "a" "\\x01" [^\\x00-\\U0010FFFF]'))

    assert (await ask(llama, by_grammar('root ::= "a"'))).text == "a"


async def test_log_probabilities_are_those_of_the_model(llama: LlamaCpp) -> None:
    answer = await ask(llama, question(temperature=0.0, max_tokens=6, logprobs=3))

    reported = [entry for event in answer.events if isinstance(event, TextDelta) for entry in event.logprobs]
    assert "".join(entry.token for entry in reported) == answer.text
    assert len(reported) == 6
    for entry in reported:
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.token, entry.logprob)
        assert sum(math.exp(value) for _, value in entry.top) <= 1.0001
    assert type(reported[0].logprob) is float


async def test_log_probabilities_without_alternatives(llama: LlamaCpp) -> None:
    answer = await ask(llama, question(temperature=0.0, max_tokens=2, logprobs=0))

    reported = [entry for event in answer.events if isinstance(event, TextDelta) for entry in event.logprobs]
    assert [entry.top for entry in reported] == [(), ()]


async def test_a_callers_control_tokens_are_text(llama: LlamaCpp) -> None:
    plain = await llama.count_tokens(question("x"), model="default")

    marked = await llama.count_tokens(question("x<|im_end|>"), model="default")

    assert marked > plain + 1


async def test_tokens_are_counted_exactly(llama: LlamaCpp) -> None:
    request = question("How many tokens are these, including ünïcödé? 🎉", max_tokens=1)

    counted = await llama.count_tokens(request, model=STEM)

    assert counted == (await ask(llama, request)).usage.input_tokens


async def test_an_assistants_turn_is_continued(llama: LlamaCpp) -> None:
    whole = await llama.count_tokens(question("Count."), model="default")
    request = question("Count.", max_tokens=4, temperature=0.0)
    begun = Message("assistant", "1, 2, 3, 4, 5,")

    answer = await ask(llama, type(request)(messages=(*request.messages, begun), max_tokens=4, temperature=0.0))

    assert answer.usage.input_tokens is not None
    assert answer.usage.input_tokens > whole
    assert "6" in answer.text


async def test_what_a_local_model_has_not_is_told_first(llama: LlamaCpp) -> None:
    answer = await ask(llama, question(reasoning="high", max_tokens=1))

    assert isinstance(answer.events[0], Notice)
    assert answer.events[0].code == "parameter_dropped"
    with pytest.raises(UnsupportedError):
        await ask(llama, question(reasoning="high"), call=new_call(strict=True))


async def test_an_unknown_model_is_refused(llama: LlamaCpp) -> None:
    with pytest.raises(ModelNotFoundError, match="default"):
        async with llama.stream(question(), model="gpt-6", call=new_call()):
            pass


async def test_what_is_known_without_loading(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, name="mine", price=Price.per_million(input=1, output=2))

    info = provider.describe("default")

    assert info is not None
    assert (info.id, info.context_window, info.local) == ("default", 4096, True)
    assert info.price == Price.per_million(input=1, output=2)
    assert info.capabilities == {"json_schema", "logprobs", "seed"}
    assert provider.describe("gpt-6") is None
    assert [model.id for model in await provider.models()] == [STEM]
    assert list(provider.default_models()) == ["default"]
    assert (await provider.check()).ok
    assert not provider.engine_state().loaded
    await provider.aclose()


async def test_it_keeps_the_protocols(llama: LlamaCpp) -> None:
    provider: Provider = llama
    counts: CountsTokens = llama

    assert provider.name == "local"
    assert isinstance(counts, KnowsModels)
    with pytest.raises(UnsupportedError):
        await provider.embed(EmbedRequest(inputs=("a",)), model="default", call=new_call())


class TestASmallContext:
    async def test_overflow_is_a_clear_error_before_anything_is_computed(self, smollm2: str) -> None:
        provider = LlamaCpp(smollm2, n_ctx=48, n_threads=1)
        fitting = "word " * 12
        try:
            size = await provider.count_tokens(question(fitting), model="default")
            full = await ask(provider, question(fitting, temperature=1.0))
            call = new_call()

            with pytest.raises(ContextLengthError) as caught:
                await ask(provider, question("word " * 40), call=call)
            with pytest.raises(ContextLengthError) as far:
                await ask(provider, question("word " * 100_000))

            assert caught.value.limit == 48
            assert caught.value.tokens is not None
            assert caught.value.tokens >= 48
            assert far.value.tokens is None
            assert call.response.usage == Usage(input_tokens=0, cached_input_tokens=0, output_tokens=0)
            assert _ended_by_the_context(full, size) or full.finish.raw_reason == "eos"
        finally:
            await provider.aclose()

    async def test_an_answer_that_fills_the_context_is_cut_with_length(self, smollm2: str) -> None:
        provider = LlamaCpp(smollm2, n_ctx=48, n_threads=1)
        try:
            answer = await ask(provider, by_grammar('root ::= "a "*', temperature=0.0, seed=1))
            size = await provider.count_tokens(question("Go on."), model="default")

            assert answer.finish.reason in ("length", "stop")
            if answer.finish.reason == "length":
                assert _ended_by_the_context(answer, size)
        finally:
            await provider.aclose()


def _ended_by_the_context(answer: Answer, prompt: int) -> bool:
    return answer.finish == Finish("length", "context_full") and answer.usage.output_tokens == 48 - prompt


async def test_a_model_without_a_template_can_be_given_one(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1, n_ctx=64, chat_template="{{ messages[0].content }}")
    try:
        counted = await provider.count_tokens(question("one two three"), model="default")
    finally:
        await provider.aclose()

    assert counted == 3


async def test_a_file_without_a_template_is_refused_with_what_to_give(smollm2: str, tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    _copy_the_beginning(smollm2, path)
    header = path.read_bytes()
    assert header.count(b"tokenizer.chat_template") == 1
    path.write_bytes(header.replace(b"tokenizer.chat_template", b"tokenizer.chat_hidden__"))
    provider = LlamaCpp(path, n_threads=1)

    with pytest.raises(UnsupportedError) as caught:
        await ask(provider, question())
    await provider.aclose()

    assert "has no chat template" in str(caught.value)
    assert "chat_template=" in str(caught.value)


async def test_a_file_that_breaks_off_behind_its_header_is_a_clear_error(smollm2: str, tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    _copy_the_beginning(smollm2, path)
    provider = LlamaCpp(path, n_threads=1)

    for _ in range(2):
        with pytest.raises(ModelFileError, match=r"half\.gguf"):
            await ask(provider, question())
    await provider.aclose()


def _copy_the_beginning(source: str, target: Path) -> None:
    with open(source, "rb") as whole:
        target.write_bytes(whole.read(10_000_000))


async def test_a_closed_provider_says_so(smollm2: str) -> None:
    provider = LlamaCpp(smollm2, n_threads=1)
    await provider.aclose()
    await provider.aclose()

    with pytest.raises(ClosedError):
        await ask(provider, question(), call=new_call(timeouts=Timeouts(first_token=None, stall=None)))


@pytest.mark.parametrize("wrong", [{"n_ctx": 4}, {"n_threads": 0}, {"max_queued": 0}, {"patience": 0.0}])
async def test_a_setting_out_of_range_is_the_developers_error(smollm2: str, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        LlamaCpp(smollm2, **wrong)  # type: ignore[arg-type]


async def test_a_file_that_is_not_there_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        LlamaCpp(tmp_path / "missing.gguf")
