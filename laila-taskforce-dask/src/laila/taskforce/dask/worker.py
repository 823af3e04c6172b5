"""Runs laila's tasks in a Dask worker."""

from __future__ import annotations

from distributed import get_client, get_worker, rejoin, secede
from distributed.comm.addressing import get_address_host
from distributed.protocol.pickle import dumps, loads

from laila.contract import Shipment, locks, perform
from laila.taskforce.dask.notes import Notes, read_note
from laila.taskforce.dask.scheduler import LOST_ON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract import Task, TaskForce

__all__ = ["LOST", "run"]

LOST = b"lost"
"""The outcome of a task that a dead worker may have started. It is not a pickle."""


class _Seceding:
    """The host (:class:`laila.futures.waiting.Host`) of a task: while it waits, the worker takes another."""

    def __init__(self) -> None:
        self._waits = 0  # more than 1 when an event loop runs in the task

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        """Return False: the cluster runs it, here or elsewhere."""
        return False

    def block(self) -> bool:
        """Leave the worker's pool of threads, which starts another thread in place of this one."""
        with locks.mutex:
            self._waits += 1
            first = self._waits == 1
        if first:
            secede()
        return True

    def unblock(self) -> None:
        """Take a place in the pool again, as soon as there is one."""
        with locks.mutex:
            self._waits -= 1
            last = self._waits == 0
        if last:
            rejoin()


_notes: Notes | None = None
_making = locks.long_lock()


def run(message: bytes) -> bytes:
    """Do the task of ``message`` and return its outcome; :data:`LOST` for a task that may not run twice."""
    worker = get_worker()
    key = str(worker.get_current_task())
    state = worker.state.tasks.get(key)
    lost_on = None if state is None else (state.annotations or {}).get(LOST_ON)
    if lost_on is not None:
        if get_address_host(str(lost_on)) != get_address_host(worker.address):
            return LOST  # nobody knows what the other host has done
        if (noted := read_note(key)) is not None:
            return noted or LOST
    global _notes
    if _notes is None:
        with _making:
            _notes = _notes or Notes()
    _notes.begin(key)
    outcome = bytes(perform(Shipment(*loads(message)), dumps, loads, host=_Seceding(), nested=_nested))
    _notes.end(key, outcome)
    return outcome


def _nested() -> TaskForce:
    """Return the task force for tasks of tasks: this very cluster, by the worker's own client."""
    from laila.taskforce.dask.taskforce import DaskTaskForce

    return DaskTaskForce(get_client())
