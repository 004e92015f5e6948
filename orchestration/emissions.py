"""Emissions: Prefect's public events, as clients send them and as our own log gives rise to them.

What a client emits is kept as it came. What the server itself has to say is not kept a second
time: `emission_of` is a pure function of an event of the log.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias, assert_never

from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError, field, json

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.documents import Extras, accept, document, extras_field, make_ready, parse
from orchestration.identifiers import Id, tidy
from orchestration.refusals import Invalid

# --- events ---------------------------------------------------------------------------------------


class EmissionReceived(Event, frozen=True, tag="emission.received"):
    """A client told the world something. The emission is as it came."""

    emission: Raw


EmissionEvent: TypeAlias = EmissionReceived


class FeedTrimmed(Event, frozen=True, tag="feed.trimmed"):
    """The beginning of the feed is old enough to leave it. The log keeps what gave rise to it."""

    until: int
    """Log position of the newest emission that leaves."""


# --- commands -------------------------------------------------------------------------------------


class ReceiveEmission(Struct, frozen=True, kw_only=True):
    """Take note of a client's emission."""

    emission: Raw


EmissionCommand: TypeAlias = ReceiveEmission

# --- value ----------------------------------------------------------------------------------------

Resource: TypeAlias = dict[str, str]
"""Labels of a thing that an emission is about; `prefect.resource.id` is one of them."""


class Limits(Struct, frozen=True, kw_only=True):
    """How large an emission may be."""

    name_characters: int = 1_024
    labels_per_resource: int = 500
    related_resources: int = 100
    size_bytes: int = 1_500_000
    """Of its JSON."""


DEFAULT_LIMITS = Limits()


def _empty() -> Raw:
    return Raw(b"{}")


class Emission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happened to a resource, as `/events` shows it."""

    occurred: datetime
    event: str
    resource: Resource
    related: tuple[Resource, ...] = ()
    payload: Raw = field(default_factory=_empty)
    """A JSON object."""
    id: Id
    follows: Id | None = None
    received: datetime | UnsetType = UNSET
    """When the server got to know; unset in what a client sends."""
    extras: Extras = extras_field()

    def __post_init__(self) -> None:
        tidy(self, ("id", "follows"), ("occurred", "received"))


make_ready(Emission)


class Told(Struct, frozen=True, kw_only=True):
    """What an emission says that an event of the log gives rise to; the rest follows from that."""

    name: str
    resource: Resource
    related: tuple[Resource, ...] = ()
    payload: Mapping[str, Any] = {}
    follows: str | None = None


def read_emission(data: bytes | Raw, limits: Limits = DEFAULT_LIMITS) -> Emission:
    """What a client sent, with everything checked that Prefect checks.

    Raises `Invalid`, `msgspec.ValidationError` and, for what is not JSON, `msgspec.DecodeError` or
    `UnicodeDecodeError`.
    """
    sent = bytes(data)
    if len(sent) > limits.size_bytes:
        raise Invalid(f"An event may have {limits.size_bytes} bytes, this one has {len(sent)}")
    sent.decode()  # A payload is taken over unread: what is not text must not get any further.
    emission = _accepted(sent)
    if len(emission.event) > limits.name_characters:
        raise Invalid(
            f"The name of an event may have {limits.name_characters} characters", ("event",)
        )
    if len(emission.related) > limits.related_resources:
        raise Invalid(
            f"An event may name {limits.related_resources} related resources", ("related",)
        )
    _check_resource(emission.resource, ("resource",), limits)
    for place, related in enumerate(emission.related):
        _check_resource(related, ("related", place), limits)
        if not related.get("prefect.resource.role"):
            raise Invalid(
                "Related resources need a label prefect.resource.role that is not empty",
                ("related", place),
            )
    if bytes(emission.payload)[:1] != b"{":
        raise Invalid("The payload of an event is a JSON object", ("payload",))
    return emission


def _accepted(sent: bytes) -> Emission:
    """When it was received is the server's to say: whatever a client says of that is passed over,
    as Prefect does, be it a time or not."""
    try:
        return accept(Emission, sent)
    except (ValidationError, Invalid):
        said = _members(sent)
        if said.pop(_RECEIVED, None) is None:
            raise
    return accept(Emission, json.encode(said))


def _members(sent: bytes) -> dict[str, Raw]:
    """Of an object that can be read so far; none of anything else."""
    try:
        return json.decode(sent, type=dict[str, Raw])
    except (ValidationError, RecursionError):
        return {}


_RECEIVED = "received"


def _check_resource(resource: Resource, at: tuple[str | int, ...], limits: Limits) -> None:
    if len(resource) > limits.labels_per_resource:
        raise Invalid(f"A resource may have {limits.labels_per_resource} labels", at)
    if not resource.get("prefect.resource.id"):
        raise Invalid("Resources need a label prefect.resource.id that is not empty", at)


def as_sent(emission: Emission) -> Raw:
    """The form in which an emission goes into the log: `received` is the log's to say."""
    if emission.received is not UNSET:
        emission = Emission(
            occurred=emission.occurred,
            event=emission.event,
            resource=emission.resource,
            related=emission.related,
            payload=emission.payload,
            id=emission.id,
            follows=emission.follows,
            extras=emission.extras,
        )
    return Raw(document(emission))


# --- decide ---------------------------------------------------------------------------------------


def decide(command: EmissionCommand, emission: Emission | None) -> list[EmissionEvent]:
    """An emission is always taken note of."""
    match command:
        case ReceiveEmission(emission=sent):
            return [EmissionReceived(emission=sent)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(emission: Emission | None, event: EmissionEvent) -> Emission | None:
    """The last emission; emissions do not depend on each other, so nobody asks for it."""
    return parse(Emission, bytes(event.emission))


decider: Decider[EmissionCommand, Emission, EmissionEvent] = Decider(decide, evolve)
