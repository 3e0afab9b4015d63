"""`planar chat` before a terminal: the answer appears as it is made, and one question follows another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

if sys.platform == "win32":
    pytest.skip("a pseudo-terminal is needed", allow_module_level=True)

import pty


class Terminal:
    """A terminal with `planar chat` in it. What it shows is read as it comes."""

    def __init__(self, screen: int, process: subprocess.Popen[bytes]) -> None:
        self._screen = screen
        self.process = process

    def write(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def read(self) -> str:
        """What has been shown since; empty at the end."""
        try:
            return os.read(self._screen, 4096).decode(errors="replace")
        except OSError:  # the other end was closed: on Linux this is how a terminal ends
            return ""

    def until(self, words: str) -> str:
        shown = ""
        while words not in shown:
            more = self.read()
            assert more, f"it ended before {words!r}: {shown}"
            shown += more
        return shown


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    screen, inside = pty.openpty()
    command = [sys.executable, "-m", "planar", "chat", *arguments]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "TERM": "dumb", **_search_path()}
    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environ) as process:
        os.close(inside)
        try:
            yield Terminal(screen, process)
            process.wait(timeout=60)
        finally:
            process.kill()
            os.close(screen)


def _search_path() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def test_the_answer_appears_piece_by_piece_and_the_figures_below_it(smollm2: str) -> None:
    with terminal("--gguf", smollm2, "--max-tokens", "24", "--temperature", "0", "Three rivers in Spain?") as shown:
        pieces = list(iter(shown.read, ""))

    text = "".join(pieces)
    answer, _, figures = text.partition("[local:default")
    assert shown.process.returncode == 0, text
    assert len(answer.strip()) > 20
    assert "24 out" in figures
    # Each token is written by itself. A reader that is slower than the model sees a few of them at once.
    assert len(pieces) > 3


def test_one_question_follows_another_until_an_empty_line(smollm2: str) -> None:
    with terminal("--gguf", smollm2, "--max-tokens", "8", "--temperature", "0") as shown:
        shown.until("> ")
        shown.write("Hi, I am Ann.\n")
        shown.until("8 out")
        shown.until("> ")
        shown.write("Who am I?\n")
        second = shown.until("ended by")
        shown.until("> ")
        shown.write("\n")
        rest = "".join(iter(shown.read, ""))

    assert shown.process.returncode == 0, rest
    assert "tokens in" in second
