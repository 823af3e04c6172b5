"""Tasks that wait for tasks: never a deadlock, whatever the number of workers."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from laila.errors import TaskForceError
from laila.futures import Future, GroupFuture, as_completed
from laila.taskforce.threads import PythonThreadPoolTaskForce

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
ONE_AND_MORE = pytest.mark.parametrize("workers", [1, 2, 4])


def settled(taskforce: PythonThreadPoolTaskForce) -> bool:
    """Whether the crew is back to its size and nobody counts as blocked."""
    crew = taskforce._crew
    deadline = time.monotonic() + 10
    while len(crew.workers) > crew.size or crew.blocked:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@ONE_AND_MORE
def test_a_chain_of_two_thousand(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        def chain(left: int) -> int:
            return 0 if left == 0 else taskforce.submit(lambda: chain(left - 1)).result + 1

        assert taskforce.submit(lambda: chain(2000)).wait(60) == 2000
        assert settled(taskforce), "the spare threads retire"


def test_a_chain_of_deep_stacks() -> None:
    """Tasks that use much of the stack themselves are not nested until it overflows."""
    with PythonThreadPoolTaskForce(1) as taskforce:

        def deep(frames: int, left: int) -> int:
            if frames:
                return deep(frames - 1, left)
            return 0 if left == 0 else taskforce.submit(lambda: deep(150, left - 1)).result + 1

        assert taskforce.submit(lambda: deep(150, 60)).wait(60) == 60


@ONE_AND_MORE
def test_a_tree(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        def tree(depth: int) -> int:
            if depth == 0:
                return 1
            return sum(GroupFuture.of([taskforce.submit([lambda: tree(depth - 1)] * 3)]).result)

        assert taskforce.submit(lambda: tree(5)).wait(60) == 3**5
        assert settled(taskforce)


@ONE_AND_MORE
def test_waits_with_a_time_limit(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        def chain(left: int) -> int:
            return 0 if left == 0 else taskforce.submit(lambda: chain(left - 1)).wait(60) + 1

        assert taskforce.submit(lambda: chain(100)).wait(60) == 100
        assert settled(taskforce)


@ONE_AND_MORE
def test_every_way_to_wait(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        def submit(fn: Callable[[], T]) -> Future[T]:
            return taskforce.submit(fn)

        def parent() -> list[Any]:
            group = GroupFuture.batch(3, lambda: [1, 2, 3], taskforce.dispatch)
            item = GroupFuture.batch(2, lambda: ["a", "b"], taskforce.dispatch)[1]
            given = sorted(
                future.result for future in as_completed([submit(partial(int, n)) for n in range(5)])
            )
            return [
                submit(lambda: 1).result,
                submit(lambda: 2).exception,
                group.result,
                item.result,
                taskforce.submit([lambda: 1, lambda: 2]).wait(30),
                given,
                list(taskforce.map([partial(int, n) for n in range(20)])),
            ]

        expected = [1, None, [1, 2, 3], "b", [1, 2], [0, 1, 2, 3, 4], list(range(20))]
        assert taskforce.submit([parent] * 4).wait(60) == [expected] * 4
        assert settled(taskforce)


@ONE_AND_MORE
def test_event_loops_inside_tasks(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        async def fetch(depth: int) -> int:
            return await taskforce.submit(lambda: asyncio.run(gather(depth - 1))) if depth else 1

        async def gather(depth: int) -> int:
            group: GroupFuture[int] = GroupFuture.of([taskforce.submit([lambda: 1, lambda: 1])])
            return sum(await asyncio.gather(fetch(depth), fetch(depth))) + sum(await group)

        assert taskforce.submit(lambda: asyncio.run(gather(3))).wait(60) == 2**4 + 2 * (2**4 - 1)
        assert settled(taskforce)


def test_two_task_forces_that_wait_for_each_other() -> None:
    with PythonThreadPoolTaskForce(1) as one, PythonThreadPoolTaskForce(1) as other:

        def bounce(left: int) -> int:
            taskforce = one if left % 2 else other
            return 0 if left == 0 else taskforce.submit(lambda: bounce(left - 1)).result + 1

        assert one.submit(lambda: bounce(200)).wait(60) == 200
        assert settled(one)
        assert settled(other)


def test_waiting_with_a_lock_that_other_tasks_want() -> None:
    """A waiter runs only what it waits for, never a task that may want the lock it holds."""
    lock = threading.Lock()
    with PythonThreadPoolTaskForce(1) as taskforce:

        def greedy() -> int:
            with lock:
                return 1

        def holder() -> int:
            with lock:
                queued.append(taskforce.submit(greedy))
                return taskforce.submit(lambda: 2).result

        queued: list[Future[int]] = []
        assert taskforce.submit(holder).wait(30) == 2
        assert queued[0].wait(30) == 1


def test_as_completed_runs_nothing_in_the_waiter() -> None:
    """It waits for any of them, and one may need what the waiter does after another."""
    gate = threading.Event()
    with PythonThreadPoolTaskForce(2) as taskforce:

        def parent() -> list[int]:
            futures = [taskforce.submit(lambda: 1 if gate.wait(30) else 0), taskforce.submit(lambda: 2)]
            results: list[Any] = []
            for future in as_completed(futures):
                results.append(future.result)
                gate.set()
            return results

        assert taskforce.submit(parent).wait(30) == [2, 1]


def test_the_limit_holds_for_what_is_not_waiting() -> None:
    """However many tasks wait, no more than `workers` of them are at work."""
    working, most = 0, 0
    lock = threading.Lock()

    def busy() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.001)
        with lock:
            working -= 1

    with PythonThreadPoolTaskForce(2) as taskforce:

        def parent() -> None:
            taskforce.submit([busy] * 5).wait(30)  # with a limit: others do them

        taskforce.submit([parent] * 10).wait(60)
        assert settled(taskforce)
    # Whoever comes back from a wait is one too many until somebody finishes a task.
    assert most <= 4


def test_paused_task_force_finishes_what_it_began() -> None:
    with PythonThreadPoolTaskForce(1) as taskforce:
        entered, go = threading.Event(), threading.Event()

        def parent() -> int:
            entered.set()
            go.wait(30)
            return taskforce.submit(lambda: 1).result

        future = taskforce.submit(parent)
        entered.wait(30)
        taskforce.pause()
        go.set()
        assert future.wait(30) == 1


def test_deadlock_free_under_load() -> None:
    """Random trees of tasks, waited for in random ways, on few workers, from many threads."""
    import random

    with PythonThreadPoolTaskForce(2) as taskforce:

        def node(depth: int, seed: int) -> int:
            rng = random.Random(seed)
            if depth == 0:
                return 1
            tasks = [partial(node, depth - 1, rng.getrandbits(32)) for _ in range(rng.randint(1, 3))]
            kind = rng.randint(0, 3)
            if kind == 0:
                return sum(taskforce.submit(task).result for task in tasks)
            if kind == 1:
                return sum(GroupFuture.of([taskforce.submit(task) for task in tasks]).wait(60))
            if kind == 2:
                given = as_completed([taskforce.submit(task) for task in tasks], timeout=60)
                return sum(result for future in given if isinstance(result := future.wait(), int))
            return sum(taskforce.map(tasks))

        results: list[int] = []

        def begin(seed: int) -> None:
            results.append(taskforce.submit(partial(node, 5, seed)).wait(60))

        threads = [threading.Thread(target=begin, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert len(results) == 8
        assert all(result >= 1 for result in results)
        assert settled(taskforce)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("through_another", [False, True])
def test_a_task_that_waits_for_itself_is_told(through_another: bool) -> None:
    with PythonThreadPoolTaskForce(1) as taskforce:
        own: list[Future[object]] = []
        begin = threading.Event()

        def task() -> object:
            begin.wait()
            if through_another:  # which is done in the same thread, because its waiter claims it
                return taskforce.submit(own[0].wait).wait()
            return own[0].wait()

        own.append(taskforce.submit(task))
        begin.set()
        with pytest.raises(TaskForceError, match="its own end"):
            own[0].wait()


@pytest.mark.timeout(20)
def test_a_wait_for_oneself_with_a_time_limit_ends() -> None:
    with PythonThreadPoolTaskForce(1) as taskforce:
        own: list[Future[object]] = []
        begin = threading.Event()

        def task() -> object:
            begin.wait()
            return own[0].wait(0.05)

        own.append(taskforce.submit(task))
        begin.set()
        with pytest.raises(TimeoutError):
            own[0].wait()


@pytest.mark.timeout(20)
def test_tasks_may_shut_each_others_task_forces_down() -> None:
    first, second = PythonThreadPoolTaskForce(1), PythonThreadPoolTaskForce(1)
    both = threading.Barrier(2)

    def shut_down(other: PythonThreadPoolTaskForce) -> None:
        both.wait()
        other.shutdown()

    futures = [first.submit(lambda: shut_down(second)), second.submit(lambda: shut_down(first))]
    for future in futures:
        future.wait()
    first.shutdown()
    second.shutdown()


@pytest.mark.timeout(20)
def test_what_is_left_at_a_shutdown_may_need_the_worker_that_waits_for_it() -> None:
    with PythonThreadPoolTaskForce(1) as first:
        second = PythonThreadPoolTaskForce(1)
        begin = threading.Event()

        def left() -> int:
            begin.wait()
            time.sleep(0.1)  # until the shutdown waits
            work = first.submit(lambda: 1)
            return work.wait()

        future = second.submit(left)

        def shut_down() -> None:
            begin.set()
            second.shutdown()

        first.submit(shut_down).wait()
        assert future.wait() == 1


@pytest.mark.timeout(20)
def test_a_callback_may_wait_for_who_waits_for_the_same_future() -> None:
    with PythonThreadPoolTaskForce(2) as taskforce:
        gate: Future[int] = Future()
        told: list[int] = []
        waiters: list[Future[int]] = []
        gate.add_callback("finished", lambda _: told.extend(waiter.wait(10) for waiter in waiters))
        group = GroupFuture.of([gate])
        waiters += [taskforce.submit(gate.wait), taskforce.submit(lambda: group.wait()[0])]
        while len(gate._listeners or ()) < 3:
            time.sleep(0.001)
        gate.result = 7
        assert told == [7, 7]


@pytest.mark.timeout(20)
def test_a_callback_of_one_item_may_wait_for_who_waits_for_another() -> None:
    with PythonThreadPoolTaskForce(3) as taskforce:
        begin = threading.Event()

        def work() -> list[int]:
            begin.wait()
            return [1, 2]

        batch = GroupFuture.batch(2, work, taskforce.dispatch)
        told: list[int] = []
        waiters: list[Future[int]] = []
        batch[0].add_callback("finished", lambda _: told.extend(waiter.wait(10) for waiter in waiters))
        waiters.append(taskforce.submit(batch[1].wait))
        time.sleep(0.1)
        begin.set()
        batch.wait()
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == [2]
