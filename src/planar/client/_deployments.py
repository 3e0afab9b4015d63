"""Which deployments a model name stands for, and what is known of each before anybody is asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from planar.catalog import Catalog, InputBound, cost_bound
from planar.client._aliases import REGEX, Pattern, in_order, pattern_of, stars
from planar.client._memory import Recollection
from planar.errors import ConfigurationError, UnknownModelError
from planar.protocols import ContinuesAnswers, CountsTokens, KnowsModels, KnowsVendor, Provider
from planar.types import Candidate, Capability, Health, ModelInfo, Price

if TYPE_CHECKING:
    from planar.types import ChatRequest

AUTO = "auto"
_KEPT = 4096
"""Names that callers asked for and that are remembered, beside those that the operator wrote."""
_LONGEST = 512
"""Characters of a name; what is longer names nothing. A regex is tried on no more than this."""
_MOST = 100
"""Deployments that `model="auto"` chooses among: the first of them. More would cost more to compare than they save."""
_SHOWN = 20
"""Names that an error lists."""


_VECTORS: frozenset[Capability] = frozenset(("embeddings",))


@dataclass(frozen=True, slots=True)
class Deployment:
    """One callable: a provider, a model there, and what is known of it.

    Attributes:
        name: `provider:model`.
        provider_name: What stands before the colon.
        counter: The provider, if it can count a prompt exactly.
        continues: It can go on with an answer that broke off elsewhere.
    """

    provider: Provider
    model: str
    info: ModelInfo
    name: str
    provider_name: str
    counter: CountsTokens | None
    continues: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the deployments that an alias is for.

    Attributes:
        text: As it was written.
        exact: It names one deployment; otherwise it is a pattern.
        known: Those it is known to name.
    """

    text: str
    exact: bool
    known: tuple[Deployment, ...]


