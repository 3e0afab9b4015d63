"""What is told about requests to whoever watches."""

from planar.telemetry._null import NOBODY, NullTelemetry

__all__ = ["NOBODY", "NullTelemetry"]
