"""Who counts a prompt, what the route knows of it, and that no vocabulary is fetched or outlives its client."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

import planar
from planar.catalog import VOCABULARIES, Vocabulary
from planar.client._counting import Counting
from planar.testing import ScriptedProvider
from tiny_vocabulary import tiny

pytestmark = pytest.mark.anyio

QUESTION = "river in river river"
INFO = planar.ModelInfo(id="m", price=planar.Price.per_million(input=1, output=1), tokenizer="tiny")


def client_of(
    counting: Counting | None = None, *, provider: Any = None, info: planar.ModelInfo = INFO
) -> planar.Planar:
    one = provider or ScriptedProvider("Ebro", name="one")
    client = planar.Planar(providers=[one], models={"any": ["one:m"]}, catalog=planar.Catalog(models={"one:m": info}))
    if counting is not None:
        client._core.counting = counting
    return client


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "planar-tiktoken"]


def counting_with(folder: Path, environ: Mapping[str, str] | None = None) -> Counting:
    return Counting(environ or {"TIKTOKEN_CACHE_DIR": str(folder)}, vocabularies={"tiny": tiny(folder)})


class Held(Mapping[str, str]):
    """An environment that can be read only when the test says so: whoever loads a vocabulary waits for it."""

    def __init__(self, folder: Path) -> None:
        self.released = threading.Event()
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        assert self.released.wait(10)
        if name == "TIKTOKEN_CACHE_DIR":
            return str(self._folder)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(["TIKTOKEN_CACHE_DIR"])

    def __len__(self) -> int:
        return 1


class Vendor(ScriptedProvider):
    """One whose vendor counts prompts."""

    asked = 0

    async def count_tokens(self, request: planar.ChatRequest, *, model: str) -> int:
        self.asked += 1
        return 4_711


class Asked(ScriptedProvider):
    """One whose vendor counts prompts only when asked."""

    async def count_input(self, request: planar.ChatRequest, *, model: str) -> int:
        return 4_712


async def test_without_a_vocabulary_a_prompt_is_estimated() -> None:
    async with client_of(info=planar.ModelInfo(id="m")) as client:
        count = await client.count_tokens(QUESTION, model="any")

    assert (count.how, count.exact, count.deployment) == ("estimate", False, "one:m")
    assert 0 < count.tokens <= count.bound


async def test_texts_are_counted_with_a_vocabulary_that_is_here(tmp_path: Path) -> None:
    async with client_of(counting_with(tmp_path)) as client:
        count = await client.count_tokens(QUESTION, model="any")

    # Four words, two of them with a token for their space; four around the message and three before the answer.
    assert (count.how, count.exact) == ("tiktoken", False)
    assert count.tokens == 6 + 4 + 3
    assert count.bound >= len(QUESTION)


async def test_a_long_prompt_is_counted_too_when_asked_for(tmp_path: Path) -> None:
    async with client_of(counting_with(tmp_path)) as client:
        count = await client.count_tokens("river" * 10_000, model="any")

    assert count.how == "tiktoken"


async def test_the_local_model_counts_as_it_is_charged(smollm2: str) -> None:
    async with planar.Planar(providers=[planar.LlamaCpp(smollm2, n_ctx=512, n_threads=1)]) as client:
        count = await client.count_tokens(QUESTION, model="local:default")
        completion = await client.infer(QUESTION, model="local:default", max_tokens=1)

    assert (count.how, count.exact, count.bound) == ("vocabulary", True, count.tokens)
    assert completion.usage is not None
    assert completion.usage.input_tokens == count.tokens


async def test_the_vendor_counts_when_asked_and_never_otherwise() -> None:
    vendor = Vendor("Ebro", name="one")
    async with client_of(provider=vendor) as client:
        asked = await client.count_tokens(QUESTION, model="any", ask_vendor=True)
        estimated = await client.count_tokens(QUESTION, model="any")

    assert (asked.tokens, asked.how, asked.exact) == (4_711, "vendor", False)
    assert asked.bound >= 4_711
    assert (estimated.how, vendor.asked) == ("estimate", 1)


async def test_a_prompt_is_not_sent_to_be_counted_where_it_may_not_be_sent() -> None:
    vendor = Vendor("Ebro", name="one")
    abroad = planar.Constraints(excluded_vendors=frozenset({"one"}))
    async with client_of(provider=vendor) as client:
        with pytest.raises(planar.NoRouteError):
            await client.count_tokens(QUESTION, model="any", ask_vendor=True, constraints=abroad)

    assert vendor.asked == 0


async def test_a_vendor_that_only_counts_when_asked_is_asked() -> None:
    async with client_of(provider=Asked("Ebro", name="one")) as client:
        count = await client.count_tokens(QUESTION, model="any", ask_vendor=True)

    assert (count.tokens, count.how) == (4_712, "vendor")


async def test_a_vendor_that_cannot_count_leaves_an_estimate() -> None:
    async with client_of(info=planar.ModelInfo(id="m")) as client:
        count = await client.count_tokens(QUESTION, model="any", ask_vendor=True)

    assert count.how == "estimate"


async def test_options_are_checked_and_count() -> None:
    tool = planar.Tool(name="weather", parameters={"type": "object"}, description="x" * 400)
    async with client_of() as client:
        plain = await client.count_tokens(QUESTION, model="any")
        equipped = await client.count_tokens(QUESTION, model="any", tools=[tool])
        with pytest.raises(planar.UnknownModelError):
            await client.count_tokens(QUESTION, model="none")
        with pytest.raises(planar.InvalidRequestError, match="temperature"):
            await client.count_tokens(QUESTION, temperature=3)

    assert equipped.tokens > plain.tokens + 50
    with pytest.raises(planar.ClosedError):
        await client.count_tokens(QUESTION)


# --- What the route knows ----------------------------------------------------------------------


async def test_a_route_is_estimated_until_the_vocabulary_is_there_and_never_waits(tmp_path: Path) -> None:
    environ = Held(tmp_path)
    client = client_of(counting_with(tmp_path, environ))

    before = client.plan(QUESTION, model="any").order[0]
    assert len(loaders()) == 1
    environ.released.set()
    counted = await client.count_tokens(QUESTION, model="any")
    after = client.plan(QUESTION, model="any").order[0]

    assert before.input_estimated
    assert after.input_estimated, "what stands around the texts is not known to the token"
    assert before.input_tokens_likely != after.input_tokens_likely == counted.tokens == 13
    assert before.input_tokens_bound == after.input_tokens_bound == counted.bound
    await client.aclose()


async def test_a_long_prompt_is_not_counted_while_a_call_is_planned(tmp_path: Path) -> None:
    async with client_of(counting_with(tmp_path)) as client:
        await client.count_tokens(QUESTION, model="any")
        long = client.plan("river" * 1_000, model="any").order[0]

    assert long.input_tokens_likely == 5_000 // 4 + 7


def test_a_plan_without_an_event_loop_loads_it_beside(tmp_path: Path) -> None:
    client = client_of(counting_with(tmp_path))

    client.plan(QUESTION, model="any")
    for thread in loaders():
        thread.join()

    assert client.plan(QUESTION, model="any").order[0].input_tokens_likely == 13


async def test_prompts_are_counted_once_for_all_candidates(tmp_path: Path) -> None:
    counting = counting_with(tmp_path)
    asked: list[object] = []
    client = planar.Planar(
        providers=[ScriptedProvider("Ebro", name="one")],
        models={"any": [f"one:{number}" for number in range(20)]},
        catalog=planar.Catalog(
            models={f"one:{number}": planar.ModelInfo(id="m", tokenizer="tiny") for number in range(20)}
        ),
    )
    counter = await counting.wait_for("tiny")
    assert counter is not None

    def counted(texts: Any) -> int:
        asked.append(texts)
        return counter(texts)

    counting._found["tiny"] = counted  # type: ignore[assignment]
    client._core.counting = counting

    route = client.plan(QUESTION, model="any")

    assert {candidate.input_tokens_likely for candidate in route.order} == {13}
    assert len(asked) == 1
    await client.aclose()


# --- Threads and files -------------------------------------------------------------------------


async def test_no_thread_outlives_its_client(tmp_path: Path) -> None:
    environ = Held(tmp_path)
    client = client_of(counting_with(tmp_path, environ))
    client.plan(QUESTION, model="any")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.aclose)
        await anyio.wait_all_tasks_blocked()
        assert len(loaders()) == 1
        environ.released.set()

    assert loaders() == []


async def test_several_threads_that_need_it_at_once_load_it_once(tmp_path: Path) -> None:
    environ = Held(tmp_path)
    client = client_of(counting_with(tmp_path, environ))

    planners = [threading.Thread(target=client.plan, args=(QUESTION,), kwargs={"model": "any"}) for _ in range(8)]
    for planner in planners:
        planner.start()
    for planner in planners:
        planner.join()

    assert len(loaders()) == 1
    environ.released.set()
    await client.aclose()


@pytest.mark.parametrize("content", [None, b"", b"not a vocabulary"])
async def test_a_vocabulary_that_is_missing_or_wrong_leaves_an_estimate(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary = tiny(tmp_path)
    file = vocabulary.file({"TIKTOKEN_CACHE_DIR": str(tmp_path)})
    assert file is not None
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    counting = Counting({"TIKTOKEN_CACHE_DIR": str(tmp_path)}, vocabularies={"tiny": wrong(vocabulary)})

    with caplog.at_level(logging.WARNING, "planar.tiktoken"):
        async with client_of(counting) as client:
            counts = [await client.count_tokens(QUESTION, model="any") for _ in range(2)]

    assert {count.how for count in counts} == {"estimate"}
    assert len(caplog.records) == (0 if content is None else 1)
    assert file.exists() == (content is not None)


def wrong(vocabulary: Vocabulary) -> Vocabulary:
    """The same with another hash: the one that an earlier test loaded must not be found by it."""
    return Vocabulary(name="tiny", url=vocabulary.url, sha256="0" * 64, pattern=vocabulary.pattern)


NO_FETCHING = """
import json, sys, threading
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "subprocess.", "os.remove", "os.rename", "os.mkdir")):
        seen.append(event)
