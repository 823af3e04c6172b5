"""What laila adds to a Dask scheduler: tasks that come from a dead worker say so.

Dask runs a task again, up to three times, when its worker dies, and so does it with a task whose result died
with a worker before it was fetched. laila's tasks may not be run twice unless somebody said so. The scheduler
therefore marks each task that a dead worker had, before it is given to another one, with the host of that
worker; what to do then is decided where the task arrives (:mod:`laila.taskforce.dask.worker`).
"""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["LOST_ON", "MARK", "MarkLost"]

MARK = "-laila-"
"""Is in the key of each of laila's tasks, and tells them from others on the same cluster."""

LOST_ON = "laila-lost-on"
"""The annotation of a task whose worker died: that worker's address."""


class MarkLost(SchedulerPlugin):
    """Marks laila's tasks of dead workers."""

    name = "laila"
    idempotent = True

    def __init__(self) -> None:
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Called by the scheduler."""
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """Called by the scheduler: of a dead worker after it is gone, before its tasks go elsewhere."""
        if self._scheduler is None or not isinstance(msg, dict) or msg.get("action") != "remove-worker":
            return
        if "worker" not in msg:  # the same is logged twice: for the worker, and for all
            return
        for key in (*msg.get("processing-tasks", ()), *msg.get("lost-computed-tasks", ())):
            task = self._scheduler.tasks.get(key)
            if task is not None and isinstance(key, str) and MARK in key:
                task.annotations = {**(task.annotations or {}), LOST_ON: msg["worker"]}
