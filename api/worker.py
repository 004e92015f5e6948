"""One worker: granian, embedded in this process, until a signal; then the drain.

The drain takes `DRAIN_SECONDS` plus the time to close the database, and never more than
`SHUTDOWN_SECONDS_MAX`. Whatever was acknowledged is on disk before, so nothing is lost by force.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop
from granian import net
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server as EmbeddedServer

from api import memory
from api.app import build
from api.connections import Connections
from api.listening import LISTEN_BACKLOG
from api.proxy import BasePath
from api.settings import Settings
from eventstore.errors import EventStoreError

logger = logging.getLogger("pluperfect")

DRAIN_SECONDS = 2.0
"""How long requests in progress may take to end; the rest are cancelled."""
SHUTDOWN_SECONDS_MAX = 2.8
"""After this the process ends whatever it waits for."""
SAY_WHY_SECONDS = 0.1
"""The last moments of that are for saying so."""
CONNECTIONS_MAX = 16_384
"""Open connections per worker; further ones wait to be accepted."""
SWITCH_INTERVAL_SECONDS = 0.0005
"""The thread that writes to SQLite gets the interpreter back this quickly from a busy event loop;
with Python's own 5 ms a commit costs several times as much."""
REQUEST_BUFFER_BYTES = 512 * 1024
FIRST_REQUEST_SECONDS = 30
"""How long a client may take from the connection to the end of its request's head. A worker of
Prefect that starts many runs on a busy machine takes more than five seconds for that, and gives up
a run whose websocket was closed before it could say what it wants."""
COLLECT_AFTER = (20_000, 20, 100)
"""When the collector of reference cycles runs: so many more objects than before, then every so many
times further. Our data has no cycles and lives for thousands of requests in caches and the ring;
with Python's own 700 a fifth of the time of a transition went into looking at it."""


class Stop:
    """How a worker is told to end."""

    def __init__(self, *, alone: bool, parent_alive: int = -1) -> None:
        self.alone = alone
        """No supervisor: the terminal's ctrl + c is ours, and a second signal means at once."""
        self.parent_alive = parent_alive
        """A pipe that ends when the supervisor does."""


def run(
    settings: Settings, listener: socket.socket | None, ready: Callable[[], None], stop: Stop
) -> int:
    """Serve until told to stop; the exit code of the process.

    Without a listener no requests are answered: only the services run.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    memory.keep_freed()
    _allow_many_files()
    try:
        return uvloop.run(_serve(settings, listener, ready, stop))
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, EventStoreError):
            raise
        logger.error("%s", cause)
        return 1


def _cause(error: Exception) -> Exception:
    """What really happened: Litestar hands errors of the lifespan on in a group of one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _serve(
    settings: Settings, listener: socket.socket | None, ready: Callable[[], None], stop: Stop
) -> int:
    stopping = asyncio.Event()
    _listen_for_signals(stopping, stop)
    app = build(settings)
    connections = Connections(BasePath(app, settings.base_path) if settings.base_path else app)
    async with app.lifespan():
        if listener is not None:
            granian = _granian(connections, settings, listener)
            serving = asyncio.create_task(granian.serve())
        # What has been made so far stays: the collector need not look at it, now or later.
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        gc.enable()
        ready()
        ends = {
            asyncio.create_task(stopping.wait()),
            replaced := asyncio.create_task(app.log_replaced.wait()),
        }
        if listener is not None:
            ends.add(serving)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        code = 0
        if replaced.done():
            logger.error("this process ends: the one that is started next opens the log as it is")
            code = 1
            _end_in_time()
        if listener is not None:
            if serving.done():
                logger.error("the HTTP server ended by itself", exc_info=serving.exception())
                return 1
            await _drain(granian, serving, connections)
    return code


def _granian(
    connections: Connections, settings: Settings, listener: socket.socket
) -> EmbeddedServer:
    server = _ListeningServer(
        connections,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=True,
        backlog=LISTEN_BACKLOG,
        backpressure=CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(
            # Also how long granian keeps a connection that is idle between two requests.
            header_read_timeout=1_000
            * max(FIRST_REQUEST_SECONDS, settings.api_keepalive_timeout_seconds),
            keep_alive=settings.api_keepalive_timeout_seconds > 0,
            max_buffer_size=REQUEST_BUFFER_BYTES,
        ),
        ssl_cert=settings.api_ssl_certfile,
        ssl_key=settings.api_ssl_keyfile,
        ssl_protocol_min=SSLProtocols.tls12,
        log_level=LogLevels.error,
        log_dictconfig={"handlers": {}, "formatters": {}, "loggers": {}},
    )
    server.listener = listener
    return server


class _ListeningServer(EmbeddedServer):
    """Granian's embedded server on a socket that is listening already."""

    listener: socket.socket

    def _init_shared_socket(self) -> None:
        # Granian takes the descriptor for its own and closes it when it stops to accept.
        descriptor = os.dup(self.listener.fileno())
        holder: Any = net.SocketHolder  # type: ignore[attr-defined]
        self._ssp, self._shd = None, holder(descriptor, False, LISTEN_BACKLOG)
        self.listener.close()


async def _drain(
    granian: EmbeddedServer, serving: asyncio.Task[Any], connections: Connections
) -> None:
    """Say goodbye to who follows, accept nothing new, and let requests in progress end."""
    began = asyncio.get_running_loop().time()
    await connections.leave()
    granian.stop()  # type: ignore[no-untyped-call]
    left = DRAIN_SECONDS - (asyncio.get_running_loop().time() - began)
    done, _ = await asyncio.wait({serving}, timeout=left)
    if not done:
        logger.warning("%d requests took too long and are given up", connections.requests)
        connections.cancel_requests()


def _end_in_time() -> None:
    """From now on this process has `SHUTDOWN_SECONDS_MAX` left."""

    def give_up() -> None:
        logger.error("the database did not let go in time; ending all the same")
        logging.shutdown()
        os._exit(1)

    # The alarm ends a process whose threads hang, too, but it cannot say why.
    signal.setitimer(signal.ITIMER_REAL, SHUTDOWN_SECONDS_MAX)
    asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS_MAX - SAY_WHY_SECONDS, give_up)


def _listen_for_signals(stopping: asyncio.Event, stop: Stop) -> None:
    loop = asyncio.get_running_loop()

    def stop_now(number: int) -> None:
        if not stopping.is_set():
            _end_in_time()
            stopping.set()
        elif stop.alone:
            os._exit(128 + number)

    loop.add_signal_handler(signal.SIGTERM, stop_now, signal.SIGTERM)
    if stop.alone:
        loop.add_signal_handler(signal.SIGINT, stop_now, signal.SIGINT)
    if stop.parent_alive >= 0:

        def orphaned() -> None:
            loop.remove_reader(stop.parent_alive)
            stop_now(signal.SIGTERM)

        loop.add_reader(stop.parent_alive, orphaned)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        CONNECTIONS_MAX * 2 if hard == resource.RLIM_INFINITY else min(hard, CONNECTIONS_MAX * 2)
    )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
