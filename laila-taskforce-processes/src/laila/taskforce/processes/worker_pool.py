"""WorkerPool: worker processes that each do one task at a time, and one thread that listens to all of them.

Each worker is a process of loky's with its own pipe. loky's executor is not used: when one of its workers
dies, it ends all others too, with their tasks. Here a worker that dies loses only its own task, and another
worker takes its place.
"""

from __future__ import annotations

import multiprocessing.process
import multiprocessing.resource_tracker
import os
import signal
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from threading import RLock, Thread

from loky.backend import resource_tracker as loky_tracker
from loky.backend.context import get_context

from laila.contract import NO_THREAD, locks, shown, start_thread
from laila.errors import TaskForceError
from laila.taskforce.processes.child import SAFE_PATH, STARTED, SUBMITTERS_SIGNALS, main
from laila.taskforce.processes.packing import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from typing import Any

    from laila.contract import Parcel

    Returned = Callable[[Parcel, bytes], None]
    Lost = Callable[[Parcel, str, bool], None]

__all__ = ["WorkerPool"]

_PATIENCE = 10.0  # seconds that a worker has to end by itself

# A fork waits while a worker is being started. Otherwise modules that are being imported and loky's own locks
# would stay locked in the child for ever.
_starting = RLock()
os.register_at_fork(
    before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release
)

_SAFE_PATH = {SAFE_PATH: "1"}
"""Python starts without the current folder among its module paths; the submitter's paths come afterwards."""

_tracked: set[int] = set()
"""The id of this process, once the helpers run that clean up after workers."""


def _start_trackers() -> None:
    """Start the helpers with safe paths; loky would start them with the current folder among the paths."""
    if os.name != "posix" or os.getpid() in _tracked:
        return
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"  # they take this process's environment; there is no other way
    try:
        multiprocessing.resource_tracker.ensure_running()
        loky_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
    _tracked.clear()
    _tracked.add(os.getpid())


_parents: list[WorkerPool] = []


def _disown(process: Any) -> None:
    """Remove ``process`` from the list of children that :mod:`multiprocessing` waits for.

    At its end, a process of multiprocessing waits for them before anybody ends them, and a forked child would
    see its parent's children there.
    """
    with suppress(AttributeError):  # it is not public
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start a worker in it: it inherits that, so that a Ctrl-C does not end it before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SUBMITTERS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One process and its task. ``parcel`` is None while it is idle."""

    def __init__(self, name: str) -> None:
        context: Any = get_context("loky")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        try:
            before = os.environ.get(SAFE_PATH)
            with _starting:
                _start_trackers()
                self.process = context.Process(target=main, args=(theirs, before), name=name, env=_SAFE_PATH)
                with _signals_blocked():
                    self.process.start()
            _disown(self.process)
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.parcel: Parcel | None = None
        self.started = False

    def send(self, parcel: Parcel, message: bytes) -> None:
        self.parcel = parcel
        self.started = False
        with suppress(ConnectionError):  # it died while it was idle: the listener notices
            self.pipe.send_bytes(message)

    def kill(self) -> None:
        """End it at once; loky's processes have no ``kill``, and these ignore SIGTERM."""
        if self.process.exitcode is None and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def death(self) -> str:
        """Say how the process ended, to complete "its worker process …"."""
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            # Something in it does not end, for example a thread that a task left.
            self.kill()
            self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is None:
            return f"{self.process.pid} does not answer any more"
        if code < 0:
            return f"{self.process.pid} was killed by signal {-code} (9 may mean that memory ran out)"
        return f"{self.process.pid} ended with exit code {code}"


class WorkerPool:
    """At most ``size`` workers, started when there is work for them. Thread-safe.

    ``returned(parcel, outcome)`` and ``lost(parcel, how, started)`` are called by the listening thread.
    """

    def __init__(self, size: int, name: str, returned: Returned, lost: Lost) -> None:
        self._size = size
        self._name = name
        self._returned = returned
        self._lost = lost
        self._lock = locks.long_lock()
        self._workers: dict[Connection, _Worker] = {}
        self._idle: list[_Worker] = []
        self._count = 0
        self._over = False
        # A byte on this pipe makes the listener look again at its list of workers.
        context: Any = get_context("loky")
        self._bell: Connection
        self._ring: Connection
        self._bell, self._ring = context.Pipe(duplex=False)
        self._thread = Thread(target=self._listen, name=f"{name}-listener", daemon=True)
        if not start_thread(self._thread):
            raise TaskForceError(NO_THREAD)

    def give(self, parcels: Sequence[Parcel]) -> None:
        """Give each of ``parcels`` to an idle worker; enough are idle or may be started."""
        for parcel in parcels:
            message = bytes(dumps(tuple(parcel.shipment)))
            fresh = False
            with self._lock:
                if self._over:
                    raise TaskForceError(f"the workers of {shown(self._name)} have been sent home")
                if self._idle:
                    worker = self._idle.pop()
                    worker.parcel = parcel
                else:
                    self._count += 1
                    worker = _Worker(f"{self._name}-{self._count}")
                    worker.parcel = parcel
                    self._workers[worker.pipe] = worker
                    fresh = True
            worker.send(parcel, message)
            if fresh:
                self._ring.send_bytes(b"!")

    def _listen(self) -> None:
        locks.serve_others()
        while True:
            with self._lock:
                listened: list[Connection] = [self._bell, *self._workers]
                if self._over and len(listened) == 1:
                    return
            for pipe in wait(listened):
                if pipe is self._bell:
                    self._bell.recv_bytes()
                else:
                    self._hear(self._workers[pipe])  # type: ignore[index]  # these are connections

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if message == STARTED:
            worker.started = True
            return
        with self._lock:
            parcel, worker.parcel = worker.parcel, None
            self._idle.append(worker)
        if parcel is not None:
            self._returned(parcel, message)

    def _bury(self, worker: _Worker) -> None:
        with self._lock:
            del self._workers[worker.pipe]
            if worker in self._idle:
                self._idle.remove(worker)
            parcel, worker.parcel = worker.parcel, None
        worker.pipe.close()
        how = worker.death()
        if parcel is not None:
            self._lost(parcel, how, worker.started)

    def forget(self) -> None:
        """In a forked child: leave the workers to the parent."""
        _parents.append(self)  # kept alive, so that its pipes stay untouched

    def kill(self) -> None:
        """End the workers, also in the middle of a task."""
        with self._lock:
            self._over = True
            workers = list(self._workers.values())
        for worker in workers:
            worker.kill()

    def close(self) -> None:
        """End the workers, which are all idle. Returns when their processes are gone. Blocks."""
        with self._lock:
            if self._over:
                return
            self._over = True
            workers = list(self._workers.values())
        for worker in workers:
            with suppress(OSError):  # it is gone already
                worker.pipe.send_bytes(b"")
        self._ring.send_bytes(b"!")
        self._thread.join()  # the thread waits for every worker, with patience for each
        self._bell.close()
        self._ring.close()
