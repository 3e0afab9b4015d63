"""What a prompt probably counts lies within its bound, and near what a real vocabulary counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from effort import examples
from planar.catalog import VOCABULARIES, input_bound, texts_of
from planar.catalog._tiktoken import TextCounter, text_counter
from planar.types import (
    ChatRequest,
    Message,
    ModelInfo,
    OutputSchema,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from tiny_vocabulary import tiny

ANY = ModelInfo(id="any")
WEATHER = Tool(
    name="weather",
    description="What the weather is like in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def prompt(*texts: str) -> ChatRequest:
    return ChatRequest(messages=tuple(Message("user", text) for text in texts))


@given(st.lists(st.text(), min_size=1, max_size=4))
@examples(200)
def test_what_is_likely_is_never_more_than_the_bound(texts: list[str]) -> None:
    found = input_bound(prompt(*texts))

    assert 0 < found.likely_of(ANY) <= found.of(ANY)
    assert 0 < found.likely_of(ModelInfo(id="claude-sonnet-5-5")) <= found.of(ModelInfo(id="claude-sonnet-5-5"))


@given(st.text())
@examples(200)
def test_a_text_is_as_likely_as_the_same_text_as_a_part(text: str) -> None:
    in_part = ChatRequest(messages=(Message("user", (Text(text),)),))

    assert input_bound(in_part) == input_bound(prompt(text))


def test_what_is_likely_says_so_where_it_does_not_fit() -> None:
    found = input_bound(prompt("river " * 1_000))

    assert found.likely_of(ModelInfo(id="any", context_window=100)) > 1_000
    assert found.of(ModelInfo(id="any", context_window=100)) == 100


def test_tools_and_shapes_are_likely_to_count() -> None:
    shape = OutputSchema(name="city", schema=WEATHER.parameters)
    size = len(json.dumps(dict(WEATHER.parameters)))

    plain = input_bound(prompt("Rivers?"))
    equipped = input_bound(ChatRequest(messages=prompt("Rivers?").messages, tools=(WEATHER,), output=shape))
    claude = ModelInfo(id="claude-sonnet-5-5")

    assert plain.likely_of(ANY) + size // 2 < equipped.likely_of(ANY) < plain.likely_of(ANY) + size
    # Anthropic puts a text of 346 tokens before prompts with tools, for most models, and 530 for one.
    assert equipped.likely_of(claude) > plain.likely_of(claude) + 346
    assert equipped.of(claude) > plain.of(claude) + 530


def test_every_text_of_a_prompt_is_there_to_be_counted() -> None:
    request = ChatRequest(
        messages=(
            Message("system", "one"),
            Message("assistant", (Reasoning(text="two", encrypted="three"), Refusal("four"))),
            Message("assistant", (ToolCall(id="1", name="five", arguments="{}"),)),
            Message("tool", (ToolResult(tool_call_id="1", content=(Text("six"),)), Text("seven"))),
        ),
        tools=(WEATHER,),
        output=OutputSchema(name="city", schema={"title": "eight"}),
    )

    texts = texts_of(request)

    assert texts[:8] == ["one", "two", "three", "four", "five", "{}", "six", "seven"]
    assert "weather is like" in texts[8]
    assert texts[9:] == ['{"title": "eight"}']


# --- With a real vocabulary --------------------------------------------------------------------


@pytest.fixture(scope="session")
def counter(cl100k: Path) -> TextCounter:
    path = VOCABULARIES["cl100k_base"].file({"TIKTOKEN_CACHE_DIR": str(cl100k)})
    assert path is not None
    return text_counter(VOCABULARIES["cl100k_base"], path)


@given(st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=4))
@examples(200)
def test_no_text_has_more_tokens_than_its_bound(counter: TextCounter, texts: list[str]) -> None:
    request = prompt(*texts)

    assert counter(texts_of(request)) <= input_bound(request).of(ANY)


PROSE = {
    "English": """The river rises in the mountains, runs for nine hundred kilometres through three provinces, and
reaches the sea in a delta that grows by ten metres a year. Nobody has measured it since the dam was built.""",
    "Spanish": """El río nace en las montañas, recorre novecientos kilómetros por tres provincias y llega al mar en un
delta que crece diez metros al año. Nadie lo ha medido desde que se construyó la presa.""",
    "German": """Der Fluss entspringt im Gebirge, durchquert auf neunhundert Kilometern drei Länder und mündet in einem
Delta, das jährlich um zehn Meter wächst. Seit dem Bau der Talsperre hat es niemand vermessen.""",
    "Polish": """Rzeka wypływa z gór, płynie dziewięćset kilometrów przez trzy województwa i uchodzi do morza deltą,
która co roku powiększa się o dziesięć metrów. Od budowy zapory nikt jej nie zmierzył.""",
    "Russian": """Река берёт начало в горах, течёт девятьсот километров через три области и впадает в море дельтой,
которая растёт на десять метров в год. С тех пор как построили плотину, никто её не измерял.""",
    "Greek": """Ο ποταμός πηγάζει στα βουνά, διασχίζει τρεις επαρχίες και φτάνει στη θάλασσα σε ένα δέλτα που μεγαλώνει
