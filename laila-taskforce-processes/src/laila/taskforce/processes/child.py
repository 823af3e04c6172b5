"""The worker process: takes a task from its pipe, does it, and sends back the outcome.

Before a task runs, the worker sends a message of one byte. The system delivers written bytes also when the
writer dies right after. So the submitter knows for each task of a dead worker whether it had started.
"""

from __future__ import annotations

import os
import signal
from threading import Thread
from time import sleep

from laila.contract import Shipment, leave_signals_to_the_submitter, perform
from laila.taskforce.processes.packing import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["SAFE_PATH", "STARTED", "SUBMITTERS_SIGNALS", "main"]

SAFE_PATH = "PYTHONSAFEPATH"

_LOOK_SECONDS = 0.5

SUBMITTERS_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Blocked until this process ignores them."""

STARTED = b"\1"
"""Says that the task which was sent last has started. No outcome is a single byte."""


def main(pipe: Connection, safe_path: str | None) -> None:
    """Do tasks until an empty message, or the end of the process that sent them."""
    leave_signals_to_the_submitter()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SUBMITTERS_SIGNALS)
    # It was set to start this process; programs that tasks start get the submitter's value.
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
            return  # the submitter is gone, so nobody wants the outcome
        del message, shipment  # otherwise an idle worker would keep its last task


def _end_with_the_submitter(parent: int) -> None:
    """End this busy process when the submitter ends; an idle worker learns that from its pipe."""
    while os.getppid() == parent:
        sleep(_LOOK_SECONDS)
    os._exit(1)
