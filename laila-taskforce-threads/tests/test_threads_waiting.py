"""Tasks that wait for tasks: how deep, on whose thread, and what is told of a wait that cannot end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from laila.errors import TaskForceError
from laila.futures import Future, GroupFuture, as_completed
from laila.taskforce.threads import PythonThreadPoolTaskForce

ONE_AND_MORE = pytest.mark.parametrize("workers", [1, 2, 4])


def settled(taskforce: PythonThreadPoolTaskForce) -> bool:
    """Whether the worker pool is back to its size and nobody counts as blocked."""
    worker_pool = taskforce._worker_pool
    deadline = time.monotonic() + 150
    while len(worker_pool.workers) > worker_pool.size or worker_pool.blocked:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@ONE_AND_MORE
def test_a_chain_of_two_thousand(workers: int) -> None:
    with PythonThreadPoolTaskForce(workers) as taskforce:

        def chain(left: int) -> int:
            return 0 if left == 0 else taskforce.submit(lambda: chain(left - 1)).result + 1

        assert taskforce.submit(lambda: chain(2000)).wait(150) == 2000
        assert settled(taskforce), "the spare threads retire"


def test_a_chain_of_deep_stacks() -> None:
    """Tasks that use much of the stack themselves are not nested until it overflows."""
    with PythonThreadPoolTaskForce(1) as taskforce:

        def deep(frames: int, left: int) -> int:
            if frames:
                return deep(frames - 1, left)
            return 0 if left == 0 else taskforce.submit(lambda: deep(150, left - 1)).result + 1

        assert taskforce.submit(lambda: deep(150, 60)).wait(150) == 60


def test_two_task_forces_that_wait_for_each_other() -> None:
    with PythonThreadPoolTaskForce(1) as one, PythonThreadPoolTaskForce(1) as other:

        def bounce(left: int) -> int:
            taskforce = one if left % 2 else other
            return 0 if left == 0 else taskforce.submit(lambda: bounce(left - 1)).result + 1

        assert one.submit(lambda: bounce(200)).wait(150) == 200
        assert settled(one)
        assert settled(other)


def test_as_completed_runs_nothing_in_the_waiter() -> None:
    """It waits for any of them, and one may need what the waiter does after another."""
    gate = threading.Event()
    with PythonThreadPoolTaskForce(2) as taskforce:

        def parent() -> list[int]:
            futures = [taskforce.submit(lambda: 1 if gate.wait(150) else 0), taskforce.submit(lambda: 2)]
            results: list[Any] = []
            for future in as_completed(futures):
                results.append(future.result)
                gate.set()
            return results

        assert taskforce.submit(parent).wait(150) == [2, 1]


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
            taskforce.submit([busy] * 5).wait(150)  # with a limit: others do them

        taskforce.submit([parent] * 10).wait(150)
        assert settled(taskforce)
    # Whoever comes back from a wait is one too many until somebody finishes a task.
    assert most <= 4


@pytest.mark.timeout(280)
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


@pytest.mark.timeout(280)
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


@pytest.mark.timeout(280)
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


@pytest.mark.timeout(280)
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


@pytest.mark.timeout(280)
def test_a_callback_may_wait_for_who_waits_for_the_same_future() -> None:
    with PythonThreadPoolTaskForce(2) as taskforce:
        gate: Future[int] = Future()
        told: list[int] = []
        waiters: list[Future[int]] = []
        gate.add_callback("finished", lambda _: told.extend(waiter.wait(150) for waiter in waiters))
        group = GroupFuture.of([gate])
        waiters += [taskforce.submit(gate.wait), taskforce.submit(lambda: group.wait()[0])]
        while len(gate._listeners or ()) < 3:
            time.sleep(0.001)
        gate.result = 7
        assert told == [7, 7]


@pytest.mark.timeout(280)
def test_a_callback_of_one_item_may_wait_for_who_waits_for_another() -> None:
    with PythonThreadPoolTaskForce(3) as taskforce:
        begin = threading.Event()

        def work() -> list[int]:
            begin.wait()
            return [1, 2]

        batch = GroupFuture.batch(2, work, taskforce.dispatch)
        told: list[int] = []
        waiters: list[Future[int]] = []
        batch[0].add_callback("finished", lambda _: told.extend(waiter.wait(150) for waiter in waiters))
        waiters.append(taskforce.submit(batch[1].wait))
        time.sleep(0.1)
        begin.set()
        batch.wait()
        deadline = time.monotonic() + 150
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == [2]
