"""Bad input is refused at the door, with words that say what to write instead. Nothing is half-started."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import planar
from planar.testing import ScriptedProvider, reply

WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"model": "fst"}, "did you mean 'fast'"),
    ({"model": "scriptd:default"}, "did you mean 'scripted:default'"),
    ({"model": "scripted:other"}, "it serves default"),
    ({"model": ""}, "a text that is not empty"),
    ({"max_tokens": 0}, "at least 1"),
    ({"max_tokens": -5}, "at least 1"),
    ({"max_tokens": True}, "at least 1"),
    ({"max_tokens": 1.5}, "at least 1"),
    ({"temperature": -0.1}, "from 0 to 2"),
    ({"temperature": float("nan")}, "from 0 to 2"),
    ({"temperature": "hot"}, "from 0 to 2"),
    ({"top_p": 0}, "above 0"),
    ({"stop": ""}, "none of them empty"),
    ({"stop": ["a", 3]}, "none of them empty"),
    ({"seed": -1}, "from 0 to"),
    ({"reasoning": "a lot"}, "xhigh"),
    ({"reasoning": -1}, "budget in tokens"),
    ({"tools": "weather"}, "a list of planar.Tool"),
    ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"tool_choice": "auto"}, "needs tools"),
    ({"tool_choice": "always"}, "'required'"),
    ({"output": "json"}, "pydantic class"),
    ({"output": int}, "subclass of pydantic.BaseModel"),
    ({"output": {}}, "JSON schema"),
    ({"logprobs": 21}, "from 0 to 20"),
    ({"strategy": "random"}, "cheapest"),
    ({"constraints": {"local_only": True}}, "planar.Constraints"),
    ({"timeouts": 5}, "planar.Timeouts"),
    ({"timeouts": planar.Timeouts(total=-1)}, "timeouts.total"),
    ({"deadline": "soon"}, "anyio.current_time()"),
    ({"resume": "again"}, "'continue' or 'restart'"),
    ({"hedge": 1}, "True or False"),
    ({"timeouts": planar.Timeouts(min_rate=0)}, "timeouts.min_rate must be a number of tokens per second above 0"),
    ({"wire": "carrier pigeon"}, "'streamed' or 'whole'"),
    ({"on_low_budget": "borrow"}, "'clamp' or 'refuse'"),
    ({"metadata": {"a": 1}}, "texts to texts"),
    ({"extra_body": {"top_k": 3}}, "provider names"),
    ({"extra_body": {"openai": {"n": 2}}}, "call several times"),
    ({"extra_body": {"openai": {"n": 0}}}, "extra_body['openai']['n']"),
    ({"extra_body": {"a": {}, "vllm": {"best_of": 4}}}, "extra_body['vllm']['best_of'] asks for 4 answers"),
    ({"extra_body": {"local": {"n_cmpl": 2}}}, "call several times"),
    ({"extra_body": {"gemini": {"generationConfig": {"candidateCount": 2}}}}, "['generationConfig']['candidateCount']"),
    ({"extra_body": {"gemini": {"generation_config": {"candidate_count": 3}}}}, "call several times"),
    ({"temprature": 0.5}, "did you mean 'temperature'"),
    ({"tenant": "a/b/c/d/e"}, "one to four names"),
]

WRONG_PROMPTS: list[tuple[Any, str]] = [
    ("", "empty"),
    ("   ", "empty"),
    ([], "empty"),
    (None, "no prompt"),
    (3, "no prompt"),
    ([{"role": "user"}], "messages[0]"),
    ([{"role": "robot", "content": "hi"}], "messages[0].role"),
    ([{"role": "user", "content": "hi", "mood": "good"}], "mood"),
    ([{"role": "user", "content": [{"type": "smell", "data": "x"}]}], "messages[0].content[0]"),
    ([{"role": "user", "content": [{"type": "text", "text": "hi", "x": 1}]}], "messages[0].content[0]"),
    ([{"role": "tool", "content": "42"}], "tool_call_id"),
]


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider(reply("Ebro"), models=["default"])


@pytest.fixture
def client(provider: ScriptedProvider) -> planar.Planar:
    return planar.Planar(providers=[provider], models={"fast": ["scripted:default"]})


@pytest.mark.parametrize(("options", "words"), WRONG_OPTIONS, ids=[str(options) for options, _ in WRONG_OPTIONS])
@pytest.mark.anyio
async def test_an_option_that_cannot_be_is_refused(
    client: planar.Planar, provider: ScriptedProvider, options: dict[str, Any], words: str
) -> None:
    with pytest.raises((planar.RequestError, planar.TenantError)) as caught:
        await client.infer("Rivers?", **options)

    assert words in str(caught.value)
    assert provider.received == []
    assert (await client.quotas.usage("default")).requests == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields", [{"n": 1}, {"best_of": None}, {"generationConfig": {"candidateCount": 1, "topK": 3}}], ids=str
)
async def test_one_answer_may_be_asked_for_by_its_vendors_name(
    client: planar.Planar, provider: ScriptedProvider, fields: dict[str, Any]
) -> None:
    await client.infer("Rivers?", extra_body={"scripted": fields})

    assert provider.received[0].request.extra_body == {"scripted": fields}


@pytest.mark.parametrize(("prompt", "words"), WRONG_PROMPTS, ids=[str(prompt) for prompt, _ in WRONG_PROMPTS])
def test_a_prompt_that_cannot_be_is_refused(
    client: planar.Planar, provider: ScriptedProvider, prompt: Any, words: str
) -> None:
    with pytest.raises(planar.InvalidRequestError) as caught:
        client.stream(prompt)

    assert words in str(caught.value)
    assert provider.received == []


WRONG_CLIENTS: list[tuple[Callable[[], object], str]] = [
    (lambda: planar.Planar(providers=[]), "needs a provider"),
    (lambda: planar.Planar(providers=[ScriptedProvider(), ScriptedProvider()]), "another name="),
    (lambda: planar.Planar(providers=[ScriptedProvider()], models={"fast": ["other:default"]}), "alias 'fast'"),
    (lambda: planar.Planar(providers=[ScriptedProvider()], models={"fast": []}), "needs a list"),
    (lambda: planar.Planar(providers=[ScriptedProvider()], models={"fast": "scripted:default"}), "needs a list"),
    (lambda: planar.Planar(providers=[ScriptedProvider()], models={"a:b": ["scripted:default"]}), "cannot be an alias"),
    (
        lambda: planar.Planar(providers=[ScriptedProvider()], models={"auto": ["scripted:default"]}),
        "cannot be an alias",
    ),
    (lambda: planar.Planar.from_env({}), "OPENAI_API_KEY"),
    (lambda: planar.Planar.from_env({"OPENAI_API_KEY": " sk-secret\n"}), "OPENAI_API_KEY has white space"),
    (lambda: planar.Planar.from_env({"PLANAR_LOCAL_MODELS": "x=/nowhere/model.gguf"}), "/nowhere/model.gguf"),
    (lambda: planar.LlamaCpp("/nowhere/model.gguf"), "/nowhere/model.gguf"),
    (lambda: planar.LlamaCpp(__file__), "GGUF"),
    (lambda: planar.OpenAICompatible(base_url="ftp://example.com"), "http"),
    (lambda: planar.OpenAICompatible(base_url="http://127.0.0.1:1/v1", api_key=""), "api_key"),
    (lambda: planar.OpenAICompatible(base_url="http://127.0.0.1:1/v1", dialect="klingon"), "klingon"),
    (lambda: planar.OpenAI(api_key="sk-secret\nX: y"), "api_key"),
    (lambda: planar.Catalog(prices={"gpt": planar.Price.FREE}), "provider:model"),
    (lambda: planar.Price.per_million(input=-1, output=1), "-1"),
    (lambda: planar.Price.per_million(input="Infinity", output=1), "Infinity"),
    (lambda: planar.Price.per_million(input="NaN", output=1), "NaN"),
    (lambda: planar.Price.per_million(input=0.5, output=1), "0.5"),  # type: ignore[arg-type]
    (lambda: planar.Constraints(max_cost_usd=0.01), "Decimal('0.01')"),  # type: ignore[arg-type]
    (lambda: planar.Constraints(max_cost_usd=Decimal("Infinity")), "Infinity"),
    (lambda: planar.Limit.usd(-1), "-1"),
    (lambda: planar.Limit.usd(0.5), "0.5"),  # type: ignore[arg-type]
    (lambda: planar.Limit.requests(0), "at least 1"),
    (lambda: planar.Limit.tokens(-1), "at least 0"),
]


@pytest.mark.parametrize(("make", "words"), WRONG_CLIENTS, ids=range(len(WRONG_CLIENTS)))
def test_a_client_that_cannot_work_is_not_made(make: Callable[[], object], words: str) -> None:
    with pytest.raises(planar.PlanarError) as caught:
        make()

    assert words in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_all_problems_of_the_aliases_are_told_at_once() -> None:
    with pytest.raises(planar.ConfigurationError) as caught:
        planar.Planar(providers=[ScriptedProvider()], models={"a": ["x:1"], "b": ["scripted"]})

    assert "alias 'a'" in str(caught.value)
    assert "alias 'b'" in str(caught.value)


def test_wrong_defaults_are_refused_when_the_copy_is_made(client: planar.Planar) -> None:
    with pytest.raises(planar.InvalidRequestError):
        client.with_options(max_tokens=0)


@pytest.mark.anyio
@pytest.mark.parametrize("inputs", ["", [], ["a", ""], [3]])
async def test_there_must_be_something_to_embed(client: planar.Planar, inputs: Any) -> None:
    with pytest.raises(planar.InvalidRequestError):
        await client.embed(inputs)


@pytest.mark.anyio
async def test_a_provider_without_embeddings_says_so_and_nothing_is_charged(client: planar.Planar) -> None:
    with pytest.raises(planar.UnsupportedError):
        await client.embed("Ebro")

    [entry] = [entry async for entry in client.quotas.ledger()]
    assert (entry.nano_usd, entry.flags) == (0, {"failed"})


def test_a_secret_shows_itself_to_nobody() -> None:
    import pickle

    secret = planar.Secret("sk-123")

    assert "sk-123" not in f"{secret} {secret!r} {secret!s} {[secret]} {secret:>30}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
