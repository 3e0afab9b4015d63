"""The arguments that `stream`, `infer`, `plan` and `with_options` share: what they are called, and what they may be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, cast, get_args

from planar.errors import InvalidRequestError
from planar.types import (
    EFFORTS,
    JSON,
    Constraints,
    Effort,
    OnLowBudget,
    StrategyName,
    Timeouts,
    Tool,
    ToolChoice,
    Wire,
)


class CallOptions(TypedDict, total=False):
    """What a call may say besides its prompt. `None`, like leaving it out, means the client's own default.

    Attributes:
        model: An alias, `provider:model`, or `"auto"`: every deployment that an alias names, and without aliases what
            the providers and the catalog describe; at most 100.
        tenant: Who pays: one to four names from the root down, such as `"acme"` or `"acme/search/alice"`.
        max_tokens: Most tokens of the answer, reasoning included; at least 1.
        temperature: 0 (always the likeliest token) to 2.
        top_p: Above 0 and at most 1.
        stop: One text or several that end the answer and are not part of it.
        seed: Makes sampling repeatable where the provider can.
        reasoning: An effort from `"none"` to `"max"`, or a budget in tokens.
        tools: `planar.Tool`s or OpenAI-shaped dicts.
        tool_choice: `"auto"`, `"none"`, `"required"`, or a `planar.ToolChoice`.
        output: The shape of the answer: a pydantic class, or a JSON schema; `completion.output` is the parsed answer.
        repairs: How often `infer` may send an answer of the wrong shape back with what is wrong, 0 (default) to 5.
            Each is a call of its own, with its own cost and ledger row.
        logprobs: How many alternatives to report with each token, 0 to 20.
        strategy: How the router chooses among the alias's deployments; without it the tenant's policy says, then the
            platform's, then the router.
        constraints: What no attempt may violate, beside the policies of the platform and of the tenant's scopes.
        timeouts: Seconds for each phase of an attempt.
        deadline: When the call must be over, on the clock of `anyio.current_time()`.
        resume: What to do when an answer breaks off after it has begun: nothing (default: an error with what arrived),
            `"continue"` with a deployment that can go on where it stopped, or `"restart"` for callers who watch
            `.events()` and throw away what they have when they see `Resumed`.
        hedge: Ask a second deployment when the first has not begun after the time in which 95 % do
            (`planar.HedgePolicy`); whoever begins first is kept. Off by default. A call with tools or `extra_body` is
            never hedged.
        strict: Refuse what a deployment would leave out, instead of telling it in a `Notice`.
        wire: The form to ask for: `"streamed"` or `"whole"`.
        on_low_budget: `"clamp"` (default) shortens the answer to what the tenant can pay, `"refuse"` raises.
        service_tier: The vendor's word for how urgently to serve.
        cache: A key under which the vendor should keep the prompt's beginning.
        conversation: Your id of the conversation that this call goes on with, at most 256 characters, by which the
            router knows where its beginning may still be in a cache. It never leaves the process. Without it, calls
            that begin with the same instructions and the same first words of the user are taken for one conversation.
        metadata: For telemetry and the ledger. It never leaves the process.
        idempotency_key: Your id of this request, sent where the vendor takes one (`x-client-request-id` at OpenAI).
            No vendor promises to answer a repeated one only once.
        extra_body: Fields that Planar does not know, by provider name, sent untouched. More than one answer
            cannot be asked for in it: call several times.
    """

    model: str | None
    tenant: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning: Effort | int | None
    tools: Sequence[Tool | JSON] | None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None
    output: type | JSON | None
    repairs: int | None
    logprobs: int | None
    strategy: StrategyName | object | None
    constraints: Constraints | None
    timeouts: Timeouts | None
    deadline: float | None
    resume: Literal["continue", "restart"] | None
    hedge: bool | None
    strict: bool | None
    wire: Wire | None
    on_low_budget: OnLowBudget | None
    service_tier: str | None
    cache: str | None
    conversation: str | None
    metadata: Mapping[str, str] | None
    idempotency_key: str | None
    extra_body: Mapping[str, JSON] | None


OPTION_NAMES: frozenset[str] = frozenset(CallOptions.__annotations__)

_ANSWERS = frozenset({"n", "best_of", "n_cmpl", "candidateCount", "candidate_count"})
_NESTED = frozenset({"generationConfig", "generation_config"})


def merged(defaults: CallOptions, given: CallOptions) -> CallOptions:
    """The options of one call: what was given, else the client's. Every value has been checked.

    Raises:
        InvalidRequestError: An option does not exist or has a value that it cannot have.
    """
    if not given:
        return defaults
    checked = {name: value for name, value in given.items() if value is not None}
    for name, value in checked.items():
        check = _CHECKS.get(name)
        if check is None:
            raise InvalidRequestError(_unknown(name), param=name)
        check(name, value)
    return cast("CallOptions", {**defaults, **checked})


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, OPTION_NAMES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(sorted(OPTION_NAMES))}"
    return f"there is no option {name!r}: {hint}"


def _refuse(name: str, value: object, wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} must be {wanted}, not {value!r}", param=name)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise _refuse(name, value, "a text that is not empty")


def _conversation(name: str, value: Any) -> None:
    _text(name, value)
    if len(value) > 256:
        raise _refuse(name, value[:32] + "...", "a text of at most 256 characters: it is kept for every conversation")


def _whole(least: int, most: int | None = None) -> Callable[[str, Any], None]:
    wanted = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def check(name: str, value: Any) -> None:
        if type(value) is not int or value < least or (most is not None and value > most):
            raise _refuse(name, value, wanted)

    return check


def _number(wanted: str, allowed: Callable[[float], bool]) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _refuse(name, value, wanted)
        if not math.isfinite(value) or not allowed(value):
            raise _refuse(name, value, wanted)

    return check


def _one_of(*choices: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise _refuse(name, value, " or ".join(map(repr, choices)))

    return check


def _a(kind: type, wanted: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise _refuse(name, value, wanted)

    return check


def _is(value: Any, kind: Any) -> bool:
    # Without narrowing: what comes from outside stays `Any` until it has been checked whole.
    return isinstance(value, kind)


def _stop(name: str, value: Any) -> None:
    texts = (value,) if _is(value, str) else value
    if not _is(texts, Sequence) or not texts or not all(_is(text, str) and text for text in texts):
        raise _refuse(name, value, "a text or a list of texts, none of them empty")


def _reasoning(name: str, value: Any) -> None:
    if value not in EFFORTS and (type(value) is not int or value < 0):
        raise _refuse(name, value, f"one of {', '.join(EFFORTS)}, or a budget in tokens")


def _tool_choice(name: str, value: Any) -> None:
    if value not in ("auto", "none", "required") and not isinstance(value, ToolChoice):
        raise _refuse(name, value, "'auto', 'none', 'required' or a planar.ToolChoice")
    if isinstance(value, ToolChoice) and (value.mode == "tool") != bool(value.name):
        raise _refuse(name, value, "ToolChoice(mode='tool', name=...) to name a tool, and without name otherwise")


def _tools(name: str, value: Any) -> None:
    if _is(value, str | Mapping) or not _is(value, Sequence):
        raise _refuse(name, value, "a list of planar.Tool or OpenAI-shaped dicts")


def _output(name: str, value: Any) -> None:
    if not isinstance(value, type | Mapping):
        raise _refuse(name, value, "a pydantic class or a JSON schema")


def _strategy(name: str, value: Any) -> None:
    known = get_args(StrategyName)
    if isinstance(value, str) and value not in known:
        raise _refuse(name, value, f"one of {', '.join(known)}, or a strategy object of the router's")


def _timeouts(name: str, value: Any) -> None:
    if not isinstance(value, Timeouts):
        raise _refuse(name, value, "planar.Timeouts(connect=, first_token=, stall=, total=, min_rate=)")
    for phase in ("connect", "first_token", "stall", "total", "min_rate"):
        given = getattr(value, phase)
        wanted = "tokens per second" if phase == "min_rate" else "seconds"
        if given is not None:
            _number(f"a number of {wanted} above 0, or None", lambda number: number > 0)(f"timeouts.{phase}", given)


def _metadata(name: str, value: Any) -> None:
    if not _is(value, Mapping) or not all(_is(text, str) for pair in value.items() for text in pair):
        raise _refuse(name, value, "a mapping of texts to texts")


def _extra_body(name: str, value: Any) -> None:
    if not _is(value, Mapping) or not all(_is(fields, Mapping) for fields in value.values()):
        raise _refuse(name, value, "a mapping of provider names to the fields for it, such as {'openai': {...}}")
    for provider, fields in value.items():
        _one_answer(f"{name}[{provider!r}]", fields)


def _one_answer(place: str, fields: Mapping[str, Any]) -> None:
    # The others would be paid for and never seen, and no hold was taken for them.
    for key, value in fields.items():
        if key in _NESTED and _is(value, Mapping):
            _one_answer(f"{place}[{key!r}]", value)
        elif key in _ANSWERS and value not in (None, 1):
            where = f"{place}[{key!r}]"
            raise InvalidRequestError(
                f"{where} asks for {value!r} answers, but a call has one: leave it out and call several times",
                param=where,
            )


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "model": _text,
    "tenant": _text,
    "max_tokens": _whole(1),
    "temperature": _number("a number from 0 to 2", lambda number: 0 <= number <= 2),
    "top_p": _number("a number above 0 and at most 1", lambda number: 0 < number <= 1),
    "stop": _stop,
    "seed": _whole(0, 2**63 - 1),
    "reasoning": _reasoning,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "output": _output,
    "repairs": _whole(0, 5),
    "logprobs": _whole(0, 20),
    "strategy": _strategy,
    "constraints": _a(Constraints, "planar.Constraints(...)"),
    "timeouts": _timeouts,
    "deadline": _number("a time on the clock of anyio.current_time()", lambda _: True),
    "resume": _one_of("continue", "restart"),
    "hedge": _a(bool, "True or False"),
    "strict": _a(bool, "True or False"),
    "wire": _one_of("streamed", "whole"),
    "on_low_budget": _one_of("clamp", "refuse"),
    "service_tier": _text,
    "cache": _text,
    "conversation": _conversation,
    "metadata": _metadata,
    "idempotency_key": _text,
    "extra_body": _extra_body,
}
