"""Scarce places: every tenant has its share of the turns, the queue stays bounded, and no place is lost or doubled."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from effort import examples
from planar.errors import ConfigurationError
from planar.routing import FairPlaces, Ticket
from planar.types import QueuePolicy

WEIGHTS = st.sampled_from([0.001, 0.01, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0, 100.0])


def asked(fair: FairPlaces[str], tenant: str) -> Ticket[str]:
    ticket = fair.ask(tenant, tenant, 0.0)
    assert isinstance(ticket, Ticket)
    return ticket


def backlog(weights: dict[str, float], each: int, *, places: int = 1) -> tuple[FairPlaces[str], list[Ticket[str]]]:
    """All places taken by somebody else, and so many requests of every tenant behind."""
    fair = FairPlaces[str](places, length=10**9, per_tenant=10**9, weights=weights)
    taken = [asked(fair, "somebody else") for _ in range(places)]
    for tenant in weights:
        for _ in range(each):
            asked(fair, tenant)
    return fair, taken


def turns(fair: FairPlaces[str], running: Ticket[str], count: int) -> list[str]:
    """Who gets the place, one after the other."""
    order: list[str] = []
    for _ in range(count):
        [running] = fair.leave(running, 0.0)
        order.append(running.owner)
    return order


def test_a_free_place_is_given_at_once() -> None:
    fair = FairPlaces[str](2, length=0, per_tenant=1)

    states = [asked(fair, "acme").state, asked(fair, "acme").state]

    assert states == ["placed", "placed"]
    assert fair.ask("acme", "acme", 0.0) == "full"


def test_a_tenant_with_many_requests_does_not_keep_anothers_single_one_waiting() -> None:
    fair, [running] = backlog({"greedy": 1.0}, 50)
    asked(fair, "modest")

    order = turns(fair, running, 3)

    assert "modest" in order[:2]


def test_turns_follow_weights() -> None:
    fair, [running] = backlog({"gold": 3.0, "plain": 1.0}, 100)

    order = turns(fair, running, 40)

    assert Counter(order) == {"gold": 30, "plain": 10}
    assert "plain,plain" not in ",".join(order)


def test_within_a_tenant_first_come_is_first_served() -> None:
    fair = FairPlaces[int](1, length=100, per_tenant=100)
    running = fair.ask("acme", -1, 0.0)
    for number in range(20):
        fair.ask("acme", number, 0.0)

    order: list[int] = []
    for _ in range(20):
        assert isinstance(running, Ticket)
        [running] = fair.leave(running, 0.0)
        order.append(running.owner)

    assert order == list(range(20))


@given(weights=st.lists(WEIGHTS, min_size=1, max_size=12), places=st.integers(1, 4))
@examples(100)
def test_who_keeps_waiting_is_never_a_whole_turn_away_from_its_share(weights: list[float], places: int) -> None:
    named = {f"t{number}": weight for number, weight in enumerate(weights)}
    fair, taken = backlog(named, 200, places=places)
    exact = {tenant: Fraction(round(weight * 1000)) for tenant, weight in named.items()}
    everybody = sum(exact.values())
    served: Counter[str] = Counter()

    for turn in range(1, 201):
        [ticket] = fair.leave(taken.pop(0), 0.0)
        taken.append(ticket)
        served[ticket.owner] += 1

        for tenant, weight in exact.items():
            assert abs(served[tenant] - turn * weight / everybody) < 1


@given(
    weights=st.tuples(WEIGHTS, WEIGHTS),
    visits=st.lists(st.lists(st.tuples(st.integers(2, 9), st.booleans()), max_size=4), min_size=50, max_size=120),
)
@examples(40)
def test_others_that_come_and_go_do_not_change_the_shares_of_two_that_stay(
    weights: tuple[float, float], visits: list[list[tuple[int, bool]]]
) -> None:
    named = {"a": weights[0], "b": weights[1]}
    fair, [running] = backlog(named, 200)
    served: Counter[str] = Counter()

    for visit in visits:
        for tenant, stays in visit:
            ticket = asked(fair, f"t{tenant}")
            if not stays:
                fair.leave(ticket, 0.0)
        [running] = fair.leave(running, 0.0)
        served[running.owner] += 1

        shares = [served[tenant] / Fraction(round(weight * 1000)) for tenant, weight in named.items()]
        slack = sum(2 / Fraction(round(weight * 1000)) for weight in weights)
        assert abs(shares[0] - shares[1]) <= slack


@given(weight=st.sampled_from([0.01, 0.1, 1.0, 5.0]), strangers=st.integers(1, 20))
@examples(30)
def test_an_endless_stream_of_new_tenants_starves_nobody(weight: float, strangers: int) -> None:
    fair, [running] = backlog({"patient": weight}, 5)
    for number in range(strangers):
        asked(fair, f"stranger {number}")
    passed = 0
    longest = math.ceil((strangers + weight) / weight) + strangers + 1

    for turn in range(4 * longest):
        [running] = fair.leave(running, 0.0)
        if running.owner == "patient":
            passed = 0
            if turn > 3 * longest:
                return
            asked(fair, "patient")
        else:
            passed += 1
            asked(fair, f"newcomer {turn}")

        assert passed <= longest


def test_what_was_had_while_nobody_waited_is_held_against_nobody() -> None:
    fair = FairPlaces[str](1, length=100, per_tenant=100)
    for _ in range(1000):
        fair.leave(asked(fair, "busy"), 0.0)
    running = asked(fair, "somebody else")
    for _ in range(10):
        asked(fair, "busy")
        asked(fair, "new")

    order = turns(fair, running, 10)

    assert Counter(order) == {"busy": 5, "new": 5}


@pytest.mark.parametrize("weight", [100.0, 1.0, 0.1])
def test_coming_back_for_each_turn_brings_no_more_turns_than_waiting(weight: float) -> None:
    fair = FairPlaces[str](1, length=1000, per_tenant=1000, weights={"returns": weight})
    running = asked(fair, "somebody else")
    for number in range(500):
        asked(fair, f"waits {number % 100}")
    asked(fair, "returns")
    served: Counter[str] = Counter()

    for turn in range(1, 301):
        [running] = fair.leave(running, 0.0)
        served[running.owner] += 1
        if running.owner == "returns":
            asked(fair, "returns")

        assert abs(served["returns"] - turn * weight / (100 + weight)) <= 1


def test_leaving_the_queue_costs_no_turn() -> None:
    fair, [running] = backlog({"a": 1.0, "b": 1.0}, 10)
    for _ in range(50):
        fair.leave(asked(fair, "a"), 0.0)

    order = turns(fair, running, 10)

    assert Counter(order) == {"a": 5, "b": 5}


def kept(fair: FairPlaces[str]) -> int:
    return max(len(part) for part in (fair._due, fair._later, fair._ahead, fair._forget, fair._lines))


def test_what_is_remembered_does_not_grow_with_those_who_came_and_left() -> None:
    fair, [running] = backlog({"a": 1.0}, 50)

    for number in range(5000):
        fair.leave(asked(fair, f"visitor {number}"), 0.0)
        fair.leave(asked(fair, "again"), 0.0)
    after_visitors = kept(fair)
    for number in range(5000):
        asked(fair, f"short {number}")
        [running] = fair.leave(running, 0.0)
    after_turns = kept(fair)
    alone = FairPlaces[str](1, length=10, per_tenant=10)
    for number in range(5000):
        running = asked(alone, "somebody else")
        alone.leave(asked(alone, f"single {number}"), 0.0)
        alone.leave(running, 0.0)

    assert after_visitors < 50
    assert after_turns < 300
    assert kept(alone) == 0


def test_how_long_it_takes_is_learned_from_how_long_places_are_kept() -> None:
    fair = FairPlaces[str](2, length=10, per_tenant=2)
    first, second = fair.ask("a", "a", 100.0), fair.ask("a", "a", 100.0)
    assert isinstance(first, Ticket)
    assert isinstance(second, Ticket)
    unknown = fair.wait("a"), fair.turn()

    fair.leave(first, 108.0)
    fair.ask("a", "a", 108.0)
    fair.ask("a", "a", 108.0)
    alone = fair.wait("a"), fair.turn()
    fair.ask("b", "b", 108.0)
    shared = fair.wait("a"), fair.wait("new"), fair.turn()

    assert unknown == (None, None)
    assert alone == (4.0, 4.0)
    assert shared == (8.0, 12.0, 4.0)


class PlacesMachine(RuleBasedStateMachine):
    """Any sequence of asking, leaving and giving back, against what can be counted by hand."""

    @initialize(
        places=st.integers(1, 4),
        length=st.integers(0, 8),
        per_tenant=st.integers(1, 4),
        weights=st.dictionaries(st.sampled_from("abc"), WEIGHTS),
    )
    def begin(self, places: int, length: int, per_tenant: int, weights: dict[str, float]) -> None:
        self.places, self.length, self.per_tenant = places, length, per_tenant
        self.fair = FairPlaces[int](places, length=length, per_tenant=per_tenant, weights=weights)
        self.tickets: list[Ticket[int]] = []
        self.waiting: list[Ticket[int]] = []
        self.placed: list[Ticket[int]] = []
        self.now = 0.0

    @rule(tenant=st.sampled_from("abcdef"), may_wait=st.booleans())
    def ask(self, tenant: str, may_wait: bool) -> None:
        mine = [ticket for ticket in self.waiting if ticket.tenant == tenant]

        answer = self.fair.ask(tenant, len(self.tickets), self.now, may_wait=may_wait)

        if len(self.placed) < self.places:
            assert isinstance(answer, Ticket)
            assert answer.state == "placed"
            self.placed.append(answer)
        elif not may_wait:
            assert answer == "busy"
        elif len(mine) >= self.per_tenant:
            assert answer == "tenant_full"
        elif len(self.waiting) >= self.length:
            assert answer == "full"
        else:
            assert isinstance(answer, Ticket)
            assert answer.state == "waiting"
            self.waiting.append(answer)
        if isinstance(answer, Ticket):
            self.tickets.append(answer)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), seconds=st.none() | st.floats(0, 10))
    def leave(self, data: st.DataObject, seconds: float | None) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.now += seconds or 0.0

        let_in = self.fair.leave(ticket, None if seconds is None else self.now)

        if ticket in self.placed:
            self.placed.remove(ticket)
            assert len(let_in) == (1 if self.waiting else 0)
        else:
            assert let_in == []
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        for each in let_in:
            before = [one for one in self.waiting if one.tenant == each.tenant]
            assert each is before[0], "within a tenant the oldest goes first"
            self.waiting.remove(each)
            self.placed.append(each)
        assert ticket.state == "gone"

    @rule()
    def close(self) -> None:
        away = self.fair.close()

        assert sorted(ticket.owner for ticket in away) == sorted(ticket.owner for ticket in self.waiting)
        self.waiting.clear()

    @invariant()
    def the_counts_agree(self) -> None:
        if hasattr(self, "fair"):
            assert self.fair.taken == len(self.placed) <= self.places
            assert self.fair.waiting == len(self.waiting) <= self.length
            assert not self.waiting or len(self.placed) == self.places, "nobody waits before a free place"
            assert all(ticket.state == "placed" for ticket in self.placed)
            assert all(ticket.state == "waiting" for ticket in self.waiting)


PlacesMachine.TestCase.settings = examples(60)
TestPlacesMachine = PlacesMachine.TestCase


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
        ({"length": -1}, "length"),
        ({"per_tenant": 0}, "per_tenant"),
        ({"max_wait": -1.0}, "max_wait"),
        ({"max_wait": math.inf}, "max_wait"),
        ({"weights": {"acme": 0}}, "the weight of acme must be a number of at least 0.001 and at most 1000, not 0"),
        ({"weights": {"acme": True}}, "the weight of acme"),
        ({"weights": {"acme/search": 2}}, "'acme/search'"),
        ({"weights": {"": 2}}, "weights"),
    ],
)
def test_a_policy_that_cannot_be_right_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        QueuePolicy(**wrong)  # type: ignore[arg-type]
