"""What the platform and its tenants may use: checked when it is said, looked up when a call is made."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from planar.client._deployments import AUTO, Aliases, Deployment, Deployments
from planar.errors import ConfigurationError, InvalidRequestError, UnknownTenantError
from planar.protocols import Router
from planar.routing import CostRouter
from planar.types import Candidate, Constraints, RouteRequest, RoutingPolicy, TenantPath

PLATFORM = "the platform"
"""What the platform's policy is called in a route. No tenant can be called so."""
_ANYTHING = Constraints()
_LOG = logging.getLogger("planar.client")


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for the calls of a tenant.

    Attributes:
        deployments: What it can name.
        policies: What narrows it, by whose policy it is, the platform's first; those that narrow nothing are left out.
        prefer, strategy: The deepest that was said.
    """

    deployments: Deployments
    policies: tuple[tuple[str, Constraints], ...] = ()
    prefer: str | None = None
    strategy: object | None = None

    def under(self, name: str, policy: RoutingPolicy, *, platform: bool = False) -> Standing:
        """What holds one scope deeper."""
        narrows = policy.constraints != _ANYTHING
        return Standing(
            deployments=self.deployments.under(policy.models, platform=platform),
            policies=(*self.policies, (name, policy.constraints)) if narrows else self.policies,
            prefer=policy.prefer or self.prefer,
            strategy=self.strategy if policy.strategy is None else policy.strategy,
        )


class Policies:
    """The policies of a client. Nothing changes them: a change makes others, and a call that has begun keeps its own.

    What holds for a tenant is computed once for each that has a policy, and holds for all below it.

    Args:
        deployments: What the platform's aliases name.
        graded: Somebody knows how well a prompt will be answered: who is good enough depends on the call.

    Attributes:
        platform: What holds for tenants without a policy.
        problems: What cannot be right.
        doubts: What may be wrong.
    """

    def __init__(
        self,
        deployments: Deployments,
        router: Router,
        platform: RoutingPolicy | None = None,
        tenants: Mapping[str, RoutingPolicy] | None = None,
        *,
        graded: bool = False,
    ) -> None:
        self._graded = graded
        self._base = Standing(deployments)
        self._router = router
        self._own = RoutingPolicy() if platform is None else platform
        self._given = dict(tenants or {})
        self._begin()
        self._stand_all()

    def _begin(self) -> None:
        self.problems: list[str] = []
        self.doubts: list[str] = []
        self._standings: dict[str, Standing] = {}

    def of(self, tenant: str) -> Standing:
        """What holds for the calls of this tenant."""
        standings = self._standings
        if standings:
            while tenant:
                found = standings.get(tenant)
                if found is not None:
                    return found
                tenant = tenant.rpartition("/")[0]
        return self.platform

    def with_policy(self, tenant: str | None, policy: RoutingPolicy | None) -> Policies:
        """The same with another policy for one tenant, or, for `None`, the platform; without one if that is `None`."""
        changed = object.__new__(Policies)
        changed._base, changed._router, changed._graded = self._base, self._router, self._graded
        changed._own, changed._given = self._own, dict(self._given)
        changed._begin()
        if tenant is None:
            changed._own = RoutingPolicy() if policy is None else policy
            changed._stand_all()
            return changed
        changed._given.pop(tenant, None)
        if policy is not None:
            changed._given[tenant] = policy
        changed.platform = self.platform
        changed._standings = dict(self._standings)
        changed._stand(tenant)
        return changed

    def _stand_all(self) -> None:
        self.platform = self._base
        if self._is_policy(PLATFORM, self._own):
            self.platform = self._base.under(PLATFORM, self._own, platform=True)
            self._check(PLATFORM, self._own, self.platform)
        for tenant in self._given:
            if self._is_tenant(tenant):
                self._stand_one(tenant)

    def _stand(self, tenant: str) -> None:
        """Compute anew what holds for one tenant and those below."""
        self._standings.pop(tenant, None)
        if self._is_tenant(tenant):
            below = f"{tenant}/"
            for each in self._given:
                if each == tenant or each.startswith(below):
                    self._stand_one(each)

    def _is_tenant(self, tenant: str) -> bool:
        try:
            TenantPath(tenant)
        except UnknownTenantError as error:
            self.problems.append(f"tenants: {error}")
            return False
        return True

    def _is_policy(self, name: str, given: object) -> bool:
        if isinstance(given, RoutingPolicy):
            return True
        self.problems.append(f"the policy of {name} is a planar.RoutingPolicy, not {given!r}")
        return False

    def _stand_one(self, tenant: str) -> None:
        policy = self._given[tenant]
        if not self._is_policy(tenant, policy):
            return
        standing = self.platform
        for scope in TenantPath(tenant).scopes:
            wider: object = self._given.get(scope)
            if isinstance(wider, RoutingPolicy):
                standing = standing.under(scope, wider)
        self._standings[tenant] = standing
        self._check(tenant, policy, standing)

    def _check(self, name: str, policy: RoutingPolicy, standing: Standing) -> None:
        of = f"the policy of {name}"
        constraints, deployments = policy.constraints, standing.deployments
        self.problems += [f"{of}: {problem}" for problem in self._strangers(policy)]
        for patterns in (constraints.models, constraints.excluded_models):
            for pattern in sorted(patterns or ()):
                self._check_pattern(of, pattern, deployments)
        if policy.strategy is not None:
            try:
                self._router.plan(RouteRequest(model=AUTO, tenant=name, strategy=policy.strategy), ())
            except InvalidRequestError as error:
                self.problems.append(f"{of}: {error}")
        if policy.models:
            self.problems += [f"{of}: {problem}" for problem in deployments.own.problems]
            self.doubts += [f"{of}: {doubt}" for doubt in deployments.own.doubts]
        if standing.policies:
            self._check_aliases(of, policy, standing)

    def _strangers(self, policy: RoutingPolicy) -> Iterator[str]:
        """Vendors that the client does not have: a slip of the pen in what is excluded would let it pass."""
        providers = self._base.deployments.providers
        constraints = policy.constraints
        named = {
            "vendors": sorted(constraints.vendors or ()),
            "excluded_vendors": sorted(constraints.excluded_vendors),
            "prefer": [policy.prefer] if policy.prefer is not None else [],
        }
        for field, vendors in named.items():
            for vendor in vendors:
                if vendor not in providers:
                    yield f"{field} names {vendor!r}, {_meant(vendor, providers)}"

    def _check_pattern(self, of: str, pattern: str, deployments: Deployments) -> None:
        if not _can_match(pattern, deployments.providers):
            vendor, _, model = pattern.partition(":")
            close = difflib.get_close_matches(vendor, deployments.providers, n=1) if model else ()
            hint = f"did you mean '{close[0]}:{model}'?" if close else "write provider:model, either with stars"
            self.problems.append(f"{of}: {pattern!r} can match no deployment of this client: {hint}")
            return
        known = deployments.known()
        vendor, colon, _ = _literal(pattern).partition(":")
        near = [name for name in known if name.startswith(f"{vendor}:")] if colon else known
        if near and not any(fnmatchcase(name, pattern) for name in near):
            close = difflib.get_close_matches(pattern, near, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            self.doubts.append(f"{of}: {pattern!r} matches nothing that is known{hint}")

    def _check_aliases(self, of: str, policy: RoutingPolicy, standing: Standing) -> None:
        """What an alias of the scope names may serve it; and the policy leaves somebody."""
        deployments = standing.deployments
        entries = deployments.own.entries if policy.models else {}
        named = [one for each in entries.values() for entry in each for one in entry.known]
        refused = _refused(standing, [*named, *deployments.usual], graded=self._graded)
        for alias, each in entries.items():
            for entry in each:
                why = [refused[one.name] for one in entry.known if one.name in refused]
                if why and len(why) == len(entry.known):
                    self.problems.append(
                        f"{of}: alias {alias!r} names {entry.text!r}, which may not serve it: {why[0]}"
                    )
        if deployments.usual and all(one.name in refused for one in deployments.usual):
            first = deployments.usual[0].name
            self.doubts.append(f"{of} leaves nobody to serve it: {first}: {refused[first]}, and so on")


def checked(policies: Policies, aliases: Aliases | None = None) -> Policies:
    """The policies, if they and the platform's own aliases can be right; what may be wrong is logged.

    Raises:
        ConfigurationError: Everything that is wrong.
    """
    found: list[Policies | Aliases] = [policies] if aliases is None else [aliases, policies]
    problems = [problem for each in found for problem in each.problems]
    if problems:
        raise ConfigurationError("; ".join(problems))
    for each in found:
        for doubt in each.doubts:
            _LOG.warning("%s", doubt)
    return policies


def _refused(standing: Standing, deployments: Sequence[Deployment], *, graded: bool) -> dict[str, str]:
    """Those that no call of this standing can be served by, whatever it asks, and why."""
    # What a call may cost depends on the call; so does its quality, where that is graded by prompt.
    fixed = tuple(
        [
            (name, replace(policy, max_cost_usd=None, min_quality=None if graded else policy.min_quality))
            for name, policy in standing.policies
        ]
    )
    candidates = [
        Candidate(deployment=one.name, provider=one.provider.name, model=one.model, info=one.info)
        for one in deployments
    ]
    route = CostRouter("ordered").plan(RouteRequest(model=AUTO, tenant="default", policies=fixed), candidates)
    return {each.candidate.deployment: each.detail for each in route.verdicts if each.position is None}


def _can_match(pattern: str, providers: Mapping[str, object]) -> bool:
    """Whether any deployment of these providers could have a name that the pattern matches, known or not."""
    head = _literal(pattern)
    if head == pattern and ":" not in pattern:
        return False
    return any(head.startswith(f"{name}:") or f"{name}:".startswith(head) for name in providers)


def _literal(pattern: str) -> str:
    """How everything begins that an `fnmatch` pattern matches."""
    places = [place for sign in "*?[" if (place := pattern.find(sign)) >= 0]
    return pattern[: min(places)] if places else pattern


def _meant(vendor: str, providers: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(vendor, providers, n=1)
    return f"did you mean {close[0]!r}?" if close else f"but the providers are {', '.join(providers)}"
