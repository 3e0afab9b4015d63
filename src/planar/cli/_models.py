"""`planar models`: what the configured providers serve, and the care of an Ollama server's models."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from planar.client import Planar
from planar.errors import MissingExtraError, PlanarError
from planar.types import ModelInfo

if TYPE_CHECKING:
    from planar.cli._chat import Commands
    from planar.cli._ollama import OllamaModels, Progress


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="list models; pull, show and delete those of an Ollama server",
        description="List what the providers that the environment names serve, and manage an Ollama server's models.",
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listed = verbs.add_parser("list", help="what every configured provider serves now")
    listed.add_argument("--provider", help="only this one")
    listed.set_defaults(run=_run_list)
    for verb, words, run in (
        ("pull", "download a model to the Ollama server, with progress", _pull),
        ("show", "what the Ollama server knows of a model", _show),
        ("delete", "remove a model from the Ollama server's disk", _delete),
    ):
        one = verbs.add_parser(verb, help=words)
        one.add_argument("model", help="its name there, such as smollm2:135m")
        one.add_argument("--host", help="the server's address (default: OLLAMA_HOST, or this machine)")
        one.set_defaults(run=_on_ollama(run))
    for verb_parser in verbs.choices.values():
        verb_parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _run_list(arguments: argparse.Namespace) -> int:
    return anyio.run(_list, arguments.provider, arguments.json)


@dataclass(frozen=True, slots=True)
class _Wish:
    model: str
    as_json: bool


def _on_ollama(run: Callable[[OllamaModels, _Wish], Awaitable[int]]) -> Callable[[argparse.Namespace], int]:
    async def managed(host: str | None, wish: _Wish) -> int:
        from planar.cli._ollama import OllamaModels

        return await run(OllamaModels(host), wish)

    def called(arguments: argparse.Namespace) -> int:
        host = arguments.host or os.environ.get("OLLAMA_HOST") or None
        return anyio.run(managed, host, _Wish(arguments.model, arguments.json))

    return called


async def _list(only: str | None, as_json: bool) -> int:
    """Every provider is asked at once; one that cannot be reached does not hide the others."""
    found: dict[str, Sequence[ModelInfo]] = {}
    problems: dict[str, str] = {}
    async with Planar.from_env() as client:
        asked = {name: provider for name, provider in client.providers.items() if only in (None, name)}
        if not asked:
            print(f"planar: there is no provider {only!r}: {', '.join(client.providers)}", file=sys.stderr)
            return 1

        async def ask(name: str) -> None:
            try:
                found[name] = await asked[name].models()
            except PlanarError as error:
                problems[name] = error.message

        async with anyio.create_task_group() as tasks:
            for name in asked:
                tasks.start_soon(ask, name)
    for name, problem in problems.items():
        print(f"planar: {name}: {problem}", file=sys.stderr)
    rows = [(f"{name}:{info.id}", info) for name in asked for info in found.get(name, ())]
    if as_json:
        print(json.dumps([_as_data(deployment, info) for deployment, info in rows]))
    else:
        for deployment, info in rows:
            window = "" if info.context_window is None else f"  {info.context_window} tokens"
            print(f"{deployment}{window}")
    return 1 if problems else 0


def _as_data(deployment: str, info: ModelInfo) -> Mapping[str, Any]:
    return {
        "deployment": deployment,
        "context_window": info.context_window,
        "max_output_tokens": info.max_output_tokens,
        "capabilities": None if info.capabilities is None else sorted(info.capabilities),
        "local": info.local,
    }


async def _pull(models: OllamaModels, wish: _Wish) -> int:
    steps = models.pull(wish.model)
    if wish.as_json:
        async for step in steps:
            data = {"status": step.status, "layer": step.layer, "completed": step.completed, "total": step.total}
            print(json.dumps(data), flush=True)
    elif sys.stderr.isatty():
        await _with_bars(steps)
    else:
        await _in_lines(steps)
    if not wish.as_json:
        print(f"{wish.model} is there: planar chat --model ollama:{wish.model}")
    return 0


async def _in_lines(steps: AsyncIterator[Progress]) -> None:
    """One line for each step, and for each tenth of a layer: what a log file wants."""
    told: tuple[str, int] | None = None
    async for step in steps:
        tenth = 10 * step.completed // step.total if step.total else 0
        if (step.status, tenth) == told:
            continue
        told = (step.status, tenth)
        print(f"{step.status}{f' {tenth}0 %' if step.total else ''}", file=sys.stderr)


async def _with_bars(steps: AsyncIterator[Progress]) -> None:
    """A bar for each layer, with its speed and the time that is left."""
    try:
        from planar.cli._bars import bars
    except MissingExtraError:
        await _in_lines(steps)  # a bar is a comfort, not a need
        return
    with bars() as advance:
        async for step in steps:
            advance(step.status, step.completed, step.total)


async def _show(models: OllamaModels, wish: _Wish) -> int:
    known = await models.show(wish.model)
    if wish.as_json:
        print(json.dumps(known))
        return 0
    details: Mapping[str, Any] = known.get("details") or {}
    for name in ("family", "parameter_size", "quantization_level", "format"):
        if details.get(name):
            print(f"{name.replace('_', ' ')}: {details[name]}")
    described: Mapping[str, Any] = known.get("modelinfo") or {}
    windows = [value for key, value in described.items() if key.endswith(".context_length")]
    if windows:
        print(f"context window: {windows[0]} tokens")
    if known.get("capabilities"):
        print(f"capabilities: {', '.join(known['capabilities'])}")
    return 0


async def _delete(models: OllamaModels, wish: _Wish) -> int:
    await models.delete(wish.model)
    print(json.dumps({"deleted": wish.model}) if wish.as_json else f"{wish.model} was deleted")
    return 0
