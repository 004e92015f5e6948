"""Events to JSON text and back, by stored type name and version.

A stored (type, version) is readable for ever. When the shape of an event changes in a way that a
default cannot bridge, its class gets a higher `type_version` and the codec an upcaster from the old
one: a pure function from the old JSON object to the next version's.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from eventstore.database import Row, Table
from eventstore.errors import UnknownEvent
from eventstore.events import Event, Recorded, type_name

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

EVENTS = Table(
    "events",
    {
        "position": "bigint",
        "stream": "text",
        "version": "bigint",
        "type": "text",
        "type_version": "bigint",
        "recorded_at": "bigint",
        "event_id": "text",
        "actor": "text",
        "correlation": "text",
        "causation": "bigint",
        "data": "json",
        "hash": "bytes",
    },
    key=("position",),
)
"""The log, a row an event. `data` is the exact JSON text that was recorded."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = msgspec.json.Encoder()


def encode(event: Event) -> str:
    """The JSON text in which `event` is stored.

    Raises UnicodeEncodeError for text that no JSON document can carry (lone surrogates).
    """
    return _encoder.encode(event).decode()


class Codec:
    """Reads every event type of one application."""

    def __init__(
        self,
        types: Iterable[type[Event]],
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
    ) -> None:
        self.types: dict[str, type[Event]] = {}
        for event in types:
            name = type_name(event)
            if self.types.setdefault(name, event) is not event:
                raise ValueError(f"two event classes are stored as {name!r}")
        self._upcasters = dict(upcasters or {})
        for name, event in self.types.items():
            for version in range(1, event.type_version):
                if (name, version) not in self._upcasters:
                    raise ValueError(f"no upcaster from version {version} of {name!r}")
        self._decoders = {name: msgspec.json.Decoder(event) for name, event in self.types.items()}

    def decode(self, name: str, version: int, data: str | bytes) -> Event:
        """The event that was stored as `data` under this type name and version.

        Raises UnknownEvent for a type or version from a newer release, or data that is damaged or
        nested too deeply to be read.
        """
        event = self.types.get(name)
        if event is None or not 1 <= version <= event.type_version:
            raise UnknownEvent(
                f"this release cannot read event type {name!r} version {version}; "
                "it was written by a newer one: upgrade before writing or rebuilding"
            )
        try:
            if version < event.type_version:
                content = self._upcast(event, name, version, data)
                return msgspec.convert(content, event, str_keys=True)
            return self._decoders[name].decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
            raise UnknownEvent(f"stored event of type {name!r} is not readable: {error}") from error

    def _upcast(
        self, event: type[Event], name: str, version: int, data: str | bytes
    ) -> dict[str, Any]:
        content = msgspec.json.decode(data, type=dict[str, Any])
        for step in range(version, event.type_version):
            content = self._upcasters[name, step](content)
        return content

    def recorded(self, row: Row) -> Recorded[Any]:
        """The envelope and event of one row of `EVENTS`. Raises UnknownEvent, with the position."""
        try:
            event = self.decode(row[3], row[4], row[10])
        except UnknownEvent as error:
            raise UnknownEvent(f"event {row[0]} of the log: {error}") from error
        # Positional: for every event that is read, and a seventh of the time.
        return Recorded(
            row[0],
            row[1],
            row[2],
            event,
            from_microseconds(row[5]),
            row[6],
            row[7],
            row[8],
            row[9],
        )


def from_microseconds(microseconds: int) -> datetime:
    """UTC time from microseconds since 1970, exactly."""
    return _EPOCH + timedelta(0, 0, microseconds)  # By place: half the time.


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time, exactly."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
