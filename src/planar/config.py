"""Settings, read from an environment that is handed in. Knows names of variables, not of provider classes."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass

from planar.errors import ConfigurationError
from planar.types import Secret
from planar.wire.dialects import DIALECTS

LOCAL_MODELS = "PLANAR_LOCAL_MODELS"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSettings:
    """A vendor whose key was found. `base_url=None` means the vendor's own address."""

    name: str
    key: Secret | None
    base_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModelSettings:
    """A model file that was named."""

    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an environment says. Nothing was opened to find it out."""

    vendors: tuple[VendorSettings, ...]
    local_models: tuple[LocalModelSettings, ...]


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Read the vendors' own variables and Planar's.

    `OPENAI_API_KEY`, `GROQ_API_KEY` and the like name a vendor each, and `<VENDOR>_BASE_URL` beside it another
    address. `PLANAR_LOCAL_MODELS` lists model files, separated by the platform's path separator, each as `path`
    or `name=path`; a path alone is called `local` if it is the only one, else by its file name.

    Raises:
        ConfigurationError: A value cannot be right; every problem is in the message, and no key is.
    """
    problems: list[str] = []
    vendors = _vendors(environ, problems)
    local_models = _local_models(environ.get(LOCAL_MODELS, ""), problems)
    names = [*(vendor.name for vendor in vendors), *(model.name for model in local_models)]
    problems += [f"two providers would be called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return Settings(vendors=vendors, local_models=local_models)


def variables() -> tuple[str, ...]:
    """The variables that can make a provider, for messages that say what was looked for."""
    return (*(dialect.key_env for dialect in DIALECTS.values() if dialect.key_env is not None), LOCAL_MODELS)


def _vendors(environ: Mapping[str, str], problems: list[str]) -> tuple[VendorSettings, ...]:
    found: list[VendorSettings] = []
    for name, dialect in DIALECTS.items():
        variable = dialect.key_env
        if variable is None or not environ.get(variable):
            continue
        key = environ[variable]
        if key != key.strip() or not key.isprintable():
            problems.append(f"{variable} has white space or control characters around or in it")
            continue
        base_url = environ.get(variable.replace("_API_KEY", "_BASE_URL"))
        if base_url is None and dialect.base_url is None:
            problems.append(f"{variable} is set, but {variable.replace('_API_KEY', '_BASE_URL')} is not")
            continue
        found.append(VendorSettings(name=name, key=Secret(key), base_url=base_url or None))
    return tuple(found)


def _local_models(value: str, problems: list[str]) -> tuple[LocalModelSettings, ...]:
    entries = [entry for entry in value.split(os.pathsep) if entry.strip()]
    found: list[LocalModelSettings] = []
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not equals:
            path = entry
            name = "local" if len(entries) == 1 else os.path.splitext(os.path.basename(entry))[0]
        if not name.strip() or not path.strip() or ":" in name:
            problems.append(f"{LOCAL_MODELS}: {entry!r} is neither a path nor name=path")
            continue
        found.append(LocalModelSettings(name=name.strip(), path=path.strip()))
    return tuple(found)
