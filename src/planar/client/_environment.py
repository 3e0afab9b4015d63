"""Providers for what an environment names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planar.config import settings_from, variables
from planar.errors import ConfigurationError
from planar.protocols import Provider


def providers_from(environ: Mapping[str, str]) -> Sequence[Provider]:
    """One provider for each vendor and local model that was found, local ones first.

    Raises:
        ConfigurationError: None was found, or a value cannot be right.
    """
    settings = settings_from(environ)
    providers: list[Provider] = []
    for local in settings.local_models:
        from planar.providers.local.llamacpp import LlamaCpp

        providers.append(LlamaCpp(local.path, name=local.name))
    for vendor in settings.vendors:
        from planar.providers.openai_compatible import OpenAICompatible

        providers.append(
            OpenAICompatible(base_url=vendor.base_url, api_key=vendor.key, dialect=vendor.name, name=vendor.name)
        )
    if not providers:
        raise ConfigurationError(
            f"the environment names no provider: set one of {', '.join(variables())},"
            " or write planar.Planar(providers=[...])"
        )
    return providers
