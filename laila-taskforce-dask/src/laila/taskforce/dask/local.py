"""A local cluster: the scheduler in this process, workers in processes of their own.

It is like Dask's ``LocalCluster``, except that its workers are separate programs and do not import the
submitter's script: no ``if __name__ == "__main__":`` is needed. They end with the submitter, also when
somebody kills it. They ignore signals of its terminal: Ctrl-C is for the program. A nanny that dies is
started again.

All of them speak TLS, with a certificate of this cluster alone. Every process of the machine can reach the
port of a scheduler, and a client of the scheduler can run code. The key is made in memory and passed to the
nannies through their standard input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import ExitStack
from time import monotonic
from typing import Any

from distributed import Scheduler, SpecCluster
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

import dask
from laila.contract import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["CONFIG", "local_cluster"]

_STEADY = 20.0  # a nanny that ends after so many seconds counts as the first one
_MOST = 4  # after so many quick ends in a row the worker is given up

CONFIG: dict[str, object] = {
    # HTTP shows nothing, because it does not check the certificate.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # A program that stands still (Ctrl-Z, a laptop that sleeps) has not lost its workers.
    "distributed.scheduler.worker-ttl": None,
}
"""Dask's options in the processes of a local cluster."""


class _Worker(ProcessInterface):
    """One worker and its nanny."""

    def __init__(
        self,
        scheduler: str,
        name: str | None = None,
        *,
        security: Security,
        given_up: Callable[[str], None],
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)  # type: ignore[no-untyped-call]
        self._scheduler = scheduler
        self._security = security
        self._given_up = given_up
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Called by the cluster."""
        await self._begin()
        self._watch = asyncio.create_task(self._look_after())
        await super().start()  # type: ignore[no-untyped-call]

    async def _begin(self) -> None:
        # A nanny that ends at once leaves semaphores to Python's resource tracker, which would report them.
        quiet = ("-W", "ignore:resource_tracker")
        self._process = await asyncio.create_subprocess_exec(
            # -P: modules come from the submitter's paths, not from its current folder.
            *(sys.executable, "-P", *quiet, "-m", "laila.taskforce.dask.nanny", self._scheduler),
            stdin=asyncio.subprocess.PIPE,  # it ends when this process ends
            start_new_session=True,  # signals of the terminal are for the program
        )
        assert self._process.stdin is not None
        path = [place or os.getcwd() for place in sys.path]
        instructions = {"security": _written(self._security), "path": path}
        self._process.stdin.write(json.dumps(instructions).encode() + b"\n")

    async def _look_after(self) -> None:
        """Begin another nanny when this one ends, unless they all end at once."""
        short, how = 0, ""
        while self._process is not None:
            began = monotonic()
            code = await self._process.wait()
            short = short + 1 if monotonic() - began < _STEADY else 1
            how = f"its last process ended with the exit code {code}" if code >= 0 else f"by signal {-code}"
            if short >= _MOST:
                break
            await asyncio.sleep(0.1 * short)
            try:
                await self._begin()
            except OSError as error:
                how = f"another process cannot be started: {error}"
                break
        self._given_up(how)

    async def close(self) -> None:
        """Called by the cluster."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()  # and its worker ends by itself
            await process.communicate()
        await super().close()  # type: ignore[no-untyped-call]


def _written(security: Security) -> dict[str, object]:
    """Return the data that makes the same security in another process."""
    names = ("ca_file", *(f"{role}_{part}" for role in ("client", "worker") for part in ("key", "cert")))
    return {f"tls_{name}": getattr(security, f"tls_{name}") for name in names}


class _Quiet:
    """Silences Dask's logs while any local cluster exists."""

    def __init__(self) -> None:
        self._lock = locks.long_lock()
        self._clusters = 0
        self._silenced = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._clusters == 0:
                self._silenced.enter_context(silence_logging_cmgr(logging.ERROR))
            self._clusters += 1

    def leave(self) -> None:
        with self._lock:
            self._clusters -= 1
            if self._clusters == 0:
                self._silenced.close()


_quiet = _Quiet()


class LocalCluster(SpecCluster):
    """A cluster that logs only errors, until its very end.

    With Dask's own ``silence_logs`` the logs are back while the scheduler's last connections close, and show
    messages now and then.

    ``gone(cluster, why)`` is called, in the cluster's event loop, when its last worker was given up.
    """

    def __init__(self, gone: Callable[[LocalCluster, str], None], workers: int) -> None:
        self._gone = gone
        self._left_quiet = False
        self._left = workers
        security = Security.temporary()
        _quiet.enter()
        options = {"security": security, "given_up": self._give_up_one}
        try:
            with dask.config.set(CONFIG):
                super().__init__(  # type: ignore[no-untyped-call]
                    scheduler={
                        "cls": Scheduler,
                        "options": {
                            "host": "127.0.0.1",
                            "port": 0,
                            "protocol": "tls://",
                            "security": security,
                            "dashboard": False,
                            "dashboard_address": "127.0.0.1:0",
                        },
                    },
                    workers={f"laila-{n}": {"cls": _Worker, "options": options} for n in range(workers)},
                    security=security,
                )
        except BaseException:
            _quiet.leave()
            raise

    def _give_up_one(self, how: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._gone(self, how)

    def close(self, timeout: float | None = None) -> Any:
        """Close the cluster; when this returns, its event loop has ended. Blocks."""
        try:
            return super().close(timeout)
        finally:
            if not self._left_quiet:
                self._left_quiet = True
                _quiet.leave()


def local_cluster(workers: int | None, gone: Callable[[LocalCluster, str], None]) -> LocalCluster:
    """Start a cluster of so many worker processes of one thread each; by default one for each core."""
    return LocalCluster(gone, workers or os.cpu_count() or 1)
