"""The money side of one attempt: hold, keep up with the stream, settle."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias

from planar.catalog import cost_bound, cost_of
from planar.client._deployments import bounding_price
from planar.errors import InvalidRequestError, QuotaExceededError, StoreError, UnknownPriceError
from planar.events import Notice
from planar.protocols import QuotaStore
from planar.types import Alert, Amount, Candidate, Charge, Lease, LeaseId, Price, TenantPath, Usage

SLICE = 1024
"""Output tokens that are held at a time."""
LEAST = 16
"""Fewest output tokens that are worth asking for when a budget runs low."""
LEASE_SECONDS = 120.0
ASK_AGAIN = 1.0
"""Seconds after which a store that was away is asked again for an extension."""

_logger = logging.getLogger("planar.client")

Flag: TypeAlias = Literal["estimated", "suspect", "cut", "failed"]


@dataclass(slots=True, kw_only=True)
class Terms:
    """What an attempt is booked on.

    Attributes:
        wanted: Most tokens of the answer that the caller asked for.
        at_once: Hold the whole answer instead of slices: the caller refuses a shortened one.
        tell: Called with the alerts that settling caused.
        count: Counts the prompt exactly; asked only when the bound does not fit.
        tier: The service tier that the caller asked for.
        price: What holds are made of: never below what the call can cost. `None` where nobody has said it.
        ceiling: Most tokens that the answer can have by the caller's word and the model's nature.
    """

    tenant: TenantPath
    candidate: Candidate
    wanted: int | None
    at_once: bool
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    tell: Callable[[Sequence[Alert]], None]
    count: Callable[[], Awaitable[int]] | None = None
    tier: str | None = None
    price: Price | None = field(init=False)
    ceiling: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.price = bounding_price(self.candidate.info, self.tier)
        bound = self.candidate.output_tokens_bound
        self.ceiling = bound if bound is None or self.wanted is None else min(bound, self.wanted)

    def hold(self, input_tokens: int, output_tokens: int) -> Amount:
        """An upper bound of so many tokens, in money too where the price is known."""
        price = self.price
        money = None if price is None else cost_bound(price, input_tokens=input_tokens, output_tokens=output_tokens)
        return Amount(input_tokens=input_tokens, output_tokens=output_tokens, nano_usd=money)


class Booking:
    """A lease, and how much of it the stream has used up. Made by `book`.

    Attributes:
        bounded: Some limit on tokens or money applies to the tenant.
        max_tokens: What goes on the wire.
        money_left: Nano-USD that the tenant had beyond what is held, when the store last told; `None`: without limit.
        renew_at: When the lease wants to be kept alive; `keep_up` has nothing to do before, unless `bounded`.
        notices: What is worth telling of how it was held and settled.
    """

    __slots__ = (
        "_ask_at",
        "_away",
        "_denied",
        "_dispatched",
        "_input",
        "_lease",
        "_output",
        "_store",
        "_terms",
        "bounded",
        "max_tokens",
        "money_left",
        "notices",
        "renew_at",
    )

    def __init__(self, store: QuotaStore, terms: Terms, lease: Lease, *, now: float) -> None:
        self._store = store
        self._terms = terms
        self._lease = lease
        self._input = lease.hold.input_tokens
        self._output = lease.hold.output_tokens
        self.renew_at = now + LEASE_SECONDS / 2
        self._dispatched = False
        self._denied: QuotaExceededError | StoreError | None = None
        self._away: StoreError | None = None
        self._ask_at = now
        self.notices: list[Notice] = [_unchecked(lease)] if lease.provisional else []
        self.bounded = lease.headroom.bounded
        self.money_left = lease.headroom.nano_usd
        self.max_tokens = self._affordable()

    def _affordable(self) -> int | None:
        """What goes on the wire: the least of what the caller wants, the model can and the tenant can pay."""
        left = self._lease.headroom
        if not left.bounded:
            return None if self._terms.wanted is None else self._terms.ceiling
        sizes = [] if self._terms.ceiling is None else [self._terms.ceiling]
        if left.tokens is not None:
            sizes.append(self._output + left.tokens)
        price = self._terms.price
        if left.nano_usd is not None and price is not None:
            sizes.append(self._output + _tokens_for(left.nano_usd, price, self._input))
        return max(1, min(sizes)) if sizes else None

    @property
    def lease_id(self) -> LeaseId:
        """The id under which the ledger knows this attempt."""
        return self._lease.id

    @property
    def input_bound(self) -> int:
        """What is held for the prompt."""
        return self._input

    @property
    def output_held(self) -> int:
        """What is held for the answer."""
        return self._output

    @property
    def money_held(self) -> int:
        """Nano-USD that are held; 0 where the price is unknown."""
        return self._lease.hold.nano_usd or 0

    @property
    def was_dispatched(self) -> bool:
        """The provider was asked, so the ledger has or gets a row."""
        return self._dispatched

    async def dispatched(self) -> None:
        """The provider is about to be asked."""
        self._dispatched = True
        await self._store.dispatched(self._lease)

    async def keep_up(self, produced: int, *, now: float) -> None:
        """Hold another slice once half of the last one is used, and keep the lease alive.

        A store that is away is asked again later, for as long as there is something left of what is held.

        Raises:
            QuotaExceededError: There is no room for more, and what was held is used up.
            StoreError: The store is away, and what was held is used up.
        """
        half_used = produced >= self._output - SLICE // 2
        room = SLICE if self.max_tokens is None else min(SLICE, self.max_tokens - self._output)
        if now >= self._ask_at:
            if half_used and room > 0 and self._denied is None and self.bounded:
                await self._extend(room, now=now)
            elif now >= self.renew_at:
                await self._renew(now=now)
        if produced >= self._output:
            if self._denied is not None:
                raise self._denied
            if self._away is not None and room > 0 and self.bounded:
                raise self._away

    async def _extend(self, room: int, *, now: float) -> None:
        held, after = self._terms.hold(self._input, self._output), self._terms.hold(self._input, self._output + room)
        money = None if held.nano_usd is None or after.nano_usd is None else after.nano_usd - held.nano_usd
        try:
            more = Amount(output_tokens=room, nano_usd=money)
            self._take(await self._store.extend(self._lease, more=more, ttl=LEASE_SECONDS))
        except QuotaExceededError as error:
            self._denied = error  # what is held may still be used; `keep_up` stops the stream after it
            return
        except StoreError as error:
            self._away, self._ask_at = error, now + ASK_AGAIN
            return
        except InvalidRequestError:
            if self._away is None:
                raise
            self._denied = self._away  # it could not be renewed, and has ended
            return
        self._away = None
        self._output += room
        self.renew_at = now + LEASE_SECONDS / 2

    async def _renew(self, *, now: float) -> None:
        try:
            self._take(await self._store.extend(self._lease, more=Amount(), ttl=LEASE_SECONDS))
        except StoreError as error:
            self._away, self._ask_at = error, now + ASK_AGAIN
            return
        except InvalidRequestError:
            if self._away is None:
                raise
            self.renew_at = inf  # it could not be renewed, and has ended: settling corrects what that was charged
            return
        self._away = None
        self.renew_at = now + LEASE_SECONDS / 2

    def _take(self, lease: Lease) -> None:
        self._lease = lease
        self.bounded = lease.headroom.bounded
        self.money_left = lease.headroom.nano_usd

    async def settle(self, usage: Usage | None, flags: frozenset[Flag], *, tier: str | None = None) -> int | None:
        """Book what was used, in nano-USD; `None` where the price is unknown. Doing it twice changes nothing.

        A store that is away takes nobody's answer from them: what could not be booked is logged, and is a notice.

        Args:
            tier: The service tier that the provider reports as billed.
        """
        if not self._dispatched:
            await self._release()
            return 0
        price = self._applied(usage, tier)
        if usage is None:
            amount = Amount()
        else:
            money = None if price is None else cost_of(usage, price)
            amount = Amount(
                input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0, nano_usd=money
            )
        charge = Charge(amount=amount, usage=usage, price=price, flags=flags, metadata=self._terms.metadata)
        try:
            receipt = await self._store.settle(self._lease, charge=charge)
        except StoreError as error:
            self._not_booked(amount, error)
            return amount.nano_usd
        if receipt.spooled:
            text = "the quota store is away: what this cost is written in its ledger later"
            self.notices.append(Notice("booked_late", text, {"lease_id": self._lease.id}))
        if receipt.entry.alerts and not receipt.replayed:
            self._terms.tell(receipt.entry.alerts)
        # The row of a correction has the difference.
        return amount.nano_usd if receipt.entry.kind == "correction" else receipt.entry.nano_usd

    def _applied(self, usage: Usage | None, tier: str | None) -> Price | None:
        """The flat price that the ledger keeps beside what it came to."""
        listed = self._terms.candidate.info.price
        if listed is None:
            return None
        price = listed.applied(input_tokens=0 if usage is None else usage.input_tokens or 0, tier=tier)
        if price is None and not any(notice.code == "price_unknown" for notice in self.notices):
            name = self._terms.candidate.deployment
            text = (
                f"{name} was served at the tier {tier!r}, of which the catalog has no price, so cost_usd is None:"
                f" give its Price tiers={{{tier!r}: ...}}"
            )
            self.notices.append(Notice("price_unknown", text, {"deployment": name, "service_tier": tier}))
        return price

    async def _release(self) -> None:
        try:
            await self._store.release(self._lease)
        except StoreError as error:
            _logger.warning("lease %s could not be released and lapses by itself: %s", self._lease.id, error)

    def _not_booked(self, amount: Amount, error: StoreError) -> None:
        lease = self._lease
        _logger.warning(
            "the quota store did not take what lease %s used, and charges what it held when it expires: %s, at %s:"
            " %d input tokens, %d output tokens, %s nano-USD (%s)",
            lease.id,
            lease.tenant,
            lease.deployment,
            amount.input_tokens,
            amount.output_tokens,
            "unknown" if amount.nano_usd is None else amount.nano_usd,
            error,
        )
        text = f"what this cost could not be booked: {error}"
        self.notices.append(Notice("not_booked", text, {"lease_id": lease.id}))


def _unchecked(lease: Lease) -> Notice:
    text = "the quota store is away: this was let through on the limits that were last seen"
    return Notice("quota_unchecked", text, {"lease_id": lease.id, "tenant": str(lease.tenant)})


def first_hold(candidate: Candidate, tier: str | None) -> int | None:
    """Nano-USD that an attempt there holds at most when it begins; `None` where the price is unknown."""
    price, bound = bounding_price(candidate.info, tier), candidate.output_tokens_bound
    if price is None:
        return None
    size = SLICE if bound is None else min(bound, SLICE)
    return cost_bound(price, input_tokens=candidate.input_tokens_bound, output_tokens=size)


async def book(store: QuotaStore, terms: Terms, *, lease_id: str, now: float) -> Booking:
    """Hold what the attempt may use, shortened to what the tenant can pay unless `terms.at_once`.

    Raises:
        QuotaExceededError: Not even a short answer fits. Nothing is held.
        UnknownPriceError: A money limit applies and the price is unknown.
    """
    ceiling = terms.ceiling
    size = SLICE if ceiling is None else min(ceiling, SLICE)
    output = ceiling if terms.at_once and ceiling is not None else size
    count = terms.count
    inputs = terms.candidate.input_tokens_bound
    while True:
        try:
            lease = await store.reserve(
                LeaseId(lease_id),
                terms.tenant,
                hold=terms.hold(inputs, output),
                ttl=LEASE_SECONDS,
                deployment=terms.candidate.deployment,
            )
        except QuotaExceededError as error:
            if error.dimension in ("requests", "concurrency"):
                raise
            if count is not None:
                inputs, count = min(inputs, await count()), None
                continue
            smaller = _fitting(error, terms, inputs)
            if terms.at_once or smaller >= output or smaller < min(LEAST, size):
                raise
            output = smaller
        except UnknownPriceError as error:
            if terms.candidate.info.price is None:
                raise
            name, tier = terms.candidate.deployment, terms.tier
            raise UnknownPriceError(
                f"{error.scope or terms.tenant} has a money limit, and nobody knows what {name} costs at the tier"
                f" {tier!r}: give its Price tiers={{{tier!r}: ...}}, or leave service_tier out",
                deployment=name,
                scope=error.scope,
            ) from None
        else:
            return Booking(store, terms, lease, now=now)


def _fitting(error: QuotaExceededError, terms: Terms, inputs: int) -> int:
    """How many output tokens the limit that refused would let pass."""
    if error.dimension == "nano_usd":
        price = terms.price
        if price is None:
            return 0
        return _tokens_for(error.remaining - cost_bound(price, input_tokens=inputs, output_tokens=0), price, inputs)
    if error.dimension == "output_tokens":
        return error.remaining
    return error.remaining - inputs if error.dimension == "tokens" else 0


def _tokens_for(nano_usd: int, price: Price, inputs: int) -> int:
    """How many output tokens so much money reaches for, after a prompt of so many."""
    if nano_usd <= 0:
        return 0
    million = 1_000_000
    rate = cost_bound(price, input_tokens=inputs, output_tokens=million)
    rate -= cost_bound(price, input_tokens=inputs, output_tokens=0)
    return 2**31 if rate <= 0 else nano_usd * million // rate
