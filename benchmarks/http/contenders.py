"""The clients that are compared. Each loads only its own library, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Three sentences about the sea, please."},
]
KEY = "sk-0123456789"
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "accept-encoding": "identity"}


class Contender(Protocol):
    async def whole(self, model: str) -> str: ...
    async def stream(self, model: str, on_token: Callable[[str], None]) -> None: ...


def body(model: str, *, stream: bool) -> bytes:
    fields: dict[str, Any] = {"model": model, "messages": ASKED, "stream": stream}
    if stream:
        fields["stream_options"] = {"include_usage": True}
    return json.dumps(fields).encode()


class Events:
    """What everybody who writes it by hand writes: split, parse, take the text."""

    def __init__(self, loads: Callable[[bytes], Any], on_token: Callable[[str], None]) -> None:
        self.loads, self.on_token, self.rest = loads, on_token, b""

    def feed(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]":
                choices = self.loads(event[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    self.on_token(text)


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


class HttpxByHand:
    def __init__(self, package: Any, url: str) -> None:
        import msgspec

        self.loads = msgspec.json.decode
        limits = package.Limits(max_connections=None, max_keepalive_connections=None)
        self.client = package.AsyncClient(base_url=url, headers=HEADERS, timeout=60, limits=limits, trust_env=False)

    async def whole(self, model: str) -> str:
        answer = await self.client.post("/v1/chat/completions", content=body(model, stream=False))
        return text_of(self.loads(answer.content))

    async def stream(self, model: str, on_token: Callable[[str], None]) -> None:
        events = Events(self.loads, on_token)
        asked = body(model, stream=True)
        async with self.client.stream("POST", "/v1/chat/completions", content=asked) as answer:
            async for piece in answer.aiter_raw():
                events.feed(piece)


class AiohttpByHand:
    def __init__(self, url: str) -> None:
        import aiohttp
        import msgspec

        self.loads = msgspec.json.decode
        self.url = f"{url}/v1/chat/completions"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=HEADERS)

    async def whole(self, model: str) -> str:
        async with self.session.post(self.url, data=body(model, stream=False)) as answer:
            return text_of(self.loads(await answer.read()))

    async def stream(self, model: str, on_token: Callable[[str], None]) -> None:
        events = Events(self.loads, on_token)
        async with self.session.post(self.url, data=body(model, stream=True)) as answer:
            async for piece in answer.content.iter_any():
                events.feed(piece)


class OpenAISDK:
    def __init__(self, url: str) -> None:
        import openai

        self.client = openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0, timeout=60)

    async def whole(self, model: str) -> str:
        answer: Any = await self.client.chat.completions.create(model=model, messages=ASKED)  # type: ignore[arg-type]
        return str(answer.choices[0].message.content)

    async def stream(self, model: str, on_token: Callable[[str], None]) -> None:
        chunks: Any = await self.client.chat.completions.create(
            model=model,
            messages=ASKED,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                on_token(text)


class PlanarClient:
    """Two deployments behind an alias, quotas in memory, telemetry that does nothing: what an application has."""

    def __init__(self, url: str, transport: Any) -> None:
        import planar

        self.prompt = [planar.Message(turn["role"], turn["content"]) for turn in ASKED]  # type: ignore[arg-type]
        providers = [
            planar.OpenAICompatible(base_url=f"{url}/v1", api_key=KEY, dialect="vllm", name=name)
            for name in ("one", "two")
        ]
        models = ("mock-1", "mock-4", "mock-32", "mock-64", "mock-1000-1000", "mock-20000")
        self.client = planar.Planar(
            providers=providers,
            models={model: [f"one:{model}", f"two:{model}"] for model in models},
            # A ledger that keeps every row grows on purpose; this one has the bound of a service that runs for long.
            quotas=planar.MemoryQuotaStore(ledger_limit=1000),
            transport=transport,
        )

    async def whole(self, model: str) -> str:
        return (await self.client.infer(self.prompt, model=model, tenant="acme")).text

    async def stream(self, model: str, on_token: Callable[[str], None]) -> None:
        async with self.client.stream(self.prompt, model=model, tenant="acme") as stream:
            async for token in stream:
                on_token(token)


def make(name: str, url: str) -> Contender:
    """The contender with this name.

    Raises:
        ModuleNotFoundError: Its library is not installed.
    """
    match name:
        case "floor":
            from floor import Floor

            return Floor(url)
        case "httpx" | "httpx2":
            return HttpxByHand(__import__(name), url)
        case "aiohttp":
            return AiohttpByHand(url)
        case "openai":
            return OpenAISDK(url)
        case _:
            return PlanarClient(url, name.removeprefix("planar-"))
