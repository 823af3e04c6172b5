"""The worker process: takes a task from its pipe, does it, and sends back what came of it.

Before a task runs the worker says so, in a message of one byte. The system delivers what was written to a
pipe also when the writer dies right after, so that the submitter knows for each task of a worker that died
whether it had started.
"""

from __future__ import annotations

import signal

from loky.backend.reduction import dumps, loads

from laila.contract.worker import Shipment, perform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["STARTED", "main"]

STARTED = b"\1"
"""Says that the task which was sent last has started. No outcome is a single byte."""


def main(pipe: Connection) -> None:
    """Do tasks until an empty message, or the end of the process that sent them."""
    # Ctrl-C goes to every process of a terminal; what it means for the work is the submitter's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
