"""What a Dask worker does with a task of laila's."""

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
"""What comes back of a task that was, or may have been, started by a worker that died. It is no pickle."""


class _Seceding:
    """The host (:class:`laila.futures.waiting.Host`) of a task: while it waits, the worker takes another."""

    def __init__(self) -> None:
        self._waits = 0  # more than one when an event loop runs in the task

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        """False: the cluster runs it, here or elsewhere."""
        return False

    def block(self) -> bool:
        """Leave the worker's pool of threads, which starts another in place of this one."""
        with locks.mutex:
            self._waits += 1
            first = self._waits == 1
        if first:
            secede()
        return True

    def unblock(self) -> None:
        """Take a place in it again, as soon as there is one."""
        with locks.mutex:
            self._waits -= 1
            last = self._waits == 0
        if last:
            rejoin()


_notes: Notes | None = None
_making = locks.long_lock()


def run(message: bytes) -> bytes:
    """Do the task of ``message`` and return its outcome; :data:`LOST` for one that may not be done twice."""
    worker = get_worker()
    key = str(worker.get_current_task())
    state = worker.state.tasks.get(key)
    lost_on = None if state is None else (state.annotations or {}).get(LOST_ON)
    if lost_on is not None:
        if get_address_host(str(lost_on)) != get_address_host(worker.address):
            return LOST  # the other host does not tell what it has done
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
    """The task force for what tasks submit: this very cluster, by the worker's own client."""
    from laila.taskforce.dask.taskforce import DaskTaskForce

    return DaskTaskForce(get_client())
