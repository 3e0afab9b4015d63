"""Every Python block of README and docs runs, page by page, top to bottom, in one namespace."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import planar

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
# These need a package of another part, or only describe a binding.
NOT_IMPORTED_HERE = re.compile(r"^planar\.(__main__|transport\.aiohttp|providers\.local\.)")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_blocks_of_a_page_run(page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text()
    blocks = [
        (found["info"].split(), found["code"], text[: found.start()].count("\n") + 2) for found in FENCE.finditer(text)
    ]
    namespace: dict[str, object] = {"__name__": "__docs__"}
    kinds = {kind for info, _, _ in blocks for kind in info}
    assert kinds <= {"model", "server"}, f"{page_name(page)}: unknown kinds of block {kinds}"
    if "model" in kinds:
        namespace["MODEL"] = request.getfixturevalue("smollm2")
    if "server" in kinds:
        namespace["SERVER"] = request.getfixturevalue("llama_server")
    monkeypatch.chdir(request.getfixturevalue("tmp_path"))

    async def run() -> None:
        for _info, code, line in blocks:
            tree = compile(
                "\n" * (line - 1) + code,
                page_name(page),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            result = eval(tree, namespace)
            if inspect.isawaitable(result):
                await result

    anyio.run(run)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "PLANS").glob("*.md"))], ids=page_name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert dead == []


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(planar.__path__, "planar."):
        if not NOT_IMPORTED_HERE.match(found.name):
            yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(name)

    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert result.failed == 0
