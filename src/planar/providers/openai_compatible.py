"""Any server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from planar.errors import ConfigurationError, PlanarError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http import Endpoint, secret_of
from planar.providers._http_answer import HttpAnswer
from planar.transport import TransportName, header_value
from planar.types import ChatRequest, Embeddings, EmbedRequest, Health, ModelInfo, Price, Secret
from planar.wire._base import WireRequest
from planar.wire._errors import request_id
from planar.wire.dialects import COMPATIBLE, DIALECTS, Dialect
from planar.wire.openai_chat import (
    ChatDecoder,
    WholeDecoder,
    decode_embeddings,
    decode_models,
    encode_chat,
    encode_embeddings,
    error_from,
)

_LIST_MODELS = WireRequest(path="/models", body=b"", method="GET", headers={"accept": "application/json"})


class OpenAICompatible:
    """Models behind a server of OpenAI's chat wire: vLLM, llama.cpp, Groq, DeepSeek, Mistral, OpenRouter and more.

    Making one does no I/O. It may be used from several event loops and threads.

    Args:
        base_url: Where the server is, up to and without `/chat/completions`; a query is kept. The dialect's own
            address if it has one.
        api_key: Sent in a header and nowhere else.
        dialect: What the server accepts: a name of `planar.wire.dialects.DIALECTS`, a `Dialect`, or `None` to tell
            it by the address, with the common subset for an unknown one.
        name: The prefix in `name:model`; the dialect's name otherwise.
        headers: Sent with every request.
        models: What it serves, by name, where you know: `model="auto"` may use these, and no other is asked for.
        http_client: Your own `httpx.AsyncClient`, or one with its interface. It is used as it is and not closed.
        region: Where it runs, for `Constraints(regions=)`.
        prices: What its models cost.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    describe: Callable[[str], ModelInfo | None]
    """What is known of a model without asking; there only if `models`, `prices` or `region` was given."""
    default_models: Callable[[], Sequence[str]]
    """What `model="auto"` may use; there only where `describe` is."""

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        dialect: str | Dialect | None = None,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        http_client: Any = None,
        region: str | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self._dialect = _dialect_of(dialect, base_url)
        self.name = name or self._dialect.name
        _check_name(self.name)
        address = base_url or self._dialect.base_url
        if address is None:
            raise ConfigurationError(f"{self.name}: base_url is needed: the dialect {self._dialect.name} has none")
        key = secret_of(api_key, owner=self.name)
        if key is None and base_url is None and self._dialect.key_required:
            raise ConfigurationError(
                f"{self.name}: api_key is needed (its own tools read {self._dialect.key_env};"
                " Planar reads the environment only in Planar.from_env())"
            )
        bearer = self._dialect.auth == "bearer"
        self._endpoint = Endpoint(
            name=self.name,
            base_url=address,
            refusal=error_from,
            headers=headers,
            key=key,
            key_header=("authorization", "Bearer ") if bearer else ("api-key", ""),
            http_client=http_client,
        )
        if models is not None or prices is not None or region is not None:
            listed = _Listed(models, region=region, prices=prices or {})
            self.describe, self.default_models = listed.describe, listed.default_models

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, base_url={self._endpoint.base_url!r})"

    def use_transport(self, library: TransportName) -> None:
        """Which HTTP library to use; for the client, before the first request."""
        self._endpoint.use(library)

    def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]]:
        """Ask for one answer. See `planar.protocols.Provider`."""

        def encode() -> WireRequest:
            wire = encode_chat(request, model=model, dialect=self._dialect, provider=self.name, strict=call.strict)
            return self._identified(wire, call)

        form = ChatDecoder if request.streamed else WholeDecoder
        return HttpAnswer(
            self._endpoint,
            encode,
            form(call.response, self.name, self._dialect),
            call=call,
            deployment=f"{self.name}:{model}",
            streamed=request.streamed,
        )

    def continues(self, model: str) -> bool:
        """Whether the server is known to go on with an answer that broke off elsewhere."""
        return self._dialect.continuation is not None

    def _identified(self, wire: WireRequest, call: Call) -> WireRequest:
        if call.idempotency_key is None or not self._dialect.request_id_header:
            return wire
        ours = {"x-client-request-id": header_value("idempotency_key", call.idempotency_key)}
        return replace(wire, headers={**wire.headers, **ours})

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        """Turn texts into vectors, in their order. See `planar.protocols.Provider`."""
        wire = encode_embeddings(request, model=model, dialect=self._dialect, provider=self.name)
        headers, body = await self._endpoint.fetch(
            self._identified(wire, call),
            now=call.clock.time(),
            connect=call.timeouts.connect,
            answer=call.timeouts.first_token,
            deployment=f"{self.name}:{model}",
        )
        found = decode_embeddings(body, provider=self.name, model=model, count=len(request.inputs))
        return replace(found, request_id=request_id(headers))

    async def models(self) -> Sequence[ModelInfo]:
        """The models it serves now, as it lists them.

        Raises:
            ProviderError: It cannot be reached, or does not accept the key, or has no list.
        """
        _, body = await self._endpoint.fetch(_LIST_MODELS, now=0.0)
        return decode_models(body, provider=self.name)

    async def check(self) -> Health:
        """Whether it can be reached and accepts our key. Never raises."""
        try:
            await self.models()
        except PlanarError as error:
            return Health(ok=False, message=error.message, age=0.0)
        return Health(ok=True, age=0.0)

    async def aclose(self) -> None:
        """Close the connections of the running loop. A client that was given stays open."""
        await self._endpoint.aclose()


class _Listed:
    """What the operator says of the models."""

    __slots__ = ("_models", "_open", "_prices", "_region")

    def __init__(
        self,
        models: Mapping[str, ModelInfo] | Sequence[str] | None,
        *,
        region: str | None,
        prices: Mapping[str, Price],
    ) -> None:
        self._open = models is None
        self._region = region
        self._prices = dict(prices)
        given = models if isinstance(models, Mapping) else {model: ModelInfo(id=model) for model in models or ()}
        self._models = {model: self._filled(info) for model, info in given.items()}

    def _filled(self, info: ModelInfo) -> ModelInfo:
        return replace(info, region=info.region or self._region, price=info.price or self._prices.get(info.id))

    def describe(self, model: str) -> ModelInfo | None:
        known = self._models.get(model)
        return self._filled(ModelInfo(id=model)) if known is None and self._open else known

    def default_models(self) -> Sequence[str]:
        return tuple(self._models)


def _dialect_of(dialect: str | Dialect | None, base_url: str | None) -> Dialect:
    if isinstance(dialect, Dialect):
        return dialect
    if dialect is not None:
        if dialect not in DIALECTS:
            raise ConfigurationError(f"dialect {dialect!r} is not known: one of {', '.join(DIALECTS)}, or a Dialect")
        return DIALECTS[dialect]
    host = urlsplit(base_url or "").hostname or ""
    for known in DIALECTS.values():
        if known.base_url is not None and host == urlsplit(known.base_url).hostname and host != "localhost":
            return known
    return DIALECTS["azure"] if host.endswith((".azure.com", ".azure.us")) else COMPATIBLE


def _check_name(name: str) -> None:
    if not name.strip() or ":" in name:
        raise ConfigurationError(f"{name!r} cannot be a provider's name: it stands before the ':' in provider:model")
