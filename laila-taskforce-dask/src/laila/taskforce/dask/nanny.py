"""The program that looks after one worker of a local cluster: ``python -m laila.taskforce.dask.nanny``.

Dask's nanny restarts a worker that dies. This one also ends when its standard input does, which is a pipe
from the submitter, or when its parent is another process; its worker ends with it. So however the submitter
ended, nothing of its cluster is left. The first line of the standard input tells the cluster's certificate
and key, and where the submitter's modules come from.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from select import select
from threading import Thread
from typing import Any

from distributed import Nanny
from distributed.security import Security

import dask
from laila.contract import leave_signals_to_the_submitter
from laila.taskforce.dask.local import CONFIG

__all__ = ["main"]

_LOOK_SECONDS = 0.5


async def main(scheduler: str, security: dict[str, Any]) -> None:
    """Look after a worker of ``scheduler`` until that, or the submitter, is gone."""
    async with Nanny(
        scheduler,
        nthreads=1,
        host="127.0.0.1",
        security=Security(require_encryption=True, **security),
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
        config=CONFIG,
        preload=["laila.taskforce.dask.signals"],
    ) as nanny:
        await nanny.finished()


def _read_line() -> bytes:
    """Unbuffered: what comes after it is for the thread below."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            os._exit(0)
        line += byte
    return line


def _end_with_the_submitter(parent: int) -> None:
    # Another process may hold the other end of the pipe as well, such as a fork of the submitter.
    while os.getppid() == parent:
        if select([0], [], [], _LOOK_SECONDS)[0] and not os.read(0, 1024):
            break
    os._exit(0)  # at once, also while the nanny starts or waits for a scheduler that is gone


if __name__ == "__main__":
    parent = os.getppid()
    leave_signals_to_the_submitter()
    received = json.loads(_read_line())
    Thread(target=_end_with_the_submitter, args=(parent,), daemon=True).start()
    sys.path[:] = received["path"]  # and so the worker's
    with dask.config.set(CONFIG):
        asyncio.run(main(sys.argv[1], received["security"]))
