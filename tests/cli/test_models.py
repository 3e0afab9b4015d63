"""`planar models`, as a process, against a server that speaks Ollama's management API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PULL = [
    {"status": "pulling manifest"},
    {"status": "pulling 0123", "digest": "sha256:0123", "total": 1000, "completed": 0},
    {"status": "pulling 0123", "digest": "sha256:0123", "total": 1000, "completed": 550},
    {"status": "pulling 0123", "digest": "sha256:0123", "total": 1000, "completed": 1000},
    {"status": "success"},
]
SHOW = {
    "details": {"family": "llama", "parameter_size": "134.5M", "quantization_level": "F16", "format": "gguf"},
    "model_info": {"llama.context_length": 8192},
    "capabilities": ["completion", "tools"],
}


class Handler(BaseHTTPRequestHandler):
    """The shapes of Ollama's documentation (docs/api.md): newline-delimited JSON while pulling, JSON otherwise."""

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, status: int, *documents: object) -> None:
        body = b"".join(json.dumps(document).encode() + b"\n" for document in documents)
        self.send_response(status)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _asked(self) -> dict[str, object]:
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def do_GET(self) -> None:
        self._answer(200, {"models": [{"name": "smollm2:135m", "model": "smollm2:135m", "size": 270, "details": {}}]})

    def do_POST(self) -> None:
        if self._asked()["model"] != "smollm2:135m":
            self._answer(404, {"error": "model 'nope' not found"})
        elif self.path == "/api/pull":
            self._answer(200, *PULL)
        else:
            self._answer(200, SHOW)

    def do_DELETE(self) -> None:
        known = self._asked()["model"] == "smollm2:135m"
        self._answer(200 if known else 404, {} if known else {"error": "model 'nope' not found"})


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def models(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "planar", "models", *arguments]
    plain = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, capture_output=True, text=True, env=plain, timeout=60, check=False)


def test_pull_tells_how_far_it_is(host: str) -> None:
    done = models("pull", "smollm2:135m", OLLAMA_HOST=host)

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "pulling manifest",
        "pulling 0123 00 %",
        "pulling 0123 50 %",
        "pulling 0123 100 %",
        "success",
    ]
    assert "planar chat --model ollama:smollm2:135m" in done.stdout


def test_pull_as_json_is_a_line_a_step(host: str) -> None:
    done = models("pull", "smollm2:135m", "--json", "--host", host)

    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["completed"] for step in steps] == [0, 0, 550, 1000, 0]
    assert steps[1] == {"status": "pulling 0123", "layer": "sha256:0123", "completed": 0, "total": 1000}


def test_show_says_what_there_is_to_know(host: str) -> None:
    done = models("show", "smollm2:135m", "--host", host)

    assert done.stdout.splitlines() == [
        "family: llama",
        "parameter size: 134.5M",
        "quantization level: F16",
        "format: gguf",
        "context window: 8192 tokens",
        "capabilities: completion, tools",
    ]
    assert json.loads(models("show", "smollm2:135m", "--json", "--host", host).stdout)["details"]["family"] == "llama"


def test_delete_removes_it(host: str) -> None:
    assert models("delete", "smollm2:135m", "--host", host).stdout == "smollm2:135m was deleted\n"


def test_list_asks_every_provider_that_the_environment_names(host: str, smollm2: str) -> None:
    done = models("list", OLLAMA_HOST=host, PLANAR_LOCAL_MODELS=smollm2)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["local:SmolLM2-135M-Instruct.Q4_1  4096 tokens", "ollama:smollm2:135m"]


def test_list_tells_of_one_that_does_not_answer_and_shows_the_others(smollm2: str) -> None:
    done = models("list", "--json", OLLAMA_HOST="http://127.0.0.1:9", PLANAR_LOCAL_MODELS=smollm2)

    assert done.returncode == 1
    assert "planar: ollama: " in done.stderr
    assert [row["deployment"] for row in json.loads(done.stdout)] == ["local:SmolLM2-135M-Instruct.Q4_1"]


@pytest.mark.parametrize("verb", ["pull", "show", "delete"])
def test_a_model_that_is_not_there_is_said_in_one_line(host: str, verb: str) -> None:
    done = models(verb, "nope", "--host", host)

    assert done.returncode == 1
    assert done.stderr == "planar: ollama: nope: model 'nope' not found\n"


def test_a_server_that_is_not_there_is_said_with_what_to_do() -> None:
    done = models("show", "x", "--host", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "ollama serve" in done.stderr
    assert "Traceback" not in done.stderr
