"""What every provider behind HTTP has: a name, an address with a key, and what the operator says of its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from planar.errors import ConfigurationError, PlanarError
from planar.providers._http import Endpoint, Refusal
from planar.transport import TransportName
from planar.types import Health, ModelInfo, Price, Secret
from planar.wire._base import WireRequest

_HOSTS: Final[Mapping[str, str]] = {
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.x.ai": "xai",
    "generativelanguage.googleapis.com": "gemini",
}
"""Where vendors serve at their list prices: a regional or resold address may have others."""


class ReadListing(Protocol):
    """Reads a list of models."""

    def __call__(self, body: bytes, *, provider: str) -> object:
        """Anything; what cannot be read raises a `PlanarError`."""
        ...


class Vendor:
    """The part of a provider that does not depend on its wire. Making one does no I/O.

    Args:
        name: The prefix in `name:model`.
        listing: The request that lists its models: harmless, and refused without a good key.
        read_listing: Reads its answer.
        models, region, prices: What the operator says of the models; `None` where nothing is said.

    The other arguments are those of `Endpoint`.

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
        name: str,
        base_url: str,
        refusal: Refusal,
        key: Secret | None,
        key_header: tuple[str, str] = ("authorization", "Bearer "),
        headers: Mapping[str, str] | None,
        http_client: Any,
        listing: WireRequest,
        read_listing: ReadListing,
        models: Mapping[str, ModelInfo] | Sequence[str] | None,
        region: str | None,
        prices: Mapping[str, Price] | None,
    ) -> None:
        if not name.strip() or ":" in name:
            raise ConfigurationError(
                f"{name!r} cannot be a provider's name: it stands before the ':' in provider:model"
            )
        self.name = name
        self._listing = listing
        self._read_listing = read_listing
        self._endpoint = Endpoint(
            name=name,
            base_url=base_url,
            refusal=refusal,
            headers=headers,
            key=key,
            key_header=key_header,
            http_client=http_client,
        )
        if models is not None or prices is not None or region is not None:
            listed = _Listed(models, region=region, prices=prices or {})
            self.describe, self.default_models = listed.describe, listed.default_models

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, base_url={self._endpoint.base_url!r})"

    @property
    def vendor(self) -> str | None:
        """Whose address it asks, if it is a vendor's own: then what the catalog knows of that vendor's models holds."""
        return _HOSTS.get(urlsplit(self._endpoint.base_url).hostname or "")

    def use_transport(self, library: TransportName) -> None:
        """Which HTTP library to use; for the client, before the first request."""
        self._endpoint.use(library)

    async def check(self) -> Health:
        """Whether it can be reached and accepts our key. Never raises."""
        try:
            _, body = await self._endpoint.fetch(self._listing, now=0.0)
            self._read_listing(body, provider=self.name)
        except PlanarError as error:
            return Health(ok=False, message=error.message, age=0.0)
        return Health(ok=True, age=0.0)

    async def aclose(self) -> None:
        """Close the connections of the running loop. A client that was given stays open."""
        await self._endpoint.aclose()


def key_needed(name: str, variables: str) -> ConfigurationError:
    """The refusal of a provider without a key. `variables`: where the vendor's own tools look for it."""
    return ConfigurationError(
        f"{name}: api_key is needed (its own tools read {variables};"
        " Planar reads the environment only in Planar.from_env())"
    )


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
