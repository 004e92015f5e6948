"""Several workers on one machine: started, replaced when they die, ended together.

Not granian's own multi-process mode: it cuts websockets off, waits for requests without a limit,
leaves workers behind when it is killed, and gives up when a worker dies twice in a few seconds.
Workers are forked, so that what the parent imported is shared, and each has its own socket of the
common port, which the parent keeps open: connections that a dead worker had not accepted yet wait
for its successor.
"""

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from msgspec import Struct

from api.settings import Settings

logger = logging.getLogger("pluperfect")

LONG_LIFE_SECONDS = 5.0
"""A worker that dies younger is replaced only after a pause."""
RESPAWN_PAUSES_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pause before a worker is replaced, by how many died young before it."""
KILL_AFTER_SECONDS = 2.9
"""Workers that have not ended this long after they were told to are killed."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Worker(Struct):
    index: int
    pid: int = 0
    born: float = 0.0
    due: float = 0.0
    """When it is to be started, if it does not run."""
    died_young: int = 0


class Supervisor:
    """The parent process of `len(listeners)` workers."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        ready: Callable[[], None],
        in_worker: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._ready = ready
        self._in_worker = in_worker
        self._workers = [_Worker(index) for index in range(len(listeners))]
        self._answered = False
        self._alive = os.pipe()
        self._started = os.pipe()
        self._woken = os.pipe()
        self._signals: list[int] = []

    def run(self) -> int:
        """Serve until told to stop; the exit code of the process."""
        # Imported once here, not once per worker: what is forked is shared.
        import api.worker  # noqa: F401  # lazily: a caller who only wants to fail early pays nothing

        gc.freeze()  # A collection in a worker would touch, and so copy, what is shared.
        os.set_blocking(self._woken[0], False)
        os.set_blocking(self._woken[1], False)
        signal.set_wakeup_fd(self._woken[1], warn_on_full_buffer=False)
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.append(number))
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken[0], selectors.EVENT_READ)
            selector.register(self._started[0], selectors.EVENT_READ)
            code = self._supervise(selector)
            self._end(selector)
        return code

    def _supervise(self, selector: selectors.BaseSelector) -> int:
        while True:
            now = time.monotonic()
            for worker in self._workers:
                if not worker.pid and worker.due <= now:
                    self._start(worker)
            pauses = [worker.due - now for worker in self._workers if not worker.pid]
            for key, _ in selector.select(min(pauses) if pauses else None):
                if key.fd == self._started[0]:
                    os.read(self._started[0], 1)
                    if not self._answered:
                        self._answered = True
                        self._ready()
            for worker, status in self._buried():
                if not self._answered:
                    return 1  # It has said why; the next one would say the same.
                self._replace(worker, status)
            if any(number in _STOP_SIGNALS for number in self._taken_signals()):
                return 0

    def _taken_signals(self) -> list[int]:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken[0], 4_096)
        taken, self._signals = self._signals, []
        return taken

    def _buried(self) -> list[tuple[_Worker, int]]:
        """The workers that have ended, and how."""
        ended: list[tuple[_Worker, int]] = []
        for worker in self._workers:
            if worker.pid and (found := os.waitpid(worker.pid, os.WNOHANG))[0]:
                worker.pid = 0
                ended.append((worker, os.waitstatus_to_exitcode(found[1])))
        return ended

    def _replace(self, worker: _Worker, code: int) -> None:
        now = time.monotonic()
        worker.died_young = worker.died_young + 1 if now - worker.born < LONG_LIFE_SECONDS else 0
        last = len(RESPAWN_PAUSES_SECONDS) - 1
        worker.due = now + RESPAWN_PAUSES_SECONDS[min(worker.died_young, last)]
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        logger.error("worker %d ended with %s and is replaced", worker.index + 1, cause)

    def _start(self, worker: _Worker) -> None:
        # A signal between the fork and the worker's own handlers would be lost: it waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        pid = os.fork()
        if not pid:
            self._work(worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        worker.pid, worker.born = pid, time.monotonic()

    def _work(self, worker: _Worker) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # A terminal sends ctrl + c to everybody; the parent passes it on.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            for descriptor in (*self._woken, self._started[0], self._alive[1]):
                os.close(descriptor)
            for listener in self._listeners:
                if listener is not self._listeners[worker.index]:
                    listener.close()
            self._in_worker()

            from api import worker as one_worker  # imported by the parent already

            code = one_worker.run(
                self._settings,
                self._listeners[worker.index],
                self._say_started,
                one_worker.Stop(alone=False, parent_alive=self._alive[0]),
            )
        except BaseException:
            logger.exception("worker %d failed", worker.index + 1)
        finally:
            logging.shutdown()
            os._exit(code)

    def _say_started(self) -> None:
        os.write(self._started[1], b".")
        os.close(self._started[1])

    def _end(self, selector: selectors.BaseSelector) -> None:
        for listener in self._listeners:
            listener.close()
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        while any(worker.pid for worker in self._workers):
            selector.select(max(0.0, deadline - time.monotonic()))
            self._buried()
            again = any(number in _STOP_SIGNALS for number in self._taken_signals())
            if again or time.monotonic() >= deadline:
                self._send(signal.SIGKILL)
                deadline = time.monotonic() + KILL_AFTER_SECONDS

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)
