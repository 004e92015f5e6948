"""What is around a flow run or a deployment. Rules do not look at it; emissions tell of it."""

from msgspec import Struct


class Neighbour(Struct, frozen=True, omit_defaults=True):
    """Another entity, with what an emission says about it."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    type: str | None = None
    """Of a work pool."""


class Surroundings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The entities around a flow run when it changed state, or around a deployment. Emissions name
    them."""

    flow: Neighbour | None = None
    deployment: Neighbour | None = None
    work_queue: Neighbour | None = None
    work_pool: Neighbour | None = None
    parent_task_run: Neighbour | None = None
    storage_document_id: str | None = None
    """Of a deployment, as what follows: they are told of by id alone."""
    infrastructure_document_id: str | None = None
    concurrency_limit_id: str | None = None
