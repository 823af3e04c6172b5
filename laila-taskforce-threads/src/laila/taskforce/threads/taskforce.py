"""PythonThreadPoolTaskForce: tasks on threads of this process."""

from __future__ import annotations

import os
from weakref import finalize

import attrs

from laila.contract import Settings, TaskForce, option
from laila.taskforce.threads.lifetime import watch
from laila.taskforce.threads.workers import WorkerPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract import Task

__all__ = ["PythonThreadPoolTaskForce", "ThreadSettings"]


class ThreadSettings(Settings):
    """The options of the thread task force."""

    prefix = "threads"

    workers: int = option(
        printed=True,
        default=min(32, (os.cpu_count() or 1) + 4),
        shown="processors + 4, at most 32",
        help="how many tasks run at a time",
        validator=attrs.validators.and_(attrs.validators.instance_of(int), attrs.validators.ge(1)),
    )


class PythonThreadPoolTaskForce(TaskForce):
    """A task force of ``workers`` threads, started when there is work for them.

    A task may submit others and wait for them, whatever the number of workers. While its worker waits, that
    worker does the awaited task itself, or a spare thread takes its place and retires later. Queued work is
    done before the interpreter exits. Thread-safe.

    Args:
        workers: How many tasks run at a time; by default the number of processors plus 4, at most 32.
            nickname: A name that fixes the global id; by default the id is random.

    Raises:
            SettingsError: When ``workers`` is not a positive integer (a ``ValueError``).
    """

    short_name = "threads"
    settings: ThreadSettings

    def __init__(self, workers: int | None = None, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname, settings=ThreadSettings.resolve({"workers": workers}))
        self._worker_pool = WorkerPool(self.settings.workers, nickname or "laila-worker")

    @property
    def workers(self) -> int:
        """The number of tasks that run at a time."""
        return self.settings.workers

    @property
    def queue_len(self) -> int:
        """The number of tasks that wait to be started."""
        return self._worker_pool.waiting()

    @property
    def look_ahead(self) -> int:
        """The number of tasks that ``imap`` keeps in progress: two for each worker."""
        return 2 * self.settings.workers

    def _start(self) -> None:
        watch(self._worker_pool)
        # A task force that is dropped without a shutdown does its queued work and lets its threads go.
        finalize(self, self._worker_pool.let_go).atexit = False

    def _submit(self, tasks: Sequence[Task]) -> None:
        self._worker_pool.submit(tasks)

    def _pause(self) -> None:
        self._worker_pool.pause()

    def _resume(self) -> None:
        self._worker_pool.resume()

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        self._worker_pool.close(cancel_pending)
        if wait:
            self._worker_pool.join()
