"""The program that looks after one worker of a local cluster: ``python -m laila.taskforce.dask.nanny``.

Dask's nanny restarts a worker that dies. This one also ends when its standard input does, which is a pipe
from the submitter; its worker ends with it. So however the submitter ended, nothing of its cluster is left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from threading import Thread

from distributed import Nanny

__all__ = ["main"]


async def main(scheduler: str) -> None:
    """Look after a worker of ``scheduler`` until that, or the submitter, is gone."""
    async with Nanny(
        scheduler,
        nthreads=1,
        host="127.0.0.1",
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
    ) as nanny:
        await nanny.finished()


def _end_with_the_submitter() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)  # at once, also while the nanny starts or waits for a scheduler that is gone


if __name__ == "__main__":
    Thread(target=_end_with_the_submitter, daemon=True).start()
    asyncio.run(main(sys.argv[1]))
