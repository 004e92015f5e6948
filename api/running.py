"""A server from start to end: address, database, pid file, workers.

`prepare` does everything that can fail and says why in a sentence; `run` serves. Between the two a
background server leaves its terminal.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from api import logs, pid_file, tls
from api.addresses import database_location
from api.database_url import DatabaseLocation, PostgresLocation
from api.databases import target_of
from api.listening import CannotListen, Silence, listen
from api.migrating import bring_up_to_date
from api.pid_file import PidFile, Running
from api.settings import Settings
from eventstore import migrate
from eventstore.errors import DatabaseUnavailable, EventStoreError
from eventstore.sqlite_access import hindrance

logger = logging.getLogger("pluperfect")

LET_GO_SECONDS_MAX = 10.0
"""How long a start waits for the port of a server that was killed. Its workers are given three
seconds to end (`api.worker.SHUTDOWN_SECONDS_MAX`), on a busy machine they may be late."""
LOOK_SECONDS = 0.05
"""How often it looks whether they have let go of it."""


class Role(Struct, frozen=True):
    """What a process is there for, and what it leaves in the home."""

    pid_file: str
    log_file: str
    """What it would have printed, were it not in the background."""
    subject: str
    stop: str
    """The command that ends it."""


SERVER = Role(pid_file.FILE_NAME, "server.log", "A server", "pluperfect server stop")
SERVICES = Role(
    pid_file.SERVICES_FILE_NAME,
    "services.log",
    "A process with services",
    "pluperfect server services stop",
)


class CannotStart(Exception):
    """Why there will be no server; the message is a sentence for the operator."""


class Prepared(Struct, frozen=True):
    """A server that has everything it needs to run."""

    settings: Settings
    """With the port that was really taken."""
    listeners: list[socket.socket]
    """One for each worker; none: only services are run."""
    location: DatabaseLocation
    role: Role = SERVER


def prepare(settings: Settings) -> Prepared:
    """Take the address and bring the database up to date. Raises CannotStart."""
    try:
        tls.check(settings)
    except tls.BadCertificate as error:
        raise CannotStart(str(error)) from None
    try:
        listeners = _listen(settings)
    except CannotListen as error:
        others = pid_file.servers(settings.home) if error.taken else {}
        for other in others.values():
            if other.port == settings.api_port:
                stop = SERVER.stop if len(others) == 1 else f"{SERVER.stop} --port {other.port}"
                raise CannotStart(
                    f"Port {other.port} is taken by the Pluperfect server with process id "
                    f"{other.pid}; stop it with `{stop}`, or choose another port with --port."
                ) from None
        raise CannotStart(str(error)) from None
    settings = replace(settings, api_port=listeners[0].getsockname()[1])
    try:
        _prepare_database(settings, workers=len(listeners))
    except CannotStart:
        for listener in listeners:
            listener.close()
        raise
    return Prepared(settings, listeners, database_location(settings))


def _listen(settings: Settings) -> list[socket.socket]:
    """Take the address. The workers of a server that was killed end a moment after it, and until
    then they hold its port: they are waited for. Raises CannotListen."""
    silence = Silence(
        settings.api_websocket_ping_interval_seconds, settings.api_websocket_ping_timeout_seconds
    )
    until = time.monotonic() + LET_GO_SECONDS_MAX
    told = False
    while True:
        try:
            return listen(settings.api_host, settings.api_port, silence, settings.api_workers)
        except CannotListen as error:
            left = pid_file.killed(settings.home, settings.api_port) if error.taken else None
            if left is None or time.monotonic() > until:
                raise
        if not told:
            told = True
            logger.warning(
                "The server with process id %d was killed; waiting until its workers have let go "
                "of port %d.",
                left.pid,
                left.port,
            )
        time.sleep(LOOK_SECONDS)


def prepare_services(settings: Settings) -> Prepared:
    """Bring the database up to date, for a process that answers no requests. Raises CannotStart."""
    if settings.database_read_only:
        raise CannotStart(
            "The settings forbid to write to the database, which is what services do; "
            "start them without PLUPERFECT_DATABASE_READ_ONLY."
        )
    # Asked for by name, they run also where the settings, meant for servers, say otherwise.
    settings = replace(settings, services_enabled=True, ui_enabled=False)
    _prepare_database(settings, workers=1)
    return Prepared(settings, [], database_location(settings), SERVICES)


def _prepare_database(settings: Settings, workers: int) -> None:
    target = target_of(settings)
    location = database_location(settings)
    if settings.database_read_only and target.path is not None and not target.path.exists():
        raise CannotStart(
            f"There is no database {target.path}, and PLUPERFECT_DATABASE_READ_ONLY forbids to "
            "make one."
        )
    try:
        if settings.database_migrate_on_start and not settings.database_read_only:
            bring_up_to_date(settings)
        elif pending := migrate.check(target):
            raise CannotStart(
                f"The database lacks {len(pending)} migrations ({pending[-1]} is the newest) and "
                "the settings forbid to apply them; "
                "run `pluperfect server database upgrade`."
            )
        if not settings.database_read_only and target.path is not None:
            lacking = hindrance(target.path, writing=True)
            if lacking is not None:
                raise DatabaseUnavailable(lacking)
        if isinstance(location, PostgresLocation) and not location.pgbouncer:
            from eventstore.postgres_room import check_room  # lazily: SQLite needs none of it

            check_room(target, workers)
    except EventStoreError as error:
        raise CannotStart(str(error)) from None


def run(prepared: Prepared, ready: Callable[[], None], *, pid_file_required: bool = False) -> int:
    """Serve until told to stop; the exit code of the process. Raises CannotStart."""
    settings = prepared.settings
    held = _take_pid_file(settings, prepared.role, required=pid_file_required)
    logs.set_up(settings.logging_level)
    try:
        if len(prepared.listeners) <= 1:
            from api import worker  # lazily: what can go wrong early shall go wrong quickly

            listener = prepared.listeners[0] if prepared.listeners else None
            return worker.run(settings, listener, ready, worker.Stop(alone=True))
        from api.supervisor import Supervisor  # lazily, as above

        in_worker = held.leave if held is not None else _nothing
        return Supervisor(settings, prepared.listeners, ready, in_worker).run()
    finally:
        if held is not None:
            held.remove()


def _nothing() -> None:
    """What a worker has to do about a pid file that nobody holds."""


def _take_pid_file(settings: Settings, role: Role, *, required: bool) -> PidFile | None:
    """The pid file; where it is not required, a server can do without.

    A second one in the same home is known by its port. One whose home cannot be written is still a
    good server.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        held = pid_file.take(settings.home, role.pid_file)
        if held is None and role is SERVER and not required:
            held = pid_file.take(settings.home, pid_file.of_port(settings.api_port))
    except OSError as error:
        if required:
            raise CannotStart(
                f"The home {settings.home} cannot be written: {error.strerror}."
            ) from None
        return None
    if held is None:
        if required:
            raise CannotStart(
                f"{role.subject} of the home {settings.home} runs already; "
                f"stop it with `{role.stop}`."
            )
        return None
    held.write(
        Running(
            os.getpid(),
            settings.api_host,
            settings.api_port,
            settings.api_path,
            settings.api_scheme,
        )
    )
    return held


