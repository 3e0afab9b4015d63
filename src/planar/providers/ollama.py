"""Ollama, over its own API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from planar.errors import ConfigurationError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http import secret_of
from planar.providers._http_answer import HttpAnswer
from planar.providers._vendor import Vendor
from planar.types import ChatRequest, Embeddings, EmbedRequest, ModelInfo, Price, Secret
from planar.wire._base import WireRequest
from planar.wire._errors import request_id
from planar.wire.ollama_chat import (
    LIST_MODELS,
    ChatDecoder,
    WholeDecoder,
    decode_embeddings,
    decode_models,
    encode_chat,
    encode_embeddings,
    error_from,
)


class Ollama(Vendor):
    """The models of an Ollama server.

    Making one does no I/O. It may be used from several event loops and threads.

    Ollama cuts a prompt that is longer than its context, which is a few thousand tokens unless the server was set up
    otherwise. Planar asks it to refuse instead, which servers from late 2025 on understand; give `num_ctx` what your
    prompts need.

    Args:
        base_url: Where the server is.
        api_key: For Ollama's cloud. Sent in a header and nowhere else.
        num_ctx: Size of the context, in tokens.
        keep_alive: How long a model stays in memory after a request, in seconds or as a duration such as `"10m"`;
            0 unloads it at once, a negative number keeps it for ever.
        name: The prefix in `name:model`.
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
        base_url: str = "http://localhost:11434",
        api_key: str | Secret | None = None,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        name: str = "ollama",
        headers: Mapping[str, str] | None = None,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        http_client: Any = None,
        region: str | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        if num_ctx is not None and num_ctx < 1:
            raise ConfigurationError(f"{name}: num_ctx must be at least 1, not {num_ctx}")
        self._num_ctx = num_ctx
        self._keep_alive = keep_alive
        super().__init__(
            name=name,
            base_url=base_url,
            refusal=error_from,
            headers=headers,
            key=secret_of(api_key, owner=name),
            http_client=http_client,
            listing=LIST_MODELS,
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
            return encode_chat(
                request,
                model=model,
                provider=self.name,
                num_ctx=self._num_ctx,
                keep_alive=self._keep_alive,
                strict=call.strict,
            )

        form = ChatDecoder if request.streamed else WholeDecoder
        return HttpAnswer(
            self._endpoint,
            encode,
            form(call.response, self.name),
            call=call,
            deployment=f"{self.name}:{model}",
            streamed=request.streamed,
        )

    async def embed(self, request: EmbedRequest, *, model: str, call: Call) -> Embeddings:
        """Turn texts into vectors, in their order. See `planar.protocols.Provider`."""
        headers, body = await self._endpoint.fetch(
            encode_embeddings(request, model=model, provider=self.name, keep_alive=self._keep_alive),
            now=call.clock.time(),
            connect=call.timeouts.connect,
            answer=call.timeouts.first_token,
            deployment=f"{self.name}:{model}",
        )
        found = decode_embeddings(body, provider=self.name, model=model, count=len(request.inputs))
        return replace(found, request_id=request_id(headers))

    async def models(self) -> Sequence[ModelInfo]:
        """The models that the server has on its disk.

        Raises:
            ProviderError: It cannot be reached, or does not accept the key.
        """
        _, body = await self._endpoint.fetch(LIST_MODELS, now=0.0)
        return decode_models(body, provider=self.name)
