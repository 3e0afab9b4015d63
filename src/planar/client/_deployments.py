"""Which deployments a model name stands for, and what is known of each before anybody is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planar.catalog import Catalog, InputBound, cost_bound
from planar.errors import ConfigurationError, UnknownModelError
from planar.protocols import ContinuesAnswers, CountsTokens, KnowsModels, Provider
from planar.types import Candidate, Health, ModelInfo

if TYPE_CHECKING:
    from planar.types import ChatRequest


@dataclass(frozen=True, slots=True)
class Deployment:
    """One callable: a provider, a model there, and what is known of it.

    Attributes:
        name: `provider:model`.
        counter: The provider, if it can count a prompt exactly.
        continues: It can go on with an answer that broke off elsewhere.
    """

    provider: Provider
    model: str
    info: ModelInfo
    name: str
    counter: CountsTokens | None
    continues: bool


class Deployments:
    """The providers of a client and the aliases for what they serve.

    Raises:
        ConfigurationError: Two providers share a name, or an alias names what no provider has; all problems
            are in the message.
    """

    def __init__(self, providers: Sequence[Provider], aliases: Mapping[str, Sequence[str]], catalog: Catalog) -> None:
        if not providers:
            raise ConfigurationError("a client needs a provider, such as providers=[planar.LlamaCpp('model.gguf')]")
        self.providers = {provider.name: provider for provider in providers}
        if len(self.providers) < len(providers):
            names = [provider.name for provider in providers]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigurationError(f"two providers are called {', '.join(twice)}: give one of them another name=")
        self._catalog = catalog
        self._known: dict[str, Deployment] = {}
        self.aliases = {alias: tuple(names) for alias, names in aliases.items()}
        problems = [problem for alias in aliases for problem in self._problems(alias, aliases[alias])]
        if problems:
            raise ConfigurationError("; ".join(problems))

    def _problems(self, alias: str, names: Sequence[str]) -> list[str]:
        problems: list[str] = []
        if alias == "auto" or ":" in alias or not alias.strip():
            problems.append(f"{alias!r} cannot be an alias: choose a name without ':' that is not 'auto'")
        if isinstance(names, str) or not names:
            return [*problems, f"alias {alias!r} needs a list of deployments, such as ['local:default']"]
        for name in names:
            try:
                self._deployment(name)
            except UnknownModelError as error:
                problems.append(f"alias {alias!r}: {error}")
        return problems

    def resolve(self, model: str) -> tuple[Deployment, ...]:
        """The deployments that `model` may mean, in the operator's order.

        Raises:
            UnknownModelError: None; the message says what there is.
        """
        if model in self.aliases:
            return tuple([self._deployment(name) for name in self.aliases[model]])
        if model == "auto":
            return self._all()
        if ":" in model:
            return (self._deployment(model),)
        close = difflib.get_close_matches(model, self.aliases, n=1)
        there = self._there()
        hint = f"did you mean {close[0]!r}?" if close else f"write one of {', '.join(there)}, or provider:model"
        raise UnknownModelError(f"there is no alias {model!r}: {hint}", model=model, known=there)

    def _there(self) -> tuple[str, ...]:
        return (*self.aliases, *(deployment.name for deployment in self._defaults()), "auto")

    def _all(self) -> tuple[Deployment, ...]:
        named = [self._deployment(name) for names in self.aliases.values() for name in names]
        found = tuple({deployment.name: deployment for deployment in (*named, *self._defaults())}.values())
        if not found:
            first = next(iter(self.providers))
            raise UnknownModelError(
                "model='auto' needs an alias or a provider that knows its models:"
                f" write model='{first}:...' or give the client models={{'fast': ['{first}:...']}}",
                model="auto",
            )
        return found

    def _defaults(self) -> list[Deployment]:
        return [
            self._deployment(f"{name}:{model}")
            for name, provider in self.providers.items()
            for model in (
                *(provider.default_models() if isinstance(provider, KnowsModels) else ()),
                *self._catalog.models_of(name),
            )
        ]

    def _deployment(self, name: str) -> Deployment:
        known = self._known.get(name)
        if known is not None:
            return known
        prefix, _, model = name.partition(":")
        provider = self.providers.get(prefix)
        if provider is None or not model:
            close = difflib.get_close_matches(prefix, self.providers, n=1)
            hint = f"did you mean '{close[0]}:{model}'?" if close else f"the providers are {', '.join(self.providers)}"
            raise UnknownModelError(
                f"{name!r} names no deployment of this client, write provider:model: {hint}",
                model=name,
                known=tuple(self.providers),
            )
        counter = provider if isinstance(provider, CountsTokens) else None
        continues = isinstance(provider, ContinuesAnswers) and provider.continues(model)
        deployment = Deployment(provider, model, self._describe(provider, model), name, counter, continues)
        self._known[name] = deployment
        return deployment

    def _describe(self, provider: Provider, model: str) -> ModelInfo:
        own: ModelInfo | None = None
        if isinstance(provider, KnowsModels):
            own = provider.describe(model)
            if own is None:
                models = tuple(provider.default_models())
                raise UnknownModelError(
                    f"{provider.name} does not serve {model!r}: it serves {', '.join(models)}",
                    model=f"{provider.name}:{model}",
                    known=models,
                )
        return self._catalog.describe(provider.name, model, own=own)


def candidate(deployment: Deployment, request: ChatRequest, *, prompt: InputBound, health: Health) -> Candidate:
    """A deployment as the router sees it for this request, with what it could cost at most."""
    info = deployment.info
    input_tokens = prompt.of(info)
    ceilings = [size for size in (request.max_tokens, info.max_output_tokens, info.context_window) if size is not None]
    output_tokens = min(ceilings) if ceilings else None
    bound = None
    price = info.price
    if price is not None and request.service_tier is not None:
        price = price.bounding(request.service_tier)
    if price is not None and output_tokens is not None:
        bound = cost_bound(price, input_tokens=input_tokens, output_tokens=output_tokens)
    return Candidate(
        deployment=deployment.name,
        provider=deployment.provider.name,
        model=deployment.model,
        info=info,
        input_tokens_bound=input_tokens,
        output_tokens_bound=output_tokens,
        cost_bound=bound,
        health=health,
    )
