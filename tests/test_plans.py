"""PLANS/ and docs/ tell the truth: a ticked box names a test, and every test that they name exists."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "PLANS").glob("*.md"))
PROJECTS = ("project_a", "project_b", "project_c", "project_c2", "project_d", "project_e", "project_f")
SECTIONS = ("Owns", "Does not own", "Interfaces", "Tasks")
BOX = re.compile(r"- \[([ x])\] (\S.*)")
ANY_BOX = re.compile(r"\s*[-*+]\s*\[.?\](?![(\[])")
NAMED = re.compile(r"\(test: ([^()]+)\)$")
GUIDE = ROOT / "CONTRIBUTING.md"
SESSIONS = re.compile(r"`nox -s ([\w. -]+)`")
PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!]+")
REFERENCE = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


def outside_fences(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page that are not inside a code block."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def boxes(text: str) -> Iterator[tuple[int, str]]:
    """Every box with its line number; lines that go on below it, indented, are joined to it."""
    start, parts = 0, list[str]()
    for number, line in outside_fences(text):
        if parts and line.startswith("  ") and line.strip() and not ANY_BOX.match(line):
            parts.append(line.strip())
            continue
        if parts:
            yield start, " ".join(parts)
        start, parts = number, [line.rstrip()] if ANY_BOX.match(line) else []
    if parts:
        yield start, " ".join(parts)


def section_problems(text: str) -> Iterator[str]:
    """What is missing of the four sections that every project's page has."""
    body: dict[str, list[str]] = {}
    heading = ""
    for _, line in outside_fences(text):
        if line.startswith("## "):
            heading = line[3:].strip()
        elif line.strip():
            body.setdefault(heading, []).append(line)
    yield from (f"section '## {name}' is missing or empty" for name in SECTIONS if not body.get(name))
    if body.get("Tasks") and not any(ANY_BOX.match(line) for line in body["Tasks"]):
        yield "section '## Tasks' has no box"


def box_problems(text: str, *, root: Path) -> Iterator[str]:
    """What is wrong with the boxes of a page."""
    for number, line in boxes(text):
        box = BOX.fullmatch(line)
        if box is None:
            yield f"line {number}: a box is written '- [ ] text' or '- [x] text (test: tests/...)', not {line!r}"
        elif box[1] == "x":
            named = NAMED.search(box[2])
            if named is None:
                yield f"line {number}: ticked without '(test: tests/...::test_name)' at its end"
                continue
            for reference in named[1].split(","):
                if (problem := missing(reference.strip(), root=root)) is not None:
                    yield f"line {number}: {problem}"


def missing(reference: str, *, root: Path) -> str | None:
    """Why `tests/path/test_file.py::test_name` or `...::TestClass::test_name` is no test; `None` if it is one."""
    file, *names = reference.split("::")
    path = root / file
    if not file.startswith("tests/") or not path.name.startswith("test_") or not path.is_file():
        return f"{reference}: there is no test file {file}"
    if len(names) == 2 and names[0] in machines(syntax(path)) and names[1] == "runTest":
        return None
    if len(names) not in (1, 2) or not names[-1].startswith("test_"):
        return f"{reference}: name one test in the file, such as {file}::test_name"
    if len(names) == 2 and not names[0].startswith("Test"):
        return f"{reference}: {names[0]} is no class that pytest collects"
    found = functions(syntax(path)) if len(names) == 1 else methods(path, names[0], root=root)
    return None if names[-1] in found else f"{reference}: {file} has no such test"


@functools.cache
def syntax(path: Path) -> ast.Module:
    """A file as a tree; nothing is imported or run."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(scope: ast.Module | ast.ClassDef) -> set[str]:
    """The names of the functions directly inside a module or class."""
    return {node.name for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def machines(module: ast.Module) -> set[str]:
    """The names of Hypothesis's state machines, written `TestName = Machine.TestCase`; each runs as `runTest`."""
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    of_machines = [node for node in assigned if isinstance(node.value, ast.Attribute) and node.value.attr == "TestCase"]
    return {target.id for node in of_machines for target in node.targets if isinstance(target, ast.Name)}


def methods(path: Path, name: str, *, root: Path) -> set[str]:
    """The methods of a class, those of a contract suite it inherits from included."""
    for node in syntax(path).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            inherited = [methods(path, base.id, root=root) for base in node.bases if isinstance(base, ast.Name)]
            return functions(node).union(*inherited)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            source = module_file(node.module, root=root)
            originals = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
            if originals and source is not None:
                return methods(source, originals[0], root=root)
    return set()


def module_file(module: str, *, root: Path) -> Path | None:
    """Where a module of this project lives; `None` for everybody else's."""
    base = root.joinpath("src", *module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def test_every_project_has_its_page():
    names = {page.stem for page in PAGES}

    assert names == {"OVERVIEW", *PROJECTS}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "OVERVIEW"], ids=lambda page: page.stem)
