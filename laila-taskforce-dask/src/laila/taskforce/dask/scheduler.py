"""laila's addition to a Dask scheduler: it marks tasks that come from a dead worker.

When a worker dies, Dask runs its tasks again, up to three times, also a task whose result was not fetched
yet. laila's tasks may run twice only if the user allowed it. So the scheduler marks each task of a dead
worker with that worker's host before it gives the task to another worker. The next worker decides what to do
(:mod:`laila.taskforce.dask.worker`).
"""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["LOST_ON", "MARK", "MarkLost"]

MARK = "-laila-"
"""A part of the key of each of laila's tasks: it distinguishes them from other tasks on the cluster."""

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
        """Called by the scheduler when a worker has died, before its tasks go to other workers."""
        if self._scheduler is None or not isinstance(msg, dict) or msg.get("action") != "remove-worker":
            return
        if "worker" not in msg:  # it is logged twice: once for the worker, once for all
            return
        for key in (*msg.get("processing-tasks", ()), *msg.get("lost-computed-tasks", ())):
            task = self._scheduler.tasks.get(key)
            if task is not None and isinstance(key, str) and MARK in key:
                task.annotations = {**(task.annotations or {}), LOST_ON: msg["worker"]}
