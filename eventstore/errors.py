"""What an event store can say no with."""


class EventStoreError(Exception):
    """Base of every error that this package raises on purpose."""


class VersionConflict(EventStoreError):
    """Somebody else appended to the stream since its value was loaded; decide again."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream!r} is at version {actual}, not {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class AlreadyRecorded(EventStoreError):
    """An event with this id is in the log: the command was carried out before."""

    def __init__(self, event_id: str, position: int) -> None:
        super().__init__(f"event {event_id} is already recorded at position {position}")
        self.event_id, self.position = event_id, position


class LeaseLost(EventStoreError):
    """Somebody else has taken over the work that the command belongs to; nothing was recorded."""

    def __init__(self, lease: str, term: int) -> None:
        super().__init__(
            f"term {term} of the lease {lease!r} is over: another process has taken it"
        )
        self.lease, self.term = lease, term


class UnknownEvent(EventStoreError):
    """The log holds a type or a version of a type that this release cannot read."""


class ContentionTimeout(EventStoreError):
    """A command was decided again too often because its stream never held still."""


class DatabaseUnavailable(EventStoreError):
    """The database cannot be reached or does not answer; the command may be sent again.

    Nothing was recorded, unless it is the subclass `eventstore.database.CommitUnknown`.
    """


class DatabaseBusy(DatabaseUnavailable):
    """Somebody else held the write lock for as long as a writer may wait: it waited enough."""


class OtherRelease(DatabaseUnavailable):
    """Another release works on the log, and this one may not write beside it; whoever sends the
    command again may reach a server that may."""


class NothingFolded(DatabaseUnavailable):
    """There is a log, and no read model that was ever folded from it: nothing can be read yet, and
    to say that something is not there would be wrong."""


class LogCorrupted(EventStoreError):
    """A position, a version or a hash in the log is not what it has to be."""


class LogReplaced(EventStoreError):
    """The log is not the one that was opened: it was erased or restored. Open it again."""


class Overloaded(EventStoreError):
    """More commands are waiting than the committer accepts; nothing was recorded, try again."""


class ReadOnly(EventStoreError):
    """The log may be read but not written: it was opened as a picture of the past."""