def test_a_project_page_has_its_four_sections(page: Path):
    problems = list(section_problems(page.read_text(encoding="utf-8")))

    assert problems == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_ticked_box_names_a_test_that_exists(page: Path):
    problems = list(box_problems(page.read_text(encoding="utf-8"), root=ROOT))

    assert problems == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_test_that_a_page_of_the_docs_names_exists(page: Path):
    named = REFERENCE.findall(page.read_text(encoding="utf-8"))

    problems = [problem for reference in named if (problem := missing(reference, root=ROOT)) is not None]

    assert problems == []


def test_the_guide_names_every_session_and_no_other():
    decorated = [node for node in syntax(ROOT / "noxfile.py").body if isinstance(node, ast.FunctionDef)]
    sessions = {node.name for node in decorated if any("nox.session" in ast.unparse(d) for d in node.decorator_list)}

    named = {name for line in SESSIONS.findall(GUIDE.read_text(encoding="utf-8")) for name in line.split()}

    assert {re.sub(r"-3\.\d+$", "", name) for name in named} == sessions
    assert sessions >= {"tests", "tests_min", "lint", "types", "imports", "docs", "chaos", "fuzz", "demo"}


def test_the_constraints_pin_each_package_and_name_no_index():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    other = [line for line in lines if line and not line.startswith("#") and not PIN.fullmatch(line)]

    assert other == []


PAGE = "## Owns\na\n## Does not own\nb\n## Interfaces\nc\n## Tasks\n- [ ] d\n"
SUITE = "class Contract:\n    async def test_inherited(self): ...\n"
SAMPLE_TESTS = """
from planar.testing.suite import Contract as Suite

def helper(): ...
def test_plain(): ...
async def test_async(): ...

class TestRoom(Suite):
    def test_own(self): ...

class Helper:
    def test_never_collected(self): ...

TestMachine = Helper.TestCase
TestNothing = Helper
"""


@pytest.fixture
def sample_root(tmp_path: Path) -> Path:
    """A project with one test file and one contract suite."""
    for name, text in {"tests/room/test_sample.py": SAMPLE_TESTS, "src/planar/testing/suite.py": SUITE}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        "- [ ] open, and so without a test",
        "- [x] done (test: tests/room/test_sample.py::test_plain)",
        "- [x] done, over\n  two lines (test: tests/room/test_sample.py::test_async)",
        "- [x] in a class (test: tests/room/test_sample.py::TestRoom::test_own)",
        "- [x] by a contract suite (test: tests/room/test_sample.py::TestRoom::test_inherited)",
        "- [x] by a state machine (test: tests/room/test_sample.py::TestMachine::runTest)",
        "- [x] two (test: tests/room/test_sample.py::test_plain, tests/room/test_sample.py::test_async)",
        "```\n- [x] an example in a code block\n```",
        "- [x](https://example.org) is a link, not a box",
    ],
)
def test_the_checker_accepts_a_page_that_tells_the_truth(page: str, sample_root: Path):
    problems = list(box_problems(page, root=sample_root))

    assert problems == []


@pytest.mark.parametrize(
    "page",
    [
        "- [x] ticked, and names no test",
        "- [x] ticked (test: )",
        "- [x] the test is not at the end (test: tests/room/test_sample.py::test_plain) of the box",
        "- [x] no such file (test: tests/room/test_other.py::test_plain)",
        "- [x] no such test (test: tests/room/test_sample.py::test_missing)",
        "- [x] one of two is missing (test: tests/room/test_sample.py::test_plain, tests/room/test_sample.py::test_b)",
        "- [x] a file is no test (test: tests/room/test_sample.py)",
        "- [x] a helper is no test (test: tests/room/test_sample.py::helper)",
        "- [x] a class is no test (test: tests/room/test_sample.py::TestRoom)",
        "- [x] no such method (test: tests/room/test_sample.py::TestRoom::test_plain)",
        "- [x] never collected (test: tests/room/test_sample.py::Helper::test_never_collected)",
        "- [x] no state machine (test: tests/room/test_sample.py::TestNothing::runTest)",
        "- [x] outside the tests (test: src/planar/testing/suite.py::test_inherited)",
        "- [X] ticked in another way (test: tests/room/test_sample.py::test_plain)",
        "* [x] another bullet (test: tests/room/test_sample.py::test_plain)",
        "- [x]without a space (test: tests/room/test_sample.py::test_plain)",
        "- [ ] open\n  - [x] hidden below another",
        "- [] neither",
    ],
)
def test_the_checker_refuses_a_box_that_does_not(page: str, sample_root: Path):
    problems = list(box_problems(page, root=sample_root))

    assert len(problems) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_the_checker_refuses_a_page_that_lacks_a_section_or_left_it_empty(section: str):
    lacking = PAGE.replace(f"## {section}\n", "## Something else\n")
    empty = re.sub(rf"(## {section}\n).*\n", r"\1", PAGE)

    assert list(section_problems(PAGE)) == []
    assert any(f"'## {section}'" in problem for problem in section_problems(lacking))
    assert any(f"'## {section}'" in problem for problem in section_problems(empty))


def test_the_checker_refuses_tasks_without_a_box():
    page = PAGE.replace("- [ ] d", "d")

    problems = list(section_problems(page))

    assert problems == ["section '## Tasks' has no box"]
