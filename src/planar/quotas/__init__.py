"""How much each tenant may use: limits, leases against them, and the book of what was spent.

Every store keeps the same promises, those of `planar.protocols.QuotaStore`. `MemoryQuotaStore` is the model of them
all: its engine, a state machine without I/O, says what the others must decide.
"""

from planar.quotas._urls import open_store
from planar.quotas.memory import MemoryQuotaStore

__all__ = ["MemoryQuotaStore", "open_store"]
