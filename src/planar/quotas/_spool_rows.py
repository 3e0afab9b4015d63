"""What could not be written in the store, as lines of JSON.

A line has what the ledger would have of the call: who, how much, at which price, and its metadata. Prompt, answer and
the provider's own object with the counts are not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from planar.errors import StoreError
from planar.quotas._codec import from_dict, from_json, to_dict, to_json
from planar.types import Charge, Headroom, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A verb that waits for the store, or the word that those of a lease wait no longer (`done`)."""

    kind: Literal["dispatched", "settle", "release", "done"]
    lease: Lease
    charge: Charge | None = None


def encode(row: Row) -> bytes:
    """A row as a line, its end included."""
    lease, charge = replace(row.lease, headroom=Headroom()), row.charge
    if charge is not None and charge.usage is not None and charge.usage.raw is not None:
        charge = replace(charge, usage=replace(charge.usage, raw=None))
    return to_json(to_dict(Row(kind=row.kind, lease=lease, charge=charge))).encode() + b"\n"


def decode(line: bytes) -> Row:
    """The row of a line.

    Raises:
        StoreError: It is no such line.
    """
    row = from_dict(Row, from_json(line))
    if (row.charge is None) is (row.kind == "settle"):
        raise StoreError(f"what was stored is not a Row: {row.kind} has a charge that it should not, or none")
    return row
