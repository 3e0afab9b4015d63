"""Providers for what an environment names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planar.config import VendorSettings, settings_from, variables
from planar.errors import ConfigurationError
from planar.protocols import Provider

_OLLAMA_CLOUD = "https://ollama.com"


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
    providers.extend(map(_vendor, settings.vendors))
    if not providers:
        raise ConfigurationError(
            f"the environment names no provider: set one of {', '.join(variables())},"
            " or write planar.Planar(providers=[...])"
        )
    return providers


def _vendor(found: VendorSettings) -> Provider:
    """A vendor in its own words; the others in OpenAI's. Only the module that is needed is loaded."""
    if found.name == "openai":
        from planar.providers.openai import OpenAI

        return OpenAI(api_key=found.key, base_url=found.base_url)
    if found.name == "anthropic":
        from planar.providers.anthropic import Anthropic

        return Anthropic(api_key=found.key, base_url=found.base_url)
    if found.name == "gemini":
        from planar.providers.gemini import Gemini

        return Gemini(api_key=found.key, base_url=found.base_url)
    if found.name == "ollama":
        from planar.providers.ollama import Ollama

        return Ollama(api_key=found.key, base_url=found.base_url or _OLLAMA_CLOUD)
    from planar.providers.openai_compatible import OpenAICompatible

    return OpenAICompatible(api_key=found.key, base_url=found.base_url, dialect=found.name, name=found.name)
