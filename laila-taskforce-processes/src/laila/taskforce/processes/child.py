"""The worker process: takes a task from its pipe, does it, and sends back what came of it.

Before a task runs the worker says so, in a message of one byte. The system delivers what was written to a
pipe also when the writer dies right after, so that the submitter knows for each task of a worker that died
whether it had started.
"""

from __future__ import annotations

import os
from threading import Thread
from time import sleep

from laila.contract import Shipment, leave_signals_to_the_submitter, perform
from laila.taskforce.processes.packing import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["SAFE_PATH", "STARTED", "main"]

SAFE_PATH = "PYTHONSAFEPATH"

_LOOK_SECONDS = 0.5

STARTED = b"\1"
"""Says that the task which was sent last has started. No outcome is a single byte."""


def main(pipe: Connection, safe_path: str | None) -> None:
    """Do tasks until an empty message, or the end of the process that sent them."""
    leave_signals_to_the_submitter()
    # It was set for the start of this process, and programs that tasks start have the submitter's.
    os.environ.pop(SAFE_PATH, None)
    if safe_path is not None:
        os.environ[SAFE_PATH] = safe_path
    Thread(target=_end_with_the_submitter, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            return
        if not message:
            return
        shipment = Shipment(*loads(message))
        try:
            pipe.send_bytes(STARTED)
            pipe.send_bytes(perform(shipment, dumps, loads))
        except ConnectionError:
            return  # the submitter is gone, and with it everybody who wanted to know
        del message, shipment  # or an idle worker would keep its last task


def _end_with_the_submitter(parent: int) -> None:
    """An idle worker learns it from its pipe; one that is in the middle of a task from here."""
    while os.getppid() == parent:
        sleep(_LOOK_SECONDS)
    os._exit(1)
