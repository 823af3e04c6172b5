"""A local cluster: the scheduler in this process, workers in processes of their own.

As Dask's ``LocalCluster``, but that its workers are programs of their own and do not import the submitter's
script: no ``if __name__ == "__main__":`` is needed. They end with the submitter, also when that is killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import ExitStack
from typing import Any

from distributed import Scheduler, SpecCluster
from distributed.deploy.spec import ProcessInterface
from distributed.utils import silence_logging_cmgr

__all__ = ["local_cluster"]


class _Worker(ProcessInterface):
    """One worker and its nanny."""

    def __init__(self, scheduler: str, name: str | None = None) -> None:
        super().__init__(scheduler=scheduler, name=name)  # type: ignore[no-untyped-call]
        self._scheduler = scheduler
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Called by the cluster."""
        # A nanny that ends at once leaves semaphores to Python's resource tracker, which would say so.
        quiet = ("-W", "ignore:resource_tracker")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *quiet, "-m", "laila.taskforce.dask.nanny", self._scheduler),
            stdin=asyncio.subprocess.PIPE,  # its end tells that of this process
        )
        await super().start()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Called by the cluster."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()  # and its worker ends by itself
            await self._process.communicate()
        self._process = None
        await super().close()  # type: ignore[no-untyped-call]


class _LocalCluster(SpecCluster):
    """A cluster that logs errors only, up to its very end.

    With Dask's own ``silence_logs`` the logs are back while the scheduler's last connections are still being
    closed, and say so now and then.
    """

    def __init__(self, **options: Any) -> None:
        self._quiet = ExitStack()
        self._quiet.enter_context(silence_logging_cmgr(logging.ERROR))
        try:
            super().__init__(**options)  # type: ignore[no-untyped-call]
        except BaseException:
            self._quiet.close()
            raise

    def close(self, timeout: float | None = None) -> Any:
        """Close it; when this returns, its event loop has ended."""
        try:
            return super().close(timeout)
        finally:
            self._quiet.close()


def local_cluster(workers: int | None) -> SpecCluster:
    """Start one with so many worker processes of one thread each; by default as many as there are cores."""
    return _LocalCluster(
        scheduler={
            "cls": Scheduler,
            "options": {
                "host": "127.0.0.1",
                "port": 0,
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
            },
        },
        workers={f"laila-{n}": {"cls": _Worker} for n in range(workers or os.cpu_count() or 1)},
    )
