"""What a request asks of the sampler, checked once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from planar.errors import InvalidRequestError, UnsupportedError
from planar.events import Notice
from planar.types import JSON, ChatRequest

# The values of llama.cpp's own server, so that moving a model into the process does not change its voice.
_TEMPERATURE: Final = 0.8
_TOP_K: Final = 40
_TOP_P: Final = 0.95
_MIN_P: Final = 0.05
_COLDEST: Final = 0.01
_OWN_FIELDS: Final = frozenset({"grammar", "min_p", "top_k"})
_MAX_STOPS: Final = 64
_MAX_COUNTED: Final = 500
_MAX_TOP_LOGPROBS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when to stop.

    Attributes:
        greedy: Always the likeliest token; temperature and the rest do not matter.
        seed: `None` draws one.
        grammar: GBNF that the answer must follow.
        schema: JSON Schema that the answer must follow; to be turned into a grammar.
        logprobs: How many alternatives to report per token; `None` for no log-probabilities at all.
    """

    max_tokens: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    stop: tuple[str, ...]
    grammar: str | None
    schema: JSON | None
    logprobs: int | None

    @property
    def greedy(self) -> bool:
        """Below a hundredth, dividing by the temperature says nothing but 'the likeliest'."""
        return self.temperature < _COLDEST

    @property
    def reproducible(self) -> bool:
        """The same request must give the same answer, whatever was asked before."""
        return self.greedy or self.seed is not None


def read_sampling(request: ChatRequest, *, provider: str) -> Sampling:
    """Check every field that steers the sampler, and put llama.cpp's defaults where nothing was said.

    Raises:
        InvalidRequestError: A value is out of its range.
        UnsupportedError: Something was asked for that a local model does not do.
    """
    own = request.extra_body.get(provider, {})
    unknown = sorted(set(own) - _OWN_FIELDS)
    if unknown:
        raise UnsupportedError(
            f"a local model does not know {', '.join(unknown)}; extra_body may have {', '.join(sorted(_OWN_FIELDS))}",
            param="extra_body",
        )
    grammar = own.get("grammar")
    if grammar is not None and (not isinstance(grammar, str) or not grammar.strip() or "\0" in grammar):
        raise InvalidRequestError("grammar must be a text in GBNF", param="grammar")
    if grammar is not None and request.output is not None:
        raise InvalidRequestError("an answer can follow either output or a grammar, not both", param="grammar")
    return Sampling(
        max_tokens=_whole(request.max_tokens, "max_tokens", 1, None),
        temperature=_number(request.temperature, "temperature", 0.0, 100.0, _TEMPERATURE),
        top_k=_whole(own.get("top_k", _TOP_K), "top_k", 0, 1 << 30) or 0,
        top_p=_number(request.top_p, "top_p", 0.0, 1.0, _TOP_P),
        min_p=_number(own.get("min_p"), "min_p", 0.0, 1.0, _MIN_P),
        seed=request.seed,
        stop=_stops(request.stop),
        grammar=grammar,
        schema=None if request.output is None else request.output.schema,
        logprobs=_whole(request.logprobs, "logprobs", 0, _MAX_TOP_LOGPROBS),
    )


def check_supported(request: ChatRequest, *, strict: bool) -> list[Notice]:
    """Refuse what would change the answer if it were left out; say what is left out without harm.

    Raises:
        UnsupportedError: Tools, or, with `strict`, anything that would be left out.
    """
    if request.tools and (request.tool_choice is None or request.tool_choice.mode != "none"):
        raise UnsupportedError(
            "a local model is not given tools; ask for structured output, or route to a provider with tools",
            param="tools",
        )
    notices: list[Notice] = []
    for name, value in (
        ("reasoning", request.reasoning),
        ("service_tier", request.service_tier),
        ("cache", request.cache),
    ):
        if value is None:
            continue
        if strict:
            raise UnsupportedError(f"a local model has no {name}", param=name)
        notices.append(Notice("parameter_dropped", f"a local model has no {name}", {"param": name}))
    return notices


def check_schema(schema: JSON) -> JSON:
    """A copy of the schema that llama.cpp's converter takes as it is meant.

    Definitions get plain names: the converter confuses theirs with its own rules (`string`, `value`), and
    loses recursive ones with an underscore. An upper bound above 500 characters or items is left to whoever
    checks the answer: llama.cpp refuses grammars that count so far.

    Raises:
        InvalidRequestError: It is not JSON, is nested too deep, or refers outside itself.
    """
    try:
        copy: Any = json.loads(json.dumps(schema))
        names: dict[str, str] = {}
        for group in ("$defs", "definitions"):
            for name in copy.get(group, {}):
                names[f"#/{group}/{name}"] = f"#/{group}/planar-{len(names)}"
        for old, new in names.items():
            group, name = old[2:].split("/", 1)
            copy[group][new.rpartition("/")[2]] = copy[group].pop(name)
        _adapt(copy, names)
        if "$ref" in copy:  # beside a reference the converter overlooks the definitions
            copy["anyOf"] = [{"$ref": copy.pop("$ref")}]
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidRequestError(f"the output's schema is not a JSON Schema: {error}", param="output") from error
    return copy  # type: ignore[no-any-return]


def _adapt(node: Any, names: Mapping[str, str]) -> None:
    if isinstance(node, list):
        for item in cast("list[object]", node):
            _adapt(item, names)
    elif isinstance(node, dict):
        fields = cast("dict[str, object]", node)
        reference = fields.get("$ref")
        if isinstance(reference, str):
            if not reference.startswith("#/"):  # the converter would go to the network
                raise ValueError(f"$ref must point into the schema itself, not to {reference!r}")
            head = "/".join(reference.split("/", 3)[:3])
            fields["$ref"] = names.get(head, head) + reference[len(head) :]
        for bound in ("maxLength", "maxItems"):
            limit = fields.get(bound)
            if isinstance(limit, int) and limit > _MAX_COUNTED:
                del fields[bound]
        for item in fields.values():
            _adapt(item, names)


def _number(value: Any, name: str, low: float, high: float, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or math.isnan(value):
        raise InvalidRequestError(f"{name} must be between {low:g} and {high:g}, not {value!r}", param=name)
    return float(value)


def _whole(value: Any, name: str, low: int, high: int | None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high}"
        raise InvalidRequestError(f"{name} must be a whole number of at least {low}{upper}, not {value!r}", param=name)
    return value


def _stops(stops: tuple[str, ...]) -> tuple[str, ...]:
    if len(stops) > _MAX_STOPS or not all(stops):
        raise InvalidRequestError(f"stop takes up to {_MAX_STOPS} texts, none of them empty", param="stop")
    return stops
