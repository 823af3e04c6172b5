"""InlineTaskForce: runs tasks in the thread that submits them. The core's own task force.

It starts no thread and is the stand-in where no other task force is installed. Work is done when ``submit``
returns; a paused one queues it for :meth:`start`.
"""

from __future__ import annotations

from collections import deque

from laila.contract.taskforce import TaskForce
from laila.errors import TaskForceError
from laila.locks import check_may_use, mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.futures.task import Task

__all__ = ["InlineTaskForce"]


class InlineTaskForce(TaskForce):
    """A task force that runs each task in the caller, before ``submit`` returns."""

    short_name = "inline"

    def __init__(self, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self._queue: deque[Task] = deque()
        self._holding = False
        self._over = False

    @property
    def queue_len(self) -> int:
        """How many tasks wait for :meth:`start`."""
        return sum(not task.started for task in tuple(self._queue))

    def _start(self) -> None:
        pass

    def _submit(self, tasks: Sequence[Task]) -> None:
        check_may_use()
        with mutex:
            if self._over:
                raise TaskForceError(
                    f"{self!r} was shut down and runs nothing any more: make a new task force"
                )
            holding = self._holding
            if holding:
                self._queue.extend(tasks)
        if not holding:
            for task in tasks:
                task.run()

    def _pause(self) -> None:
        with mutex:
            self._holding = True

    def _resume(self) -> None:
        with mutex:
            self._holding = False
        self._drain()

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        with mutex:
            self._over = True
            self._holding = False
        self._drain(cancel_pending)

    def _drain(self, cancel: bool = False) -> None:
        while not self._holding:
            try:
                task = self._queue.popleft()
            except IndexError:
                return
            if cancel:
                task.future.cancel()
            else:
                task.run()