class Stock:
    """Every deployment of a client, made when it is first named. What callers name is forgotten again, oldest first.

    Raises:
        ConfigurationError: There is no provider, or two share a name.
    """

    def __init__(self, providers: Sequence[Provider], catalog: Catalog) -> None:
        if not providers:
            raise ConfigurationError("a client needs a provider, such as providers=[planar.LlamaCpp('model.gguf')]")
        self.providers = {provider.name: provider for provider in providers}
        if len(self.providers) < len(providers):
            names = [provider.name for provider in providers]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigurationError(f"two providers are called {', '.join(twice)}: give one of them another name=")
        self._catalog = catalog
        if any(_vendor_of(provider) for provider in providers):
            catalog.load()
        self.deployment = lru_cache(maxsize=_KEPT)(self._deployment)
        self.filled = lru_cache(maxsize=_KEPT)(self._filled)
        self.models_of = lru_cache(maxsize=None)(self._models_of)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Everything that is known: by provider, and within one what it says, the operator, and the package."""
        return tuple([f"{name}:{model}" for name in self.providers for model in self.models_of(name)])

    @cached_property
    def described(self) -> tuple[Deployment, ...]:
        """What the providers and the operator say that there is, and that gives answers."""
        names = [f"{name}:{model}" for name in self.providers for model in self._served(name, vendor=None)]
        return tuple([one for name in names if answers((one := self.deployment(name)).info)])

    def _models_of(self, name: str) -> tuple[str, ...]:
        """The models that a provider is known to serve."""
        return self._served(name, vendor=_vendor_of(self.providers[name]))

    def _served(self, name: str, *, vendor: str | None) -> tuple[str, ...]:
        provider = self.providers[name]
        catalogued = self._catalog.models_of(name, vendor=vendor)
        if not isinstance(provider, KnowsModels):
            return catalogued
        served = [model for model in catalogued if provider.describe(model) is not None]
        return tuple(dict.fromkeys((*provider.default_models(), *served)))

    def matching(self, pattern: str) -> tuple[Deployment, ...]:
        """What is known and named by a pattern with stars.

        What only makes embeddings, and what its vendor is about to end, is not meant beside others.
        """
        found = [self.deployment(name) for name in self.names if stars(pattern, name) is not None]
        lasting = [one for one in found if one.info.deprecated is not True] or found
        return tuple([one for one in lasting if answers(one.info)] or lasting)

    def _filled(self, pattern: Pattern, name: str) -> tuple[Deployment, ...]:
        """What a name stands for by a pattern; none if it does not match, or names what no provider serves."""
        found: dict[str, Deployment] = {}
        for text in pattern.deployments(name):
            try:
                found[text] = self.deployment(text)
            except UnknownModelError:
                continue
        return tuple(found.values())

    def _deployment(self, name: str) -> Deployment:
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
        return Deployment(provider, model, self._describe(provider, model), name, prefix, counter, continues)

    def _describe(self, provider: Provider, model: str) -> ModelInfo:
        own: ModelInfo | None = None
        if isinstance(provider, KnowsModels):
            own = provider.describe(model)
            if own is None:
                models = tuple(provider.default_models())
                raise UnknownModelError(
                    f"{provider.name} does not serve {model!r}: it serves {_some(models)}",
                    model=f"{provider.name}:{model}",
                    known=models,
                )
        return self._catalog.describe(provider.name, model, own=own, vendor=_vendor_of(provider))

    def doubt(self, deployment: Deployment) -> str | None:
        """Why this may be a slip of the pen: other models of its provider are known. New ones appear every day."""
        models = self.models_of(deployment.provider.name)
        if not models or deployment.model in models or deployment.info != ModelInfo(id=deployment.model):
            return None
        close = difflib.get_close_matches(deployment.model, models, n=1)
        hint = f": did you mean '{deployment.provider.name}:{close[0]}'?" if close else ", and is asked all the same"
        return f"{deployment.name!r} is not among the models that are known of {deployment.provider.name}{hint}"


class Aliases:
    """What one scope, the platform or a tenant, calls its deployments.

    Attributes:
        shown: By alias, what it is for; stars are resolved but for those of a pattern.
        entries: By alias, each of its deployments.
        problems: What cannot be right.
        doubts: What may be wrong.
    """

    def __init__(self, models: Mapping[str, Sequence[str]], stock: Stock) -> None:
        self._stock = stock
        self._plain: dict[str, tuple[Deployment, ...]] = {}
        self.shown: dict[str, tuple[str, ...]] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.problems: list[str] = []
        self.doubts: list[str] = []
        patterns: list[Pattern] = []
        for alias, names in models.items():
            try:
                pattern = self._add(alias, names)
            except (ConfigurationError, UnknownModelError) as error:
                self.problems.append(f"alias {alias!r}: {error}")
            else:
                patterns += [] if pattern is None else [pattern]
        self._patterns = in_order(patterns)

    def _add(self, alias: str, names: Sequence[str]) -> Pattern | None:
        if not isinstance(alias, str) or not _is_name(alias):
            raise ConfigurationError("that cannot be an alias: choose a name without ':' that is not 'auto'")
        given: object = names
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ConfigurationError("it needs a list of deployments, such as ['local:default']")
        if not all(isinstance(name, str) for name in given):
            raise ConfigurationError(f"deployments are texts, such as 'local:default', not {given!r}")
        pattern = pattern_of(alias, names)
        entries = [self._entry(name, pattern) for name in names]
        self.entries[alias] = entries
        self.doubts += [
            f"alias {alias!r}: {doubt}"
            for entry in entries
            if entry.exact and (doubt := self._stock.doubt(entry.known[0])) is not None
        ]
        if pattern is not None:
            self.shown[alias] = tuple(names)
            return pattern
        meant = {deployment.name: deployment for entry in entries for deployment in entry.known}
        self._plain[alias] = tuple(meant.values())
        self.shown[alias] = tuple(meant)
        return None

    def _entry(self, text: str, pattern: Pattern | None) -> Entry:
        reach = text if pattern is None else pattern.reach(text)
        if "*" not in reach:
            return Entry(text, True, (self._stock.deployment(text),))
        provider, colon, _ = reach.partition(":")
        if not colon or ("*" not in provider and provider not in self._stock.providers):
            self._stock.deployment(text)  # says what is wrong with it
        known = self._stock.matching(reach)
        if pattern is None and not known:
            raise ConfigurationError(f"no known model matches {text!r}: name the deployments")
        return Entry(text, False, known)

    def find(self, name: str) -> tuple[Deployment, ...]:
        """What `name` stands for in this scope: as it is, by a wildcard, or by a regex; none if it is none of them."""
        plain = self._plain.get(name)
        if plain is not None:
            return plain
        for pattern in self._patterns:
            filled = self._stock.filled(pattern, name)
            if filled:
                return filled
        return ()

    def named(self) -> Iterator[Deployment]:
        """Every deployment that an alias names: what `model="auto"` may use. What a pattern could mean is not named."""
        for alias, entries in self.entries.items():
            for entry in entries:
                if entry.exact or alias in self._plain:
                    yield from entry.known


class Deployments:
    """What the calls of one scope can name: its own aliases, then those of the wider scopes, and `provider:model`.

    Args:
        aliases: Of the platform.

    Attributes:
        stock: What all scopes of a client share.
        own: The aliases of this scope.

    Raises:
        ConfigurationError: There is no provider, or two share a name.
    """

    def __init__(self, providers: Sequence[Provider], aliases: Mapping[str, Sequence[str]], catalog: Catalog) -> None:
        self.stock = Stock(providers, catalog)
        self.own = Aliases(aliases, self.stock)
        self._scopes: tuple[Aliases, ...] = (self.own,)
        self._open = not aliases

    def under(self, models: Mapping[str, Sequence[str]], *, platform: bool = False) -> Deployments:
        """Those of a narrower scope, whose aliases come first.

        Args:
            platform: They are the platform's, too.
        """
        if not models:
            return self
        narrower = object.__new__(Deployments)
        narrower.stock = self.stock
        narrower.own = Aliases(models, self.stock)
        narrower._scopes = (narrower.own, *self._scopes)
        narrower._open = self._open and not platform
        return narrower

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Who serves, by name."""
        return self.stock.providers

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """All aliases, wider scopes first, each with its deployments in order; a pattern with what was written."""
        return {alias: names for scope in reversed(self._scopes) for alias, names in scope.shown.items()}

    def resolve(self, model: str) -> tuple[Deployment, ...]:
        """The deployments that `model` may mean, in the operator's order.

        Raises:
            UnknownModelError: None; the message says what there is.
        """
        if model == AUTO:
            return self._auto()
        if len(model) > _LONGEST:
            raise UnknownModelError(f"a model's name has at most {_LONGEST} characters", model=model[:_LONGEST])
        if ":" in model:
            return (self.stock.deployment(model),)
        for scope in self._scopes:
            found = scope.find(model)
            if found:
                return found
        close = difflib.get_close_matches(model, self.aliases, n=1)
        there = self._there()
        hint = f"did you mean {close[0]!r}?" if close else f"write one of {_some(there)}, or provider:model"
        raise UnknownModelError(f"there is no alias {model!r}: {hint}", model=model, known=there)

    def known(self) -> tuple[str, ...]:
        """The names of all that the providers, the catalog and the aliases name."""
        entries = [entry for scope in self._scopes for each in scope.entries.values() for entry in each]
        named = [deployment.name for entry in entries for deployment in entry.known]
        return tuple(dict.fromkeys((*self.stock.names, *named)))

    def _there(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.aliases, *(deployment.name for deployment in self.usual), AUTO)))

    def _auto(self) -> tuple[Deployment, ...]:
        found = self.usual
        if not found:
            first = next(iter(self.providers))
            raise UnknownModelError(
                "model='auto' needs an alias or a provider that knows its models:"
                f" write model='{first}:...' or give the client models={{'fast': ['{first}:...']}}",
                model=AUTO,
            )
        return found

    @cached_property
    def usual(self) -> tuple[Deployment, ...]:
        """What `model="auto"` means: all that an alias names, and where the platform has none, what is described.

        Not what only the package knows of: which of a vendor's hundreds of models still run, which give text, and how
        good they are, its prices do not say.
        """
        found = {deployment.name: deployment for scope in self._scopes for deployment in scope.named()}
        if self._open or not found:
            found.update({deployment.name: deployment for deployment in self.stock.described})
        return tuple(found.values())[:_MOST]


