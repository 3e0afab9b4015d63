"""What the codecs of all wires do alike with a body: put the caller's own fields in, write it, and read vectors."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any, cast

from planar.errors import InvalidRequestError, ProviderProtocolError
from planar.wire._json import as_list, dumps


def merge_extra(extra_body: Mapping[str, Any], name: str, body: dict[str, Any]) -> None:
    """Put the caller's own fields for this provider into the body: they come last and win.

    Raises:
        InvalidRequestError: They are no fields.
    """
    if name not in extra_body:
        return
    fields = extra_body[name]
    if not isinstance(fields, Mapping):
        raise InvalidRequestError(f"extra_body[{name!r}]: fields of the body are needed", param="extra_body")
    body.update(cast("Mapping[str, Any]", fields))


def written(body: dict[str, Any]) -> bytes:
    """The body as JSON.

    Raises:
        InvalidRequestError: Something in it cannot be written.
    """
    try:
        return dumps(body)
    except ValueError as error:
        raise InvalidRequestError(f"the request {error}", param="extra_body") from error


def vector(value: object, provider: str) -> tuple[float, ...]:
    """A list of numbers, or the base64 of little-endian 32-bit floats.

    Raises:
        ProviderProtocolError: It is neither.
    """
    try:
        if isinstance(value, str):
            data = base64.b64decode(value, validate=True)
            return struct.unpack(f"<{len(data) // 4}f", data)
        if isinstance(value, list):
            return tuple(float(number) for number in as_list(cast("object", value)))
    except (binascii.Error, struct.error, TypeError, ValueError) as error:
        raise ProviderProtocolError(f"the provider sent a vector that is none: {error}", provider=provider) from None
    raise ProviderProtocolError("the provider sent a vector that is none", provider=provider)
