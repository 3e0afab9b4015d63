"""Ollama, over its own API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from planar.errors import ConfigurationError, PlanarError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http import Endpoint, secret_of
from planar.providers._http_answer import HttpAnswer
from planar.providers.openai_compatible import _check_name, _Listed
from planar.transport import TransportName
from planar.types import ChatRequest, Embeddings, EmbedRequest, Health, ModelInfo, Price, Secret
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


class Ollama:
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

    describe: Callable[[str], ModelInfo | None]
    """What is known of a model without asking; there only if `models`, `prices` or `region` was given."""
    default_models: Callable[[], Sequence[str]]
    """What `model="auto"` may use; there only where `describe` is."""

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
        _check_name(name)
        if num_ctx is not None and num_ctx < 1:
            raise ConfigurationError(f"{name}: num_ctx must be at least 1, not {num_ctx}")
        self.name = name
        self._num_ctx = num_ctx
        self._keep_alive = keep_alive
        self._endpoint = Endpoint(
            name=name,
            base_url=base_url,
            refusal=error_from,
            headers=headers,
            key=secret_of(api_key, owner=name),
            http_client=http_client,
        )
        if models is not None or prices is not None or region is not None:
            listed = _Listed(models, region=region, prices=prices or {})
            self.describe, self.default_models = listed.describe, listed.default_models

    def __repr__(self) -> str:
        return f"Ollama(name={self.name!r}, base_url={self._endpoint.base_url!r})"

    def use_transport(self, library: TransportName) -> None:
        """Which HTTP library to use; for the client, before the first request."""
        self._endpoint.use(library)

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
