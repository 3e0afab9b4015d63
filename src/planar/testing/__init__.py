"""For the tests of applications and of other people's providers, routers and stores."""

from planar.testing.clock import FakeClock
from planar.testing.scripted import Received, ScriptedProvider, Step, reply
from planar.testing.virtual import VirtualLoop, run_virtual, virtual_backend

__all__ = [
    "FakeClock",
    "Received",
    "ScriptedProvider",
    "Step",
    "VirtualLoop",
    "reply",
    "run_virtual",
    "virtual_backend",
]
