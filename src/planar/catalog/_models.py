"""What is known of models, from whoever knows it: the operator's own figures come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, replace
from os import PathLike
from typing import Any, Final

from planar.catalog._snapshot import Snapshot, shipped
from planar.catalog._toml import read_models
from planar.errors import ConfigurationError
from planar.types import ModelInfo, Price


class Catalog:
    """What is known of models, by deployment (`provider:model`). Unknown stays unknown, never zero.

    Of each figure the first that is known holds: what is given here, what a file says (`from_toml`), what the provider
    says of itself, what was refreshed (`refreshed`), and the snapshot in the package. The last two apply to a model
    that is asked for at its vendor's own address.

    Args:
        models: Descriptions, such as context windows and capabilities. What one leaves open, the others fill in.
        prices: Prices alone; they win over a description's, and over what a provider says of itself.
        snapshot: Whether what the package knows of vendors' models is used. It is read when it is first needed.

    Raises:
        ConfigurationError: A key is not `provider:model`, or a price is no `Price`.

    Example:
        >>> catalog = Catalog(prices={"groq:llama-3.3-70b": Price.per_million(input="0.59", output="0.79")})
        >>> catalog.describe("groq", "llama-3.3-70b").price.input
        590000
    """

    def __init__(
        self,
        *,
        models: Mapping[str, ModelInfo] | None = None,
        prices: Mapping[str, Price] | None = None,
        snapshot: bool = True,
    ) -> None:
        self._models = dict(models or {})
        for key, price in (prices or {}).items():
            given: object = price
            if not isinstance(given, Price):
                raise ConfigurationError(
                    f"the price of {key} is a planar.Price, such as Price.per_million(input='0.10', output='0.40'),"
                    f" not {given!r}"
                )
            self._models[key] = replace(self._models.get(key) or ModelInfo(id=key.partition(":")[2]), price=price)
        for key in self._models:
            provider, colon, model = key.partition(":")
            if not (provider and colon and model):
                raise ConfigurationError(
                    f"the catalog's keys are provider:model, such as 'openai:gpt-6-luna', not {key!r}"
                )
        self._listed = tuple(models or ())
        self._filed: Mapping[str, ModelInfo] = {}
        self._fresh: Snapshot | None = None
        self._snapshot = snapshot

    @classmethod
    def from_toml(
        cls,
        path: str | PathLike[str],
        *,
        models: Mapping[str, ModelInfo] | None = None,
        prices: Mapping[str, Price] | None = None,
        snapshot: bool = True,
    ) -> Catalog:
        """A catalog with what a file says, such as your `planar.toml`; the other arguments are those of the class.

        Each model is a table `[catalog."provider:model"]`. Its keys are the fields of `ModelInfo`, with lists for
        `capabilities` and `refuses`, and a table `price`: rates as texts in USD per million tokens by the names that
        `Price` has for them (`input` and `output` are needed), `call` and `compute_second` in USD,
        `compute_ms_per_token`, `source`, `as_of`, a list `steps` of such tables with `above`, and a table `tiers` of
        such tables by the vendor's word. Whatever else is in the file is not looked at.

        Raises:
            ConfigurationError: The file cannot be read, or says what cannot be; all problems are in the message.
        """
        made = cls(models=models, prices=prices, snapshot=snapshot)
        made._filed = read_models(path)
        return made

    def refreshed(self) -> Catalog:
        """The same catalog with the prices and context windows that `genai-prices` has now. Needs the extra `prices`.

        They are those of the installed version of that package, or what its own `UpdatePrices` has fetched before:
        call `genai_prices.UpdatePrices().start(wait=True)` first if they should come from the network. Nothing is
        fetched here, and nothing is refreshed by itself.

        Raises:
            MissingExtraError: `genai-prices` is not installed.
            ConfigurationError: What was fetched has a form that this version of Planar does not know.
        """
        from planar.catalog._prices import snapshot

        made = Catalog(models=self._models, snapshot=self._snapshot)
        made._listed, made._filed = self._listed, self._filed
        try:
            made._fresh = Snapshot(snapshot())
        except ValueError as error:
            # One model left out could let another, which has a wider name, stand for it.
            raise ConfigurationError(
                f"the prices that genai-prices has now cannot be read: {error}; install a newer Planar, or refresh"
                " before genai_prices.UpdatePrices() has fetched any"
            ) from error
        return made

    def describe(
        self, provider: str, model: str, *, own: ModelInfo | None = None, vendor: str | None = None
    ) -> ModelInfo:
        """What is known of a model.

        Args:
            own: What its provider says of it.
            vendor: Whose model it is, where the vendor itself is asked; `None` otherwise.
        """
        key = f"{provider}:{model}"
        known = [self._models.get(key), self._filed.get(key), own]
        if vendor is not None:
            known.append(self._of_vendor(vendor, model))
        found = [info for info in known if info is not None]
        return found[0] if len(found) == 1 else _first_known(model, found)

    def load(self) -> None:
        """Read the snapshot, if it is used and was not read yet, so that no request has to wait for the file."""
        if self._snapshot:
            shipped()

    def _of_vendor(self, vendor: str, model: str) -> ModelInfo | None:
        known = shipped().find(vendor, model) if self._snapshot else None
        fresh = None if self._fresh is None else self._fresh.find(vendor, model)
        if known is None or fresh is None:
            return known or fresh
        # A price that is not known any more must not fall back to what it was.
        return replace(known, price=fresh.price, context_window=fresh.context_window or known.context_window)

    def models_of(self, provider: str, *, vendor: str | None = None) -> tuple[str, ...]:
        """The models of one provider that the operator describes, in code or in a file.

        Args:
            vendor: Whose models are listed after them, as far as the package, or what was refreshed, knows any: among
                them old ones, and such that give no text.
        """
        prefix = f"{provider}:"
        names = [key.removeprefix(prefix) for key in (*self._listed, *self._filed) if key.startswith(prefix)]
        if vendor is not None:
            known = [shipped()] if self._snapshot else []
            known += [] if self._fresh is None else [self._fresh]
            names += [name for each in known for name in each.models(vendor)]
        return tuple(dict.fromkeys(names))


_OPEN: Final[Mapping[str, Any]] = {
    each.name: each.default for each in fields(ModelInfo) if each.default is not MISSING and each.name != "id"
}
"""The fields of a description, and what they are where nobody said anything."""


def _first_known(model: str, found: Iterable[ModelInfo]) -> ModelInfo:
    known: dict[str, Any] = {}
    for info in found:
        for name, nothing in _OPEN.items():
            value = getattr(info, name)
            if name not in known and value != nothing:
                known[name] = value
    return ModelInfo(id=model, **known)
