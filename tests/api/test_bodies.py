"""How the body of a request is read from the HTTP server, part by part."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from api import bodies
from api.bodies import read_body
from api.errors import HttpError


def _parts(*parts: bytes) -> Callable[[], Any]:
    """A `receive` as granian's: only after the last part it says that there is none."""
    left = [*parts, b""]

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    return receive


def _once(*parts: bytes) -> Callable[[], Any]:
    """The same for whoever may not ask again after the last part."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        assert left, "nobody has to ask for more than was told to come"
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    return receive


@pytest.mark.parametrize("parts", [(b"{}",), (b"[1,", b"2]"), (b"[", b"", b"1,2]")])
async def test_what_a_body_consists_of_by_its_length_is_not_asked_for_again(
    parts: tuple[bytes, ...],
) -> None:
    whole = b"".join(parts)
    length = str(len(whole)).encode()
    assert await read_body(_once(*parts), {b"content-length": length}) == whole


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"transfer-encoding": b"chunked"},
        {b"transfer-encoding": b"chunked", b"content-length": b"3"},
        {b"content-length": b"006"},
    ],
)
async def test_a_body_of_another_or_no_length_is_read_to_its_end(
    headers: Mapping[bytes, bytes],
) -> None:
    assert await read_body(_parts(b"[1,", b"2]\n"), headers) == b"[1,2]\n"


async def test_a_body_that_ends_before_its_length_is_what_came() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert await read_body(gone, {b"content-length": b"5"}) == b""


async def test_a_body_is_refused_as_soon_as_it_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES_MAX", 4)
    with pytest.raises(HttpError) as refused:
        await read_body(_once(b"[1,", b"2,"), {b"content-length": b"999"})
    assert refused.value.status == 413
