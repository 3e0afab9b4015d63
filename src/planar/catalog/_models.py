"""The models that somebody has described: the operator's own figures come first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planar.errors import ConfigurationError
from planar.types import ModelInfo, Price


class Catalog:
    """What is known of models, by deployment (`provider:model`). Unknown stays unknown, never zero.

    Args:
        models: Descriptions, such as context windows and capabilities.
        prices: Prices alone; they win over a description's, and over what a provider says of itself.

    Raises:
        ConfigurationError: A key is not `provider:model`.

    Example:
        >>> catalog = Catalog(prices={"groq:llama-3.3-70b": Price.per_million(input="0.59", output="0.79")})
        >>> catalog.describe("groq", "llama-3.3-70b").price.input
        590000
    """

    def __init__(
        self, *, models: Mapping[str, ModelInfo] | None = None, prices: Mapping[str, Price] | None = None
    ) -> None:
        self._models = dict(models or {})
        self._prices = dict(prices or {})
        for key in (*self._models, *self._prices):
            provider, colon, model = key.partition(":")
            if not (provider and colon and model):
                raise ConfigurationError(
                    f"the catalog's keys are provider:model, such as 'openai:gpt-6-luna', not {key!r}"
                )

    def describe(self, provider: str, model: str, *, own: ModelInfo | None = None) -> ModelInfo:
        """What is known of a model, with `own` being what its provider says where it can say anything."""
        key = f"{provider}:{model}"
        info = self._models.get(key) or own or ModelInfo(id=model)
        price = self._prices.get(key)
        return info if price is None else replace(info, price=price)

    def models_of(self, provider: str) -> tuple[str, ...]:
        """The models of one provider that the catalog describes."""
        prefix = f"{provider}:"
        return tuple(key.removeprefix(prefix) for key in self._models if key.startswith(prefix))
