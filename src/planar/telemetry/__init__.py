"""What is told about requests to whoever watches."""

from planar.telemetry._null import NullTelemetry

__all__ = ["NullTelemetry"]
