"""How large a JSON schema may be that values are checked by."""

from typing import Any

from msgspec import json

SCHEMA_BYTES_MAX = 256 * 1024
"""Of its JSON; to look through one as large takes more than a second."""


def oversized(schema: Any) -> str | None:
    """What to say of a schema that is too large; None for any other."""
    size = len(json.encode(schema))
    if size <= SCHEMA_BYTES_MAX:
        return None
    return f"A schema may have {SCHEMA_BYTES_MAX:,} bytes of JSON; this one has {size:,}"
