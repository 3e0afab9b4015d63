"""A vendor on loopback: it answers as its API does, and what the question asks for decides how."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from loopback import CHUNKED, END, Arrived, Connection, Upstream, chunk, upstream, whole

from planar.types import ChatRequest, Message, Tool

FAIL, SILENT, STALL, CALL = "Please fail.", "Please say nothing.", "Please stall.", "Please call a tool."
WEATHER = Tool(name="weather", description="The weather.", parameters={"type": "object", "properties": {}})


def asking(text: str, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message("user", text),), max_tokens=16, **fields)


@dataclass
class Script:
    """What a vendor says: the pieces of a stream, a tool call, and documents."""

    begins: bytes
    ends: bytes
    calls: bytes
    document: bytes
    failure: bytes
    models: bytes
    count: bytes = b"{}"

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request for vectors, in the vendor's own words."""
        raise NotImplementedError


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0]


@dataclass
class Vendor:
    """A script that is spoken, with what a test wants to know of it."""

    script: Script
    server: Upstream = field(default_factory=lambda: Upstream(""))
    speaking: int = 0
    asked: int = 0

    async def answer(self, connection: Connection) -> None:
        arrived = self.server.requests[-1]
        if arrived.method == "GET":
            await connection.send(whole(self.script.models))
        elif "mbed" in arrived.target:
            found = self.script.vectors(json.loads(arrived.body))
            await connection.send(whole(json.dumps(found).encode()))
        elif "ount" in arrived.target:
            await connection.send(whole(self.script.count))
        else:
            self.asked += 1
            self.speaking += 1
            try:
                await self._speak(connection, arrived)
            finally:
                self.speaking -= 1

    async def _speak(self, connection: Connection, arrived: Arrived) -> None:
        script, body = self.script, arrived.body.decode()
        streamed = json.loads(body).get("stream", "streamGenerate" in arrived.target)
        if FAIL in body:
            await connection.send(whole(script.failure, status="503 Service Unavailable"))
        elif SILENT in body or (STALL in body and not streamed):
            await _until_gone(connection)
        elif not streamed:
            await connection.send(whole(script.document))
        elif STALL in body:
            await connection.send(CHUNKED + chunk(script.begins))
            await _until_gone(connection)
        else:
            pieces: Sequence[bytes] = [script.calls] if CALL in body else [script.begins, script.ends]
            await connection.send(CHUNKED)
            for piece in pieces:
                await connection.send(chunk(piece))
            await connection.send(END)


async def _until_gone(connection: Connection) -> None:
    await connection.until_gone()
    raise anyio.ClosedResourceError


@asynccontextmanager
async def open_vendor(script: Script) -> AsyncIterator[Vendor]:
    vendor = Vendor(script)
    async with upstream(vendor.answer) as server:
        vendor.server = server
        yield vendor


def sse(*events: dict[str, Any], done: bool = False) -> bytes:
    said = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return (said + ("data: [DONE]\n\n" if done else "")).encode()


