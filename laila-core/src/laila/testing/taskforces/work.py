"""What becomes of tasks: each is run once, its outcome is its future's, and order is kept."""

from __future__ import annotations

import contextvars
import itertools
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.contract import Future
from laila.entry import Entry
from laila.errors import EntryNotFoundError, InvalidTaskError
from laila.futures import runtime
from laila.pool.memory import MemoryPool
from laila.testing import tasks
from laila.testing.bounded import bounded
from laila.testing.taskforces.base import FUTURES, Notes, TaskForceSuite, promise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laila.contract import TaskForce
    from laila.policy import DefaultPolicy

__all__ = ["Work"]


class _SlowPool(MemoryPool):
    """A pool whose calls may block, so that verbs have them made by the task force."""

    blocking = True


@bounded
class Work(TaskForceSuite):
    """Tasks and their outcomes."""

    def test_what_submit_returns(self, taskforce: TaskForce) -> None:
        """A callable gives a Future, several a GroupFuture, `wait=True` the values."""
        four, nine = partial(tasks.square, 2), partial(tasks.square, 3)
        future = taskforce.submit(four)
        promise(isinstance(future, Future), f"a callable gives a Future; it gave {future!r}")
        promise(self.value(future) == 4, "a future's result is what the task returned")
        one = taskforce.submit([four])
        promise(isinstance(one, Future), f"a list of one gives a Future; it gave {one!r}")
        promise(self.value(one) == 4, "a future's result is what the task returned")
        promise(
            self.value(self.submit_all(taskforce, [four, nine])) == [4, 9],
            "a group's results are in input order",
        )
        promise(self.value(self.submit_all(taskforce, [])) == [], "no tasks give an empty group")
        promise(taskforce.submit(four, wait=True) == 4, "wait=True returns the value of one task")
        promise(
            taskforce.submit([four, nine], wait=True) == [4, 9], "wait=True returns the values of several"
        )
        promise(taskforce.submit([nine], wait=True) == 9, "wait=True returns the value of a list of one task")
        promise(taskforce.submit([], wait=True) == [], "wait=True returns [] for no tasks")
        drawn = taskforce.submit((partial(tasks.square, n) for n in range(3)), wait=True)
        promise(drawn == [0, 1, 4], f"submit takes any iterable of tasks; a generator of three gave {drawn}")
        with pytest.raises(ValueError, match="told"):
            taskforce.submit(partial(tasks.fail, "told"), wait=True)

    def test_each_task_runs_exactly_once(self, taskforce: TaskForce, notes: Notes) -> None:
        """Every task is run, and none twice."""
        names = [f"task {n}" for n in range(200)]
        group = self.submit_all(taskforce, [partial(tasks.note, notes.path, name) for name in names[:150]])
        singles = [taskforce.submit(partial(tasks.note, notes.path, name)) for name in names[150:]]
        self.settle(group)
        for future in singles:
            self.settle(future)
        ran = Counter(notes.read())
        lost = [name for name in names if not ran[name]]
        again = [name for name in names if ran[name] > 1]
        promise(
            not lost,
            f"every task is run; of {len(names)} tasks that settled {len(lost)} never ran: {lost[:3]}",
        )
        promise(not again, f"no task is run twice; of {len(names)} tasks {len(again)} were: {again[:3]}")
        promise(group.finished(), f"what has run is finished; {group!r}")

    def test_outcomes_are_those_of_their_tasks(self, taskforce: TaskForce) -> None:
        """However tasks overtake each other, each future has the outcome of its own task."""
        numbers = range(60)
        group = self.submit_all(taskforce, [partial(tasks.slow_square, n) for n in numbers])
        expected = [n * n for n in numbers]
        promise(
            self.value(group) == expected, "each future has the result of its own task; results were swapped"
        )
        mixed = self.submit_all(
            taskforce, [partial(tasks.fail, str(n)) if n % 3 else partial(tasks.square, n) for n in numbers]
        )
        self.settle(mixed)
        found = [
            str(runtime.exception(one)) if n % 3 else one.result for n, one in enumerate(mixed.futures())
        ]
        expected_mixed = [str(n) if n % 3 else n * n for n in numbers]
        promise(
            found == expected_mixed,
            "each future has the outcome of its own task; errors and results were swapped",
        )

    def test_map_and_imap_keep_order(self, taskforce: TaskForce) -> None:
        """`map` gives values and `imap` futures in the order of the tasks."""
        expected = [n * n for n in range(40)]
        values = list(taskforce.map(partial(tasks.slow_square, n) for n in range(40)))
        promise(values == expected, f"map gives values in the order of the tasks; it gave {values[:8]}…")
        futures = list(taskforce.imap(partial(tasks.slow_square, n) for n in range(40)))
        promise(all(isinstance(future, Future) for future in futures), "imap gives futures")
        results = [self.value(future) for future in futures]
        promise(
            results == expected, f"imap gives futures in the order of the tasks; they gave {results[:8]}…"
        )

    def test_imap_is_lazy(self, taskforce: TaskForce) -> None:
        """`imap` takes an endless iterable, as much of it as it needs."""
        taken: list[int] = []

        def endless() -> Iterator[partial[int]]:
            for n in itertools.count():
                taken.append(n)
                yield partial(tasks.square, n)

        given = taskforce.imap(endless())
        promise(not taken, f"imap takes no task before it is asked for one; it took {len(taken)}")
        for n in range(20):
            promise(self.value(next(given)) == n * n, "imap gives futures in the order of the tasks")
            ahead = len(taken) - n - 1
            promise(
                ahead <= max(taskforce.look_ahead, 1),
                f"imap looks ahead by at most look_ahead ({taskforce.look_ahead}) tasks; it took {ahead}",
            )
        given.close()  # type: ignore[attr-defined]  # a generator
        values = list(itertools.islice(taskforce.map(endless()), 10))
        promise(values == [n * n for n in range(10)], "map takes an endless iterable")

    def test_map_raises_in_its_turn(self, taskforce: TaskForce) -> None:
        """An error of a task, or of the iterable of tasks, comes after the values before it."""
        values: list[int] = []
        with pytest.raises(ValueError, match="third"):
            values.extend(
                taskforce.map(
                    [partial(tasks.square, 1), partial(tasks.square, 2), partial(tasks.fail, "third")]
                )
            )
        promise(values == [1, 4], f"map gives the values before an error; it gave {values}")

        def broken_off() -> Iterator[partial[int]]:
            yield partial(tasks.square, 3)
            raise OSError("no more tasks")

        values.clear()
        with pytest.raises(OSError, match="no more tasks"):
            values.extend(taskforce.map(broken_off()))
        promise(values == [9], f"map gives the values before its iterable raised; it gave {values}")

    def test_what_is_no_task_is_refused(self, taskforce: TaskForce, notes: Notes) -> None:
        """A batch with something that is no task raises InvalidTaskError, and none of it is queued."""

        async def coroutine() -> None:
            """Runs nothing when it is called."""

        taskforce.pause()
        for wrong in (3, None, "text", coroutine):
            with pytest.raises(InvalidTaskError):
                taskforce.submit([partial(tasks.note, notes.path, "taken"), wrong])  # type: ignore[list-item]
            with pytest.raises(InvalidTaskError):
                taskforce.submit(wrong)  # type: ignore[arg-type]
        promise(
            taskforce.queue_len == 0,
            f"a batch that is refused queues nothing; queue_len is {taskforce.queue_len}",
        )
        taskforce.start()
        self.value(taskforce.submit(partial(tasks.square, 1)))
        promise(not notes.read(), "no task of a batch that is refused is run")

    def test_large_arguments_and_results(self, taskforce: TaskForce) -> None:
        """Four megabytes pass, in and out, also several at a time."""
        data = bytes(range(256)) * (1 << 14)
        group = self.submit_all(taskforce, [partial(tasks.echo, data + bytes([n])) for n in range(4)])
        results = self.value(group, "tasks with 4 MiB of arguments and results settle")
        promise(
            results == [data + bytes([n]) for n in range(4)], "4 MiB of arguments and results pass unchanged"
        )

    def test_objects_are_shared_or_copied(self, taskforce: TaskForce) -> None:
        """In one process tasks share objects with their submitter; between processes they get copies."""
        items: list[object] = []
        result = self.value(taskforce.submit(partial(tasks.extend, items)))
        promise(
            result == ["changed"], f"a task changes what it was given, and returns it; it returned {result!r}"
        )
        if self.in_process:
            promise(result is items, "in_process: a task gets the very objects that it was given, not copies")
        else:
            promise(
                items == [], "not in_process: what a task does to its arguments is not seen by the submitter"
            )

    def test_the_context_flows_in(self, taskforce: TaskForce) -> None:
        """A task runs in a copy of its submitter's context, and changes nothing outside."""
        self.needs_one_process()
        variable = contextvars.ContextVar("variable", default=0)

        def work() -> int:
            seen = variable.get()
            variable.set(seen + 1)
            return seen

        variable.set(7)
        group = self.submit_all(taskforce, [work] * 30)
        variable.set(8)
        results = self.value(group)
        promise(
            results == [7] * 30,
            f"a task sees the context of its submit (7), and no other's; they saw {set(results)}",
            FUTURES,
        )
        promise(
            variable.get() == 8,
            f"a task changes no variable of its submitter; 8 became {variable.get()}",
            FUTURES,
        )

    def test_verbs_through_it(self, active: DefaultPolicy) -> None:
        """The alpha task force of a policy carries out memorize, remember and forget."""
        if not self.alpha:
            pytest.skip("alpha is False: no policy does its verbs with it")
        active.central.memory.alpha_pool = _SlowPool()
        memory = active.central.memory
        entries = [Entry.constant({"number": n}) for n in range(20)]
        ids = self.value(memory.memorize(entries), "memorize through it settles")
        promise(ids == [entry.global_id for entry in entries], "memorize through it gives the ids")
        single = self.value(
            memory.memorize(Entry.constant("one", nickname="conformance")), "memorize settles"
        )
        found = self.value(memory.remember([*ids, single]), "remember through it settles")
        promise(
            [entry.data for entry in found] == [*({"number": n} for n in range(20)), "one"],
            "remember through it gives back what memorize stored",
        )
        self.value(memory.forget(ids), "forget through it settles")
        error = self.error(memory.remember(ids[0]), "remember of what is not there settles")
        promise(
            isinstance(error, EntryNotFoundError),
            f"what is not there is an EntryNotFoundError, not {error!r}",
        )