sys.addaudithook(hook)
import planar
from planar.testing import ScriptedProvider
names = ["cl100k_base", "o200k_base", "o200k_harmony", "gpt2", "../etc/passwd"]
models = {f"one:{n}": planar.ModelInfo(id="m", tokenizer=n) for n in names}
client = planar.Planar(providers=[ScriptedProvider("Ebro", name="one")], models={"any": list(models)},
                       catalog=planar.Catalog(models=models))
client.plan("Rivers?", model="any")
for thread in threading.enumerate():
    if thread.name == "planar-tiktoken":
        thread.join()
route = client.plan("Rivers?", model="any")
imported = sorted({"tiktoken", "requests", "urllib3", "ssl", "socket"} & set(sys.modules))
print(json.dumps({"seen": seen, "imported": imported, "kept": len(route.order)}))
"""


@pytest.mark.parametrize("content", [None, b"", b"AA== 0\n"])
def test_no_connection_is_opened_whatever_is_missing(tmp_path: Path, content: bytes | None) -> None:
    environ = {"TIKTOKEN_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    for vocabulary in VOCABULARIES.values():
        file = vocabulary.file(environ)
        assert file is not None
        if content is not None:
            file.write_bytes(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    done = subprocess.run(
        [sys.executable, "-B", "-c", NO_FETCHING], env=environ, check=True, capture_output=True, text=True
    ).stdout

    report = json.loads(done)
    assert report["seen"] == []
    assert report["kept"] == 5
    assert "requests" not in report["imported"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_a_model_whose_vocabulary_is_real_is_counted_with_it(
    cl100k: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cl100k))
    info = planar.ModelInfo(id="m", tokenizer="cl100k_base")

    async with client_of(info=info) as client:
        count = await client.count_tokens("Three rivers in Spain?", model="any")

    # Five words and a mark: OpenAI's tokenizer page says 5, and 7 stand around them.
    assert (count.how, count.tokens) == ("tiktoken", 5 + 7)
