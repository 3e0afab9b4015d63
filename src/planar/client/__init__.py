"""The client and its streams: the only room that knows all the others."""

from planar.client._client import Planar
from planar.client._options import CallOptions
from planar.client._stream import Stream

__all__ = ["CallOptions", "Planar", "Stream"]
