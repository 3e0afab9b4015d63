"""Anthropic, and servers that speak its Messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from planar.errors import ConfigurationError, UnsupportedError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http import secret_of
from planar.providers._http_answer import HttpAnswer
from planar.providers._vendor import Vendor, key_needed
from planar.transport import header_value
from planar.types import ChatRequest, Embeddings, EmbedRequest, ModelInfo, Price, Secret
from planar.wire._base import WireRequest
from planar.wire.anthropic_messages import (
    VERSION,
    ChatDecoder,
    WholeDecoder,
    decode_count,
    decode_models,
    encode_chat,
    encode_count,
    encode_models,
    error_from,
)

_BASE_URL = "https://api.anthropic.com"
_MOST_PAGES = 100


class Anthropic(Vendor):
    """The models of Anthropic, over its Messages; or of another server that speaks them, such as llama.cpp's.

    Making one does no I/O. It may be used from several event loops and threads.

    Args:
        api_key: Sent as `x-api-key` and nowhere else. Needed unless `auth_token` is given or `base_url` names
            another server.
        auth_token: A bearer token in place of the key.
        base_url: Where the server is, up to and without `/v1/messages`; a query is kept.
        version: Sent as `anthropic-version`. The default takes no sampling parameters, which are then left out with
            a `Notice`; `2023-06-01` takes them, for the models that do.
        name: The prefix in `name:model`.
        headers: Sent with every request, such as `{"anthropic-beta": "..."}`.
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
        api_key: str | Secret | None = None,
        auth_token: str | Secret | None = None,
        base_url: str | None = None,
        version: str = VERSION,
        name: str = "anthropic",
        headers: Mapping[str, str] | None = None,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        http_client: Any = None,
        region: str | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self._version = header_value("version", version)
        if api_key is not None and auth_token is not None:
            raise ConfigurationError(f"{name}: give api_key or auth_token, not both")
        if api_key is None and auth_token is None and base_url is None:
            raise key_needed(name, "ANTHROPIC_API_KEY")
        super().__init__(
            name=name,
            base_url=base_url or _BASE_URL,
            refusal=error_from,
            headers=headers,
            key=secret_of(api_key if auth_token is None else auth_token, owner=name),
            key_header=("x-api-key", "") if auth_token is None else ("authorization", "Bearer "),
            http_client=http_client,
            listing=encode_models(version=version),
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
            return encode_chat(request, model=model, provider=self.name, version=self._version, strict=call.strict)

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
        """Refuse: this vendor has no embeddings. See `planar.protocols.Provider`."""
        raise UnsupportedError(f"{self.name} has no embeddings", provider=self.name, param="inputs")

    async def count_tokens(self, request: ChatRequest, *, model: str) -> int:
        """How many tokens the prompt of `request` has for `model`, as the vendor counts them.

        Raises:
            RequestError: The request cannot be said on this wire.
            ProviderError: It cannot be reached, or does not accept the key.
        """
        wire = encode_count(request, model=model, provider=self.name, version=self._version)
        _, body = await self._endpoint.fetch(wire, now=0.0, deployment=f"{self.name}:{model}")
        return decode_count(body, provider=self.name)

    async def models(self) -> Sequence[ModelInfo]:
        """The models it serves now, as it lists them, every page of them.

        Raises:
            ProviderError: It cannot be reached, or does not accept the key, or has no list.
        """
        found: list[ModelInfo] = []
        after: str | None = None
        for _ in range(_MOST_PAGES):
            _, body = await self._endpoint.fetch(encode_models(version=self._version, after=after), now=0.0)
            page, after = decode_models(body, provider=self.name)
            found.extend(page)
            if after is None:
                break
        return tuple(found)
