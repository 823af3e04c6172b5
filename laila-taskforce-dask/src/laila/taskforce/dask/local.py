"""A local cluster: the scheduler in this process, workers in processes of their own.

As Dask's ``LocalCluster``, but that its workers are programs of their own and do not import the submitter's
script: no ``if __name__ == "__main__":`` is needed. When the submitter dies, so does the scheduler, and with
that the workers.
"""

from __future__ import annotations

import logging
import os

from distributed import Scheduler, SpecCluster
from distributed.deploy.subprocess import SubprocessWorker

__all__ = ["local_cluster"]


def local_cluster(workers: int | None) -> SpecCluster:
    """Start one with so many worker processes of one thread each; by default as many as there are cores."""
    here = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    worker = {**here, "nthreads": 1, "silence_logs": logging.ERROR}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**here, "port": 0}},
        workers={
            f"laila-{n}": {"cls": SubprocessWorker, "options": {"worker_kwargs": worker}}
            for n in range(workers or os.cpu_count() or 1)
        },
        silence_logs=logging.ERROR,
    )
