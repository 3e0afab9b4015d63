"""Ledger rows and limits of every shape, for properties."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from planar.types import Alert, LeaseId, LedgerEntry, Limit, Price, TenantPath, Usage

TENANTS = ("acme", "acme/search", "acme/search/alice", "acme/chat", "acme-2", "globex/a@b.example", "0/1_")
DEPLOYMENTS = ("openai:x", "anthropic:y", "local")
COUNTS = st.integers(0, 10**6) | st.integers(0, 2**63)
MONEY = st.none() | st.just(0) | st.integers(-(2**70), 2**70)
KNOWN = st.none() | COUNTS
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(max_size=20) | st.sampled_from(("=1+1", "+1", "-1", "@x", "\t=1", "\r\n", '"', "a,b", " =1", "\ud800"))


def usages() -> st.SearchStrategy[Usage]:
    return st.builds(
        Usage,
        input_tokens=KNOWN,
        output_tokens=KNOWN,
        cached_input_tokens=KNOWN,
        raw=st.none() | st.dictionaries(st.text(), JSON_VALUES, max_size=3),
        estimated=st.booleans(),
    )


def prices() -> st.SearchStrategy[Price]:
    return st.builds(Price, input=COUNTS, output=COUNTS, cached_input=KNOWN, call=COUNTS, source=TEXTS)


def alerts() -> st.SearchStrategy[Alert]:
    return st.builds(
        Alert,
        scope=st.sampled_from(TENANTS),
        dimension=st.sampled_from(("tokens", "nano_usd")),
        window=st.sampled_from(("day", "total")),
        amount=COUNTS,
        since=st.none() | st.floats(0, 4e9),
        percent=st.integers(1, 1000),
    )


def entries(
    *, times: st.SearchStrategy[float] | None = None, money: st.SearchStrategy[int | None] = MONEY
) -> st.SearchStrategy[LedgerEntry]:
    return st.builds(
        LedgerEntry,
        lease_id=st.text(min_size=1, max_size=12).map(LeaseId),
        kind=st.sampled_from(("settled", "expired", "correction", "refund")),
        tenant=st.sampled_from(TENANTS).map(TenantPath),
        deployment=st.sampled_from(DEPLOYMENTS) | TEXTS,
        input_tokens=COUNTS | COUNTS.map(lambda count: -count),
        output_tokens=COUNTS | COUNTS.map(lambda count: -count),
        nano_usd=money,
        time=st.floats(0, 4e9) if times is None else times,
        usage=st.none() | usages(),
        price=st.none() | prices(),
        flags=st.frozensets(st.sampled_from(("estimated", "suspect", "cut", "failed")) | st.text(max_size=5)),
        reason=TEXTS,
        metadata=st.dictionaries(TEXTS, TEXTS, max_size=4),
        alerts=st.lists(alerts(), max_size=2).map(tuple),
    )


def limits() -> st.SearchStrategy[Limit]:
    return st.one_of(
        plain_limits(),
        st.builds(
            Limit.tokens,
            st.integers(0, 2**53),
            per=st.sampled_from(("day", "week", "month", "total")),
            overage=st.sampled_from(("stop", "warn", "pay")),
            alerts=st.frozensets(st.integers(1, 1000), max_size=4).map(sorted),
        ),
        st.builds(Limit.concurrency, st.integers(0, 2**53), share=st.none() | st.integers(1, 100)),
    )


def plain_limits() -> st.SearchStrategy[Limit]:
    return st.builds(
        Limit,
        dimension=st.sampled_from(("requests", "input_tokens", "output_tokens", "tokens", "nano_usd", "concurrency")),
        amount=st.integers(1, 2**53),
        window=st.sampled_from(("rate", "day", "week", "month", "rolling", "total", "none")),
        seconds=st.integers(1, 10**4),
        burst=st.integers(1, 10**5),
        tz=st.sampled_from(("UTC", "Europe/Berlin")),
    )