def named_sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def lines(*documents: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def document(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# --- OpenAI's chat completions ----------------------------------------------------------------


class ChatScript(Script):
    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [{"index": place, "embedding": vector_of(text)} for place, text in enumerate(body["input"])]
        return {"model": "m", "data": found[::-1]}


def _choice(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "c-1", "model": "m-1", "choices": [choice], **fields}


_OPENAI_MODELS = document(data=[{"id": "m-1"}, {"id": "m-2"}])
_OPENAI_FAILURE = document(error={"message": "No room.", "type": "server_error"})
_CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def _function(index: int, **fields: Any) -> dict[str, Any]:
    return _choice({"tool_calls": [{"index": index, **fields}]})


CHAT = ChatScript(
    begins=sse(_choice({"role": "assistant", "content": "Ebro, "})),
    ends=sse(_choice({"content": "Tagus"}), _choice({}, "stop", usage=_CHAT_USAGE), done=True),
    calls=sse(
        _function(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        _function(0, function={"arguments": '{"city"'}),
        _function(0, function={"arguments": ': "Toledo"}'}),
        _function(1, id="call_2", type="function", function={"name": "weather", "arguments": "{}"}),
        _choice({}, "tool_calls"),
        done=True,
    ),
    document=document(
        id="c-1",
        model="m-1",
        choices=[{"index": 0, "message": {"role": "assistant", "content": "Ebro, Tagus"}, "finish_reason": "stop"}],
        usage=_CHAT_USAGE,
    ),
    failure=_OPENAI_FAILURE,
    models=_OPENAI_MODELS,
)

# --- OpenAI's responses -----------------------------------------------------------------------


def _message(text: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def _response(*output: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return {"id": "resp_1", "model": "m-1", "status": "completed", "output": list(output), "usage": usage}


def _said(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}


_CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city": 1}'}


def _completed(*output: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.completed", "response": _response(*output)}


RESPONSES = ChatScript(
    begins=named_sse(_said("Ebro, ")),
    ends=named_sse(_said("Tagus"), _completed(_message("Ebro, Tagus"))),
    calls=named_sse(
        {"type": "response.output_item.added", "output_index": 0, "item": {**_CALLED, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_1", "delta": '{"city": '},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_1", "delta": "1}"},
        {"type": "response.output_item.done", "output_index": 0, "item": _CALLED},
        _completed(_CALLED),
    ),
    document=document(**_response(_message("Ebro, Tagus"))),
    failure=_OPENAI_FAILURE,
    models=_OPENAI_MODELS,
)

# --- Anthropic --------------------------------------------------------------------------------


def _begin() -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 1}
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m-1", "content": [], "usage": usage}}


def _block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **fields}}


def _piece(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def _ended(reason: str) -> tuple[dict[str, Any], ...]:
    return (
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )


MESSAGES = Script(
    begins=named_sse(_begin(), _block("text", text=""), _piece("text_delta", text="Ebro, ")),
    ends=named_sse(_piece("text_delta", text="Tagus"), *_ended("end_turn")),
    calls=named_sse(
        _begin(),
        _block("tool_use", id="toolu_1", name="weather", input={}),
        _piece("input_json_delta", partial_json='{"city": '),
        _piece("input_json_delta", partial_json="1}"),
        *_ended("tool_use"),
    ),
    document=document(
        id="msg_1",
        model="m-1",
        type="message",
        role="assistant",
        content=[{"type": "text", "text": "Ebro, Tagus"}],
        stop_reason="end_turn",
        usage={"input_tokens": 3, "output_tokens": 2},
    ),
    failure=document(type="error", error={"type": "overloaded_error", "message": "Overloaded"}),
    models=document(data=[{"id": "m-1"}], has_more=False, last_id="m-1"),
    count=document(input_tokens=3),
)

# --- Gemini -----------------------------------------------------------------------------------


class GeminiScript(Script):
    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = [item["content"]["parts"][0]["text"] for item in body["requests"]]
        return {"embeddings": [{"values": vector_of(text)} for text in texts]}


def _parts(*parts: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    end = {} if reason is None else {"finishReason": reason}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2}
    known = {"modelVersion": "m-1", "responseId": "r-1", "usageMetadata": usage}
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **end}], **known}


GEMINI = GeminiScript(
    begins=sse(_parts({"text": "Ebro, "})),
    ends=sse(_parts({"text": "Tagus"}, reason="STOP")),
    calls=sse(_parts({"functionCall": {"name": "weather", "args": {"city": 1}}}, reason="STOP")),
    document=document(**_parts({"text": "Ebro, Tagus"}, reason="STOP")),
    failure=document(error={"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}),
    models=document(models=[{"name": "models/m-1", "supportedGenerationMethods": ["generateContent"]}]),
    count=document(totalTokens=3),
)

# --- Ollama -----------------------------------------------------------------------------------


class OllamaScript(Script):
    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"model": "m-1", "embeddings": [vector_of(text) for text in body["input"]]}


def _turn(**message: Any) -> dict[str, Any]:
    return {"model": "m-1", "message": {"role": "assistant", **message}, "done": False}


_LAST = {"model": "m-1", "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
_USED = {"function": {"name": "weather", "arguments": {"city": 1}}}

OLLAMA = OllamaScript(
    begins=lines(_turn(content="Ebro, ")),
    ends=lines(_turn(content="Tagus"), _LAST),
    calls=lines(_turn(content="", tool_calls=[_USED, _USED]), _LAST),
    document=document(**{**_turn(content="Ebro, Tagus"), **_LAST}),
    failure=document(error="no room"),
    models=document(models=[{"name": "m-1", "model": "m-1"}]),
)
