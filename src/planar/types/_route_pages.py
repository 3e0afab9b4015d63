"""A route on paper: as a table for a person, and as the record that it can be decided from again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from planar.errors import InvalidRequestError
from planar.types._routes import Candidate, Route, RouteRequest, Verdict
from planar.types._words import JSON, usd

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORM = 1
"""Counts up when a record is written that older releases cannot read."""
_HEAD = ("", "deployment", "likely USD", "at most USD", "first token", "in all", "quality", "seen", "why")
_OF_VENDOR = "raw"


def table(route: Route) -> str:
    """Every candidate, first choice first: what was estimated of it, and why it stands there or was dropped."""
    ordered = sorted(route.verdicts, key=lambda v: (v.position is None, v.position or 0))
    rows = [_HEAD, *[_row(verdict) for verdict in ordered]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]
    return "\n".join([_title(route), *lines, *_reckoned_with(route)])


def _title(route: Route) -> str:
    by = route.router if route.strategy is None else f"{route.router}, {name_of(route.strategy)}"
    return f"{route.request.model} for {route.request.tenant}, by {by}"


def _row(verdict: Verdict) -> tuple[str, ...]:
    candidate, score = verdict.candidate, verdict.score
    likely, first, whole = score.get("cost_usd"), score.get("ttft"), score.get("seconds")
    quality = candidate.info.quality if candidate.quality is None else candidate.quality
    terms = [f"{name} {value:.4g}" for name, value in score.items() if name not in ("cost_usd", "ttft", "seconds")]
    dropped = [] if verdict.dropped_by is None else [f"{verdict.dropped_by}: {verdict.detail}"]
    said = [verdict.detail] if verdict.dropped_by is None and verdict.detail else []
    age = candidate.health.age
    return (
        "-" if verdict.position is None else str(verdict.position + 1),
        candidate.deployment,
        "unknown" if likely is None else f"{likely:.6f}",
        "unknown" if candidate.cost_bound is None else f"{usd(candidate.cost_bound):f}",
        "unknown" if first is None else f"{first:.2f} s",
        "unknown" if whole is None else f"{whole:.1f} s",
        "unknown" if quality is None else f"{quality:.0f}",
        "never" if age is None else f"{age:.0f} s ago",
        "; ".join([*dropped, *said, *terms]),
    )


def _reckoned_with(route: Route) -> list[str]:
    request = route.request
    lines: list[str] = []
    if route.candidates:
        first = (route.order or route.candidates)[0]
        prompt = "estimated" if first.input_estimated else "counted"
        answer = "as such calls had" if request.length_seen else "assumed"
        lines.append(
            f"prompt: {first.input_tokens_likely} tokens ({prompt}), at most {first.input_tokens_bound};"
            f" answer: {first.output_tokens_likely} tokens ({answer})"
        )
    if request.headroom is not None:
        lines.append(f"headroom: {usd(request.headroom):f} USD, {request.headroom_age or 0.0:.1f} s ago")
    return lines


def name_of(strategy: object) -> str:
    """What a strategy is called."""
    return strategy if isinstance(strategy, str) else str(getattr(strategy, "name", type(strategy).__name__))


def to_json(route: Route) -> str:
    """The record of a route. What is as by default is left out, and so is what vendors say of their models."""
    record = {
        "planar_route": FORM,
        "router": route.router,
        "settings": plain(route.settings),
        "request": plain(route.request),
        "candidates": [plain(candidate) for candidate in route.candidates],
        "verdicts": [
            {
                "deployment": verdict.candidate.deployment,
                "position": verdict.position,
                "dropped_by": verdict.dropped_by,
                "detail": verdict.detail,
                "score": dict(verdict.score),
            }
            for verdict in route.verdicts
        ],
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """As JSON has it: sets sorted, money as text, of data only what differs from its default."""
    if hasattr(value, "to_data"):
        return value.to_data()
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: plain(own) for each in fields(value) if each.init and (own := _set(value, each)) is not MISSING
        }
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, frozenset | set):
        return sorted(map(plain, cast("frozenset[Any]", value)))
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in cast("JSON", value).items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in cast("list[Any]", value)]
    return value if value is None or isinstance(value, str | int | float | bool) else {"name": name_of(value)}


def _set(value: Any, field: Any) -> Any:
    own = getattr(value, field.name)
    if field.name == _OF_VENDOR:
        return MISSING
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return MISSING if default is not MISSING and own == default else own


def recorded(text: str) -> tuple[str, JSON, RouteRequest, tuple[Candidate, ...]]:
    """What a record says: the router's name and settings, the request, the candidates.

    A strategy that was an object is what `to_data` made of it.

    Raises:
        InvalidRequestError: It is no record of a route, or one of a later release.
    """
    from pydantic import ValidationError

    readers = _readers()
    try:
        record = json.loads(text)
        if record.get("planar_route") != FORM:
            raise InvalidRequestError(
                f"this is no record of a route in form {FORM}: it is {record.get('planar_route')!r}"
            )
        return (
            str(record["router"]),
            dict(record["settings"]),
            readers[0].validate_python(record["request"]),
            readers[1].validate_python(record["candidates"]),
        )
    except (ValueError, AttributeError, LookupError, TypeError, ValidationError) as error:
        raise InvalidRequestError(f"this is no record of a route: {error}") from error


@cache
def _readers() -> tuple[TypeAdapter[RouteRequest], TypeAdapter[tuple[Candidate, ...]]]:
    from pydantic import TypeAdapter

    return TypeAdapter(RouteRequest), TypeAdapter(tuple[Candidate, ...])
