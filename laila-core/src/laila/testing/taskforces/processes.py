"""The end of a program, forks, and workers that die: real processes."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.errors import LailaError
from laila.testing import tasks
from laila.testing.bounded import bounded
from laila.testing.programs import Program, describe
from laila.testing.promises import broken
from laila.testing.taskforces.base import Gate, Notes, TaskForceSuite, promise

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from laila.contract import TaskForce

__all__ = ["Processes"]

EXIT = "docs/explanation/futures.md, “The end of the program, and forks”"


@bounded
class Processes(TaskForceSuite):
    """Work when a process ends or forks."""

    def run_program(self, taskforce: TaskForce, program: str, expected: int = 0, **arguments: Any) -> float:
        """Run a program of :mod:`laila.testing.taskforce_child` with a task force built as this one is.

        It must end by itself, with the exit code ``expected``. Returns how many seconds it took.
        """
        __tracebackhide__ = True
        described = describe(taskforce)
        if self.importable is not None:
            module, _, name = self.importable.partition(":")
            described = {"module": module, "name": name, "options": {}}
        order = {"taskforce": described, "program": program, "arguments": arguments}
        with Program("laila.testing.taskforce_child", order) as running:
            ended = running.end(1.5 * self.limit)
        if ended is None:
            broken(f"a program with this task force ends by itself; it hung; see {EXIT}")
        promise(
            ended.code == expected,
            f"a program with this task force ends with its own exit code, {expected}, and not {ended.code}; "
            f"it wrote: {ended.errors[-2000:]}",
            EXIT,
        )
        promise(
            not ended.errors,
            f"a program with this task force ends without a word; it wrote: {ended.errors[-2000:]}",
            EXIT,
        )
        return ended.seconds

    @pytest.mark.parametrize("code", [0, 3], ids=["end", "sys.exit"])
    def test_exit_completes_what_is_queued(self, taskforce: TaskForce, notes: Notes, code: int) -> None:
        """When the program ends, what is queued is done first, and the exit code stays."""
        self.run_program(taskforce, "work", code, notes=notes.path, code=code)
        ran = sorted(map(int, notes.read()))
        promise(
            ran == list(range(30)), f"what is queued at exit is done first; {len(ran)} of 30 tasks were", EXIT
        )

    def test_exit_completes_what_tasks_submit(self, taskforce: TaskForce, notes: Notes) -> None:
        """When the program ends, what tasks submit meanwhile is done too."""
        self.needs_one_process()
        self.run_program(taskforce, "tasks_of_tasks", notes=notes.path)
        count = len(notes.read())
        promise(
            count == 2**5 - 1, f"what tasks submit during exit is done too; {count} of {2**5 - 1} were", EXIT
        )

    def test_exit_during_a_pause(self, taskforce: TaskForce, notes: Notes) -> None:
        """When the program ends during a pause, its policy has done what is queued."""
        self.run_program(taskforce, "paused", notes=notes.path)
        count = len(notes.read())
        promise(
            count == 3, f"what is queued at exit is done, also during a pause; {count} of 3 tasks were", EXIT
        )

    def test_an_idle_one_keeps_no_program_alive(self, taskforce: TaskForce, notes: Notes) -> None:
        """A program that closes nothing ends when its work is done."""
        took = self.run_program(taskforce, "idle", notes=notes.path)
        promise(
            took < self.patience, f"a program whose work is done ends at once; it took {took:.1f} s", EXIT
        )
        promise(len(notes.read()) == 2, "a program's work is done")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child(self, taskforce: TaskForce, notes: Notes, tmp_path: Path) -> None:
        """In a forked child what was pending fails, and new work is done; the parent goes on."""
        self.needs_one_process()
        self.run_program(
            taskforce,
            "fork",
            notes=notes.path,
            started=str(tmp_path / "started"),
            release=str(tmp_path / "release"),
            background=self.background,
            limit=self.limit / 2,
        )
        said = notes.read()
        promise(
            "child hung" not in said,
            "in a forked child, waiting for the parent's tasks is a TaskForceError, no hang",
            EXIT,
        )
        if self.background:
            told, known = said.count("child told"), said.count("child knows")
            promise(
                told >= 2 and told + known == 5,
                "in a forked child the parent's tasks fail with TaskForceError, unless they ended before the "
                f"fork; of 5, 2 of which ran, {told} failed and {known} gave a result",
                EXIT,
            )
            count = sum(line.startswith("queued") for line in said)
            promise(
                count == 3,
                f"a fork makes no task run twice or never; of 3 queued ones {count} runs were seen",
                EXIT,
            )
        promise("child [9, [0, 1, 4]]" in said, f"in a forked child new work is done; it said {said}", EXIT)
        promise("child ended 0" in said, f"a forked child ends by itself; it said {said}", EXIT)
        promise("parent 9" in said, f"a fork leaves the parent's task force as it was; it said {said}", EXIT)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_forks_under_load(self, taskforce: TaskForce, notes: Notes) -> None:
        """A process may fork at any moment, and new work is done in the child."""
        self.needs_one_process()
        self.run_program(taskforce, "fork_under_load", notes=notes.path, limit=self.limit / 2)
        said = notes.read()
        promise(
            said == ["failed 0"],
            f"a child that is forked while threads submit gets work done; {said} of 15",
            EXIT,
        )

    @pytest.mark.parametrize("how", ["exits", "killed"])
    def test_a_worker_that_dies(self, taskforce: TaskForce, gate: Gate, notes: Notes, how: str) -> None:
        """A worker process that dies fails the task it ran, once, and the task force goes on."""
        self.needs_other_processes()
        others = [taskforce.submit(partial(tasks.note, notes.path, str(n))) for n in range(10)]
        if how == "exits":
            future = taskforce.submit(partial(tasks.end_process, gate.files[0]))
            gate.await_started()
        else:
            future = taskforce.submit(partial(tasks.hold, *gate.files))
            os.kill(gate.await_started()[0], signal.SIGKILL)
        others += [taskforce.submit(partial(tasks.note, notes.path, str(n))) for n in range(10, 20)]
        error = self.error(future, "a task whose process dies settles")
        promise(
            isinstance(error, LailaError), f"a task whose process dies fails with a LailaError, not {error!r}"
        )
        promise(
            "process" in str(error), f"the error of a task whose process died says so; it says {str(error)!r}"
        )
        for other in others:
            self.value(other, "tasks are done although another's process died")
        promise(
            self.value(taskforce.submit(partial(tasks.square, 3))) == 9,
            "tasks are done after another's process died",
        )
        ran = sorted(map(int, notes.read()))
        promise(
            ran == list(range(20)),
            f"a process that dies makes no other task run twice or never; these ran: {ran}",
        )
        starts = len(gate.await_started())
        promise(starts == 1, f"a task whose process died is not run again; it was started {starts} times")