def answers(info: ModelInfo) -> bool:
    """Whether a model gives answers: it is not known to make embeddings and nothing else."""
    return info.capabilities != _VECTORS


def _is_name(alias: str) -> bool:
    if alias.startswith(REGEX):
        return len(alias) > len(REGEX)
    return alias != AUTO and ":" not in alias and bool(alias.strip())


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names if more <= 0 else (*names[:_SHOWN], f"and {more} more"))


def candidate(
    deployment: Deployment,
    request: ChatRequest,
    *,
    prompt: InputBound,
    texts: Mapping[str, int],
    health: Health,
    recalled: Recollection,
    quality: float | None,
) -> Candidate:
    """A deployment as the router sees it for this request, with what it could cost at most.

    Args:
        texts: By encoding, how many tokens the prompt's texts have, where that was counted.
        quality: Of its answer to this prompt, where somebody has learned that.
    """
    info, name, warmth = deployment.info, deployment.name, recalled.warmth
    input_tokens = prompt.of(info)
    likely = prompt.likely_of(info, text=texts.get(info.tokenizer) if info.tokenizer else None)
    output_tokens = request.max_tokens
    for most in (info.max_output_tokens, info.context_window):
        if most is not None and (output_tokens is None or most < output_tokens):
            output_tokens = most
    bound = None
    price = bounding_price(info, request.service_tier)
    if price is not None and output_tokens is not None:
        bound = cost_bound(price, input_tokens=input_tokens, output_tokens=output_tokens)
    return Candidate(
        deployment=name,
        provider=deployment.provider_name,
        model=deployment.model,
        info=info,
        input_tokens_bound=input_tokens,
        input_tokens_likely=likely,
        output_tokens_bound=output_tokens,
        cost_bound=bound,
        output_tokens_likely=recalled.output_tokens(name, output_tokens),
        cached_tokens_likely=0 if warmth is None else warmth.likely(name, price=info.price, prompt=likely),
        served_last=warmth is not None and warmth.last == name,
        quality=quality,
        health=health,
    )


def bounding_price(info: ModelInfo, tier: str | None) -> Price | None:
    """A price that is never below what a call costs there which asks for this tier; `None` where nobody has said it."""
    price = info.price
    # What runs in this process is served in one way, whatever is asked for.
    return price if price is None or tier is None or info.local else price.bounding(tier)


def _vendor_of(provider: Provider) -> str | None:
    return provider.vendor if isinstance(provider, KnowsVendor) else None
