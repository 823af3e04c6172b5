"""Programs that use a task force in a process of their own: how they end, and what their forks do.

Run as ``python -m laila.testing.taskforce_child`` with a description of the task force and of what to do on
standard input. Imports neither pytest nor hypothesis, so that it starts quickly.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

from laila.active import activate_policy
from laila.errors import TaskForceError
from laila.testing import tasks
from laila.testing.building import build, hear

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.contract import Future, TaskForce

__all__: list[str] = []


def _work(taskforce: TaskForce, notes: str, code: int) -> None:
    """End with work queued, by falling off the end or by sys.exit()."""
    for n in range(30):
        taskforce.submit(partial(tasks.slow_note, notes, str(n)))
    if code:
        sys.exit(code)


def _idle(taskforce: TaskForce, notes: str) -> None:
    """End when all is done, without closing anything."""
    taskforce.submit([partial(tasks.note, notes, "done")] * 2).wait(tasks.LIMIT)


def _tasks_of_tasks(taskforce: TaskForce, notes: str) -> None:
    """End while tasks still submit tasks."""
    _activate(taskforce)
    taskforce.submit(partial(tasks.breed, notes, 4))


def _paused(taskforce: TaskForce, notes: str) -> None:
    """End during a pause, with the task force in a policy."""
    _activate(taskforce)
    taskforce.pause()
    taskforce.submit([partial(tasks.note, notes, str(n)) for n in range(3)])


def _fork(
    taskforce: TaskForce, notes: str, started: str, release: str, background: bool, limit: float
) -> None:
    """Fork with tasks under way and queued; say what parent and child got."""
    pending: list[Future[Any]] = []
    if background:
        pending = [taskforce.submit(partial(tasks.hold, started, release)) for _ in range(2)]
        tasks.wait_for(started)
        pending += [taskforce.submit(partial(tasks.note, notes, f"queued {n}")) for n in range(3)]
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(3 * limit) + 1)  # a hang ends here, and is told by the exit code
        for future in pending:
            try:
                future.wait(limit)
                tasks.note(notes, "child knows")
            except TaskForceError:
                tasks.note(notes, "child told")
            except TimeoutError:
                tasks.note(notes, "child hung")
                os._exit(1)
        one = taskforce.submit(partial(tasks.square, 3))
        several = taskforce.submit([partial(tasks.square, n) for n in range(3)])
        values = [one.wait(limit), several.wait(limit)]
        tasks.note(notes, f"child {values}")
        return  # and the child ends as every program does
    _, status = os.waitpid(pid, 0)
    tasks.note(notes, f"child ended {os.waitstatus_to_exitcode(status)}")
    tasks.note(release)
    for future in pending:
        future.wait(tasks.LIMIT)
    tasks.note(notes, f"parent {taskforce.submit(partial(tasks.square, 3)).wait(tasks.LIMIT)}")


def _fork_under_load(taskforce: TaskForce, notes: str, limit: float) -> None:
    """Fork again and again while threads submit, settle and wait; count the children that failed or hung."""
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            group: Any = taskforce.submit([partial(tasks.square, n) for n in range(20)])
            group.add_callback("finished", str)
            str(group[3])  # which makes it known by its id
            group.wait(tasks.LIMIT)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    failed = 0
    for _ in range(15):
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(limit) + 1)
            values = taskforce.submit([partial(tasks.square, n) for n in range(5)]).wait(limit)
            os._exit(0 if values == [0, 1, 4, 9, 16] else 1)
        failed += os.waitpid(pid, 0)[1] != 0
    over.set()
    for thread in threads:
        thread.join()
    tasks.note(notes, f"failed {failed}")


def _activate(taskforce: TaskForce) -> None:
    from laila.policy import DefaultPolicy

    activate_policy(DefaultPolicy(taskforce=taskforce))


_PROGRAMS: dict[str, Callable[..., None]] = {
    "work": _work,
    "idle": _idle,
    "tasks_of_tasks": _tasks_of_tasks,
    "paused": _paused,
    "fork": _fork,
    "fork_under_load": _fork_under_load,
}


def _main() -> None:
    order = hear()
    _PROGRAMS[order["program"]](build(order["taskforce"]), **order["arguments"])


if __name__ == "__main__":
    _main()