def run_in_background(prepared: Prepared) -> int:
    """Serve in a process of its own that outlives this one; its id, once it answers.

    Raises CannotStart if it does not.
    """
    settings = prepared.settings
    log = settings.home / prepared.role.log_file
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise CannotStart(f"Cannot write {log}: {error.strerror}.") from None
    told, tell = os.pipe()
    # A fork, not a new interpreter: nothing is imported twice and the address is never given up.
    pid = os.fork()
    if not pid:
        os.close(told)
        _detached(prepared, output, tell)
    os.close(tell)
    os.close(output)
    try:
        # Not until its end: workers hold the other side open, too.
        message = os.read(told, MESSAGE_BYTES_MAX)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)  # Nobody was told of it who could stop it.
        raise
    os.close(told)
    if message == _READY:
        return pid
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    raise CannotStart(message.decode() or f"It ended by itself; {log} says why.")


_READY = b"ready"
MESSAGE_BYTES_MAX = 4_096
"""What a server that starts in the background says goes through the pipe in one piece."""


def _detached(prepared: Prepared, output: int, tell: int) -> NoReturn:
    code = 1
    try:
        # Its folder stays that of the command: URLs may name databases and certificates from there.
        os.setsid()
        empty = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((empty, output, output)):
            os.dup2(descriptor, number)
        os.close(empty)
        os.close(output)

        def ready() -> None:
            os.write(tell, _READY)
            os.close(tell)

        code = run(prepared, ready, pid_file_required=True)
    except CannotStart as error:
        os.write(tell, str(error).encode()[:MESSAGE_BYTES_MAX])
    except BaseException:
        import traceback  # lazily: only a bug needs it

        traceback.print_exc()
    finally:
        os._exit(code)
