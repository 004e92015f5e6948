"""What the filter bar above runs holds, in an address and in the filter language of the API."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from api.ui.page import Visit
from api.ui.query import CHOICES_MAX, TEXT_CHARACTERS_MAX, Query
from orchestration.identifiers import utc
from orchestration.refusals import Invalid
from orchestration.states import STATE_TYPES, StateType
from projections import deployment_pages, flow_pages, run_pages
from projections.criteria import Ids, StateTypes, Tags, Text, Time
from projections.filters import (
    Filters,
    FlowFilter,
    FlowRunFilter,
    State,
    WorkPoolFilter,
)

RANGES = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""Windows that end now, by the parameter that asks for them."""
STATE_NAMES = ("Late", "AwaitingRetry", "Retrying", "AwaitingConcurrencySlot", "TimedOut")
"""Names beside those of the types that people look for."""
DEPLOYMENTS_MAX = 200
"""Deployments that a part of a name stands for."""

ORDERS = {
    "": "START_TIME_DESC",
    "oldest": "START_TIME_ASC",
    "name": "NAME_ASC",
    "-name": "NAME_DESC",
}
"""The orders of the list by their parameter."""


class Asked(Struct, frozen=True):
    """What the filter bar holds: everything the list's address says."""

    states: Sequence[StateType]
    names: Sequence[str]
    flow: str
    """Part of its name, or its id."""
    deployment: str
    """Part of its name or its flow's, or its id."""
    pool: str
    text: str
    tags: Sequence[str]
    range: str
    since: datetime | None
    until: datetime | None
    no_subflows: bool
    sort: str

    @property
    def anything(self) -> bool:
        """Whether anything is left out of the list."""
        return bool(
            self.states
            or self.names
            or self.flow
            or self.deployment
            or self.pool
            or self.text
            or self.tags
            or self.range
            or self.since
            or self.until
            or self.no_subflows
        )


def asked(query: Query) -> Asked:
    """The filters of an address. Values that mean nothing are left out."""
    return Asked(
        states=query.choices("state", STATE_TYPES),
        names=[name[:TEXT_CHARACTERS_MAX] for name in query.all("name")[:CHOICES_MAX]],
        flow=query.text("flow"),
        deployment=query.text("deployment"),
        pool=query.text("pool"),
        text=query.text("q"),
        tags=query.texts("tag"),
        range=query.choice("range", RANGES),
        since=_moment(query.one("since")),
        until=_moment(query.one("until")),
        no_subflows=query.one("subflows") == "no",
        sort=query.choice("sort", ORDERS),
    )


def _moment(text: str) -> datetime | None:
    try:
        return utc(datetime.fromisoformat(text)) if text else None
    except (ValueError, OverflowError, Invalid):
        return None


def filters(asked: Asked, now: datetime) -> Filters:
    """The same in the filter language of the API, but for the flow and the deployment: these have
    to be looked up."""
    since = asked.since
    if asked.range:
        since = max(now - RANGES[asked.range], since) if since else now - RANGES[asked.range]
    state = None
    if asked.states or asked.names:
        state = State(
            type=StateTypes(any_=list(asked.states)) if asked.states else None,
            name=Text(any_=list(asked.names)) if asked.names else None,
            operator="or_",
        )
    runs = FlowRunFilter(
        state=state,
        name=Text(like_=asked.text) if asked.text else None,
        tags=Tags(all_=list(asked.tags)) if asked.tags else None,
        start_time=Time(before_=asked.until, after_=since) if since or asked.until else None,
        parent_task_run_id=Ids(is_null_=True) if asked.no_subflows else None,
    )
    return Filters(
        flow_runs=runs if runs != FlowRunFilter() else None,
        work_pools=WorkPoolFilter(name=Text(any_=[asked.pool])) if asked.pool else None,
    )


async def matching(visit: Visit) -> Filters:
    """The filters of a page's address. For whatever else is shown of the same runs as well."""
    wanted = asked(visit.query)
    found = filters(wanted, visit.now)
    if wanted.flow:
        # By ids: for one flow an index gives the order, and totals the number.
        ids = await flows_meant(visit, wanted.flow)
        found = replace(found, flows=FlowFilter(id=Ids(any_=ids)))
    if wanted.deployment:
        of = Ids(any_=await _deployments(visit, wanted.deployment))
        own = replace(found.flow_runs or FlowRunFilter(), deployment_id=of)
        found = replace(found, flow_runs=own)
    return found


async def flows_meant(visit: Visit, text: str) -> list[UUID]:
    """Ids of the flow that has this id, or of those whose names contain the text."""
    try:
        return [UUID(text)]
    except ValueError:
        database = visit.server.database
        return await run_pages.flows_named(database, database.dialect, text)


async def flow_name(visit: Visit) -> str:
    """What the flow is called whose id the filter on flows is; empty if it is none."""
    try:
        found = await flow_pages.flow(visit.server.database, str(UUID(asked(visit.query).flow)))
    except ValueError:
        return ""
    return "" if found is None else found.name


async def _deployments(visit: Visit, text: str) -> list[UUID]:
    try:
        return [UUID(text)]
    except ValueError:
        database = visit.server.database
        named = await deployment_pages.named(database, database.dialect, text, DEPLOYMENTS_MAX)
        return [UUID(one.id) for one in named]


async def deployment_name(visit: Visit) -> str:
    """What the filter on deployments is called: the name of the one whose id it is, or the text."""
    text = asked(visit.query).deployment
    try:
        about = await deployment_pages.one(visit.server.database, str(UUID(text)))
    except ValueError:
        return text
    return text if about is None else f"{about.flow_name} / {about.deployment.name}"
