"""Any server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from planar.errors import ConfigurationError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http import secret_of
from planar.providers._http_answer import HttpAnswer
from planar.providers._vendor import Vendor, key_needed
from planar.transport import header_value
from planar.types import ChatRequest, Embeddings, EmbedRequest, ModelInfo, Price, Secret
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


class OpenAICompatible(Vendor):
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
        owner = name or self._dialect.name
        address = base_url or self._dialect.base_url
        if address is None:
            raise ConfigurationError(f"{owner}: base_url is needed: the dialect {self._dialect.name} has none")
        key = secret_of(api_key, owner=owner)
        if key is None and base_url is None and self._dialect.key_required:
            raise key_needed(owner, str(self._dialect.key_env))
        bearer = self._dialect.auth == "bearer"
        super().__init__(
            name=owner,
            base_url=address,
            refusal=error_from,
            headers=headers,
            key=key,
            key_header=("authorization", "Bearer ") if bearer else ("api-key", ""),
            http_client=http_client,
            listing=_LIST_MODELS,
            read_listing=decode_models,
            models=models,
            region=region,
            prices=prices,
        )

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
