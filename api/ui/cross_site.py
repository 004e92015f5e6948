"""Which requests may act: those that a page of this server sent.

Browsers send the password for this server along with whatever any page makes them send here. So a
request that changes something has to show where it comes from, which a page cannot forge:

1. `Sec-Fetch-Site`, where the browser says it (https, localhost), has to be `same-origin`.
2. Otherwise `Origin`, which every browser sends with a POST, has to name the host that was asked:
   `Host`, or what a proxy says that was, `X-Forwarded-Host`.
3. Without either it is no browser. Programs have the API.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit


def from_own_page(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request with these headers (lower-case names) was sent by one of our pages."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin")
    if origin is None:
        return False
    asked = {
        headers.get(b"host", b""),
        headers.get(b"x-forwarded-host", b"").partition(b",")[0].strip(),
    } - {b""}
    try:
        return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") in asked
    except ValueError:
        return False
