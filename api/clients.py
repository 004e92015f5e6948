"""Which release of Prefect asks, by how its clients introduce themselves."""

import re

from api.http import Call

_CLIENT = re.compile(rb"prefect/(\d+)\.(\d+)\.(\d+)(?:[a-z.+0-9]+)? \(API \S+\)")


def client_version(call: Call) -> tuple[int, ...] | None:
    """Three numbers; None for whoever is no client of Prefect's."""
    told = _CLIENT.fullmatch(call.headers.get(b"user-agent", b""))
    return None if told is None else tuple(map(int, told.groups()))
