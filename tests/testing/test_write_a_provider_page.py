"""The provider of the page "Write a provider" does as the page says: one fails the suite, the other passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-provider.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
NAMES: dict[str, Any] = {"__name__": __name__}
for block in BLOCKS[:3]:  # the last one runs a client
    exec(compile(block, str(PAGE), "exec"), NAMES)

TestParrot = NAMES["TestParrot"]


@pytest.mark.anyio
async def test_the_first_attempt_is_found_out_as_the_page_says() -> None:
    suite, failing = NAMES["TestEcho"](), (NAMES["Echo"](), NAMES["ChatRequest"](messages=()))

    with pytest.raises(AssertionError, match="IndexError"):
        await suite.test_a_failure_is_the_requests_or_the_providers(failing, True)
