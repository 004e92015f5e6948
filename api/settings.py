"""Settings: everything an operator can choose, declared once, read once, passed on explicitly.

A field of `Settings` is a setting: its type and default are its own, the rest is written beside it.
The documentation, the command line and `/admin/settings` read the same declaration. Each group of
settings is a module. A Struct extends one other and no more, so the groups extend each other:
server, services, API, database, events, Redis, and what is left in `Settings` itself.
"""

from typing import Annotated

import msgspec

from api.setting import MASK, Declared, Setting, declare
from api.settings_of_redis import RedisSettings


class Settings(RedisSettings, frozen=True, kw_only=True):
    """What the operator chose. Built by `configuration.load`; a test may build one by hand."""

    logs_stream_out_enabled: Annotated[
        bool,
        Setting(
            doc="Let clients follow log lines through the websocket `/api/logs/out`.",
            at="server.logs.stream_out_enabled",
        ),
    ] = True

    flow_run_graph_max_nodes: Annotated[
        int,
        Setting(
            doc="Most nodes that the graph of a flow run may have.",
            at="server.flow_run_graph.max_nodes",
            legacy=("PREFECT_API_MAX_FLOW_RUN_GRAPH_NODES",),
            least=1,
        ),
    ] = 10_000
    flow_run_graph_max_artifacts: Annotated[
        int,
        Setting(
            doc="Most artifacts shown in the graph of a flow run.",
            at="server.flow_run_graph.max_artifacts",
            legacy=("PREFECT_API_MAX_FLOW_RUN_GRAPH_ARTIFACTS",),
            least=0,
        ),
    ] = 10_000
    tasks_max_cache_key_length: Annotated[
        int,
        Setting(
            doc="Longest cache key of a task run.",
            at="server.tasks.max_cache_key_length",
            legacy=("PREFECT_API_TASK_CACHE_KEY_MAX_LENGTH",),
            unit="characters",
            least=1,
        ),
    ] = 2000
    tasks_tag_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a task waits at most before it asks again for a slot of a limit on one "
            "of its tags.",
            at="server.tasks.tag_concurrency_slot_wait_seconds",
            legacy=("PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 10.0
    deployments_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a run waits at most that finds no slot of its deployment free, before a "
            "worker tries again. If one comes free earlier, it does not wait that long.",
            at="server.deployments.concurrency_slot_wait_seconds",
            legacy=("PREFECT_DEPLOYMENT_CONCURRENCY_SLOT_WAIT_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 30.0
    concurrency_initial_deployment_lease_duration: Annotated[
        float,
        Setting(
            doc="How long a run that a worker prepares holds its deployment's slot before it has "
            "to show that it is alive, unless the deployment says otherwise.",
            at="server.concurrency.initial_deployment_lease_duration",
            unit="seconds",
            least=30,
            most=3600,
        ),
    ] = 300.0
    concurrency_maximum_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a client is told to wait at most before it asks again for a slot.",
            at="server.concurrency.maximum_concurrency_slot_wait_seconds",
            unit="seconds",
            least=0,
        ),
    ] = 30.0
    concurrency_lease_storage: Annotated[
        str,
        Setting(
            doc="Taken so that an environment carries over: leases are kept in the database.",
            at="server.concurrency.lease_storage",
        ),
    ] = "prefect.server.concurrency.lease_storage.memory"

    @property
    def api_path(self) -> str:
        """Path of the API, from the root of the address."""
        return self.base_path + self.api_base_path

    @property
    def api_scheme(self) -> str:
        """How the server is spoken to: `http`, or `https` if it has a certificate."""
        return "http" if self.api_ssl_certfile is None else "https"

    def __repr__(self) -> str:
        shown = (
            f"{declared.field}={MASK if declared.setting.secret and value else repr(value)}"
            for declared in SETTINGS
            if (value := getattr(self, declared.field)) != declared.default
        )
        return f"Settings({', '.join(shown)})"


SETTINGS: tuple[Declared, ...] = tuple(declare(field) for field in msgspec.structs.fields(Settings))
"""Every setting, in the order of its declaration."""
BY_NAME: dict[str, Declared] = {name: declared for declared in SETTINGS for name in declared.names}
"""Every setting under every name it answers to."""
