"""The endpoints, and the ways in which twenty minutes may go."""

from __future__ import annotations

from dataclasses import dataclass, replace

from planar.types import Price

from .upstreams import Endpoint, Fault, Kind


def _endpoint(
    name: str, region: str, prices: tuple[str, str], ttft: float, prefill: float, speed: float, slots: int
) -> Endpoint:
    price = Price.per_million(input=prices[0], output=prices[1])
    return Endpoint(
        name=name, region=region, price=price, ttft=ttft, spread=0.4, prefill=prefill, speed=speed, slots=slots
    )


# Invented, in the range of what vendors ask for one open model of 70 billion parameters, and of how fast they are.
ENDPOINTS = (
    _endpoint("atlas", "us", ("0.60", "0.60"), 0.45, 6000, 70, 80),
    _endpoint("brisk", "us", ("0.59", "0.79"), 0.22, 12000, 220, 24),
    _endpoint("cedar", "eu", ("0.38", "0.40"), 0.60, 5000, 45, 60),
    _endpoint("dime", "us", ("0.12", "0.30"), 0.90, 3000, 32, 60),
    _endpoint("ember", "eu", ("0.88", "0.88"), 0.35, 8000, 90, 80),
    _endpoint("fjord", "eu", ("0.23", "0.40"), 0.80, 4000, 35, 60),
    _endpoint("grove", "us", ("0.23", "0.40"), 0.65, 4500, 50, 60),
)


@dataclass(frozen=True, slots=True)
class World:
    """One scenario: the endpoints, what goes wrong, and which part of the hour is played, in seconds."""

    name: str
    endpoints: tuple[Endpoint, ...]
    faults: tuple[Fault, ...] = ()
    resumes: bool = False
    begin: float = 1200.0
    seconds: float = 1200.0


_INCIDENT: tuple[tuple[Kind, float], ...] = (
    ("down", 45.0),
    ("hang", 45.0),
    ("flaky", 30.0),
    ("slow errors", 20.0),
    ("drip", 30.0),
)


def _incidents(order: tuple[str, ...], *, first: float, every: float) -> tuple[Fault, ...]:
    """Each endpoint in turn goes through everything that can go wrong, every other one with the hang first."""
    faults: list[Fault] = []
    for turn, name in enumerate(order):
        at = first + every * turn
        steps = _INCIDENT if turn % 2 else (_INCIDENT[1], _INCIDENT[0], *_INCIDENT[2:])
        for kind, seconds in steps:
            faults.append(Fault(name, kind, at, at + seconds))
            at += seconds
    return tuple(faults)


def _limited(endpoint: Endpoint) -> Endpoint:
    limits = {"dime": 60, "fjord": 45, "grove": 60, "brisk": 90, "cedar": 60}
    return replace(endpoint, per_minute=limits.get(endpoint.name))


def _cutting(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, cut={"dime": 0.06, "brisk": 0.04, "grove": 0.02}.get(endpoint.name, 0.002))


def _elsewhere() -> World:
    """Nothing was tuned on this one: other vendors, fewer, slower and steadier, another part of the hour."""
    endpoints = (
        _endpoint("atlas", "eu", ("0.15", "0.60"), 1.2, 2500, 60, 40),
        _endpoint("brisk", "us", ("2.50", "10.00"), 0.6, 9000, 110, 120),
        _endpoint("cedar", "eu", ("1.00", "5.00"), 0.9, 6000, 90, 50),
        _endpoint("dime", "us", ("0.30", "2.50"), 0.5, 8000, 160, 30),
        _endpoint("fjord", "us", ("0.27", "1.10"), 1.6, 3000, 30, 80),
    )
    steps: tuple[tuple[str, Kind, float, float], ...] = (
        ("dime", "hang", 90, 300),
        ("atlas", "slow errors", 260, 400),
        ("fjord", "flaky", 380, 700),
        ("cedar", "down", 520, 640),
        ("dime", "drip", 600, 720),
        ("atlas", "hang", 690, 780),
        ("brisk", "hang", 800, 900),
        ("brisk", "down", 900, 960),
        ("fjord", "down", 930, 1100),
    )
    steady = tuple(replace(endpoint, spread=0.25) for endpoint in endpoints)
    return World("another outage", steady, tuple(Fault(*step) for step in steps), begin=0.0)


_FIRST = _incidents(("brisk", "grove", "cedar", "atlas"), first=120, every=250)
_SECOND = _incidents(("dime", "fjord", "ember"), first=200, every=300)
WORLDS = (
    World("calm", ENDPOINTS),
    World("outage", ENDPOINTS, (*_FIRST, *_SECOND)),
    World("limits", tuple(map(_limited, ENDPOINTS)), seconds=600.0),
    World("cuts", tuple(map(_cutting, ENDPOINTS)), resumes=True, seconds=600.0),
    _elsewhere(),
)
