"""An inference kernel that an application imports.

    import planar

    async with planar.Planar.from_env() as client:
        async for token in client.stream("Three rivers in Spain?", model="auto", tenant="acme"):
            print(token, end="", flush=True)

Importing this module loads none of what stands behind these names: each is loaded when it is first used.
"""

from __future__ import annotations

from planar._version import __version__

TYPE_CHECKING = False  # as type checkers read it, without the 10 ms that `typing` takes to load

if TYPE_CHECKING:
    from planar.catalog import Assumptions as Assumptions
    from planar.catalog import Catalog as Catalog
    from planar.catalog import WhatIf as WhatIf
    from planar.catalog import whatif as whatif
    from planar.client import CallOptions as CallOptions
    from planar.client import Planar as Planar
    from planar.client import Stream as Stream
    from planar.errors import (
        AnswerRejectedError as AnswerRejectedError,
    )
    from planar.errors import (
        ClosedError as ClosedError,
    )
    from planar.errors import (
        ConfigurationError as ConfigurationError,
    )
    from planar.errors import (
        ContentFilteredError as ContentFilteredError,
    )
    from planar.errors import (
        ContextLengthError as ContextLengthError,
    )
    from planar.errors import (
        DeadlineExceededError as DeadlineExceededError,
    )
    from planar.errors import (
        InvalidRequestError as InvalidRequestError,
    )
    from planar.errors import (
        MissingExtraError as MissingExtraError,
    )
    from planar.errors import (
        ModelFileError as ModelFileError,
    )
    from planar.errors import (
        ModelNotFoundError as ModelNotFoundError,
    )
    from planar.errors import (
        NoPlaceError as NoPlaceError,
    )
    from planar.errors import (
        NoRouteError as NoRouteError,
    )
    from planar.errors import (
        OutputInvalidError as OutputInvalidError,
    )
    from planar.errors import (
        OverloadedError as OverloadedError,
    )
    from planar.errors import (
        PlanarError as PlanarError,
    )
    from planar.errors import (
        ProviderAuthError as ProviderAuthError,
    )
    from planar.errors import (
        ProviderConnectionError as ProviderConnectionError,
    )
    from planar.errors import (
        ProviderError as ProviderError,
    )
    from planar.errors import (
        ProviderPermissionError as ProviderPermissionError,
    )
    from planar.errors import (
        ProviderProtocolError as ProviderProtocolError,
    )
    from planar.errors import (
        ProviderQuotaError as ProviderQuotaError,
    )
    from planar.errors import (
        ProviderServerError as ProviderServerError,
    )
    from planar.errors import (
        ProviderTimeoutError as ProviderTimeoutError,
    )
    from planar.errors import (
        QuotaExceededError as QuotaExceededError,
    )
    from planar.errors import (
        RateLimitedError as RateLimitedError,
    )
    from planar.errors import (
        RequestError as RequestError,
    )
    from planar.errors import (
        RouteExhaustedError as RouteExhaustedError,
    )
    from planar.errors import (
        StoreError as StoreError,
    )
    from planar.errors import (
        StreamInterruptedError as StreamInterruptedError,
    )
    from planar.errors import (
        TenantError as TenantError,
    )
    from planar.errors import (
        TruncatedStreamError as TruncatedStreamError,
    )
    from planar.errors import (
        UnknownModelError as UnknownModelError,
    )
    from planar.errors import (
        UnknownPriceError as UnknownPriceError,
    )
    from planar.errors import (
        UnknownTenantError as UnknownTenantError,
    )
    from planar.errors import (
        UnsupportedError as UnsupportedError,
    )
    from planar.events import (
        AttemptFailed as AttemptFailed,
    )
    from planar.events import (
        AttemptStarted as AttemptStarted,
    )
    from planar.events import (
        Citation as Citation,
    )
    from planar.events import (
        Event as Event,
    )
    from planar.events import (
        Finish as Finish,
    )
    from planar.events import (
        Notice as Notice,
    )
    from planar.events import (
        ReasoningDelta as ReasoningDelta,
    )
    from planar.events import (
        RefusalDelta as RefusalDelta,
    )
    from planar.events import (
        Resumed as Resumed,
    )
    from planar.events import (
        RouteSelected as RouteSelected,
    )
    from planar.events import (
        TextDelta as TextDelta,
    )
    from planar.events import (
        ToolCallDelta as ToolCallDelta,
    )
    from planar.events import (
        ToolCallEnd as ToolCallEnd,
    )
    from planar.events import (
        ToolCallStart as ToolCallStart,
    )
    from planar.events import (
        UsageReported as UsageReported,
    )
    from planar.protocols import Provider as Provider
    from planar.protocols import QuotaStore as QuotaStore
    from planar.protocols import Router as Router
    from planar.protocols import Telemetry as Telemetry
    from planar.providers.anthropic import Anthropic as Anthropic
    from planar.providers.gemini import Gemini as Gemini
    from planar.providers.local.llamacpp import LlamaCpp as LlamaCpp
    from planar.providers.ollama import Ollama as Ollama
    from planar.providers.openai import OpenAI as OpenAI
    from planar.providers.openai_compatible import OpenAICompatible as OpenAICompatible
    from planar.quotas import MemoryQuotaStore as MemoryQuotaStore
    from planar.quotas.postgres import PostgresQuotaStore as PostgresQuotaStore
    from planar.quotas.redis import RedisQuotaStore as RedisQuotaStore
    from planar.quotas.resilient import ResilientQuotaStore as ResilientQuotaStore
    from planar.quotas.slabs import SlabQuotaStore as SlabQuotaStore
    from planar.quotas.sqlite import SQLiteQuotaStore as SQLiteQuotaStore
    from planar.routing import (
        Balanced as Balanced,
    )
    from planar.routing import (
        Cascade as Cascade,
    )
    from planar.routing import (
        CostRouter as CostRouter,
    )
    from planar.routing import (
        Fastest as Fastest,
    )
    from planar.routing import GradedPrompt as GradedPrompt
    from planar.routing import QualityTable as QualityTable
    from planar.routing import (
        Sticky as Sticky,
    )
    from planar.routing import (
        Weighted as Weighted,
    )
    from planar.routing import (
        replay as replay,
    )
    from planar.telemetry import NullTelemetry as NullTelemetry
    from planar.types import (
        AbortPolicy as AbortPolicy,
    )
    from planar.types import (
        Alert as Alert,
    )
    from planar.types import (
        Attempt as Attempt,
    )
    from planar.types import (
        Audio as Audio,
    )
    from planar.types import (
        BreakerPolicy as BreakerPolicy,
    )
    from planar.types import (
        CacheHint as CacheHint,
    )
    from planar.types import (
        ChatRequest as ChatRequest,
    )
    from planar.types import (
        CitedSource as CitedSource,
    )
    from planar.types import (
        Completion as Completion,
    )
    from planar.types import (
        Constraints as Constraints,
    )
    from planar.types import (
        Embeddings as Embeddings,
    )
    from planar.types import (
        EmbedRequest as EmbedRequest,
    )
    from planar.types import (
        File as File,
    )
    from planar.types import (
        FinishReason as FinishReason,
    )
    from planar.types import (
        Health as Health,
    )
    from planar.types import (
        HedgePolicy as HedgePolicy,
    )
    from planar.types import (
        Image as Image,
    )
    from planar.types import (
        LedgerEntry as LedgerEntry,
    )
    from planar.types import (
        Limit as Limit,
    )
    from planar.types import (
        LimitCount as LimitCount,
    )
    from planar.types import (
        Message as Message,
    )
    from planar.types import (
        ModelInfo as ModelInfo,
    )
    from planar.types import (
        Opaque as Opaque,
    )
    from planar.types import (
        Price as Price,
    )
    from planar.types import (
        QueuePolicy as QueuePolicy,
    )
    from planar.types import (
        Reasoning as Reasoning,
    )
    from planar.types import (
        Refusal as Refusal,
    )
    from planar.types import (
        RetryPolicy as RetryPolicy,
    )
    from planar.types import (
        Route as Route,
    )
    from planar.types import (
        RoutingPolicy as RoutingPolicy,
    )
    from planar.types import (
        Secret as Secret,
    )
    from planar.types import (
        Text as Text,
    )
    from planar.types import (
        Timeouts as Timeouts,
    )
    from planar.types import (
        Timings as Timings,
    )
    from planar.types import (
        TokenCount as TokenCount,
    )
    from planar.types import (
        TokenLogprob as TokenLogprob,
    )
    from planar.types import (
        Tool as Tool,
    )
    from planar.types import (
        ToolCall as ToolCall,
    )
    from planar.types import (
        ToolChoice as ToolChoice,
    )
    from planar.types import (
        ToolResult as ToolResult,
    )
    from planar.types import (
        Usage as Usage,
    )
    from planar.types import (
        UsageGroup as UsageGroup,
    )
    from planar.types import (
        UsageReport as UsageReport,
    )

