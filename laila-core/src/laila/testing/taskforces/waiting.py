"""Tasks that wait for tasks: never a deadlock, whatever the number of workers."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.testing import tasks
from laila.testing.bounded import bounded
from laila.testing.promises import in_threads
from laila.testing.taskforces.base import Gate, TaskForceSuite, promise

if TYPE_CHECKING:
    from laila.contract import Future, TaskForce

__all__ = ["Waiting"]

PAGE = "docs/explanation/futures.md, “Waiting inside a task”"
ACTIVE = pytest.mark.usefixtures("active")
NO_DEADLOCK = "tasks may submit tasks and wait for them, whatever the number of workers"


@bounded
class Waiting(TaskForceSuite):
    """Tasks that wait, each through the active policy's command as a user's would."""

    @ACTIVE
    @pytest.mark.parametrize("limit", [None, tasks.LIMIT], ids=["without", "with a limit"])
    def test_a_chain(self, taskforce: TaskForce, limit: float | None) -> None:
        """A task that waits for a task that waits … a hundred deep."""
        found = self.value(
            taskforce.submit(partial(tasks.chain, 100, limit)), f"{NO_DEADLOCK}: a chain of 100 ends"
        )
        promise(found == 100, f"a chain of 100 tasks gives 100, not {found}", PAGE)

    @ACTIVE
    def test_a_tree(self, taskforce: TaskForce) -> None:
        """Tasks that each wait for a group of three."""
        found = self.value(
            taskforce.submit(partial(tasks.tree, 4, 3)), f"{NO_DEADLOCK}: a tree of 3⁴ tasks ends"
        )
        promise(found == 3**4, f"a tree of 3⁴ tasks gives {3**4}, not {found}", PAGE)

    @ACTIVE
    def test_every_way_to_wait(self, taskforce: TaskForce) -> None:
        """`result`, `exception`, groups, `as_completed` and `map` all work inside a task."""
        group = self.submit_all(taskforce, [tasks.every_way] * 4)
        for found in self.value(group, f"{NO_DEADLOCK}: in each way to wait"):
            promise(
                found == tasks.EVERY_WAY,
                f"waiting inside a task gives what was waited for; it gave {found}",
                PAGE,
            )

    @ACTIVE
    def test_event_loops_inside_tasks(self, taskforce: TaskForce) -> None:
        """A task may run an event loop that awaits other tasks."""
        self.needs_background()  # a loop that submits would run the task, and its loop, inside itself
        found = self.value(
            taskforce.submit(partial(tasks.loop_inside, 3)), f"{NO_DEADLOCK}: with await in a task"
        )
        promise(found == 2**3, f"event loops inside tasks give {2**3}, not {found}", PAGE)

    @ACTIVE
    def test_many_at_once(self, taskforce: TaskForce) -> None:
        """Random trees of tasks that wait in random ways, from several threads at once."""
        found = in_threads(
            [
                lambda seed=seed: self.value(  # type: ignore[misc]
                    taskforce.submit(partial(tasks.grove, 4, seed)), f"{NO_DEADLOCK}: many trees at once"
                )
                for seed in range(6)
            ],
            f"{NO_DEADLOCK}: many trees at once",
            2 * self.limit,
        )
        promise(all(count >= 1 for count in found), f"random trees have leaves; they gave {found}", PAGE)

    @ACTIVE
    def test_a_pause_lets_go_on_what_began(self, taskforce: TaskForce, gate: Gate) -> None:
        """During a pause, a task that runs goes on, with the tasks that it waits for."""
        self.needs_background()
        running = taskforce.submit(partial(tasks.parent, *gate.files))
        gate.await_started()
        taskforce.pause()
        gate.open()
        found = self.value(running, "during a pause, what runs goes on, and what it waits for")
        promise(found == 9, f"a task that waited for square(3) during a pause gives 9, not {found}", PAGE)
        taskforce.start()

    @ACTIVE
    def test_waiting_with_a_lock(self, taskforce: TaskForce) -> None:
        """A waiting task holds its locks: its thread runs its sub-task, and nothing else."""
        self.needs_one_process()
        self.needs_background()
        lock = threading.Lock()
        queued: list[Future[int]] = []

        def greedy() -> int:
            with lock:
                return 1

        def holder() -> int:
            with lock:
                queued.append(taskforce.submit(greedy))
                return taskforce.submit(partial(tasks.square, 3)).result

        said = (
            "a task that waits may hold a lock which other queued tasks want: they are not run in its stack"
        )
        promise(self.value(taskforce.submit(holder), said) == 9, said, PAGE)
        promise(self.value(queued[0], said) == 1, said, PAGE)
