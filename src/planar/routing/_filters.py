"""What no route may violate: each filter looks at one candidate and says why it must go."""

from __future__ import annotations

from planar.types import NANO, Candidate, Constraints, RouteRequest


def refusal_of(candidate: Candidate, request: RouteRequest) -> tuple[str, str] | None:
    """The first filter that a candidate does not pass, and the reason; `None` if it passes all."""
    return (
        _policy(candidate, request.constraints)
        or _capability(candidate, request)
        or _context(candidate, request)
        or _cost(candidate, request.constraints)
    )


def _policy(candidate: Candidate, constraints: Constraints) -> tuple[str, str] | None:
    info = candidate.info
    if constraints.local_only and not info.local:
        return "local_only", "it does not run in this process"
    if constraints.vendors is not None and candidate.provider not in constraints.vendors:
        return "vendors", f"{candidate.provider} is not among {', '.join(sorted(constraints.vendors))}"
    if candidate.provider in constraints.excluded_vendors:
        return "excluded_vendors", f"{candidate.provider} is excluded"
    if constraints.regions is not None and info.region not in constraints.regions:
        return "regions", f"its region is {info.region or 'unknown'}"
    if constraints.min_quality is not None and (info.quality is None or info.quality < constraints.min_quality):
        return "min_quality", f"its quality is {'unknown' if info.quality is None else info.quality}"
    return None


def _capability(candidate: Candidate, request: RouteRequest) -> tuple[str, str] | None:
    known = candidate.info.capabilities
    if known is None:
        return None
    missing = (request.needs | request.constraints.needs) - known
    return ("capability", f"it has no {', '.join(sorted(missing))}") if missing else None


def _context(candidate: Candidate, request: RouteRequest) -> tuple[str, str] | None:
    window = candidate.info.context_window
    # The byte bound is up to four times the truth: only a prompt that was counted may exclude.
    if window is None or candidate.input_estimated:
        return None
    needed = candidate.input_tokens_bound + (request.max_tokens or 1)
    return ("context", f"{needed} tokens do not fit {window}") if needed > window else None


def _cost(candidate: Candidate, constraints: Constraints) -> tuple[str, str] | None:
    if constraints.max_cost_usd is None:
        return None
    if candidate.cost_bound is None:
        return "max_cost_usd", "its price is unknown, or nothing bounds the answer: set max_tokens"
    if candidate.cost_bound > constraints.max_cost_usd * NANO:
        return "max_cost_usd", "it may cost more"
    return None
