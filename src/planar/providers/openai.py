"""OpenAI itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, get_args

from planar.errors import ConfigurationError
from planar.events import Event
from planar.protocols import Call
from planar.providers._http_answer import HttpAnswer
from planar.providers.openai_compatible import OpenAICompatible
from planar.types import ChatRequest, ModelInfo, Price, Secret
from planar.wire._base import WireRequest
from planar.wire.dialects import OPENAI
from planar.wire.openai_responses import ChatDecoder, WholeDecoder, decode_count, encode_chat, encode_count

Api = Literal["responses", "chat"]


class OpenAI(OpenAICompatible):
    """The models of OpenAI, over its Responses or its chat completions.

    Responses is where OpenAI brings what is new, and the only one in which a model's reasoning travels back in the
    next turn. Chat completions has stop sequences, a seed and audio input, and more servers beside OpenAI's speak it.
    Nothing is stored at OpenAI unless you say so with `extra_body={"openai": {"store": True}}`.

    Args:
        api_key: Needed unless `base_url` names another server.
        base_url: A proxy or a regional address in place of `https://api.openai.com/v1`.
        api: Which of its two APIs to speak.
        organization, project: Whom a request is booked on, where the key may choose.

    The other arguments are those of `OpenAICompatible`.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        *,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        api: Api = "responses",
        name: str = "openai",
        headers: Mapping[str, str] | None = None,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        http_client: Any = None,
        region: str | None = None,
        prices: Mapping[str, Price] | None = None,
        organization: str | None = None,
        project: str | None = None,
    ) -> None:
        if api not in get_args(Api):
            raise ConfigurationError(f"{name}: api={api!r} is not known: it is one of {', '.join(get_args(Api))}")
        self._api = api
        booked = {"openai-organization": organization, "openai-project": project}
        super().__init__(
            base_url=base_url,
            api_key=api_key,
            dialect=OPENAI,
            name=name,
            headers={**{field: value for field, value in booked.items() if value is not None}, **(headers or {})},
            models=models,
            http_client=http_client,
            region=region,
            prices=prices,
        )

    def stream(
        self, request: ChatRequest, *, model: str, call: Call
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Event]]]:
        """Ask for one answer. See `planar.protocols.Provider`."""
        if self._api == "chat":
            return super().stream(request, model=model, call=call)

        def encode() -> WireRequest:
            wire = encode_chat(request, model=model, provider=self.name, strict=call.strict)
            return self._identified(wire, call)

        form = ChatDecoder if request.streamed else WholeDecoder
        return HttpAnswer(
            self._endpoint,
            encode,
            form(call.response, self.name),
            call=call,
            deployment=f"{self.name}:{model}",
            streamed=request.streamed,
        )

    async def count_input(self, request: ChatRequest, *, model: str) -> int:
        """How many tokens the prompt has, by OpenAI's own count. It asks over the network, and costs nothing.

        It is not `planar.protocols.CountsTokens`, which Planar asks by itself where a bound does not fit a budget.

        Raises:
            RequestError: The request cannot succeed here.
            ProviderError: OpenAI cannot be reached, or refused.
        """
        wire = encode_count(request, model=model, provider=self.name)
        _, body = await self._endpoint.fetch(wire, now=0.0, deployment=f"{self.name}:{model}")
        return decode_count(body, provider=self.name)
