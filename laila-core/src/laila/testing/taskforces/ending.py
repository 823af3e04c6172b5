"""Pausing, cancelling and shutting down: what has not started, what runs, and what is left behind."""

from __future__ import annotations

import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.errors import FutureCancelledError, TaskForceError
from laila.testing import tasks
from laila.testing.bounded import bounded, within
from laila.testing.promises import Leaks, broken, until
from laila.testing.taskforces.base import Gate, Notes, TaskForceSuite, promise

if TYPE_CHECKING:
    from laila.contract import Future, TaskForce
    from laila.testing.taskforces.base import MakeTaskForce

__all__ = ["Ending"]

LOOK = 0.05
"""Seconds to wait for something that should not happen."""


@bounded
class Ending(TaskForceSuite):
    """The end of tasks and of task forces."""

    # ---------------------------------------------------------------------------------- pause and cancel

    def test_pause_and_start(self, taskforce: TaskForce, notes: Notes) -> None:
        """After `pause` work queues; `start` lets it run."""
        self.value(taskforce.submit(partial(tasks.square, 1)))
        for _ in range(2):  # a second pause changes nothing
            taskforce.pause()
        promise(taskforce.paused, "paused is true after pause()")
        group = self.submit_all(taskforce, [partial(tasks.note, notes.path, str(n)) for n in range(10)])
        time.sleep(LOOK)
        promise(not notes.read(), f"no task starts after pause(); {len(notes.read())} of 10 did")
        promise(group.not_started(), f"what is queued during a pause is not_started; {group!r}")
        counts = len(taskforce), taskforce.queue_len
        promise(
            counts == (10, 10), f"queue_len, and len(), count the tasks that wait to start: 10, not {counts}"
        )
        for _ in range(2):
            taskforce.start()
        promise(not taskforce.paused, "paused is false after start()")
        self.settle(group, "start() lets run what was queued during a pause")
        promise(
            sorted(notes.read()) == sorted(map(str, range(10))),
            "start() lets run all that was queued, once each",
        )
        promise(taskforce.queue_len == 0, f"queue_len is 0 when nothing waits, not {taskforce.queue_len}")

    def test_nothing_starts_after_pause_returned(self, taskforce: TaskForce, notes: Notes) -> None:
        """When `pause` has returned, what has not started does not start until `start`."""
        self.needs_background()
        for turn in range(5):
            futures = [taskforce.submit(partial(tasks.note, notes.path, f"{turn} {n}")) for n in range(100)]
            taskforce.pause()
            time.sleep(LOOK)
            waiting: list[Future[str]] = []

            def all_waiting() -> bool:
                waiting[:] = [future for future in futures if future.not_started()]  # noqa: B023
                return taskforce.queue_len == len(waiting)  # noqa: B023

            until(  # what was just being started says so
                all_waiting,
                lambda: f"queue_len counts what waits: {len(waiting)}, not {taskforce.queue_len}",  # noqa: B023
                self.limit,
            )
            time.sleep(LOOK)
            started = sum(not future.not_started() for future in waiting)
            promise(not started, f"no task starts after pause() returned; {started} of {len(waiting)} did")
            taskforce.start()
            for future in futures:
                self.settle(future, "start() lets run what was queued at a pause")
        promise(
            len(notes.read()) == 500,
            f"pauses lose no task and run none twice: 500 ran, not {len(notes.read())}",
        )

    def test_cancel_what_has_not_started(self, taskforce: TaskForce, notes: Notes) -> None:
        """`cancel` of a task that has not started is True, and the task is never run."""
        taskforce.pause()
        futures = [taskforce.submit(partial(tasks.note, notes.path, str(n))) for n in range(6)]
        promise(futures[2].cancel(), "cancel() of a task that has not started is True")
        promise(not futures[2].cancel(), "cancel() of a task that was cancelled is False")
        promise(futures[2].cancelled(), "what cancel() said it cancelled is cancelled")
        promise(taskforce.queue_len == 5, f"queue_len counts no cancelled task: 5, not {taskforce.queue_len}")
        group = self.submit_all(taskforce, [partial(tasks.note, notes.path, "group")] * 3)
        promise(group.cancel(), "cancel() of a group that has not started is True")
        taskforce.start()
        for n, future in enumerate(futures):
            error = self.error(future)
            if n == 2:
                promise(
                    isinstance(error, FutureCancelledError),
                    f"a cancelled task's error says so; it is {error!r}",
                )
            else:
                promise(error is None, f"cancelling a task harms no other; one failed with {error!r}")
        self.settle(group)
        ran = sorted(notes.read())
        promise("2" not in ran and "group" not in ran, "a task that was cancelled is never run")
        promise(ran == ["0", "1", "3", "4", "5"], f"cancelling a task harms no other; these ran: {ran}")
        promise(not futures[0].cancel(), "cancel() of a task that is done is False")

    def test_cancel_what_runs(self, taskforce: TaskForce, gate: Gate) -> None:
        """`cancel` of a task that runs is False, and it goes on."""
        self.needs_background()
        running = taskforce.submit(partial(tasks.hold, *gate.files))
        gate.await_started()
        promise(
            running.status == "running",
            f"the status of a task that runs is 'running', not {running.status!r}",
        )
        promise(not running.cancel(), "cancel() of a task that runs is False")
        gate.open()
        promise(
            self.value(running) is True, "a task that could not be cancelled goes on, and gives its result"
        )

    def test_a_wait_that_times_out_changes_nothing(self, taskforce: TaskForce, gate: Gate) -> None:
        """A wait that ends too early is a TimeoutError, and the work goes on."""
        self.needs_background()
        running = taskforce.submit(partial(tasks.hold, *gate.files))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            running.wait(LOOK)
        took = time.monotonic() - began
        promise(took < self.patience / 2, f"wait({LOOK}) ends after {LOOK} s; it took {took:.1f} s")
        gate.open()
        promise(self.value(running) is True, "work goes on after a wait that timed out")

    # ------------------------------------------------------------------------------------------- shutdown

    def test_shutdown_waits_for_what_is_queued(self, taskforce: TaskForce, notes: Notes) -> None:
        """`shutdown()` returns when all is done; from then on everything is refused and nothing taken."""
        group = self.submit_all(taskforce, [partial(tasks.note, notes.path, str(n)) for n in range(50)])
        taskforce.shutdown()
        promise(
            len(notes.read()) == 50,
            f"shutdown() returns when all is done; {len(notes.read())} of 50 tasks were",
        )
        promise(group.finished(), f"shutdown() returns when all has settled; {group!r}")
        late = partial(tasks.note, notes.path, "late")
        uses = {
            "submit()": lambda: taskforce.submit(late),
            "submit() of several": lambda: taskforce.submit([late, late]),
            "imap()": lambda: taskforce.imap([late]),
            "start()": taskforce.start,
            "pause()": taskforce.pause,
        }
        for name, use in uses.items():
            try:
                use()
            except TaskForceError:
                continue
            broken(
                f"{name} after shutdown() is a TaskForceError; it raised nothing; see docs/how-to/run-work.md"
            )
        time.sleep(LOOK)
        promise("late" not in notes.read(), "what is submitted after shutdown() is not run")
        promise(taskforce.queue_len == 0, "what is submitted after shutdown() is not queued")
        taskforce.shutdown()
        taskforce.shutdown(wait=False, cancel_pending=True)
        taskforce.close()
        taskforce.close()

    def test_shutdown_cancels_what_is_pending(self, taskforce: TaskForce, notes: Notes) -> None:
        """`shutdown(cancel_pending=True)` cancels what has not started."""
        taskforce.pause()
        group = self.submit_all(taskforce, [partial(tasks.note, notes.path, str(n)) for n in range(20)])
        taskforce.shutdown(cancel_pending=True)
        promise(group.cancelled(), f"shutdown(cancel_pending=True) cancels what has not started; {group!r}")
        promise(
            not notes.read(), f"what shutdown() cancelled is not run; {len(notes.read())} of 20 tasks were"
        )

    def test_shutdown_need_not_wait(self, made: MakeTaskForce, gate: Gate, notes: Notes) -> None:
        """`shutdown(wait=False)` returns at once; submitted work is still done."""
        self.needs_background()
        taskforce = made()
        running = taskforce.submit(partial(tasks.hold, *gate.files))
        gate.await_started()
        queued = [taskforce.submit(partial(tasks.note, notes.path, str(n))) for n in range(20)]
        within(
            self.limit,
            "shutdown(wait=False) returns while tasks run",
            partial(taskforce.shutdown, wait=False),
        )
        promise(not running.finished(), "a task that was running goes on after shutdown(wait=False)")
        gate.open()
        promise(self.value(running) is True, "a task that was running goes on after shutdown(wait=False)")
        for future in queued:
            self.value(future, "shutdown(wait=False) has what is queued done all the same")
        promise(
            len(notes.read()) == 20, "shutdown(wait=False) has what is queued done all the same, once each"
        )

    def test_shutdown_leaves_what_runs(self, taskforce: TaskForce, gate: Gate) -> None:
        """`shutdown(wait=False, cancel_pending=True)` cancels what is queued, and what runs goes on."""
        self.needs_background()
        running = taskforce.submit(partial(tasks.hold, *gate.files))
        gate.await_started()
        taskforce.pause()
        queued = self.submit_all(taskforce, [partial(tasks.square, n) for n in range(5)])
        taskforce.shutdown(wait=False, cancel_pending=True)
        promise(queued.cancelled(), f"shutdown(cancel_pending=True) cancels what has not started; {queued!r}")
        promise(not running.cancelled(), "shutdown(cancel_pending=True) cancels no task that runs")
        gate.open()
        promise(self.value(running) is True, "a task that was running at a shutdown gives its result")

    def test_shutdown_during_a_pause(self, taskforce: TaskForce) -> None:
        """A paused task force that is shut down does what is queued."""
        taskforce.pause()
        future = taskforce.submit(partial(tasks.square, 3))
        taskforce.shutdown()
        promise(future.finished(), f"shutdown() during a pause does what is queued; {future!r}")
        promise(future.result == 9, "shutdown() during a pause does what is queued")

    def test_submitting_while_it_shuts_down(self, made: MakeTaskForce) -> None:
        """Work that is submitted while another thread shuts down is done or refused, never lost."""
        for turn in range(5):
            taskforce = made()
            taken: list[Future[int]] = []
            odd: list[BaseException] = []
            enough = threading.Event()

            def submit(before: int) -> None:
                try:
                    for n in range(300):  # no more: where the machine is busy, all are to be done in time
                        taken.append(taskforce.submit(partial(tasks.square, 2)))  # noqa: B023
                        if n == before:
                            enough.set()  # noqa: B023
                        time.sleep(0)  # so that the other threads have their turn
                except TaskForceError:
                    return
                except BaseException as error:  # noqa: BLE001 - reported below
                    odd.append(error)  # noqa: B023
                finally:
                    enough.set()  # noqa: B023

            threads = [threading.Thread(target=submit, args=(10 * turn,), daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            promise(enough.wait(self.limit), "submit() returns")
            taskforce.shutdown()
            for thread in threads:
                thread.join(self.limit)
            promise(not odd, f"a submit that comes too late is a TaskForceError, not {odd[:1]}")
            promise(
                not any(map(threading.Thread.is_alive, threads)), "a submit that comes too late is refused"
            )
            for future in taken:
                promise(
                    self.value(future, "what was taken before a shutdown is done") == 4, "it is done right"
                )

    def test_a_with_block_and_one_never_used(self, made: MakeTaskForce) -> None:
        """Leaving a `with` block does the queued work; an unused task force closes as well."""
        with made() as taskforce:
            group = self.submit_all(taskforce, [partial(tasks.square, n) for n in range(20)])
        promise(group.finished(), f"leaving a with block does what is queued; {group!r}")
        promise(taskforce.closed, "leaving a with block closes the task force")
        made().close()

    def test_close_leaves_nothing_behind(self, made: MakeTaskForce) -> None:
        """`close()` gives back every thread, process and file."""

        def use() -> None:
            with made() as taskforce:
                self.value(self.submit_all(taskforce, [partial(tasks.square, n) for n in range(20)]))
                taskforce.pause()
                self.submit_all(taskforce, [partial(tasks.square, n) for n in range(20)])

        use()  # what a library keeps for the whole process is there from now on
        leaks = Leaks()
        for _ in range(3):
            use()
        leaks.check("close()", seconds=self.limit / 2)

    def test_options(self, made: MakeTaskForce) -> None:
        """`options()` can be written down, and `nickname=` gives the same identity everywhere."""
        first, second = made(nickname="conformance"), made(nickname="conformance")
        promise(first.global_id == second.global_id, "a nickname gives the same global id again")
        promise(bool(first), "a task force with an empty queue is true")
        options = first.options()
        promise(json.loads(json.dumps(options)) == options, f"options() is JSON-able; it is {options}")
        promise(options.get("nickname") == "conformance", f"options() has the nickname; it is {options}")
