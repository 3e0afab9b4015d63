"""What each server that speaks OpenAI's chat wire accepts, and how it differs. Data, no behaviour.

A field that a dialect does not list is never sent to it.

Source: vendors' SDK types and documentation, read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from planar.types import Effort

AuthStyle: TypeAlias = Literal["bearer", "api-key"]
ReasoningIn: TypeAlias = Literal["effort", "object", "thinking"]
ReasoningEcho: TypeAlias = Literal["reasoning_content", "reasoning", "reasoning_details", "thinking"]
OutputForm: TypeAlias = Literal["json_schema", "json_object"]

_SAMPLING = frozenset({"temperature", "top_p", "stop", "seed"})
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_VECTORS = frozenset({"dimensions", "encoding_format"})
_ALL_EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _same(*efforts: Effort) -> Mapping[Effort, str]:
    return {effort: effort for effort in efforts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """How a server is asked to go on with an assistant's turn that stands last: what is added.

    Attributes:
        body: Fields of the request.
        message: Fields of the last message.
    """

    body: Mapping[str, bool] = field(default_factory=dict[str, bool])
    message: Mapping[str, bool] = field(default_factory=dict[str, bool])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One vendor's variant of the chat wire.

    Attributes:
        base_url: Where it is served; `None` where every installation has its own address.
        key_env: The environment variable its own tools read the key from.
        key_required: Without a key it answers 401.
        fields: Optional request fields it accepts, by their names in OpenAI's documentation.
        renamed: OpenAI's name of a field to the vendor's.
        parts: Kinds of content beside text that a user message may have.
        names: Messages may carry a `name`.
        developer: The role `developer` is known; otherwise it is sent as `system`.
        efforts: Our efforts to the vendor's words; one that is missing cannot be asked for.
        reasoning_in: `reasoning_effort`, an object `reasoning`, or `thinking` with an on/off type.
        reasoning_echo: How earlier reasoning travels back; `None` if it must not.
        echo_turn: Only the reasoning of the turn in progress travels back, none before the last user message.
        output: How a schema is asked for; `json_object` puts it beside the type `json_object`.
        required: The word for "some tool must be called".
        usage_option: `stream_options.include_usage` is understood.
        usage: Whether streams carry usage. Where they do not, a finish reason alone is a whole answer.
        cache_hints: Parts may carry `cache_control`.
        request_id_header: It takes our `x-client-request-id`.
        signatures: Tool calls carry `extra_content.google.thought_signature`, which must travel back.
        continuation: How an answer that broke off is gone on with; `None` where the vendor promises nothing.
    """

    name: str
    base_url: str | None = None
    key_env: str | None = None
    key_required: bool = True
    auth: AuthStyle = "bearer"
    fields: frozenset[str] = _SAMPLING | _TOOLS | _LOGPROBS | {"max_tokens", "response_format"}
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    parts: frozenset[Literal["image", "file", "audio"]] = frozenset({"image"})
    names: bool = True
    developer: bool = False
    efforts: Mapping[Effort, str] = field(default_factory=dict[Effort, str])
    reasoning_in: ReasoningIn = "effort"
    reasoning_echo: ReasoningEcho | None = None
    echo_turn: bool = False
    output: OutputForm = "json_schema"
    required: str = "required"
    usage_option: bool = True
    usage: bool = True
    cache_hints: bool = False
    request_id_header: bool = False
    signatures: bool = False
    continuation: Continuation | None = None


