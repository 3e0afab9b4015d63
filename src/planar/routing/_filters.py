"""What no route may violate: each filter looks at one candidate and says why it must go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeAlias

from planar.catalog import expected_cost
from planar.routing._estimates import quality_of
from planar.types import NANO, Candidate, Capability, Constraints, RouteRequest
from planar.types._routes import Reason

FRESH = 5.0
"""Seconds for which a headroom that was seen may exclude. Later the store has to be asked again: by reserving."""

Refusal: TypeAlias = tuple[str, Reason]
Filter: TypeAlias = Callable[[Candidate], Refusal | None]


def sieve(request: RouteRequest, candidates: Sequence[Candidate]) -> dict[int, Refusal]:
    """Those that do not pass, by index: the first filter that each fails, and why.

    The order is policy (the platform's and the tenants' first, then the call's own constraints), capability, context,
    headroom. A prompt that was estimated excludes only where half of the estimate does not fit, and a headroom only
    while it is fresh; neither excludes the last, for then the provider or the store refuses, and says why.
    """
    filters = [*_active(request)]
    room = 1 if request.max_tokens is None else request.max_tokens
    gone: dict[int, Refusal] = {}
    tight: dict[int, Refusal] = {}
    for index, candidate in enumerate(candidates):
        for refuses in filters:
            refusal = refuses(candidate)
            if refusal is not None:
                gone[index] = refusal
                break
        else:
            window = candidate.info.context_window
            if window is not None:
                if not candidate.input_estimated:
                    if candidate.input_tokens_bound + room > window:
                        needed = candidate.input_tokens_bound + room
                        gone[index] = "context", ("{} tokens do not fit {}", needed, window)
                elif candidate.input_tokens_likely // 2 + room > window:
                    needed = candidate.input_tokens_likely + room
                    tight[index] = "context", ("not even half of some {} tokens fits {}", needed, window)
    if tight and len(tight) + len(gone) < len(candidates):
        gone.update(tight)
    if request.headroom is not None and request.headroom_age is not None and request.headroom_age <= FRESH:
        _within(request.headroom, candidates, gone, tier=request.service_tier)
    return gone


def _active(request: RouteRequest) -> Iterator[Filter]:
    for name, policy in request.policies:
        for refuses in _of(policy):
            yield partial(_by_policy, refuses, name)
    yield from _of(request.constraints)
    needs = request.needs
    if needs:
        yield partial(_lacks, needs)
    if request.parameters:
        yield partial(_refuses, request.parameters)


def _of(wanted: Constraints) -> Iterator[Filter]:
    """The filters that these constraints ask for; most calls have none."""
    if wanted.local_only:
        yield _is_remote
    if wanted.vendors is not None:
        yield partial(_other_vendor, wanted.vendors)
    if wanted.excluded_vendors:
        yield partial(_excluded_vendor, wanted.excluded_vendors)
    if wanted.models is not None:
        yield partial(_other_model, wanted.models)
    if wanted.excluded_models:
        yield partial(_excluded_model, wanted.excluded_models)
    if wanted.regions is not None:
        yield partial(_elsewhere, wanted.regions)
    if wanted.min_quality is not None:
        yield partial(_worse, wanted.min_quality)
    if wanted.needs:
        yield partial(_lacks, wanted.needs)
    if wanted.max_cost_usd is not None:
        yield partial(_dearer, wanted.max_cost_usd)


def _by_policy(refuses: Filter, name: str, candidate: Candidate) -> Refusal | None:
    refusal = refuses(candidate)
    if refusal is None:
        return None
    which, reason = refusal
    return which, (f"{reason[0]} (policy of {{}})", *reason[1:], name)


def _is_remote(candidate: Candidate) -> Refusal | None:
    return None if candidate.info.local else ("local_only", ("it does not run in this process",))


def _other_vendor(vendors: frozenset[str], candidate: Candidate) -> Refusal | None:
    if candidate.provider in vendors:
        return None
    return "vendors", ("{} is not among {}", candidate.provider, vendors)


def _excluded_vendor(vendors: frozenset[str], candidate: Candidate) -> Refusal | None:
    return ("excluded_vendors", ("{} is excluded", candidate.provider)) if candidate.provider in vendors else None


def _other_model(patterns: frozenset[str], candidate: Candidate) -> Refusal | None:
    if any(fnmatchcase(candidate.deployment, pattern) for pattern in patterns):
        return None
    return "models", ("it is not among {}", patterns)


def _excluded_model(patterns: frozenset[str], candidate: Candidate) -> Refusal | None:
    matching = [pattern for pattern in sorted(patterns) if fnmatchcase(candidate.deployment, pattern)]
    return ("excluded_models", ("{} is excluded", matching[0])) if matching else None


def _elsewhere(regions: frozenset[str], candidate: Candidate) -> Refusal | None:
    region = candidate.info.region
    return None if region in regions else ("regions", ("its region is {}", region or "unknown"))


def _worse(least: float, candidate: Candidate) -> Refusal | None:
    quality = quality_of(candidate)
    if quality is not None and quality >= least:
        return None
    return "min_quality", ("its quality is {}", "unknown" if quality is None else quality)


def _lacks(needs: frozenset[Capability], candidate: Candidate) -> Refusal | None:
    known = candidate.info.capabilities
    if known is None or needs <= known:
        return None
    return "capability", ("it has no {}", needs - known)


def _refuses(parameters: frozenset[str], candidate: Candidate) -> Refusal | None:
    refused = parameters & (candidate.info.refuses or frozenset())
    return ("capability", ("it refuses {}", refused)) if refused else None


def _dearer(most: Decimal, candidate: Candidate) -> Refusal | None:
    if candidate.cost_bound is None:
        return "max_cost_usd", ("its price is unknown, or nothing bounds the answer: set max_tokens",)
    return ("max_cost_usd", ("it may cost more",)) if candidate.cost_bound > most * NANO else None


def _within(headroom: int, candidates: Sequence[Candidate], gone: dict[int, Refusal], *, tier: str | None) -> None:
    """Drop those whose prompt alone costs more than the tenant has left, unless that is everybody."""
    broke: dict[int, Refusal] = {}
    left = 0
    for index, candidate in enumerate(candidates):
        if index in gone:
            continue
        left += 1
        price, prompt = candidate.info.price, candidate.input_tokens_likely
        if price is None:
            broke[index] = "headroom", ("its price is unknown, and the tenant's money is limited",)
        elif expected_cost(price, input_tokens=prompt, cached_tokens=0, output_tokens=1, tier=tier) > headroom:
            broke[index] = "headroom", ("its prompt costs more than the tenant has left",)
    if len(broke) < left:
        gone.update(broke)
