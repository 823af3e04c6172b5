"""The program that looks after one worker of a local cluster: ``python -m laila.taskforce.dask.nanny``.

Dask's nanny restarts a worker that dies. This nanny also ends when its standard input ends, which is a pipe
from the submitter, or when its parent changes; its worker ends with it. So nothing of a cluster is left,
whatever ended the submitter. The first line of the standard input says the cluster's certificate and key, and
the submitter's module paths.
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
    """Look after a worker of ``scheduler`` until the scheduler or the submitter is gone."""
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
    """Read one line unbuffered: the bytes after it are for the thread below."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            os._exit(0)
        line += byte
    return line


def _end_with_the_submitter(parent: int) -> None:
    # Another process may also hold the other end of the pipe, for example a fork of the submitter.
    while os.getppid() == parent:
        if select([0], [], [], _LOOK_SECONDS)[0] and not os.read(0, 1024):
            break
    os._exit(0)  # at once, also while the nanny starts or waits for a scheduler that is gone


if __name__ == "__main__":
    parent = os.getppid()
    leave_signals_to_the_submitter()
    received = json.loads(_read_line())
    Thread(target=_end_with_the_submitter, args=(parent,), daemon=True).start()
    sys.path[:] = received["path"]  # the worker gets these paths, too
    with dask.config.set(CONFIG):
        asyncio.run(main(sys.argv[1], received["security"]))
