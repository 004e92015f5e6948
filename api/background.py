"""The background services that there are, and which of them the settings want."""

from collections.abc import Callable

from msgspec import Struct

from api.databases import master_keys
from api.reached import pages_address
from api.settings import Settings
from projections.runner import Runner
from services.actions import Actions
from services.cancellation import CancelledRuns, CancellingRuns
from services.cleanup_leases import CleanupLeases
from services.feed_retention import FeedRetention
from services.foreman import Foreman, Patience
from services.late_runs import LateRuns
from services.lease_expiry import LeaseExpiry
from services.pauses import PauseTimeouts
from services.pending_claims import PendingClaims
from services.scheduled_runs import Horizon
from services.scheduler import Scheduler
from services.service import Service
from services.shell import Clock, Shell
from services.slot_waiters import SlotWaiters
from services.triggers import Triggers
from services.vault import Vault
from services.worker_cleanups import Terms
from services.zombies import Zombies


class Offered(Struct, frozen=True):
    """One service, before anything runs."""

    name: str
    doc: str
    enabled: Callable[[Settings], bool]
    make: Callable[[Shell, Runner, Clock, Settings], Service]


SERVICES = (
    Offered(
        LateRuns.name,
        "marks flow runs Late that have not started in time",
        lambda settings: settings.services_late_runs_enabled,
        lambda shell, _, clock, settings: LateRuns(shell, clock, settings.services_late_runs_after),
    ),
    Offered(
        Scheduler.name,
        "makes the runs of deployments' schedules",
        lambda settings: settings.services_scheduler_enabled,
        lambda shell, _, clock, settings: Scheduler(shell, clock, horizon(settings)),
    ),
    Offered(
        PauseTimeouts.name,
        "fails flow runs that nobody resumed before their pause timed out",
        lambda settings: settings.services_pause_expirations_enabled,
        lambda shell, _, clock, settings: PauseTimeouts(shell, clock),
    ),
    Offered(
        CancelledRuns.name,
        "cancels the task runs and subflow runs of cancelled flow runs",
        lambda settings: settings.services_cancellation_cleanup_enabled,
        lambda shell, _, clock, settings: CancelledRuns(
            shell, clock, settings.services_cancellation_cleanup_after
        ),
    ),
    Offered(
        CancellingRuns.name,
        "ends the cancelling of flow runs whose end nobody reports",
        lambda settings: settings.services_cancellation_cleanup_enabled,
        lambda shell, _, clock, settings: CancellingRuns(
            shell, clock, settings.services_cancelling_timeout
        ),
    ),
    Offered(
        SlotWaiters.name,
        "wakes flow runs that wait for a slot of their deployment when one comes free",
        lambda settings: True,
        lambda shell, _, clock, settings: SlotWaiters(shell, clock),
    ),
    Offered(
        LeaseExpiry.name,
        "lets go of slots of concurrency limits whose lease nobody renewed in time",
        lambda settings: settings.services_repossessor_enabled,
        lambda shell, _, clock, settings: LeaseExpiry(shell, clock),
    ),
    Offered(
        PendingClaims.name,
        "takes flow runs back from workers that vanished before they started them",
        lambda settings: settings.services_pending_claims_enabled,
        lambda shell, _, clock, settings: PendingClaims(
            shell, clock, settings.services_pending_claims_after
        ),
    ),
    Offered(
        CleanupLeases.name,
        "hands clean-ups on whose worker fell silent over them",
        lambda settings: settings.services_cleanup_reconciler_enabled,
        lambda shell, _, clock, settings: CleanupLeases(shell, clock, cleanup_terms(settings)),
    ),
    Offered(
        Zombies.name,
        "gives up flow runs that fell silent, where their tags say so",
        lambda settings: settings.services_zombies_enabled,
        lambda shell, _, clock, settings: Zombies(
            shell,
            clock,
            settings.services_zombies_after,
            settings.services_zombies_retries,
            untagged=settings.services_zombies_untagged,
        ),
    ),
    Offered(
        Foreman.name,
        "says which workers are offline, and which pools and queues are not ready",
        lambda settings: settings.services_foreman_enabled,
        lambda shell, _, clock, settings: Foreman(
            shell,
            clock,
            Patience(
                look=settings.services_foreman_loop,
                missed_heartbeats=settings.services_foreman_inactivity_heartbeat_multiple,
                fallback_interval=settings.services_foreman_fallback_heartbeat_interval,
                queue=settings.services_foreman_work_queue_last_polled_timeout,
                deployment=settings.services_foreman_deployment_last_polled_timeout,
            ),
        ),
    ),
    Offered(
        Triggers.name,
        "makes automations fire when what they wait for happens, or does not",
        lambda settings: settings.services_triggers_enabled,
        lambda shell, _, clock, settings: Triggers(shell, clock),
    ),
    Offered(
        Actions.name,
        "does what automations do when they fire",
        lambda settings: settings.services_triggers_enabled,
        lambda shell, _, clock, settings: Actions(
            shell,
            Vault(shell.store.database, master_keys(settings)),
            clock,
            pages_address(settings),
        ),
    ),
    Offered(
        FeedRetention.name,
        "takes events out of the feed that were in it for long enough",
        lambda settings: settings.services_feed_retention_enabled,
        lambda shell, runner, clock, settings: FeedRetention(
            shell, clock, settings.events_retention_period, runner.projectors["emissions"].reached
        ),
    ),
)
"""Every service, in the order in which they are listed."""


def horizon(settings: Settings) -> Horizon:
    """How far ahead the runs of schedules are made."""
    return Horizon(
        min_runs=settings.services_scheduler_min_runs,
        max_runs=settings.services_scheduler_max_runs,
        min_time=settings.services_scheduler_min_scheduled_time,
        max_time=settings.services_scheduler_max_scheduled_time,
    )


def cleanup_terms(settings: Settings) -> Terms:
    """On what terms workers do clean-ups."""
    return Terms(
        settings.worker_channel_cleanup_lease,
        settings.worker_channel_cleanup_max_delivery_attempts,
    )


def wanted(shell: Shell, runner: Runner, clock: Clock, settings: Settings) -> list[Service]:
    """The services that the settings do not switch off, ready to run."""
    return [one.make(shell, runner, clock, settings) for one in SERVICES if one.enabled(settings)]
