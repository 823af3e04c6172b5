"""ProcessTaskForce: tasks on the cores of this machine, each in its own worker process."""

from __future__ import annotations

import multiprocessing

import attrs
from loky import cpu_count

from laila.contract import RemoteSettings, RemoteTaskForce, option
from laila.errors import TaskForceError
from laila.taskforce.processes.packing import dumps, loads
from laila.taskforce.processes.worker_pool import WorkerPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from laila.contract import Parcel

__all__ = ["ProcessSettings", "ProcessTaskForce"]


class ProcessSettings(RemoteSettings):
    """The options of the process task force."""

    prefix = "processes"

    workers: int = option(
        printed=True,
        factory=cpu_count,
        shown="the cores that this process may use",
        help="how many tasks run at a time, each in a process of its own",
        validator=attrs.validators.ge(1),
    )


class ProcessTaskForce(RemoteTaskForce):
    """A task force of ``workers`` processes of this machine, started when there is work for them.

    A worker that dies fails its task with :class:`~laila.errors.WorkerLostError`; other tasks go on, and
    another worker takes its place. Tasks that a task submits run in its own process, on threads. Queued work
    is done before the interpreter exits. Thread-safe.

    Args:
        workers: How many tasks run at a time; by default as many as there are cores for this process.
        retries: How often a task whose worker died while it ran is started again; by default never.
        share_secrets: Send the secrets of the policy's pools and protocol along, encrypted; by default
            workers take them from the environment, which they inherit, and from their own ``laila.args``.
            nickname: A name that fixes the global id; by default the id is random.

    Raises:
        SettingsError: For an option that is wrong (a ``ValueError``).
    """

    short_name = "processes"
    settings: ProcessSettings

    def __init__(
        self,
        workers: int | None = None,
        *,
        retries: int | None = None,
        share_secrets: bool | None = None,
        nickname: str | None = None,
    ) -> None:
        settings = ProcessSettings.resolve(
            {"workers": workers, "retries": retries, "share_secrets": share_secrets}
        )
        super().__init__(settings=settings, nickname=nickname)
        self._worker_pool: WorkerPool | None = None

    @property
    def workers(self) -> int:
        """The number of tasks that run at a time."""
        return self.settings.workers

    @property
    def capacity(self) -> int:
        """One task a worker: waiting tasks wait here, where any worker can take them."""
        return self.settings.workers

    def _open(self) -> None:
        if multiprocessing.current_process().daemon:
            raise TaskForceError(
                "this process is a daemon of multiprocessing's, such as a worker of its Pool, and may start "
                "no other: submit to laila's threads here, or use concurrent.futures.ProcessPoolExecutor"
            )
        self._worker_pool = WorkerPool(
            self.settings.workers,
            self.nickname or "laila-process",
            self.returned,
            lambda parcel, how, started: self.lost(parcel, how, started=started),
        )

    def _ship(self, parcels: Sequence[Parcel]) -> None:
        assert self._worker_pool is not None
        self._worker_pool.give(parcels)

    def _shut(self) -> None:
        if self._worker_pool is not None:
            self._worker_pool.close()

    def _abandon(self) -> None:
        if self._worker_pool is not None:
            self._worker_pool.kill()

    def _drop(self) -> None:
        if self._worker_pool is not None:
            self._worker_pool.forget()
            self._worker_pool = None

    @staticmethod
    def dumps(value: object) -> bytes | memoryview:
        """Pickle by loky's means, cloudpickle."""
        return dumps(value)

    @staticmethod
    def loads(data: Any) -> Any:
        """Unpickle the bytes of :meth:`dumps`."""
        return loads(data)
