"""A refusal that is worded from a server's numbers is the one that the engine gives."""

from __future__ import annotations

import pytest

from planar.errors import QuotaExceededError
from planar.quotas._cells import Cell
from planar.quotas._engine import QuotaEngine
from planar.quotas._rates import RateCell, RollingCell
from planar.quotas._snapshots import (
    LiveLease,
    rate_cell,
    refuse_extension,
    refuse_reservation,
    rolling_cell,
    window_cell,
)
from planar.types import Amount, Lease, LeaseId, Limit, TenantPath

NOW = 1_774_700_000_000_000
LEAF = TenantPath("acme/search/alice")
LIMITS = {
    "request rate": Limit.requests(1),
    "token rate": Limit.tokens_per_minute(100),
    "concurrency": Limit.concurrency(1),
    "share of concurrency": Limit.concurrency(2, share=50),
    "day": Limit.tokens(100, per="day", tz="Asia/Tokyo"),
    "share of a total": Limit.usd("0.0000003", per="total", share=30),
    "rolling": Limit.rolling(100, dimension="tokens", seconds=90),
    "rolling requests": Limit.rolling(1, dimension="requests", seconds=7),
}
HOLD = Amount(input_tokens=30, output_tokens=30, nano_usd=60)


def copied(cell: Cell) -> Cell:
    """As if it had come over a wire."""
    if isinstance(cell, RateCell):
        return rate_cell(cell.scope, cell.limit, level=cell.level, at=cell.at)
    if isinstance(cell, RollingCell):
        return rolling_cell(
            cell.scope, cell.limit, used=cell.used, held=cell.held, newest=cell._newest, buckets=cell._buckets
        )
    span = cell.span
    return window_cell(
        cell.scope,
        cell.limit,
        start=span.start,
        end=span.end,
        used=span.used,
        held=span.held,
        alerted=span.alerted,
        children=span.children,
    )


def cells_of(engine: QuotaEngine) -> list[Cell]:
    return [copied(cell) for scope in LEAF.scopes for cell in engine._limits.cells(scope)]


def lives(engine: QuotaEngine, *, besides: Lease | None = None) -> list[LiveLease]:
    records = [each for each in engine._leases.within("acme") if besides is None or each.id != besides.id]
    return [
        LiveLease(
            tenant=each.path.tenant,
            expires=each.expires,
            reserved_at=each.reserved_at,
            dispatched=each.dispatched,
            costs=each.costs,
        )
        for each in sorted(records, key=lambda each: each.expires)
    ]


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> QuotaEngine:
    scope, limit = request.param
    engine = QuotaEngine()
    engine.set_limits(scope, [limit], now=NOW)
    return engine


each_limit_of_each_scope = pytest.mark.parametrize(
    "engine", [(scope, limit) for scope in LEAF.scopes for limit in LIMITS.values()], indirect=True
)


@each_limit_of_each_scope
def test_a_refused_reservation_is_worded_as_by_the_engine(engine: QuotaEngine) -> None:
    for number, ttl in enumerate((60, 30)):
        try:
            engine.reserve(LeaseId(f"{number}"), LEAF, hold=HOLD, ttl=ttl, deployment="x:y", now=NOW + number)
        except QuotaExceededError as error:
            refusal = error
            break
    else:
        return  # a share of its own budget bounds nobody

    with pytest.raises(QuotaExceededError) as copy:
        refuse_reservation(LEAF, cells_of(engine), (1, 30, 30, 60, 60, 1), holds=lives(engine), now=NOW + 1)

    assert copy.value.__dict__ == refusal.__dict__


@each_limit_of_each_scope
def test_a_refused_extension_is_worded_as_by_the_engine(engine: QuotaEngine) -> None:
    lease = engine.reserve(LeaseId("own"), LEAF, hold=HOLD, ttl=60, deployment="x:y", now=NOW)
    more = Amount(input_tokens=50, nano_usd=250)
    try:
        engine.extend(lease, more=more, ttl=60, now=NOW + 5)
    except QuotaExceededError as error:
        refusal = error
    else:
        return  # requests and places are not extended

    with pytest.raises(QuotaExceededError) as copy:
        refuse_extension(
            LEAF,
            cells_of(engine),
            (0, 50, 0, 50, 250, 0),
            own=(1, 30, 30, 60, 60, 1),
            holds=lives(engine, besides=lease),
            now=NOW + 5,
        )

    assert copy.value.__dict__ == refusal.__dict__
