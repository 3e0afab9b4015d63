"""The command line, run as a process with the real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def planar(*arguments: str, stdin: str = "", environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **(environ or {})}
    command = [sys.executable, "-m", "planar", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=plain, timeout=120, check=False)


def test_chat_prints_the_answer_and_the_figures_apart(smollm2: str) -> None:
    done = planar("chat", "--gguf", smollm2, "--max-tokens", "12", "--temperature", "0", "Three rivers in Spain?")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "12 out" in done.stderr
    assert "0 USD" in done.stderr
    assert "first token after" in done.stderr
    assert "tokens/s" in done.stderr
    assert "12 out" not in done.stdout


def test_chat_as_json_is_one_object_with_exact_figures(smollm2: str) -> None:
    done = planar("chat", "--gguf", smollm2, "--json", "--max-tokens", "5", "--seed", "7", stdin="Rivers in Spain?")

    answer = json.loads(done.stdout)
    assert answer["usage"]["output_tokens"] == 5
    assert answer["cost_usd"] == "0"
    assert answer["finish_reason"] == "length"
    assert answer["attempts"] == ["local:default"]
    assert answer["timings"]["ttft"] > 0


def test_chat_takes_the_local_model_from_the_environment(smollm2: str) -> None:
    environ = {"PLANAR_LOCAL_MODELS": f"small={smollm2}"}

    done = planar("chat", "--json", "--model", "small:default", "--max-tokens", "2", "Hi", environ=environ)

    assert json.loads(done.stdout)["provider"] == "small"


def test_chat_without_anything_to_ask_says_what_was_looked_for() -> None:
    done = planar("chat", "Hello?")

    assert done.returncode == 1
    assert done.stderr.startswith("planar: the environment names no provider")
    assert "OPENAI_API_KEY" in done.stderr
    assert "PLANAR_LOCAL_MODELS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gguf", "/nowhere.gguf", "Hi"], "/nowhere.gguf"),
        (["--gguf", __file__, "Hi"], "GGUF"),
        (["--gguf", "{model}", "--model", "locl:default", "Hi"], "did you mean 'local:default'"),
        (["--gguf", "{model}", "--max-tokens", "0", "Hi"], "at least 1"),
        (["--gguf", "{model}"], "empty"),
    ],
)
def test_chat_says_what_is_wrong_and_exits_with_1(smollm2: str, arguments: list[str], words: str) -> None:
    done = planar("chat", *(argument.format(model=smollm2) for argument in arguments))

    assert done.returncode == 1
    assert done.stderr.startswith("planar: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_say_what_there_is() -> None:
    assert "chat" in planar("--help").stdout
    assert "--gguf" in planar("chat", "--help").stdout
    assert planar("--version").stdout.startswith("planar ")


def test_quickstart_serves_two_tenants_until_the_small_one_is_refused(smollm2: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), smollm2]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert "refused: tiny: " in done.stdout
    assert "tokens left (spent)" in done.stdout
    refused_at = done.stdout.index("refused: ")
    assert done.stdout.index("acme/search asks") < refused_at
    assert "acme: " in done.stdout[refused_at:]
