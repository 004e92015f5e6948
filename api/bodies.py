"""The body of a request: read within bounds, and decoded as what the endpoint takes."""

import codecs
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_origin

import msgspec
from litestar.types import Receive
from msgspec import Struct

from api.errors import invalid_body, too_large
from api.http import JSON, B, Endpoint
from orchestration.documents import accept
from orchestration.refusals import Invalid

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Largest request body that is read."""
ITEMS_MAX = 50_000
"""Items of a body that is a list. In 10 MB there is room for millions of `{}`, which would take the
time that thousands of others wait for theirs."""
PASSED_OVER_BYTES_MAX = 1024 * 1024
"""Of a body that nobody wants no more is read; who sends more may lose the answer with it."""
FEW_ITEMS_BYTES_MAX = 2 * ITEMS_MAX
"""A shorter body cannot have as many: each takes two bytes."""
NULLS_BYTES_MAX = 256 * 1024
"""Longer bodies are not looked through for nulls: nobody who means well sends them, and what is in
them may be millions of values."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The whole request body. Raises HttpError 413 beyond `BODY_BYTES_MAX`."""
    # Granian learns only by looking again that no more comes, which is one more way to its threads
    # and back: 35 to 60 µs of processor time. Who told the length beforehand has told that as well.
    length = None if b"transfer-encoding" in headers else headers.get(b"content-length")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")  # type: ignore[assignment]
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX)
        if not message.get("more_body") or length == b"%d" % size:
            return part if len(parts) == 1 else b"".join(parts)


async def pass_over(receive: Receive, headers: Mapping[bytes, bytes]) -> None:
    """Read a body that nobody wants, if there is one, before it is answered.

    A connection on which an answer overtakes the body is closed, and what of the body comes after
    that has the client's machine throw the answer away, if it has not been read by then
    (RFC 9112, 9.6).
    """
    length = headers.get(b"content-length", b"0")
    if length == b"0" and b"transfer-encoding" not in headers:
        return
    size = 0
    while size < PASSED_OVER_BYTES_MAX:
        message = await receive()
        part: bytes = message.get("body", b"")  # type: ignore[assignment]
        size += len(part)
        if not message.get("more_body") or length == b"%d" % size:
            return


def says_json(content_type: bytes) -> bool:
    """Whether a body of this content type may be read as JSON.

    Web pages may send plain text and forms to servers of others without asking; JSON they may not.
    """
    if content_type == JSON:
        return True
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type in (b"", JSON) or media_type.endswith(b"+json")


def decoded(endpoint: Endpoint[B], body: bytes) -> B:
    """The request body as the endpoint's type. Raises HttpError 422 that names what is wrong."""
    kind = endpoint.body
    assert kind is not None
    body = body.removeprefix(codecs.BOM_UTF8)  # Editors and shells of Windows put it there.
    if endpoint.body_optional and body in (b"", b"null"):
        body = b"{}" if isinstance(kind, type) else b"null"
    try:
        if len(body) > FEW_ITEMS_BYTES_MAX and get_origin(kind) in (list, tuple):
            _check_items(body)
        return accept(kind, body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (endpoint.body_optional or endpoint.by_field) and len(body) <= NULLS_BYTES_MAX:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                return accept(kind, _without_nulls(kind, body))
        raise invalid_body(error, body, kind, by_field=endpoint.by_field) from None


def _without_nulls(kind: Any, body: bytes) -> bytes:
    """The body without the fields that are null and may be left out: where Prefect reads each
    field of a body by itself, null is not given."""
    given = msgspec.json.decode(body)
    known = isinstance(kind, type) and issubclass(kind, Struct)
    if not known or not isinstance(given, dict):
        return body
    needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    return msgspec.json.encode(
        {name: value for name, value in given.items() if value is not None or name in needed}
    )


def _check_items(body: bytes) -> None:
    """Raises Invalid for a list that is too long, and what the decoder raises for what is none."""
    try:
        items = len(msgspec.json.decode(body, type=list[msgspec.Raw]))
    except RecursionError:
        return  # Its depth is refused where its content is read.
    if items > ITEMS_MAX:
        raise Invalid(f"A request may have a list of {ITEMS_MAX} items; send several")
