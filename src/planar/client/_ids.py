"""Ids that sort by the time they were made."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A version 7 UUID (RFC 9562, section 5.7): milliseconds since the epoch, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = os.urandom(10)
    digits = random.hex()
    variant = "89ab"[random[9] & 3]  # the tenth byte is for these two bits alone
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}"
