"""Settings of the event feed."""

from datetime import timedelta
from typing import Annotated

from api.setting import Setting
from api.settings_of_database import DatabaseSettings


class EventSettings(DatabaseSettings, frozen=True, kw_only=True):
    """What clients may send as events, how long they are kept, and who may follow them."""

    events_stream_out_enabled: Annotated[
        bool,
        Setting(
            doc="Let clients follow events through the websocket `/api/events/out`.",
            at="server.events.stream_out_enabled",
            legacy=("PREFECT_API_EVENTS_STREAM_OUT_ENABLED",),
        ),
    ] = True
    events_retention_period: Annotated[
        timedelta,
        Setting(
            doc="How long events stay in the event feed. The log, which they are made from, keeps "
            "everything.",
            at="server.events.retention_period",
            legacy=("PREFECT_EVENTS_RETENTION_PERIOD",),
        ),
    ] = timedelta(days=7)
    events_maximum_websocket_backfill: Annotated[
        timedelta,
        Setting(
            doc="How far back a new follower of `/api/events/out` may start.",
            at="server.events.maximum_websocket_backfill",
            legacy=("PREFECT_EVENTS_MAXIMUM_WEBSOCKET_BACKFILL",),
        ),
    ] = timedelta(minutes=15)
    events_websocket_backfill_page_size: Annotated[
        int,
        Setting(
            doc="Events read at a time while a new follower catches up.",
            at="server.events.websocket_backfill_page_size",
            legacy=("PREFECT_EVENTS_WEBSOCKET_BACKFILL_PAGE_SIZE",),
            least=1,
        ),
    ] = 250
    events_maximum_size_bytes: Annotated[
        int,
        Setting(
            doc="Largest event, as JSON, that a client may send.",
            at="server.events.maximum_size_bytes",
            legacy=("PREFECT_EVENTS_MAXIMUM_SIZE_BYTES",),
            unit="bytes",
            least=1,
        ),
    ] = 1_500_000
    events_maximum_labels_per_resource: Annotated[
        int,
        Setting(
            doc="Most labels on a resource of an event.",
            at="server.events.maximum_labels_per_resource",
            legacy=("PREFECT_EVENTS_MAXIMUM_LABELS_PER_RESOURCE",),
            least=1,
        ),
    ] = 500
    events_maximum_related_resources: Annotated[
        int,
        Setting(
            doc="Most related resources of an event.",
            at="server.events.maximum_related_resources",
            legacy=("PREFECT_EVENTS_MAXIMUM_RELATED_RESOURCES",),
            least=0,
        ),
    ] = 100
    events_maximum_event_name_length: Annotated[
        int,
        Setting(
            doc="Longest name of an event.",
            at="server.events.maximum_event_name_length",
            unit="characters",
            least=1,
        ),
    ] = 1024
