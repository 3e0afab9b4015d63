"""Requests on Gemini's wire, each accepted by the types of Google's own SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from conversations import AUDIO, CALLED, COMMON, NOW, RESULTS, RIVERS, USER, WEATHER, asked, loop, user, without_sdk

from planar.client._fold import Fold
from planar.errors import InvalidRequestError, UnsupportedError
from planar.types import (
    Audio,
    ChatRequest,
    EmbedRequest,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    ResponseInfo,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from planar.wire.gemini import WIRE, WholeDecoder, encode_chat, encode_count, encode_embeddings, encode_models

RAN = {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "Er+/"}
THOUGHT = {"type": "gemini.thought"}
REQUESTS: dict[str, ChatRequest] = {
    **COMMON,
    "audio": AUDIO,
    "a thought that comes back": loop(Reasoning(text="Hm.", signature="Er+/", details=(THOUGHT,)), *CALLED),
    "a signature on a call": loop(ToolCall(id="call_1", name="now", arguments="{}", signature="Er+/")),
    "a signature on a text": loop(Text("Ebro.", signature="Er+/")),
    "a signature alone": loop(Text("Ebro."), Text("", signature="Er+/")),
    "code that ran": loop(Reasoning(details=({"type": "gemini.part", "part": RAN},)), Text("1")),
    "an opaque part": asked(USER, Message("assistant", (Opaque(wire=WIRE, data=RAN), Text("1")))),
    "a picture that the model made": loop(Image(data=b"\x89PNG", media_type="image/png")),
    "a held content": asked(cache="cachedContents/abc"),
    "extra fields": asked(extra_body={"gemini": {"safetySettings": [], "store": False}}),
}
MODELS = ("gemini-3.5-pro", "gemini-2.5-flash", "gemini-2.0-flash", "models/gemini-flash-latest")
_ENVELOPE = ("systemInstruction", "tools", "toolConfig", "cachedContent", "serviceTier", "safetySettings", "store")


def body_of(request: ChatRequest, model: str = "gemini-3.5-pro", **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(request, model=model, **options).body)


def dropped(request: ChatRequest, model: str = "gemini-3.5-pro") -> list[str]:
    return [notice.data["field"] for notice in encode_chat(request, model=model).notices]


def said_back(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def without_case(value: Any) -> Any:
    """The SDK writes words of the service tier and bytes in its own way: compared by what they mean."""
    if isinstance(value, dict):
        return {key: without_case(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_case(item) for item in value]
    return value.translate(str.maketrans("-_", "+/")) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def sdk() -> Callable[[dict[str, Any]], dict[str, Any]]:
    try:
        from google.genai import types
    except ModuleNotFoundError:
        without_sdk("google-genai")

    def read(body: dict[str, Any]) -> dict[str, Any]:
        """The body in the SDK's types, which forbid fields that they do not know, and back on the wire."""
        assert body.keys() <= {"contents", "generationConfig", *_ENVELOPE}
        contents = [said_back(types.Content.model_validate(content)) for content in body["contents"]]
        flat = body.get("generationConfig", {}) | {name: body[name] for name in _ENVELOPE if name in body}
        config = said_back(types.GenerateContentConfig.model_validate(flat))
        envelope = {name: config.pop(name) for name in _ENVELOPE if name in config}
        return {"contents": contents} | ({"generationConfig": config} if config else {}) | envelope

    return read


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_by_the_sdks_own_types(
    name: str, model: str, sdk: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    body = body_of(REQUESTS[name], model)

    assert without_case(sdk(body)) == without_case(body)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_count_is_asked_for_with_the_same_fields(name: str) -> None:
    request = REQUESTS[name]

    developer = encode_count(request, model="gemini-3.5-pro")
    vertex = encode_count(request, model="gemini-3.5-pro", vertex=True)

    assert developer.path == vertex.path == "/models/gemini-3.5-pro:countTokens"
    whole = {"model": "models/gemini-3.5-pro", **body_of(request)}
    assert json.loads(developer.body) == {"generateContentRequest": whole}
    assert json.loads(vertex.body).items() <= body_of(request).items()


@pytest.mark.parametrize("name", REQUESTS)
def test_fields_that_the_vendor_rejects_are_absent(name: str) -> None:
    wire = encode_chat(REQUESTS[name], model="gemini-3.5-pro")
    body = json.loads(wire.body)

    assert "key" not in wire.path
    assert not body.keys() & {"model", "messages", "stream", "user", "labels", "metadata"}
    for content in body["contents"]:
        assert content["role"] in ("user", "model")
        assert content["parts"]
    neighbours = [content["role"] for content in body["contents"]]
    assert all(one != other for one, other in pairwise(neighbours))


def test_where_the_request_goes_and_which_form_it_asks_for() -> None:
    streamed, whole = (encode_chat(asked(streamed=form), model="gemini-3.5-pro") for form in (True, False))

    assert streamed.path == "/models/gemini-3.5-pro:streamGenerateContent?alt=sse"
    assert whole.path == "/models/gemini-3.5-pro:generateContent"
    assert encode_chat(asked(), model="tunedModels/a b").path.startswith("/tunedModels/a%20b:stream")
    assert encode_chat(asked(), model="x?key=1#").path.startswith("/models/x%3Fkey%3D1%23:")
    assert encode_models(page="a&b").path == "/models?pageSize=1000&pageToken=a%26b"


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking"),
    [
        ("gemini-3.5-pro", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3.5-pro", "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("gemini-flash-latest", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.5-pro", 4096, {"thinkingBudget": 4096, "includeThoughts": True}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 16384, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.0-flash", "none", None),
    ],
)
def test_reasoning_is_asked_for_as_the_model_takes_it(
    model: str, reasoning: Any, thinking: dict[str, Any] | None
) -> None:
    request = asked(reasoning=reasoning)

    body = body_of(request, model)

    assert body.get("generationConfig", {}).get("thinkingConfig") == thinking
    assert dropped(request, model) == []


@pytest.mark.parametrize(
    ("model", "request_", "field"),
    [
        ("gemini-3.5-pro", asked(reasoning="none"), "reasoning"),
        ("gemini-2.5-pro", asked(reasoning="none"), "reasoning"),
        ("gemini-2.0-flash", asked(reasoning="high"), "reasoning"),
        ("gemini-3.5-pro", asked(service_tier="scale"), "service_tier"),
        ("gemini-3.5-pro", asked(cache="acme"), "cache"),
        ("gemini-3.5-pro", COMMON["cache hint"], "cache hints"),
        ("gemini-3.5-pro", COMMON["a name"], "messages[0].name"),
        ("gemini-3.5-pro", COMMON["image with detail"], "messages[0].content[0].detail"),
        ("gemini-3.5-pro", COMMON["one call at a time"], "parallel_tool_calls"),
        ("gemini-3.5-pro", COMMON["a system message in the middle"], "order of system messages"),
        ("gemini-3.5-pro", loop(Reasoning(text="Hm.", signature="anthropic's")), "reasoning of earlier turns"),
    ],
)
def test_what_the_wire_has_no_place_for_is_told_and_refused_by_the_strict(
    model: str, request_: ChatRequest, field: str
) -> None:
    assert dropped(request_, model) == [field]
    with pytest.raises(UnsupportedError) as caught:
        encode_chat(request_, model=model, strict=True)
    assert caught.value.param == field


@pytest.mark.parametrize(
    "request_",
    [
        asked(stop=("a", "b", "c", "d", "e", "f")),
        asked(Message("system", (Image(url="https://example.com/a.png"),)), USER),
        loop(Opaque(wire="anthropic_messages", data={})),
    ],
)
def test_what_the_answer_depends_on_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(UnsupportedError):
        encode_chat(request_, model="gemini-3.5-pro")


@pytest.mark.parametrize(
    "request_",
    [
        asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="other")),
        asked(tool_choice=ToolChoice(mode="required")),
        asked(Message("tool", "x")),
        asked(Message("system", "Be brief.")),
        asked(Message("user", (Reasoning(text="x"),))),
        asked(USER, Message("tool", RESULTS)),
        loop(ToolResult(tool_call_id="a", content="x")),
        loop(ToolCall(id="a", name="now", arguments='{"cut')),
        user(Image(data=b"x")),
        user(File()),
        asked(extra_body={"gemini": {"labels": object()}}),
    ],
)
def test_what_contradicts_itself_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(request_, model="gemini-3.5-pro")