δέκα μέτρα τον χρόνο.""",
    "Arabic": "ينبع النهر من الجبال ويجري تسعمئة كيلومتر عبر ثلاث مقاطعات ثم يصب في البحر في دلتا تنمو كل عام.",
    "Hindi": "नदी पहाड़ों से निकलती है, तीन प्रांतों से होकर नौ सौ किलोमीटर बहती है और समुद्र में मिल जाती है।",
    "Chinese": "这条河发源于山区，流经三个省，全长九百公里，最后在一个每年增长十米的三角洲入海。没有人测量过它。",
    "Japanese": "その川は山に源を発し、三つの県を九百キロにわたって流れ、毎年十メートルずつ広がる三角州で海に注ぐ。",
    "Korean": "그 강은 산에서 시작하여 세 개의 도를 지나 구백 킬로미터를 흐르고, 삼각주에서 바다로 흘러든다.",
    "Python": Path(planar.__file__).parent.joinpath("errors.py").read_text()[:4_000],
    "JSON": json.dumps([dict(WEATHER.parameters)] * 3, indent=2),
}


@pytest.mark.parametrize("language", PROSE)
def test_what_is_likely_is_within_a_factor_of_two_of_what_is_counted(counter: TextCounter, language: str) -> None:
    request = prompt(PROSE[language])

    found = input_bound(request)
    counted = found.likely_of(ANY, text=counter(texts_of(request)))

    assert counted / 2 <= found.likely_of(ANY) <= counted * 2
    assert found.of(ANY) >= counted


@pytest.mark.parametrize("language", ["English", "Spanish", "German", "Python"])
def test_prose_and_code_that_most_prompts_are_made_of_are_within_a_quarter(counter: TextCounter, language: str) -> None:
    request = prompt(PROSE[language])

    found = input_bound(request)

    assert found.likely_of(ANY) == pytest.approx(found.likely_of(ANY, text=counter(texts_of(request))), rel=0.25)


@given(st.text(st.characters(codec=None)))
@examples(100)
def test_a_text_is_counted_as_tiktoken_counts_it(cl100k: Path, counter: TextCounter, text: str) -> None:
    theirs = _theirs(cl100k)

    assert counter([text]) == len(theirs.encode_ordinary(text))


_ENCODINGS: dict[Path, object] = {}


def _theirs(folder: Path):
    import tiktoken

    if folder not in _ENCODINGS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
            _ENCODINGS[folder] = tiktoken.get_encoding("cl100k_base")
    return _ENCODINGS[folder]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_table_says_what_tiktoken_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        openai_public, "load_tiktoken_bpe", lambda url, expected_hash: asked.append((url, expected_hash))
    )

    theirs = openai_public.ENCODING_CONSTRUCTORS[name]()

    ours = VOCABULARIES[name]
    assert asked == [(ours.url, ours.sha256)]
    assert theirs["pat_str"] == ours.pattern


# --- With one that was made here ---------------------------------------------------------------


def test_a_vocabulary_counts_byte_pairs(tmp_path: Path) -> None:
    vocabulary = tiny(tmp_path)
    path = vocabulary.file({"TIKTOKEN_CACHE_DIR": str(tmp_path)})
    assert path is not None

    count = text_counter(vocabulary, path)

    assert count(["river"]) == 1
    assert count(["rover", " in", ""]) == 5
    assert text_counter(vocabulary, path) is count


@pytest.mark.parametrize("content", [b"", b"AA== 0\n", b"\x00" * 100])
def test_a_file_with_another_content_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    vocabulary = VOCABULARIES["cl100k_base"]
    path = vocabulary.file({"TIKTOKEN_CACHE_DIR": str(tmp_path)})
    assert path is not None
    path.write_bytes(content)

    with pytest.raises(planar.ConfigurationError, match="its hash is another"):
        TextCounter(vocabulary, path)

    assert path.read_bytes() == content


def test_its_file_is_where_tiktoken_would_put_it(tmp_path: Path) -> None:
    vocabulary = VOCABULARIES["cl100k_base"]
    name = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"

    assert vocabulary.file({"TIKTOKEN_CACHE_DIR": "a", "DATA_GYM_CACHE_DIR": "b"}) == Path("a") / name
    assert vocabulary.file({"DATA_GYM_CACHE_DIR": "b"}) == Path("b") / name
    assert vocabulary.file({"TIKTOKEN_CACHE_DIR": "", "DATA_GYM_CACHE_DIR": "b"}) is None
    default = vocabulary.file({})
    assert default is not None
    assert default.parent.name == "data-gym-cache"


WITHOUT_TIKTOKEN = """
import sys
sys.modules["tiktoken"] = None
import planar
try:
    import planar.catalog._tiktoken
except planar.MissingExtraError as error:
    print(error)
"""


def test_without_the_extra_it_says_what_to_type() -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT_TIKTOKEN], check=True, capture_output=True, text=True).stdout

    assert "pip install 'planar-inference[tiktoken]'" in said
