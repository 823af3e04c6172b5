"""What becomes of tasks that fail: each fails its own future, with its own error."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.errors import EntryNotFoundError
from laila.futures import runtime
from laila.testing import tasks
from laila.testing.bounded import bounded
from laila.testing.taskforces.base import FUTURES, TaskForceSuite, promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import TaskForce

__all__ = ["Failures"]


@bounded
class Failures(TaskForceSuite):
    """Tasks that raise."""

    def test_an_error_is_the_tasks_own(self, taskforce: TaskForce) -> None:
        """A task that raises fails its future with that error, its type, parts and traceback."""
        future = taskforce.submit(partial(tasks.fail, "what went wrong"))
        error = self.error(future)
        promise(
            type(error) is ValueError and error.args == ("what went wrong",),
            f"a failed task's error is the one it raised, ValueError('what went wrong'); it is {error!r}",
            FUTURES,
        )
        promise(
            future.error() and future.status == "error",
            f"a failed task's status is 'error', not {future.status!r}",
        )
        assert error is not None
        told = "".join(traceback.format_exception(error))
        promise(
            "in fail" in told, f"an error shows the traceback of the task; it shows only:\n{told}", FUTURES
        )
        for _ in range(2):
            with pytest.raises(ValueError, match="what went wrong"):
                future.wait(self.limit)
        later = "".join(traceback.format_exception(runtime.exception(future)))
        promise(later == told, "looking at an error again does not change its traceback", FUTURES)
        missing = self.error(taskforce.submit(partial(tasks.miss, "k", "p")))
        promise(
            isinstance(missing, EntryNotFoundError) and (missing.key, missing.pool) == ("k", "p"),
            f"an error keeps its parts; EntryNotFoundError with key 'k' and pool 'p' came as {missing!r}, "
            f"{getattr(missing, '__dict__', {})}",
            FUTURES,
        )

    def test_failures_stay_with_their_tasks(self, taskforce: TaskForce) -> None:
        """Whatever number of tasks fails, the others are done, and a group raises its first error."""
        group = self.submit_all(
            taskforce,
            [partial(tasks.fail, f"error {n}") if n % 2 else partial(tasks.square, n) for n in range(40)],
        )
        self.settle(group)
        promise(
            [str(error) for error in group.exceptions] == [f"error {n}" for n in range(1, 40, 2)],
            f"a group's exceptions are those of its tasks, in input order; they are {group.exceptions[:3]}…",
        )
        promise(
            [group[n].result for n in range(0, 40, 2)] == [n * n for n in range(0, 40, 2)], "others are done"
        )
        with pytest.raises(ValueError, match="error 1"):
            group.wait(self.limit)
        promise(
            self.value(taskforce.submit(partial(tasks.square, 3))) == 9,
            "tasks are run after others have failed",
        )

    @pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
    def test_what_ends_a_task_does_not_end_its_worker(self, taskforce: TaskForce, kind: str) -> None:
        """`sys.exit()` in a task ends that task, with this error, and nothing else."""
        endings = [taskforce.submit(partial(tasks.leave, kind)) for _ in range(5)]
        for future in endings:
            error = self.error(future, f"a task that raises {kind} settles its future")
            promise(
                type(error).__name__ == kind,
                f"a task that raises {kind} fails with it, not with {error!r}",
                FUTURES,
            )
        promise(
            self.value(taskforce.submit(partial(tasks.square, 3)), f"tasks are run after one raised {kind}")
            == 9,
            f"tasks are run after one raised {kind}",
            FUTURES,
        )

    def test_what_cannot_be_sent_is_told(self, taskforce: TaskForce) -> None:
        """A task, result or error that no other process can take fails that task, and nothing else."""
        self.needs_other_processes()
        unsendable: dict[str, Callable[[], object]] = {
            "an argument": partial(tasks.echo, threading.Lock()),
            "a result": tasks.give_lock,
            "an error": tasks.fail_oddly,
        }
        for what, task in unsendable.items():
            said = f"{what} that cannot be sent to another process fails its task, with an error that says so"
            try:
                error = self.error(taskforce.submit(task), said)
            except Exception as refused:  # noqa: BLE001 - to refuse it at once is as good
                error = refused
            promise(error is not None, said)
        promise(
            self.value(taskforce.submit(partial(tasks.square, 3))) == 9,
            "tasks are run after one that failed so",
        )
