"""The engine beside a naive model, under any sequence of operations: the same decisions, the same counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from quota_model import MICRO, Model, ModelLease

from effort import examples
from planar.errors import InvalidRequestError, QuotaExceededError
from planar.quotas._engine import QuotaEngine
from planar.types import Amount, Charge, Lease, LeaseId, Limit

TENANTS = ("a", "a/b", "a/b/c", "a/d", "a/b/c/e")
START = 1_774_700_000 * MICRO  # a day before the clocks change in Europe
PALETTE = (
    Limit.requests(6, burst=3),
    Limit.requests(40, per="hour"),
    Limit.tokens_per_minute(90),
    Limit.tokens_per_minute(60, kind="output_tokens"),
    Limit.tokens_per_minute(70, kind="input_tokens"),
    Limit.concurrency(3),
    Limit.tokens(400, per="day", tz="Europe/Madrid"),
    Limit.tokens(900, per="week", kind="output_tokens", tz="America/New_York"),
    Limit(dimension="nano_usd", amount=300, window="day", tz="UTC"),
    Limit(dimension="nano_usd", amount=900, window="month", tz="Asia/Tokyo"),
    Limit(dimension="nano_usd", amount=5_000, window="total"),
    Limit(dimension="requests", amount=9, window="day"),
    Limit.rolling(150, dimension="nano_usd", seconds=90),
    Limit.rolling(5, dimension="requests", seconds=7),
    Limit.rolling(200, dimension="tokens", seconds=3_600),
    Limit.tokens(300, per="day", kind="input_tokens", overage="pay", alerts=(10, 50, 100, 150)),
    Limit.rolling(100, dimension="output_tokens", seconds=60, overage="warn"),
    Limit.concurrency(5, share=50),
    Limit.tokens(800, per="week", share=30, alerts=(1, 40)),
    Limit(dimension="nano_usd", amount=700, window="week", share=60, alerts=(30, 90)),
)
PROBES = (
    Limit(dimension="nano_usd", amount=2**50, window="total"),
    Limit(dimension="tokens", amount=2**50, window="total"),
    Limit(dimension="requests", amount=2**50, window="total"),
    Limit.concurrency(2**50),
)
"""Never in the way: they see all that is used, for the sums."""

small = st.integers(0, 60)
amounts = st.builds(Amount, input_tokens=small, output_tokens=small, nano_usd=small)
ttls = st.sampled_from([1, 5, 30, 200, 90_000])
bounds = st.lists(
    st.sampled_from(PALETTE), max_size=4, unique_by=lambda limit: (limit.dimension, limit.window, limit.seconds)
)


class QuotaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.engine = QuotaEngine()
        self.model = Model()
        self.now = START
        self.shown = START
        self.leases: dict[str, Lease] = {}
        self.debt = Counter[str]()

    @initialize(first=bounds, second=bounds, third=bounds)
    def limits_are_set(self, first: list[Limit], second: list[Limit], third: list[Limit]) -> None:
        self.model.tick(self.now)
        for scope, limits in {"a": [*PROBES, *_without_probes(first)], "a/b": second, "a/b/c": third}.items():
            self.engine.set_limits(scope, limits, now=self.shown)
            self.model.set_limits(scope, tuple(limits))

    @rule(tenant=st.sampled_from(TENANTS), hold=amounts, ttl=ttls)
    def reserve(self, tenant: str, hold: Amount, ttl: int) -> None:
        self.model.tick(self.now)
        lease_id = f"lease-{len(self.model.leases)}-{self.now}"
        if lease_id in self.leases or len([1 for each in self.model.leases.values() if each.state == "active"]) > 12:
            return
        before = self.counts()

        granted = self.model.reserve(lease_id, tenant, hold, ttl)

        if granted:
            lease = self.engine.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment="x:y", now=self.shown)
            self.leases[lease_id] = lease
            self.check_headroom(lease)
        else:
            with pytest.raises(QuotaExceededError):
                self.engine.reserve(LeaseId(lease_id), tenant, hold=hold, ttl=ttl, deployment="x:y", now=self.shown)
            assert self.counts() == before  # I6

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        lease, known = self.draw(data)
        if known.state in ("released", "lapsed"):
            with pytest.raises(InvalidRequestError):
                self.engine.dispatched(lease, now=self.shown)
        else:
            self.engine.dispatched(lease, now=self.shown)
            known.dispatched = True

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), more=amounts, ttl=ttls)
    def extend(self, data: st.DataObject, more: Amount, ttl: int) -> None:
        lease, known = self.draw(data)
        if known.state != "active":
            with pytest.raises(InvalidRequestError):
                self.engine.extend(lease, more=more, ttl=ttl, now=self.shown)
        elif self.model.extend(known, more, ttl):
            longer = self.engine.extend(lease, more=more, ttl=ttl, now=self.shown)
            assert longer.hold == known.amount
            assert self.engine.extend(lease, more=more, ttl=ttl, now=self.shown) == longer  # I8
            self.leases[lease.id] = longer
        else:
            with pytest.raises(QuotaExceededError):
                self.engine.extend(lease, more=more, ttl=ttl, now=self.shown)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), actual=amounts)
    def settle(self, data: st.DataObject, actual: Amount) -> None:
        lease, known = self.draw(data)
        forgotten = known.state == "lapsed" and self.now >= known.ended_at + 900 * MICRO
        if known.state == "released" or forgotten:
            with pytest.raises(InvalidRequestError):
                self.engine.settle(lease, charge=Charge(amount=actual), now=self.shown)
            return
        replay = known.final
        if not replay:
            held = 0 if known.state == "lapsed" else known.hold["nano_usd"]
            self.debt["nano_usd"] += max(0, (actual.nano_usd or 0) - held)
            held = 0 if known.state == "lapsed" else known.hold["tokens"]
            self.debt["tokens"] += max(0, actual.tokens - held)
            self.debt["requests"] += known.state == "lapsed"
            self.model.settle(known, actual)

        receipt = self.engine.settle(lease, charge=Charge(amount=actual), now=self.shown)
        again = self.engine.settle(lease, charge=Charge(amount=Amount()), now=self.shown)

        assert receipt.replayed == replay
        assert (again.entry, again.replayed) == (receipt.entry, True)  # I8

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease, known = self.draw(data)
        if known.state == "active" and known.dispatched:
            with pytest.raises(InvalidRequestError):
                self.engine.release(lease, now=self.shown)
            return
        if known.state == "active":
            self.model.release(known)
        self.engine.release(lease, now=self.shown)
        self.engine.release(lease, now=self.shown)  # I8

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), amount=amounts)
    def refund(self, data: st.DataObject, amount: Amount) -> None:
        lease, known = self.draw(data)
        enough = (
            amount.input_tokens <= known.total("input_tokens")
            and amount.output_tokens <= known.total("output_tokens")
            and (amount.nano_usd or 0) <= known.total("nano_usd")
            and any(known.total(name) for name in ("tokens", "nano_usd"))
        )
        if not enough or known.refunded:
            with pytest.raises(InvalidRequestError):
                self.engine.refund(lease.id, amount=amount, reason=f"because {self.now}", now=self.shown)
            return
        self.model.refund(known, amount)
        receipt = self.engine.refund(lease.id, amount=amount, reason="because", now=self.shown)
        assert self.engine.refund(lease.id, amount=amount, reason="because", now=self.shown).entry == receipt.entry

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        lease, known = self.draw(data)
        if known.hold["requests"] and lease.hold == known.amount and known.state == "active":
            again = self.engine.reserve(
                lease.id, lease.tenant, hold=self.first_hold(lease), ttl=1, deployment="x:y", now=self.shown
            )
            assert again == self.leases[lease.id]  # I8

    @rule(seconds=st.sampled_from([0.000001, 0.117, 1, 1.5, 7, 31, 61, 100, 3_600, 86_399, 700_000]))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * MICRO)
        self.shown = self.now

    @rule(seconds=st.sampled_from([1, 100, 100_000]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.shown = self.now - seconds * MICRO  # I7: to the engine, time stands still until the clock has caught up

    @rule(scope=st.sampled_from(["a/b", "a/b/c", "a/d"]), limits=bounds, factor=st.sampled_from([1, 1, 2, 3]))
    def limits_change(self, scope: str, limits: list[Limit], factor: int) -> None:
        self.model.tick(self.now)
        changed = tuple(_times(limit, factor) for limit in limits)
        self.engine.set_limits(scope, changed, now=self.shown)
        self.model.set_limits(scope, changed)

    @invariant()
    def counts_agree_with_the_model(self) -> None:
        self.model.tick(self.now)
        for scope, limits in self.model.limits.items():
            for count in self.engine.counts(scope, now=self.now):
                assert (count.used, count.held) == self.model.counts(scope, count.limit), (scope, count.limit)
            assert tuple(count.limit for count in self.engine.counts(scope, now=self.now)) == limits

    @invariant()
    def nobody_overspends(self) -> None:
        for count in self.engine.counts("a", now=self.now):  # I1
            stops = count.limit.window != "rate" and count.limit.overage == "stop"
            if stops and count.limit.dimension in ("nano_usd", "tokens", "requests"):
                assert count.used + count.held <= count.limit.amount + self.debt[count.limit.dimension]
            if count.limit.dimension == "concurrency":
                assert count.held <= count.limit.amount

    @invariant()
    def the_ledger_sums_to_what_was_used(self) -> None:
        rows = self.engine.ledger.between(None, None)
        if not self.model.limits:
            return
        by_dimension = {count.limit.dimension: count for count in self.engine.counts("a", now=self.now)[: len(PROBES)]}

        assert sum(row.nano_usd or 0 for row in rows) == by_dimension["nano_usd"].used  # I3
        assert sum(row.input_tokens + row.output_tokens for row in rows) == by_dimension["tokens"].used
        assert [row.time for row in rows] == sorted(row.time for row in rows)
        kinds = Counter((row.lease_id, row.kind in ("settled", "expired"), row.kind) for row in rows)
        assert all(times == 1 for times in kinds.values())
        terminal = Counter(row.lease_id for row in rows if row.kind in ("settled", "expired"))
        assert all(times == 1 for times in terminal.values())
        assert by_dimension["requests"].used == len(terminal)
        assert by_dimension["concurrency"].held == self.engine.held("a", now=self.now)[1]  # I2: sums of all below
        assert by_dimension["nano_usd"].held == self.engine.held("a", now=self.now)[0].nano_usd

    @invariant()
    def an_alert_is_given_once_and_is_true(self) -> None:
        rows = self.engine.ledger.between(None, None)
        alerts = [alert for row in rows for alert in row.alerts]
        assert len({alert.id for alert in alerts}) == len(alerts)

    def teardown(self) -> None:
        self.engine.expire(now=self.now + 100_000 * MICRO)  # I4
        assert self.engine.held("a", now=self.now) == (Amount(), 0)

    def counts(self) -> list[object]:
        return [self.engine.counts(scope, now=self.now) for scope in ("a", "a/b", "a/b/c", "a/d")]

    def draw(self, data: st.DataObject) -> tuple[Lease, ModelLease]:
        self.model.tick(self.now)
        recent = sorted(self.leases)[-12:]
        alive = [each for each in recent if self.model.leases[each].state == "active"]
        lease_id = data.draw(st.sampled_from(alive * 3 + recent))
        return self.leases[lease_id], self.model.leases[lease_id]

    def first_hold(self, lease: Lease) -> Amount:
        record = self.engine._leases.get(lease.id, self.now)
        assert record is not None
        return record.reserved

    def check_headroom(self, lease: Lease) -> None:
        tokens: list[int] = []
        money: list[int] = []
        for scope, limit in self.model.path(lease.tenant):
            if limit.overage != "stop":
                continue
            if limit.window == "rate":
                left = int(max(0, limit.burst - self.model.level(scope, limit)))
            else:
                left = max(0, limit.amount - sum(self.model.counts(scope, limit)))
            if limit.share is not None and lease.tenant != scope:
                child = lease.tenant.scopes[scope.count("/") + 1]
                used, _ = self.model.counts(scope, limit)
                share = max(0, limit.amount - used) * limit.share // 100
                left = max(0, min(left, share - self.model.counts(child, limit)[1]))
            if limit.dimension in ("tokens", "output_tokens"):
                tokens.append(left)
            elif limit.dimension == "nano_usd":
                money.append(left)
        assert lease.headroom.tokens == (min(tokens) if tokens else None)
        assert lease.headroom.nano_usd == (min(money) if money else None)


def _without_probes(limits: list[Limit]) -> list[Limit]:
    taken = {(probe.dimension, probe.window) for probe in PROBES}
    return [limit for limit in limits if (limit.dimension, limit.window) not in taken]


def _times(limit: Limit, factor: int) -> Limit:
    return replace(limit, amount=limit.amount * factor)


TestQuotaMachine = QuotaMachine.TestCase
TestQuotaMachine.settings = settings(examples(60), stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