OPENAI = Dialect(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_env="OPENAI_API_KEY",
    fields=_SAMPLING
    | _TOOLS
    | _LOGPROBS
    | _VECTORS
    | {"max_tokens", "response_format", "reasoning_effort", "service_tier", "prompt_cache_key"},
    renamed={"max_tokens": "max_completion_tokens"},
    parts=frozenset({"image", "file", "audio"}),
    developer=True,
    efforts=_same(*_ALL_EFFORTS),
    request_id_header=True,
)
AZURE = replace(OPENAI, name="azure", base_url=None, key_env="AZURE_OPENAI_API_KEY", auth="api-key")
VLLM = Dialect(
    name="vllm",
    base_url="http://localhost:8000/v1",
    key_required=False,
    fields=_SAMPLING | _TOOLS | _LOGPROBS | _VECTORS | {"max_tokens", "response_format", "reasoning_effort"},
    renamed={"max_tokens": "max_completion_tokens"},
    parts=frozenset({"image", "audio"}),
    developer=True,
    efforts=_same(*_ALL_EFFORTS),
    reasoning_echo="reasoning",
    continuation=Continuation(body={"continue_final_message": True, "add_generation_prompt": False}),
)
LLAMACPP = Dialect(
    name="llamacpp",
    base_url="http://localhost:8080/v1",
    key_required=False,
    fields=_SAMPLING | _TOOLS | _LOGPROBS | {"max_tokens", "response_format", "reasoning_effort"},
    parts=frozenset({"image", "audio"}),
    efforts=_same(*_ALL_EFFORTS),
    reasoning_echo="reasoning_content",
    continuation=Continuation(),
)
GROQ = Dialect(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    key_env="GROQ_API_KEY",
    fields=_SAMPLING | _TOOLS | {"max_tokens", "response_format", "reasoning_effort", "service_tier"},
    renamed={"max_tokens": "max_completion_tokens"},
    names=False,
    efforts=_same("none", "low", "medium", "high"),
    continuation=Continuation(),
)
DEEPSEEK = Dialect(
    name="deepseek",
    base_url="https://api.deepseek.com",
    key_env="DEEPSEEK_API_KEY",
    fields=(_SAMPLING - {"seed"})
    | {"tools", "tool_choice"}
    | _LOGPROBS
    | {"max_tokens", "reasoning_effort"},  # its JSON mode takes no schema
    parts=frozenset(),
    efforts={"none": "disabled", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"},
    reasoning_in="thinking",
    reasoning_echo="reasoning_content",
    echo_turn=True,
)
MISTRAL = Dialect(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    key_env="MISTRAL_API_KEY",
    fields=_SAMPLING | _TOOLS | {"max_tokens", "response_format", "reasoning_effort", "prompt_cache_key", "dimensions"},
    renamed={"seed": "random_seed", "dimensions": "output_dimension"},
    parts=frozenset({"image", "audio"}),
    names=False,
    efforts=_same("none", "high"),
    reasoning_echo="thinking",
    required="any",
    usage_option=False,
    continuation=Continuation(message={"prefix": True}),
)
OPENROUTER = Dialect(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    key_env="OPENROUTER_API_KEY",
    fields=_SAMPLING
    | _TOOLS
    | _LOGPROBS
    | _VECTORS
    | {"max_tokens", "response_format", "reasoning_effort", "service_tier"},
    parts=frozenset({"image", "file", "audio"}),
    developer=True,
    efforts=_same(*_ALL_EFFORTS),
    reasoning_in="object",
    reasoning_echo="reasoning_details",
    cache_hints=True,
)
TOGETHER = Dialect(
    name="together",
    base_url="https://api.together.xyz/v1",
    key_env="TOGETHER_API_KEY",
    fields=_SAMPLING | {"tools", "tool_choice"} | {"max_tokens", "response_format", "reasoning_effort"},
    efforts=_same("low", "medium", "high"),
)
XAI = Dialect(
    name="xai",
    base_url="https://api.x.ai/v1",
    key_env="XAI_API_KEY",
    fields=_SAMPLING | _TOOLS | _LOGPROBS | {"max_tokens", "response_format", "reasoning_effort"},
    renamed={"max_tokens": "max_completion_tokens"},
    efforts=_same("none", "low", "medium", "high"),
)
OLLAMA = Dialect(
    name="ollama",
    base_url="http://localhost:11434/v1",
    key_env="OLLAMA_API_KEY",
    key_required=False,
    fields=_SAMPLING | {"tools"} | _LOGPROBS | _VECTORS | {"max_tokens", "response_format", "reasoning_effort"},
    efforts=_same("none", "low", "medium", "high"),
    reasoning_echo="reasoning",
)
GEMINI = Dialect(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    key_env="GEMINI_API_KEY",
    fields=(_SAMPLING - {"seed"})
    | {"tools", "tool_choice", "max_tokens", "response_format", "reasoning_effort", "dimensions"},
    parts=frozenset({"image", "audio"}),
    names=False,
    efforts=_same("none", "minimal", "low", "medium", "high"),
    signatures=True,
)

COMPATIBLE = Dialect(name="compatible", key_required=False)
"""What nearly every server of this wire takes, for one that is not known by name."""

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OPENAI,
        AZURE,
        VLLM,
        LLAMACPP,
        GROQ,
        DEEPSEEK,
        MISTRAL,
        OPENROUTER,
        TOGETHER,
        XAI,
        OLLAMA,
        GEMINI,
        COMPATIBLE,
    )
}
"""Every dialect that is known by name."""
