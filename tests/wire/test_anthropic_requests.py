"""Requests on Anthropic's wire, each accepted by the types of Anthropic's own SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from conversations import AUDIO, CALLED, COMMON, NOW, RIVERS, USER, WEATHER, asked, loop, plain, user, without_sdk

from planar.client._fold import Fold
from planar.errors import InvalidRequestError, UnsupportedError
from planar.types import (
    CacheHint,
    ChatRequest,
    File,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Reasoning,
    ResponseInfo,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from planar.wire.anthropic_messages import VERSION, WIRE, WholeDecoder, encode_chat, encode_count

SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rivers"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
REQUESTS: dict[str, ChatRequest] = {
    **COMMON,
    "thinking that comes back": loop(Reasoning(text="Hm.", signature="Er+/="), *CALLED),
    "hidden thinking that comes back": loop(Reasoning(encrypted="Er+/="), Text("Ebro.")),
    "thinking without its text": loop(Reasoning(signature="Er+/="), Text("Ebro.")),
    "a foreign id of a call": loop(ToolCall(id="functions.now:0", name="now", arguments="{}")),
    "an opaque block": asked(
        USER, Message("assistant", (Opaque(wire=WIRE, data=SEARCH), Opaque(wire=WIRE, data=FOUND), Text("Ebro.")))
    ),
    "extra fields": asked(extra_body={"anthropic": {"metadata": {"user_id": "u"}, "inference_geo": "eu"}}),
}
OLD = "2023-06-01"
MODELS = [
    ("claude-opus-5-5", VERSION),
    ("claude-opus-4-7", OLD),
    ("claude-sonnet-4-6", OLD),
    ("claude-haiku-4-5-20251001", OLD),
    ("claude-3-5-haiku-20241022", OLD),
    ("smollm2", VERSION),
]


def body_of(request: ChatRequest, model: str = "claude-opus-5-5", **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(request, model=model, **options).body)


def dropped(request: ChatRequest, model: str = "claude-opus-5-5", **options: Any) -> list[str]:
    return [notice.data["field"] for notice in encode_chat(request, model=model, **options).notices]


@pytest.fixture(scope="module")
def sdk() -> Callable[[str, Any], Any]:
    try:
        from anthropic.types import message_count_tokens_params, message_create_params
    except ModuleNotFoundError:
        without_sdk("anthropic")
    from pydantic import TypeAdapter

    types = {
        "streamed": TypeAdapter(message_create_params.MessageCreateParamsStreaming),
        "whole": TypeAdapter(message_create_params.MessageCreateParamsNonStreaming),
        "count": TypeAdapter(message_count_tokens_params.MessageCountTokensParams),
    }
    return lambda form, body: plain(types[form].validate_python(body))


@pytest.mark.parametrize(("model", "version"), MODELS)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_by_the_sdks_own_types(
    name: str, model: str, version: str, sdk: Callable[[str, Any], Any]
) -> None:
    request = REQUESTS[name]

    body = body_of(request, model, version=version)
    # The newest SDK's types no longer list the sampling parameters that the older version of the API takes.
    known = {field: value for field, value in body.items() if field not in ("temperature", "top_p")}

    assert sdk("streamed" if request.streamed else "whole", known) == known


@pytest.mark.parametrize("name", REQUESTS)
def test_a_count_is_asked_for_by_the_sdks_own_types(name: str, sdk: Callable[[str, Any], Any]) -> None:
    wire = encode_count(REQUESTS[name], model="claude-opus-5-5")
    body = json.loads(wire.body)

    assert wire.path == "/v1/messages/count_tokens"
    assert sdk("count", body) == body


@pytest.mark.parametrize("name", REQUESTS)
def test_fields_that_the_vendor_rejects_are_absent(name: str) -> None:
    body = body_of(REQUESTS[name])

    assert not body.keys() & {"temperature", "top_p", "top_k", "seed", "n", "logprobs", "stop", "user"}
    assert ("metadata" in body) is (name == "extra fields")
    for turn in body["messages"]:
        assert "name" not in turn
        assert turn["content"]
        assert all(block.get("text") != "" for block in turn["content"])


def test_where_the_request_goes_and_which_form_it_asks_for() -> None:
    streamed, whole = (encode_chat(asked(streamed=form), model="m") for form in (True, False))

    assert (streamed.path, streamed.method, streamed.headers["accept"]) == ("/v1/messages", "POST", "text/event-stream")
    assert whole.headers["accept"] == "application/json"
    assert streamed.headers["anthropic-version"] == "2026-10-21"
    assert (json.loads(streamed.body)["stream"], json.loads(whole.body)["stream"]) == (True, False)


@pytest.mark.parametrize(
    ("model", "version", "gone"),
    [
        ("claude-opus-5-5", VERSION, ["temperature", "top_p"]),
        ("claude-opus-5-5", OLD, ["temperature", "top_p"]),
        ("claude-opus-4-7", OLD, ["temperature", "top_p"]),
        ("claude-mythos-preview", OLD, ["temperature", "top_p"]),
        ("claude-haiku-4-5", VERSION, ["temperature", "top_p"]),
        ("claude-haiku-4-5", OLD, ["top_p"]),
        ("claude-3-haiku-20240307", OLD, []),
        ("smollm2", VERSION, []),
    ],
)
def test_sampling_that_is_no_longer_taken_is_left_out_with_a_notice(model: str, version: str, gone: list[str]) -> None:
    request = asked(temperature=1.0, top_p=0.5)

    body = body_of(request, model, version=version)

    assert dropped(request, model, version=version) == gone
    assert ("temperature" in body, "top_p" in body) == ("temperature" not in gone, "top_p" not in gone)
    if gone:
        with pytest.raises(UnsupportedError):
            encode_chat(request, model=model, version=version, strict=True)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-opus-20240229", 4096),
        ("claude-3-5-sonnet-20241022", 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-sonnet-4@20250514", 64_000),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", 64_000),
        ("claude-opus-5-5", 64_000),
        ("somebody-elses", 4096),
    ],
)
def test_the_wire_demands_a_limit_so_that_each_model_has_one(model: str, most: int) -> None:
    assert body_of(asked(), model)["max_tokens"] == most
    assert body_of(asked(max_tokens=7), model)["max_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        ("claude-opus-5-5", "minimal", {"type": "adaptive", "display": "summarized"}, "low"),
        ("claude-opus-5-5", "xhigh", {"type": "adaptive", "display": "summarized"}, "xhigh"),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive", "display": "summarized"}, "max"),
        ("claude-opus-4-6", 5000, {"type": "enabled", "budget_tokens": 5000}, None),
        ("claude-sonnet-4-5", "medium", {"type": "enabled", "budget_tokens": 8192}, None),
        ("claude-sonnet-4-5", "none", {"type": "disabled"}, None),
        ("claude-3-5-haiku-20241022", "none", None, None),
    ],
)
def test_reasoning_is_asked_for_as_the_model_takes_it(
    model: str, reasoning: Any, thinking: dict[str, Any] | None, effort: str | None
) -> None:
    request = asked(reasoning=reasoning)

    body = body_of(request, model, version=OLD)

    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert dropped(request, model) == []


@pytest.mark.parametrize(
    ("model", "request_", "field"),
    [
        ("claude-opus-5-5", asked(reasoning=5000), "reasoning"),
        ("claude-3-haiku-20240307", asked(reasoning="high"), "reasoning"),
        ("claude-sonnet-4-5", asked(reasoning="high", max_tokens=1000), "reasoning"),
        ("claude-opus-5-5", asked(seed=1), "seed"),
        ("claude-opus-5-5", asked(logprobs=0), "logprobs"),
        ("claude-opus-5-5", asked(service_tier="flex"), "service_tier"),
        ("claude-opus-5-5", asked(Message("user", "Hi", name="ann")), "messages[0].name"),
        ("claude-opus-5-5", COMMON["many cache hints"], "cache hints"),
        ("claude-opus-5-5", COMMON["image with detail"], "messages[0].content[0].detail"),
        ("claude-opus-5-5", loop(Reasoning(text="Hm.")), "reasoning of earlier turns"),
        ("claude-opus-5-5", loop(Reasoning(text="Hm.", id="rs_1", encrypted="x")), "reasoning of earlier turns"),
        (
            "claude-opus-5-5",
            loop(Reasoning(text="Hm.", signature="x", details=({"type": "gemini.thought"},))),
            "reasoning of earlier turns",
        ),
        ("claude-haiku-4-5", COMMON["a system message in the middle"], "order of system messages"),
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
    ("request_", "field"),
    [(asked(temperature=1.5), "temperature"), (asked(temperature=0.5, reasoning=2000), "temperature")],
)
def test_a_temperature_that_the_older_version_refuses_is_left_out(request_: ChatRequest, field: str) -> None:
    assert dropped(request_, "claude-haiku-4-5", version=OLD) == [field]
    assert field not in body_of(request_, "claude-haiku-4-5", version=OLD)


@pytest.mark.parametrize(
    "request_",
    [
        AUDIO,
        user(Image(data=b"x", media_type="image/tiff")),
        user(File(data=b"x", media_type="application/zip")),
        asked(Message("system", (Image(url="https://example.com/a.png"),)), USER),
        asked(USER, Message("assistant", (File(file_id="f"),))),
        loop(Opaque(wire="gemini", data={})),
    ],
)
def test_what_the_answer_depends_on_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(UnsupportedError):
        encode_chat(request_, model="claude-opus-5-5")


@pytest.mark.parametrize(
    "request_",
    [
        asked(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="other")),
        asked(tool_choice=ToolChoice(mode="required")),
        asked(Message("tool", "x")),
        asked(Message("system", "Be brief.")),
        asked(Message("user", (Reasoning(text="x"),))),
        loop(ToolResult(tool_call_id="a", content="x")),
        loop(ToolCall(id="a", name="now", arguments='{"cut')),
        loop(ToolCall(id="a", name="now", arguments="[1]")),
        loop(Opaque(wire=WIRE, data={})),
        user(Image(data=b"x")),
        user(Image()),
        user(File()),
        user(File(data=b"\xff", media_type="text/plain")),
        asked(extra_body={"anthropic": {"metadata": object()}}),
        asked(output=OutputSchema(name="x", schema={"type": "object", "properties": {"a": 1}})),
    ],
)
def test_what_contradicts_itself_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(request_, model="claude-opus-5-5")


@pytest.mark.parametrize("request_", [asked(reasoning=500), asked(reasoning=4000, max_tokens=4000)])
def test_a_budget_has_bounds(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        encode_chat(request_, model="claude-sonnet-4-5")


def test_a_budget_without_a_limit_leaves_room_for_the_answer() -> None:
    body = body_of(asked(reasoning=64_000), "claude-sonnet-4-5")

    assert body["max_tokens"] > body["thinking"]["budget_tokens"]


def test_a_schema_is_closed_and_says_in_words_what_the_vendor_does_not_take() -> None:
    form = body_of(asked(output=RIVERS))["output_config"]["format"]

    assert form["type"] == "json_schema"
    names, length = form["schema"]["properties"]["names"], form["schema"]["properties"]["length"]
    assert form["schema"]["additionalProperties"] is False
    assert names == {"type": "array", "items": {"$ref": "#/$defs/River"}, "description": '{"minItems":3}'}
    assert length == {"type": "integer", "description": 'In km.\n\n{"minimum":1}'}
    assert form["schema"]["$defs"]["River"]["additionalProperties"] is False


def test_only_a_strict_tool_has_its_schema_changed() -> None:
    loose = Tool(name="a", parameters={"properties": {"n": {"type": "integer", "minimum": 1}}})

    tools = body_of(asked(tools=(loose, NOW)))["tools"]

    assert tools[0]["input_schema"] == {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    assert tools[1]["input_schema"]["additionalProperties"] is False
    assert ("strict" in tools[0], tools[1]["strict"]) == (False, True)


def test_results_stand_in_one_turn_before_everything_else() -> None:
    turns = body_of(COMMON["a result in a user message"])["messages"]

    assert [block["type"] for block in turns[-1]["content"]] == ["tool_result", "tool_result", "text"]
    assert len(body_of(COMMON["a result for each message"])["messages"]) == 3


def test_cache_hints_have_the_vendors_two_lifetimes_and_there_are_at_most_four() -> None:
    hour = body_of(user(Text("a", cache=CacheHint(ttl=3600)), Text("b", cache=CacheHint()), Text("c")))
    many = body_of(COMMON["many cache hints"])["messages"][0]["content"]

    first, second, third = hour["messages"][0]["content"]
    assert first["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert second["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in third
    assert ["cache_control" in block for block in many] == [False, False, True, True, True, True]
    assert body_of(asked(cache="acme"))["cache_control"] == {"type": "ephemeral"}


def test_a_tool_loop_of_two_rounds_replays_signatures_reasoning_and_ids_byte_for_byte() -> None:
    said = [
        {"type": "thinking", "thinking": "Two cities …", "signature": "EqQBCgIYAh+/=="},
        {"type": "redacted_thinking", "data": "Ev8C+/=="},
        {"type": "text", "text": "Let me look."},
        SEARCH,
        FOUND,
        {"type": "tool_use", "id": "toolu_01A", "name": "weather", "input": {"city": "Ávila", "days": [1, 2.5]}},
        {"type": "tool_use", "id": "toolu_01B", "name": "weather", "input": {}},
    ]
    messages = [USER]

    for _ in range(2):
        messages.append(_answered(said))
        calls = [part for part in messages[-1].parts if isinstance(part, ToolCall)]
        messages.append(Message("tool", tuple(ToolResult(tool_call_id=call.id, content="x") for call in calls)))
    turns = body_of(asked(*messages, tools=(WEATHER,)))["messages"]

    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[1]["content"] == turns[3]["content"] == said
    assert [block["tool_use_id"] for block in turns[2]["content"]] == ["toolu_01A", "toolu_01B"]


def _answered(blocks: list[dict[str, Any]]) -> Message:
    document = {"id": "msg_1", "model": "m", "content": blocks, "stop_reason": "tool_use", "usage": {}}
    decoder = WholeDecoder(ResponseInfo(), "p")
    decoder.feed(json.dumps(document).encode())
    fold = Fold()
    for event in decoder.close():
        fold.add(event)
    return fold.message()
