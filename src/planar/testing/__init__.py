"""For the tests of applications and of other people's providers, routers, stores and telemetry.

The contract suites need pytest, and the router's needs hypothesis. They, and what brings sockets, threads and event
loops along, are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planar.testing.clock import FakeClock
from planar.testing.scripted import Received, ScriptedProvider, Step, pause, reply

if TYPE_CHECKING:
    from planar.testing.fault_server import FaultServer, SeenRequest
    from planar.testing.faults import FAULTS, Fault
    from planar.testing.faulty_store import FaultyQuotaStore
    from planar.testing.providers import ProviderContract
    from planar.testing.quotas import QuotaStoreContract
    from planar.testing.routers import RouterContract
    from planar.testing.splits import SplitContract
    from planar.testing.telemetry import TelemetryContract
    from planar.testing.virtual import VirtualLoop, run_virtual, virtual_backend

__all__ = [
    "FAULTS",
    "FakeClock",
    "Fault",
    "FaultServer",
    "FaultyQuotaStore",
    "ProviderContract",
    "QuotaStoreContract",
    "Received",
    "RouterContract",
    "ScriptedProvider",
    "SeenRequest",
    "SplitContract",
    "Step",
    "TelemetryContract",
    "VirtualLoop",
    "pause",
    "reply",
    "run_virtual",
    "virtual_backend",
]

_HOMES = {
    "FAULTS": "planar.testing.faults",
    "Fault": "planar.testing.faults",
    "FaultServer": "planar.testing.fault_server",
    "FaultyQuotaStore": "planar.testing.faulty_store",
    "ProviderContract": "planar.testing.providers",
    "QuotaStoreContract": "planar.testing.quotas",
    "RouterContract": "planar.testing.routers",
    "SeenRequest": "planar.testing.fault_server",
    "SplitContract": "planar.testing.splits",
    "TelemetryContract": "planar.testing.telemetry",
    "VirtualLoop": "planar.testing.virtual",
    "run_virtual": "planar.testing.virtual",
    "virtual_backend": "planar.testing.virtual",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'planar.testing' has no attribute {name!r}")
    value = getattr(__import__(home, fromlist=[name]), name)
    globals()[name] = value
    return value
