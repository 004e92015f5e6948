"""Settings of the background services."""

from datetime import timedelta
from typing import Annotated

from api.setting import Setting
from api.settings_of_server import ServerSettings


class ServiceSettings(ServerSettings, frozen=True, kw_only=True):
    """Which services run, and how patient they are."""

    services_enabled: Annotated[
        bool,
        Setting(
            doc="Run the background services in this server as well; "
            "false is `server start --no-services`.",
            at="pluperfect.services_enabled",
        ),
    ] = True
    services_feed_retention_enabled: Annotated[
        bool,
        Setting(
            doc="Take events out of the feed that were in it for the retention period.",
            at="pluperfect.services_feed_retention_enabled",
        ),
    ] = True
    services_scheduler_enabled: Annotated[
        bool,
        Setting(
            doc="Make the runs of deployments' schedules.",
            at="server.services.scheduler.enabled",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_ENABLED",),
        ),
    ] = True
    services_scheduler_min_runs: Annotated[
        int,
        Setting(
            doc="How many runs of a schedule are made ahead at least.",
            at="server.services.scheduler.min_runs",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MIN_RUNS",),
            least=0,
        ),
    ] = 3
    services_scheduler_max_runs: Annotated[
        int,
        Setting(
            doc="How many runs of a schedule are made ahead at most.",
            at="server.services.scheduler.max_runs",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MAX_RUNS",),
            least=1,
        ),
    ] = 100
    services_scheduler_min_scheduled_time: Annotated[
        timedelta,
        Setting(
            doc="For how long ahead runs of a schedule are made at least, within their number.",
            at="server.services.scheduler.min_scheduled_time",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME",),
            least=0,
        ),
    ] = timedelta(hours=1)
    services_scheduler_max_scheduled_time: Annotated[
        timedelta,
        Setting(
            doc="How far ahead a run of a schedule is made at most, whatever the number.",
            at="server.services.scheduler.max_scheduled_time",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME",),
            least=0,
        ),
    ] = timedelta(days=100)
    services_scheduler_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: runs are made when it is time, not "
            "when somebody looks.",
            at="server.services.scheduler.loop_seconds",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 60.0
    services_foreman_enabled: Annotated[
        bool,
        Setting(
            doc="Say which workers are offline, and which pools and queues are not ready.",
            at="server.services.foreman.enabled",
            legacy=("PREFECT_API_SERVICES_FOREMAN_ENABLED",),
        ),
    ] = True
    services_foreman_loop: Annotated[
        timedelta,
        Setting(
            doc="How often the foreman looks at the least; when somebody is known to be overdue "
            "next, it looks then.",
            at="server.services.foreman.loop_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_LOOP_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=15)
    services_foreman_inactivity_heartbeat_multiple: Annotated[
        int,
        Setting(
            doc="A worker that misses so many heartbeats is offline.",
            at="server.services.foreman.inactivity_heartbeat_multiple",
            legacy=("PREFECT_API_SERVICES_FOREMAN_INACTIVITY_HEARTBEAT_MULTIPLE",),
            least=1,
        ),
    ] = 3
    services_foreman_fallback_heartbeat_interval: Annotated[
        timedelta,
        Setting(
            doc="Time between two heartbeats of a worker that does not say how long it is.",
            at="server.services.foreman.fallback_heartbeat_interval_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_FALLBACK_HEARTBEAT_INTERVAL_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=30)
    services_foreman_work_queue_last_polled_timeout: Annotated[
        timedelta,
        Setting(
            doc="A work queue that nobody polled for so long is not ready.",
            at="server.services.foreman.work_queue_last_polled_timeout_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=60)
    services_foreman_deployment_last_polled_timeout: Annotated[
        timedelta,
        Setting(
            doc="A deployment whose runs nobody asked for so long, and whose work queue nobody "
            "polled, is not ready.",
            at="server.services.foreman.deployment_last_polled_timeout_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=60)
    services_zombies_enabled: Annotated[
        bool,
        Setting(
            doc="Give up flow runs that fell silent while they were Running, where a tag "
            "`zombies:crash` or `zombies:retry` says so.",
            at="pluperfect.services_zombies_enabled",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_ENABLED",),
        ),
    ] = True
    services_zombies_after: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run that has sent heartbeats may be silent before it is given "
            "up; clients send one every 30 s at the most.",
            at="pluperfect.services_zombies_after",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_AFTER_SECONDS",),
            above=0,
        ),
    ] = timedelta(seconds=90)
    services_zombies_retries: Annotated[
        int,
        Setting(
            doc="How often a flow run with the tag `zombies:retry` is started again, besides the "
            "retries of its failures; then it is Crashed.",
            at="pluperfect.services_zombies_retries",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_RETRIES",),
            least=0,
        ),
    ] = 3
    services_zombies_untagged: Annotated[
        bool,
        Setting(
            doc="Crash flow runs as well that fell silent after they had sent heartbeats and whose "
            "deployment has no `zombies:` tag; `zombies:leave` exempts one.",
            at="pluperfect.services_zombies_untagged",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_UNTAGGED",),
        ),
    ] = False
    services_triggers_enabled: Annotated[
        bool,
        Setting(
            doc="Make automations fire. What happens while no server does is caught up with.",
            at="server.services.triggers.enabled",
            legacy=("PREFECT_API_SERVICES_TRIGGERS_ENABLED",),
        ),
    ] = True
    services_late_runs_enabled: Annotated[
        bool,
        Setting(
            doc="Mark flow runs Late that have not started in time.",
            at="server.services.late_runs.enabled",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_ENABLED",),
        ),
    ] = True
    services_late_runs_after: Annotated[
        timedelta,
        Setting(
            doc="How long after its time a flow run that is still Scheduled is Late.",
            at="server.services.late_runs.after_seconds",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_AFTER_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=15)
    services_late_runs_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: runs are marked when it is time, not "
            "when somebody looks.",
            at="server.services.late_runs.loop_seconds",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 5.0
    services_repossessor_enabled: Annotated[
        bool,
        Setting(
            doc="Let go of slots whose lease nobody renewed in time.",
            at="server.services.repossessor.enabled",
        ),
    ] = True
    services_repossessor_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: leases expire when it is time.",
            at="server.services.repossessor.loop_seconds",
            unit="seconds",
            least=0,
        ),
    ] = 15.0
    services_pause_expirations_enabled: Annotated[
        bool,
        Setting(
            doc="Fail flow runs that nobody resumed before their pause timed out.",
            at="server.services.pause_expirations.enabled",
            legacy=("PREFECT_API_SERVICES_PAUSE_EXPIRATIONS_ENABLED",),
        ),
    ] = True
    services_pause_expirations_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: pauses end when it is time.",
            at="server.services.pause_expirations.loop_seconds",
            legacy=("PREFECT_API_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 5.0
    services_cancellation_cleanup_enabled: Annotated[
        bool,
        Setting(
            doc="Cancel what belongs to cancelled flow runs, and end cancelling that takes too "
            "long.",
            at="server.services.cancellation_cleanup.enabled",
            legacy=("PREFECT_API_SERVICES_CANCELLATION_CLEANUP_ENABLED",),
        ),
    ] = True
    services_cancellation_cleanup_after: Annotated[
        timedelta,
        Setting(
            doc="How long after a flow run was cancelled its task runs and subflow runs are "
            "cancelled that have not ended: their ends may still be on the way.",
            at="server.services.cancellation_cleanup.loop_seconds",
            legacy=("PREFECT_API_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=20)
    services_pending_claims_enabled: Annotated[
        bool,
        Setting(
            doc="Take flow runs back from workers that vanished before they started them.",
            at="pluperfect.services_pending_claims_enabled",
        ),
    ] = True
    services_pending_claims_after: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run is Pending before its worker is asked after, and how often.",
            at="pluperfect.services_pending_claims_after_seconds",
            above=0,
        ),
    ] = timedelta(seconds=60)
    services_cleanup_reconciler_enabled: Annotated[
        bool,
        Setting(
            doc="Hand clean-ups on to the next worker when one falls silent over them.",
            at="server.services.cleanup_reconciler.enabled",
        ),
    ] = True
    services_cleanup_reconciler_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: leases expire when it is time.",
            at="server.services.cleanup_reconciler.loop_seconds",
            unit="seconds",
            above=0,
        ),
    ] = 5.0
    worker_channel_cleanup_lease: Annotated[
        timedelta,
        Setting(
            doc="How long a worker has a clean-up before it has to say that it is still at it.",
            at="server.worker_channel.cleanup_lease_seconds",
            above=0,
        ),
    ] = timedelta(seconds=30)
    worker_channel_cleanup_max_delivery_attempts: Annotated[
        int,
        Setting(
            doc="How often a clean-up is handed to a worker before it is given up.",
            at="server.worker_channel.cleanup_max_delivery_attempts",
            least=1,
        ),
    ] = 3
    services_cancelling_timeout: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run may be Cancelling before it is Cancelled all the same.",
            at="server.services.cancellation_cleanup.cancelling_timeout_seconds",
            above=0,
        ),
    ] = timedelta(seconds=300)
