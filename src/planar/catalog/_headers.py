"""How large a picture is and how long a sound, as the first bytes of each say. Nothing is unpacked."""

from __future__ import annotations

import struct

from planar.types import Audio

_BYTES_PER_SECOND = {"wav": 32_000, "pcm16": 48_000, "flac": 32_000}
_COMPRESSED = 16_000
"""128 kbit/s, as most mp3 and aac."""
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SEGMENTS = 1_000


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, JPEG or WebP picture; `None` where it does not say."""
    try:
        found = _size(data)
    except (struct.error, IndexError):
        return None
    return found if found is not None and min(found) > 0 else None


def _size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", data, 6)
    elif data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    else:
        return None
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Segment by segment to the one that begins a frame."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if kind == 0xFF:  # padding
            at += 1
        elif kind in _STARTS_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def seconds_of(sound: Audio) -> float:
    """How long a sound probably is: a WAV file says it, of others it follows from their size."""
    data = sound.data
    rate = _BYTES_PER_SECOND.get(sound.format, _COMPRESSED)
    if data.startswith(b"RIFF") and data[8:16] == b"WAVEfmt " and len(data) >= 32:
        rate = struct.unpack_from("<I", data, 28)[0] or rate
    return len(data) / rate
