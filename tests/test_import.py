"""Nothing happens at import, and the public names are these."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import planar

ROOT = Path(__file__).parents[1]

WATCHED_IMPORT = """
import json, sys, threading
seen = []
def hook(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.fork", "_thread.start_new_thread"):
        seen.append(event)
    elif event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
        seen.append(f"open {arguments[0]}")
before = set(sys.modules)
sys.addaudithook(hook)
import planar
loaded = sorted(set(sys.modules) - before)
print(json.dumps({"seen": seen, "loaded": loaded, "threads": threading.active_count()}))
"""

HEAVY = {
    "aiohttp",
    "anthropic",
    "anyio",
    "asyncio",
    "google",
    "httpcore",
    "httpx",
    "httpx2",
    "llama_cpp",
    "msgspec",
    "numpy",
    "openai",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "sniffio",
    "socket",
    "ssl",
    "trio",
}

PUBLIC = """
    AbortPolicy Alert AnswerRejectedError Anthropic Assumptions Attempt AttemptFailed AttemptStarted Audio Balanced
    BreakerPolicy CacheHint CallOptions Cascade Catalog ChatRequest Citation CitedSource ClosedError Completion
    ConfigurationError Constraints ContentFilteredError ContextLengthError CostRouter DeadlineExceededError
    Embeddings EmbedRequest Event Fastest File Finish FinishReason Gemini GradedPrompt Health HedgePolicy Image
    InvalidRequestError LedgerEntry Limit LimitCount LlamaCpp MemoryQuotaStore Message MissingExtraError
    ModelFileError ModelInfo ModelNotFoundError NoPlaceError NoRouteError Notice NullTelemetry Ollama Opaque OpenAI
    OpenAICompatible OutputInvalidError OverloadedError Planar PlanarError PostgresQuotaStore Price Provider
    ProviderAuthError ProviderConnectionError ProviderError ProviderPermissionError ProviderProtocolError
    ProviderQuotaError ProviderServerError ProviderTimeoutError QualityTable QueuePolicy QuotaExceededError
    QuotaStore RateLimitedError Reasoning ReasoningDelta RedisQuotaStore Refusal RefusalDelta RequestError
    ResilientQuotaStore Resumed RetryPolicy Route RouteExhaustedError Router RouteSelected RoutingPolicy Secret
    SlabQuotaStore SQLiteQuotaStore Sticky StoreError Stream StreamInterruptedError Telemetry TenantError Text
    TextDelta Timeouts Timings TokenCount TokenLogprob Tool ToolCall ToolCallDelta ToolCallEnd ToolCallStart
    ToolChoice ToolResult TruncatedStreamError UnknownModelError UnknownPriceError UnknownTenantError
    UnsupportedError Usage UsageGroup UsageReport UsageReported Weighted WhatIf replay whatif __version__
"""

MODULE_OF_EXTRA = {
    "cli": "src/planar/cli/__init__.py",
    "fast": "src/planar/transport/aiohttp.py",
    "httpx2": "src/planar/transport/httpx.py",
    "llamacpp": "src/planar/providers/local/_llama.py",
    "mlx": "src/planar/providers/local/mlx.py",
    "ollama": "src/planar/cli/_models.py",
    "postgres": "src/planar/quotas/postgres.py",
    "prices": "src/planar/catalog/_prices.py",
    "redis": "src/planar/quotas/redis.py",
    "serve": "src/planar/cli/_serve.py",
    "tiktoken": "src/planar/catalog/_tiktoken.py",
}


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_planar_opens_nothing_and_loads_nothing_heavy() -> None:
    report = json.loads(fresh(WATCHED_IMPORT))

    assert report["seen"] == []
    assert report["threads"] == 1
    assert {name.split(".")[0] for name in report["loaded"]} & HEAVY == set()
    assert [name for name in report["loaded"] if name.startswith("planar.")] == ["planar._version"]


@pytest.mark.parametrize(
    "name", ["Planar", "MemoryQuotaStore", "SlabQuotaStore", "LlamaCpp", "OpenAI", "Anthropic", "Gemini", "Ollama"]
)
def test_a_name_brings_no_http_library_until_it_is_used(name: str) -> None:
    loaded = json.loads(fresh(f"import json, sys, planar; planar.{name}; print(json.dumps(sorted(sys.modules)))"))

    assert {"httpx", "httpcore", "httpx2", "aiohttp", "llama_cpp", "pydantic", "opentelemetry"} & set(loaded) == set()


def test_the_public_names_are_these() -> None:
    assert sorted(planar.__all__) == sorted(PUBLIC.split())


@pytest.mark.parametrize("name", sorted(set(PUBLIC.split()) - {"__version__"}))
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(planar, name)

    if isinstance(thing, type):
        assert thing.__doc__
        assert not thing.__doc__.startswith(f"{name}("), "a dataclass without a docstring of its own"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Plannar'"):
        planar.Plannar  # noqa: B018


def test_every_extra_has_its_module_or_an_open_box_that_names_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    plans = "\n".join(path.read_text() for path in (ROOT / "PLANS").glob("*.md"))

    assert set(extras) == set(MODULE_OF_EXTRA)
    for extra, module in MODULE_OF_EXTRA.items():
        open_box = re.search(rf"^- \[ \].*`{re.escape(extra)}`", plans, re.MULTILINE)
        assert (ROOT / module).exists() or open_box, f"extra {extra!r}: neither {module} nor an open box in PLANS"


def test_the_core_needs_at_most_five_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert len(project["dependencies"]) <= 5
    assert project["requires-python"] == ">=3.11"


WITHOUT_LLAMA_CPP = """
import sys

class Without:
    others = list(sys.meta_path)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] == "llama_cpp":
            return None
        return next((spec for one in cls.others if (spec := one.find_spec(name, path, target))), None)

sys.meta_path[:] = [Without]
import planar
try:
    planar.LlamaCpp(sys.argv[1])
except planar.MissingExtraError as error:
    print(error)
"""


def test_a_missing_extra_says_what_to_type(smollm2: str) -> None:
    command = [sys.executable, "-c", WITHOUT_LLAMA_CPP, smollm2]

    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "pip install 'planar-inference[llamacpp]'" in said
