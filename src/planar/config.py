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
class Variables:
    """What a vendor's own tools read.

    Attributes:
        keys: The first that is set holds the key.
        address: Where the vendor is, if not at its usual place.
        needs_address: It has no usual place.
        by_address: The address alone is reason enough: the server needs no key.
    """

    keys: tuple[str, ...]
    address: str
    needs_address: bool = False
    by_address: bool = False


def _compatible() -> dict[str, Variables]:
    return {
        name: Variables(
            keys=(dialect.key_env,),
            address=dialect.key_env.replace("_API_KEY", "_BASE_URL"),
            needs_address=dialect.base_url is None,
        )
        for name, dialect in DIALECTS.items()
        if dialect.key_env is not None
    }


VENDORS: Mapping[str, Variables] = {
    **_compatible(),
    "anthropic": Variables(keys=("ANTHROPIC_API_KEY",), address="ANTHROPIC_BASE_URL"),
    "gemini": Variables(keys=("GOOGLE_API_KEY", "GEMINI_API_KEY"), address="GEMINI_BASE_URL"),
    "ollama": Variables(keys=("OLLAMA_API_KEY",), address="OLLAMA_HOST", by_address=True),
}
"""One row a vendor, by the provider's name. Each vendor is spoken to in its own words where it has any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSettings:
    """A vendor that was found. `base_url=None` means its usual address."""

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

    `OPENAI_API_KEY`, `ANTHROPIC_API_KEY` and the like name a vendor each, with `<VENDOR>_BASE_URL` for another
    address; `OLLAMA_HOST` names a server that needs no key. `PLANAR_LOCAL_MODELS` lists model files, separated by
    the platform's path separator, each as `path` or `name=path`; a path alone is called `local` if it is the only
    one, else by its file name.

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
    named = [(*row.keys, *((row.address,) if row.by_address else ())) for row in VENDORS.values()]
    return (*(variable for row in named for variable in row), LOCAL_MODELS)


def _vendors(environ: Mapping[str, str], problems: list[str]) -> tuple[VendorSettings, ...]:
    found: list[VendorSettings] = []
    for name, row in VENDORS.items():
        variable = next((key for key in row.keys if environ.get(key)), None)
        address = environ.get(row.address) or None
        if variable is None and not (row.by_address and address):
            continue
        key = None if variable is None else environ[variable]
        if key is not None and (key != key.strip() or not key.isprintable()):
            problems.append(f"{variable} has white space or control characters around or in it")
        elif address is None and row.needs_address:
            problems.append(f"{variable} is set, but {row.address} is not")
        else:
            url = address if address is None or "://" in address else f"http://{address}"
            found.append(VendorSettings(name=name, key=None if key is None else Secret(key), base_url=url))
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
