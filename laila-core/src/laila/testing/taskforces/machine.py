"""Any order of submit, pause, start, cancel, wait and shutdown, against a model that is plainly right."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from laila.errors import FutureCancelledError, TaskForceError
from laila.futures import runtime
from laila.testing import tasks
from laila.testing.bounded import bounded, within
from laila.testing.promises import broken
from laila.testing.taskforces.base import Notes, TaskForceSuite, promise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from laila.contract import Future, TaskForce
    from laila.testing.taskforces.base import MakeTaskForce

__all__ = ["Machine"]


@dataclass
class _Task:
    """The facts about one task."""

    name: str
    fails: bool
    future: Future[Any]
    held: bool
    """It was submitted during the pause that is on: it cannot have started."""
    cancelled: bool = False
    """``cancel()`` said True, or nothing else can have become of it."""
    may_be_cancelled: bool = False
    """A shutdown cancelled what had not started, and nobody knows whether this had."""


class _Histories(RuleBasedStateMachine):
    """The task force beside its model: a list of tasks, whether it is paused, and whether it is over."""

    def __init__(self, taskforce: TaskForce, notes: Notes, limit: float) -> None:
        super().__init__()
        self.taskforce = taskforce
        self.notes = notes
        self.limit = limit
        self.tasks: list[_Task] = []
        self.paused = False
        self.over = False
        self.steps = 0

    @rule(fails=st.lists(st.booleans(), min_size=1, max_size=5))
    def submit(self, fails: list[bool]) -> None:
        made = [(f"{len(self.tasks) + n}", fail) for n, fail in enumerate(fails)]
        functions: list[Callable[[], Any]] = [
            partial(tasks.note_and_fail, self.notes.path, name)
            if fail
            else partial(tasks.note, self.notes.path, name)
            for name, fail in made
        ]
        try:
            future: Any = self.taskforce.submit(functions)
        except TaskForceError:
            promise(self.over, "submit() is refused after shutdown() only")
            return
        promise(not self.over, "submit() after shutdown() is refused")
        futures = [future] if len(functions) == 1 else future.futures()
        self.tasks += [
            _Task(name, fail, one, self.paused) for (name, fail), one in zip(made, futures, strict=True)
        ]

    @precondition(lambda self: not self.over)
    @rule()
    def pause(self) -> None:
        self.taskforce.pause()
        self.paused = True

    @precondition(lambda self: not self.over)
    @rule()
    def start(self) -> None:
        self.taskforce.start()
        self._resumed()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        told = task.future.cancel()
        promise(told or task.cancelled or not task.held, "cancel() of a task that has not started is True")
        promise(not (told and task.cancelled), "cancel() of a task that was cancelled is False")
        task.cancelled = task.cancelled or told

    @precondition(lambda self: self.tasks and not self.paused)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        self._check(data.draw(st.sampled_from(self.tasks)))

    @invariant()
    def look(self) -> None:
        self.steps += 1
        held = [task for task in self.tasks if task.held and not task.cancelled]
        for task in held:
            promise(
                task.future.not_started(), f"during a pause no task starts that was submitted in it: {task}"
            )
        queued = self.taskforce.queue_len
        promise(
            queued >= len(held), f"queue_len counts what waits to start: at least {len(held)}, not {queued}"
        )

    @precondition(lambda self: self.steps > 10)  # or most histories would be short
    @rule(wait=st.booleans(), cancel_pending=st.booleans())
    def shut_down(self, wait: bool, cancel_pending: bool) -> None:
        self.over = True
        for task in self.tasks:
            if cancel_pending and task.held:
                task.cancelled = True
            elif cancel_pending:
                task.may_be_cancelled = True
        within(
            self.limit,
            "shutdown() ends",
            partial(self.taskforce.shutdown, wait=wait, cancel_pending=cancel_pending),
        )
        self._resumed()
        if wait:
            for task in self.tasks:
                promise(task.future._is_settled(), f"shutdown() returns when everything has settled: {task}")

    def teardown(self) -> None:
        if not self.over:
            self.shut_down(wait=True, cancel_pending=False)
        for task in self.tasks:
            self._check(task)
        within(self.limit, "close() ends", self.taskforce.close)
        ran = self.notes.read()
        for task in self.tasks:
            count = ran.count(task.name)
            promise(
                count == (0 if task.future.cancelled() else 1),
                f"a task runs once, a cancelled one never: {task} ran {count} times",
            )
        promise(self.taskforce.queue_len == 0, "queue_len is 0 in the end")

    def _resumed(self) -> None:
        self.paused = False
        for task in self.tasks:
            task.held = False

    def _check(self, task: _Task) -> None:
        promise(task.future._block(self.limit, note=False), f"every task settles its future: {task}")
        if task.may_be_cancelled and task.future.cancelled():
            task.cancelled = True
        error = runtime.exception(task.future)
        if task.cancelled:
            right = isinstance(error, FutureCancelledError)
        elif task.fails:
            right = isinstance(error, ValueError) and str(error) == task.name
        else:
            right = error is None and task.future.result == task.name
        if not right:
            broken(f"a future has the outcome of its task: {task} has {error!r}")


@bounded
class Machine(TaskForceSuite):
    """Histories that hypothesis thinks of."""

    def test_any_history(self, make_taskforce: MakeTaskForce, tmp_path: Path) -> None:
        """In any order of submit, pause, start, cancel, wait and shutdown: each task runs once or never."""
        numbers = itertools.count()
        run_state_machine_as_test(
            lambda: _Histories(make_taskforce(), Notes(tmp_path / f"notes-{next(numbers)}"), self.limit),  # type: ignore[arg-type]  # a factory will do
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=20,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
