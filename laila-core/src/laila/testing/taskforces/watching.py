"""Those who submit and wait: threads, event loops, callbacks and guarantees, any number at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.futures import as_completed, guarantee
from laila.testing import tasks
from laila.testing.bounded import bounded
from laila.testing.promises import in_threads, until
from laila.testing.taskforces.base import Gate, Notes, TaskForceSuite, promise

if TYPE_CHECKING:
    from typing import Any

    from laila.contract import Future, TaskForce

__all__ = ["Watching"]


@bounded
class Watching(TaskForceSuite):
    """Listeners of an outcome, and many of them at once."""

    def test_callbacks(self, taskforce: TaskForce) -> None:
        """A callback is called once, with its future, also when added late or beside a failing callback."""
        called: list[tuple[str, object]] = []

        def fail(_future: object) -> None:
            raise RuntimeError("a callback that fails, on purpose")

        def note(status: str, future: object) -> None:
            called.append((status, future))

        good, bad = partial(tasks.square, 2), partial(tasks.fail, "told")
        futures: dict[str, Future[Any]] = {"finished": taskforce.submit(good), "error": taskforce.submit(bad)}
        for status, future in futures.items():
            future.add_callback(status, fail)
            future.add_callback(status, partial(note, status))
            future.add_callback("cancelled", partial(note, "cancelled"))
        until(
            lambda: len(called) >= 2,
            lambda: f"a callback is called; of two, these were: {called}",
            self.limit,
        )
        promise(
            sorted((status, id(future)) for status, future in called)
            == sorted((status, id(future)) for status, future in futures.items()),
            f"a callback is called once, with its future; of two, these were: {called}",
        )
        futures["finished"].add_callback("finished", partial(note, "late"))
        promise(called[-1][0] == "late", "a callback for what has happened already is called at once")

    def test_many_threads_submit(self, taskforce: TaskForce, notes: Notes) -> None:
        """Any number of threads may submit at once; nothing is lost, run twice or swapped."""

        def work(me: int) -> list[Any]:
            results = []
            for n in range(0, 40, 4):
                numbers = [me * 1000 + n + k for k in range(4)]
                futures = [taskforce.submit(partial(tasks.note, notes.path, str(one))) for one in numbers[:2]]
                group = self.submit_all(
                    taskforce, [partial(tasks.note, notes.path, str(one)) for one in numbers[2:]]
                )
                results += [self.value(future) for future in futures] + self.value(group)
            return results

        found = in_threads(
            [partial(work, me) for me in range(8)],
            "many threads may submit and wait at once",
            2 * self.limit,
        )
        expected = [[str(me * 1000 + n) for n in range(40)] for me in range(8)]
        promise(found == expected, "threads that submit at once each get the outcomes of their own tasks")
        ran = sorted(map(int, notes.read()))
        promise(
            ran == sorted(int(n) for one in expected for n in one),
            "tasks that many threads submit run once each",
        )

    def test_many_threads_cancel_and_pause(self, taskforce: TaskForce, notes: Notes) -> None:
        """Threads may submit, cancel, pause and start at once; each task runs once or is cancelled."""

        def work(me: int) -> dict[str, bool]:
            """Return the names of this thread's tasks, and whether each was cancelled."""
            ended: dict[str, bool] = {}
            for n in range(15):
                names = [f"{me}-{n}-{k}" for k in range(4)]
                group = self.submit_all(taskforce, [partial(tasks.note, notes.path, name) for name in names])
                if n % 5 == 0:
                    taskforce.pause()
                    taskforce.start()
                if n % 3 == 0:
                    group[1].cancel()
                self.settle(group)
                ended |= {name: child.cancelled() for name, child in zip(names, group.futures(), strict=True)}
                taskforce.start()  # whatever order the pauses and starts of all threads came in
            return ended

        found = in_threads(
            [partial(work, me) for me in range(6)],
            "many threads may submit, cancel, pause and start at once",
            2 * self.limit,
        )
        ran = Counter(notes.read())
        for name, cancelled in (item for ended in found for item in ended.items()):
            promise(
                ran[name] == (0 if cancelled else 1),
                f"a task runs once, a cancelled one never: one of which cancelled() is {cancelled} ran "
                f"{ran[name]} times",
            )

    def test_as_completed(self, taskforce: TaskForce, gate: Gate) -> None:
        """`as_completed` gives each future once, as it settles."""
        futures = [taskforce.submit(partial(tasks.slow_square, n)) for n in range(20)]
        given = list(as_completed(futures, self.limit))
        promise(
            len(given) == 20 and set(map(id, given)) == set(map(id, futures)), "as_completed gives each once"
        )
        self.needs_background()
        slow = taskforce.submit(partial(tasks.hold, *gate.files))
        gate.await_started()
        order = []
        for future in as_completed([slow, *futures[:2]], self.limit):
            order.append(future)
            gate.open()
        promise(order == [*futures[:2], slow], "as_completed gives what has settled before what still runs")

    def test_await(self, taskforce: TaskForce) -> None:
        """Futures and groups can be awaited in any event loop."""

        async def main() -> list[Any]:
            futures = [taskforce.submit(partial(tasks.slow_square, n)) for n in range(10)]
            group = self.submit_all(taskforce, [partial(tasks.slow_square, n) for n in range(10)])
            both: list[Any] = [[await future for future in futures], await group]
            with pytest.raises(ValueError, match="awaited"):
                await taskforce.submit(partial(tasks.fail, "awaited"))
            return both

        squares = [n * n for n in range(10)]
        promise(asyncio.run(main()) == [squares, squares], "a future can be awaited, and gives its result")

    def test_guarantee(self, taskforce: TaskForce, notes: Notes) -> None:
        """A guarantee waits for what was submitted in its block, tasks of tasks too, and raises failures."""

        def outer(n: int) -> None:
            taskforce.submit(partial(tasks.note, notes.path, str(n)))

        with guarantee(timeout=self.limit):
            for n in range(20):
                if self.in_process:
                    taskforce.submit(partial(outer, n))
                else:
                    taskforce.submit(partial(tasks.note, notes.path, str(n)))
        ran = sorted(map(int, notes.read()))
        promise(ran == list(range(20)), f"a guarantee ends when all is done; {len(ran)} of 20 were")
        with pytest.raises(ValueError, match="in the block"), guarantee(timeout=self.limit):
            taskforce.submit(partial(tasks.fail, "in the block"))