_HOMES = {
    "planar.catalog": ("Assumptions", "Catalog", "WhatIf", "whatif"),
    "planar.client": ("CallOptions", "Planar", "Stream"),
    "planar.errors": (
        "AnswerRejectedError",
        "ClosedError",
        "ConfigurationError",
        "ContentFilteredError",
        "ContextLengthError",
        "DeadlineExceededError",
        "InvalidRequestError",
        "MissingExtraError",
        "ModelFileError",
        "ModelNotFoundError",
        "NoPlaceError",
        "NoRouteError",
        "OutputInvalidError",
        "OverloadedError",
        "PlanarError",
        "ProviderAuthError",
        "ProviderConnectionError",
        "ProviderError",
        "ProviderPermissionError",
        "ProviderProtocolError",
        "ProviderQuotaError",
        "ProviderServerError",
        "ProviderTimeoutError",
        "QuotaExceededError",
        "RateLimitedError",
        "RequestError",
        "RouteExhaustedError",
        "StoreError",
        "StreamInterruptedError",
        "TenantError",
        "TruncatedStreamError",
        "UnknownModelError",
        "UnknownPriceError",
        "UnknownTenantError",
        "UnsupportedError",
    ),
    "planar.events": (
        "AttemptFailed",
        "AttemptStarted",
        "Citation",
        "Event",
        "Finish",
        "Notice",
        "ReasoningDelta",
        "RefusalDelta",
        "Resumed",
        "RouteSelected",
        "TextDelta",
        "ToolCallDelta",
        "ToolCallEnd",
        "ToolCallStart",
        "UsageReported",
    ),
    "planar.protocols": ("Provider", "QuotaStore", "Router", "Telemetry"),
    "planar.providers.anthropic": ("Anthropic",),
    "planar.providers.gemini": ("Gemini",),
    "planar.providers.local.llamacpp": ("LlamaCpp",),
    "planar.providers.ollama": ("Ollama",),
    "planar.providers.openai": ("OpenAI",),
    "planar.providers.openai_compatible": ("OpenAICompatible",),
    "planar.quotas": ("MemoryQuotaStore",),
    "planar.quotas.postgres": ("PostgresQuotaStore",),
    "planar.quotas.redis": ("RedisQuotaStore",),
    "planar.quotas.resilient": ("ResilientQuotaStore",),
    "planar.quotas.slabs": ("SlabQuotaStore",),
    "planar.quotas.sqlite": ("SQLiteQuotaStore",),
    "planar.routing": (
        "Balanced",
        "Cascade",
        "CostRouter",
        "Fastest",
        "GradedPrompt",
        "QualityTable",
        "Sticky",
        "Weighted",
        "replay",
    ),
    "planar.telemetry": ("NullTelemetry",),
    "planar.types": (
        "AbortPolicy",
        "Attempt",
        "Alert",
        "Audio",
        "BreakerPolicy",
        "CacheHint",
        "ChatRequest",
        "CitedSource",
        "Completion",
        "Constraints",
        "EmbedRequest",
        "Embeddings",
        "File",
        "FinishReason",
        "Health",
        "HedgePolicy",
        "Image",
        "LedgerEntry",
        "Limit",
        "LimitCount",
        "Message",
        "ModelInfo",
        "Opaque",
        "Price",
        "QueuePolicy",
        "Reasoning",
        "Refusal",
        "RetryPolicy",
        "Route",
        "RoutingPolicy",
        "Secret",
        "Text",
        "Timeouts",
        "Timings",
        "TokenCount",
        "TokenLogprob",
        "Tool",
        "ToolCall",
        "ToolChoice",
        "ToolResult",
        "Usage",
        "UsageGroup",
        "UsageReport",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'planar' has no attribute {name!r}")
    # Written out rather than `importlib.import_module`, which would itself be an import at import.
    value = getattr(__import__(home, fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
