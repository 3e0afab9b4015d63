"""What happens to a process that does not tidy up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BEGIN = """
import contextlib, os, sys, threading, time, anyio
import planar.errors
from planar.providers.local.llamacpp import LlamaCpp
from planar.protocols import Call
from planar.types import ChatRequest, Message, ResponseInfo, Timeouts

class Clock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

provider = LlamaCpp(sys.argv[1], n_threads=1, n_ctx=512)
request = ChatRequest(messages=(Message("user", "Count to a hundred."),))

def call():
    return Call(clock=Clock(), timeouts=Timeouts(), response=ResponseInfo())

async def first():
    async with provider.stream(request, model="default", call=call()) as batches:
        return await anext(batches)
"""
FINISHED = BEGIN + 'assert anyio.run(first)\nprint("done", flush=True)\n'
COMPUTING = (
    BEGIN
    + """
begun = threading.Event()
async def read():
    with contextlib.suppress(planar.errors.ClosedError):
        async with provider.stream(request, model="default", call=call()) as batches:
            async for batch in batches:
                begun.set()
threading.Thread(target=anyio.run, args=(read,), daemon=True).start()
assert begun.wait(60)
print("done", flush=True)
"""
)
FORKED = (
    BEGIN
    + """
assert anyio.run(first)
child = os.fork()
if child == 0:
    try:
        anyio.run(first)
    except Exception as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("done", flush=True)
"""
)


def run(script: str, model: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, model], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("script", [FINISHED, COMPUTING], ids=["idle", "computing"])
def test_a_provider_that_nobody_closed_does_not_keep_the_interpreter(script: str, smollm2: str) -> None:
    ended = run(script, smollm2)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_is_told_that_the_model_is_not_its_own(smollm2: str) -> None:
    ended = run(FORKED, smollm2)

    assert (ended.returncode, ended.stdout) == (0, "ConfigurationError\ndone\n")


def test_making_a_provider_loads_nothing(smollm2: str) -> None:
    script = (
        "import sys\nfrom planar.providers.local.llamacpp import LlamaCpp\n"
        "LlamaCpp(sys.argv[1]).describe('default')\n"
        "print(sorted({'llama_cpp', 'numpy', 'jinja2', 'httpx', 'pydantic'} & set(sys.modules)))"
    )

    ended = run(script, smollm2)

    assert ended.stdout == "[]\n"