@pytest.mark.parametrize("model", ["", "..", "../files", "models/../../x", "a//b", "/a"])
def test_a_model_cannot_lead_to_another_place(model: str) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(asked(), model=model)


def test_a_schema_says_in_words_what_the_vendor_does_not_take() -> None:
    config = body_of(asked(output=RIVERS))["generationConfig"]

    assert config["responseMimeType"] == "application/json"
    schema = config["responseJsonSchema"]
    assert schema["properties"]["names"]["minItems"] == 3
    assert schema["properties"]["length"] == {"type": "integer", "minimum": 1, "description": "In km."}
    assert schema["$defs"]["River"]["properties"]["name"] == {"type": "string", "description": '{"minLength":1}'}


@pytest.mark.parametrize(
    ("request_", "config"),
    [
        (asked(tools=(WEATHER,)), None),
        (asked(tools=(NOW,)), {"mode": "VALIDATED"}),
        (COMMON["tool choice auto"], {"mode": "AUTO"}),
        (COMMON["tool choice none"], {"mode": "NONE"}),
        (COMMON["tool choice required"], {"mode": "ANY"}),
        (COMMON["tool choice by name"], {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_a_choice_of_tools_is_a_mode(request_: ChatRequest, config: dict[str, Any] | None) -> None:
    assert body_of(request_).get("toolConfig", {}).get("functionCallingConfig") == config


def test_results_of_a_turn_stand_in_one_content_with_the_names_of_their_tools() -> None:
    for name in ("a tool loop", "a result for each message", "a result in a user message"):
        last = body_of(COMMON[name])["contents"][-1]

        assert last["role"] == "user"
        assert [part["functionResponse"]["name"] for part in last["parts"][:2]] == ["weather", "weather"]
        assert last["parts"][0]["functionResponse"]["response"] == {"output": "21 C"}
    failed = body_of(COMMON["a failed tool"])["contents"][-1]["parts"][0]
    assert failed["functionResponse"]["response"] == {"error": "no such city"}


def test_a_tool_loop_of_two_rounds_replays_signatures_reasoning_and_ids_byte_for_byte() -> None:
    parts = [
        {"text": "Two cities …", "thought": True, "thoughtSignature": "EqQB+/=="},
        RAN,
        {"text": "Let me look.", "thoughtSignature": "Ev8C+/=="},
        {"functionCall": {"id": "fc_1", "name": "weather", "args": {"city": "Ávila", "days": [1, 2.5]}}}
        | {"thoughtSignature": "Er=="},
        {"functionCall": {"name": "weather", "args": {}}},
    ]
    messages = [USER]

    for number in range(2):
        messages.append(_answered(parts, f"resp_{number}"))
        calls = [part for part in messages[-1].parts if isinstance(part, ToolCall)]
        messages.append(Message("tool", tuple(ToolResult(tool_call_id=call.id, content="x") for call in calls)))
    contents = body_of(asked(*messages, tools=(WEATHER,)))["contents"]

    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user"]
    assert contents[1]["parts"] == contents[3]["parts"] == parts
    results = [part["functionResponse"] for part in contents[2]["parts"]]
    assert results == [
        {"id": "fc_1", "name": "weather", "response": {"output": "x"}},
        {"name": "weather", "response": {"output": "x"}},
    ]
    ids = [part.id for message in messages for part in message.parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 3


def _answered(parts: list[dict[str, Any]], response_id: str) -> Message:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    decoder = WholeDecoder(ResponseInfo(), "p")
    decoder.feed(json.dumps({"candidates": [candidate], "responseId": response_id}).encode())
    fold = Fold()
    for event in decoder.close():
        fold.add(event)
    return fold.message()


def test_every_input_is_a_request_of_the_batch() -> None:
    request = EmbedRequest(inputs=("a", "b"), dimensions=8, extra_body={"gemini": {"taskType": "RETRIEVAL_QUERY"}})

    wire = encode_embeddings(request, model="gemini-embedding-001")

    common = {"model": "models/gemini-embedding-001", "outputDimensionality": 8, "taskType": "RETRIEVAL_QUERY"}
    assert wire.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert json.loads(wire.body) == {
        "requests": [{**common, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    }
    with pytest.raises(InvalidRequestError):
        encode_embeddings(EmbedRequest(inputs=()), model="m")


def test_sound_is_sent_with_its_kind() -> None:
    (part,) = body_of(user(Audio(data=b"RIFF", format="mp3")))["contents"][0]["parts"]

    assert part == {"inlineData": {"mimeType": "audio/mp3", "data": "UklGRg=="}}
