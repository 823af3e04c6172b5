"""A Dask scheduler and workers, by Dask's command line as users start them, at a port that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from servers.processes import free_ports

__all__ = ["DaskServers"]


class DaskServers:
    """One scheduler, and a nanny with ``workers`` processes of one thread each. Ends with a ``with`` block.

    What they write goes to files in ``folder``; ``variables`` are added to their environment.
    """

    def __init__(self, folder: Path, workers: int = 1, variables: dict[str, str] | None = None) -> None:
        (self._port,) = free_ports(1)
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._folder = folder
        self._workers = workers
        self._environment = {**os.environ, **(variables or {})}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all."""
        dask = [sys.executable, "-W", "ignore", "-m", "dask"]
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        worker = ["worker", self.address, "--nthreads", "1", "--nworkers", str(self._workers)]
        for command in (scheduler, [*worker, "--no-dashboard"]):
            with (self._folder / f"{command[0]}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(
                        [*dask, *command],
                        stdout=log,
                        stderr=log,
                        cwd=self._folder,
                        env=self._environment,
                        start_new_session=True,
                    )
                )

    def kill(self) -> None:
        """Kill all, with what they have started."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
