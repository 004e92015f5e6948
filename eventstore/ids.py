"""Time-ordered ids, UUID version 7 (RFC 9562): new rows go to the right edge of an index."""

import os
import time


def new_id() -> str:
    """A new UUIDv7, dashed and lower case."""
    milliseconds = time.time_ns() // 1_000_000
    entropy = int.from_bytes(os.urandom(10), "big")
    value = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (entropy >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | entropy & 0x3FFF_FFFF_FFFF_FFFF
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
