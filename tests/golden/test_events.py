"""Every event that was ever written can be read, for ever.

One stored file per type and version; a file is never changed or removed once it was released.
"""

from pathlib import Path

import msgspec
import pytest

from eventstore.codec import encode
from projections.catalogue import CODEC

FILES = sorted((Path(__file__).parent / "events").glob("*.json"))


def _type_and_version(file: Path) -> tuple[str, int]:
    name, _, version = file.stem.rpartition(".v")
    return name, int(version)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_stored_event_is_still_read(file: Path) -> None:
    name, version = _type_and_version(file)
    event = CODEC.decode(name, version, file.read_bytes())
    assert event.__struct_config__.tag == name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_event_of_the_current_version_is_stored_as_it_was(file: Path) -> None:
    name, version = _type_and_version(file)
    if version < CODEC.types[name].type_version:
        pytest.skip("read through an upcaster, written in a newer form")
    stored = msgspec.json.decode(file.read_bytes())
    written = msgspec.json.decode(encode(CODEC.decode(name, version, file.read_bytes())))
    assert written == stored


def test_every_event_type_has_a_stored_example_of_its_current_version() -> None:
    stored = {_type_and_version(file) for file in FILES}
    current = {(name, event.type_version) for name, event in CODEC.types.items()}
    assert current <= stored
