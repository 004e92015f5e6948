"""Global concurrency limits: /v2/concurrency_limits, as far as a server without any limit goes.

Every client asks for slots before it runs a task that has tags. Limits are an entity that is still
to come, so there are none to be in the way: whatever is asked for is granted, and a lease over no
limit holds nothing and never runs out. Nothing of it is recorded.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.http import NO_CONTENT, Answer, Area, Call, ok
from eventstore.ids import new_id
from orchestration.identifiers import Id

LEASE_SECONDS_MIN = 60
LEASE_SECONDS_MAX = 24 * 60 * 60

area = Area("/v2/concurrency_limits", "Concurrency Limits V2")

Slots = Annotated[int, Meta(gt=0)]
Names = Annotated[list[str], Meta(min_length=1)]
LeaseSeconds = Annotated[float, Meta(ge=LEASE_SECONDS_MIN, le=LEASE_SECONDS_MAX)]
Mode = Literal["concurrency", "rate_limit"]


class LeaseHolder(Struct, frozen=True):
    """The run or the deployment that wants slots."""

    type: Literal["flow_run", "task_run", "deployment"]
    id: Id


class Increment(Struct, frozen=True, kw_only=True):
    """The body of `POST …/increment`."""

    slots: Slots
    names: Names
    mode: Mode | None = None
    create_if_missing: bool | None = None
    """Sent by old clients; there is nothing to create yet."""


class LeasedIncrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/increment-with-lease`."""

    slots: Slots
    names: Names
    mode: Mode | None = None
    lease_duration: LeaseSeconds | None = None
    holder: LeaseHolder | None = None


class Decrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/decrement`."""

    slots: Slots
    names: Names
    occupancy_seconds: Annotated[float, Meta(gt=0)] | None = None
    create_if_missing: bool | None = None


class LeasedDecrement(Struct, frozen=True, kw_only=True):
    """The body of `POST …/decrement-with-lease`."""

    lease_id: Id


class Renewal(Struct, frozen=True, kw_only=True):
    """The body of `POST …/leases/{id}/renew`."""

    lease_duration: LeaseSeconds | None = None


class LimitTaken(Struct, frozen=True):
    """A limit of which slots were taken or given back."""

    id: str
    name: str
    limit: int


class Lease(Struct, frozen=True):
    """What was granted, under an id that renews it or gives it back."""

    lease_id: str
    limits: Sequence[LimitTaken] = ()


@area.post("/increment", body=Increment, answers={200: list[LimitTaken]})
async def increment(call: Call, body: Increment) -> Answer:
    """Take slots of the limits with these names; names without a limit are free."""
    return ok([])


@area.post("/increment-with-lease", body=LeasedIncrement, answers={200: Lease})
async def increment_with_lease(call: Call, body: LeasedIncrement) -> Answer:
    """Take slots for as long as the lease is renewed."""
    return ok(Lease(new_id()))


@area.post("/decrement", body=Decrement, answers={200: list[LimitTaken]})
async def decrement(call: Call, body: Decrement) -> Answer:
    """Give slots back."""
    return ok([])


@area.post("/decrement-with-lease", body=LeasedDecrement, answers={204: None})
async def decrement_with_lease(call: Call, body: LeasedDecrement) -> Answer:
    """Give back what a lease holds."""
    return NO_CONTENT


@area.post("/leases/{lease_id:uuid}/renew", body=Renewal, body_optional=True, answers={204: None})
async def renew_lease(call: Call, body: Renewal) -> Answer:
    """Go on holding what a lease holds."""
    return NO_CONTENT
