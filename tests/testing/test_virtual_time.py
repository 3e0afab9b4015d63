"""Virtual time: it passes only where somebody waits for it, on both event loops."""

from __future__ import annotations

import time
from typing import Literal

import anyio
import pytest

from planar.testing import run_virtual, virtual_backend

BACKENDS: tuple[Literal["asyncio", "trio"], ...] = ("asyncio", "trio")


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return virtual_backend(request.param)


@pytest.mark.anyio
async def test_a_day_passes_at_once() -> None:
    before, real = anyio.current_time(), time.monotonic()

    await anyio.sleep(86_400)

    assert anyio.current_time() - before == pytest.approx(86_400)
    assert time.monotonic() - real < 60


@pytest.mark.anyio
async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append(seconds)

    async with anyio.create_task_group() as tasks:
        for seconds in (30, 10, 20, 0.5):
            tasks.start_soon(sleeper, seconds)

    assert woken == [0.5, 10, 20, 30]


@pytest.mark.anyio
async def test_a_timeout_ends_what_would_last_longer() -> None:
    before = anyio.current_time()

    with pytest.raises(TimeoutError):
        with anyio.fail_after(5):
            await anyio.sleep_forever()

    assert anyio.current_time() - before == pytest.approx(5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_is_run_to_its_end(backend: Literal["asyncio", "trio"]) -> None:
    async def wait(seconds: float) -> str:
        await anyio.sleep(seconds)
        return "done"

    assert run_virtual(wait, 3600, backend=backend) == "done"
