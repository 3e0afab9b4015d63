"""What is told about requests to whoever watches."""

from planar.telemetry._guard import Guard, guarded
from planar.telemetry._null import NOBODY, NullTelemetry

__all__ = ["NOBODY", "Guard", "NullTelemetry", "guarded"]
