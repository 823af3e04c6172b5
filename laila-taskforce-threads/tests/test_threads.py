"""The thread task force: submitting, limits, pausing, shutting down, and many threads at once."""

from __future__ import annotations

import contextvars
import gc
import itertools
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from laila.contract.component import Component
from laila.errors import InvalidTaskError, SettingsError, TaskForceError
from laila.futures import Future, GroupFuture, guarantee
from laila.taskforce.threads import PythonThreadPoolTaskForce

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def threads_of(taskforce: PythonThreadPoolTaskForce) -> int:
    return len(taskforce._crew.workers)


def meet(entered: threading.Event, release: threading.Event) -> bool:
    """Say that this task runs, and run until told to stop."""
    entered.set()
    return release.wait(30)


def slow(fn: Callable[[int], T], n: int) -> T:
    time.sleep(0.001 * (n % 3))
    return fn(n)


def group_of(future: Future[T] | GroupFuture[T]) -> GroupFuture[T]:
    assert isinstance(future, GroupFuture)
    return future


def eventually(condition: Any, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def test_submit() -> None:
    with PythonThreadPoolTaskForce(workers=2, nickname="two") as taskforce:
        assert isinstance(taskforce, Component)
        assert taskforce.global_id.startswith("LAILA:TASK_FORCE:GLOBAL_ID:")
        assert taskforce.options() == {"workers": 2, "nickname": "two"}
        future = taskforce.submit(threading.current_thread)
        assert isinstance(future, Future)
        thread = future.wait(10)
        assert thread is not threading.current_thread()
        assert thread.name.startswith("two-")
        assert isinstance(taskforce.submit([int]), Future)
        group = taskforce.submit([partial(int, n) for n in range(1000)])
        assert isinstance(group, GroupFuture)
        assert group.wait(30) == list(range(1000))
        assert taskforce.submit([int, str], wait=True) == [0, ""]
        assert taskforce.submit([], wait=True) == []
        with pytest.raises(ZeroDivisionError):
            taskforce.submit(lambda: 1 // 0, wait=True)
        with pytest.raises(InvalidTaskError):
            taskforce.submit([int, 3])  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5])
def test_workers_is_a_positive_integer(workers: Any) -> None:
    with pytest.raises(SettingsError, match="workers"):
        PythonThreadPoolTaskForce(workers=workers)


def test_workers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PythonThreadPoolTaskForce().workers >= 5
    monkeypatch.setenv("LAILA_THREADS_WORKERS", "3")
    assert PythonThreadPoolTaskForce().workers == 3
    assert PythonThreadPoolTaskForce(2).workers == 2


def test_no_thread_before_there_is_work() -> None:
    def alive() -> int:
        return sum(thread.name.startswith("counted") for thread in threading.enumerate())

    taskforce = PythonThreadPoolTaskForce(4, nickname="counted")
    taskforce.start()
    assert alive() == 0
    for _ in range(20):
        taskforce.submit(int).wait(10)
        assert eventually(lambda: taskforce._crew.idle)
    assert alive() == 1, "one at a time needs one thread"
    taskforce.shutdown()
    assert alive() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_tasks_at_a_time_than_workers(workers: int) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    with PythonThreadPoolTaskForce(workers) as taskforce:
        taskforce.submit([work] * 30).wait(30)
    assert most == workers


def test_tasks_of_one_worker_run_in_order() -> None:
    order: list[int] = []
    with PythonThreadPoolTaskForce(1) as taskforce:
        taskforce.submit([partial(order.append, n) for n in range(100)]).wait(10)
    assert order == list(range(100))


def test_context_flows_in_and_not_out() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)

    def work() -> int:
        seen = variable.get()
        variable.set(seen + 1)
        return seen

    with PythonThreadPoolTaskForce(3) as taskforce:
        future = taskforce.submit([work] * 50)
        variable.set(8)
        assert future.wait(10) == [7] * 50


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_task_does_not_end_its_worker(kind: type[BaseException]) -> None:
    def end() -> None:
        raise kind("over")

    with PythonThreadPoolTaskForce(1) as taskforce:
        future = taskforce.submit(end)
        with pytest.raises(kind):
            future.wait(10)
        assert taskforce.submit(lambda: "alive").wait(10) == "alive"
        assert threads_of(taskforce) == 1


def test_pause_and_start() -> None:
    ran: list[int] = []
    with PythonThreadPoolTaskForce(2) as taskforce:
        entered, release = threading.Event(), threading.Event()
        running = taskforce.submit(partial(meet, entered, release))
        entered.wait(10)
        taskforce.pause()
        queued = group_of(taskforce.submit([partial(ran.append, n) for n in range(10)]))
        release.set()
        running.wait(10)
        time.sleep(0.03)
        assert ran == []
        assert len(taskforce) == taskforce.queue_len == 10
        assert queued[3].cancel()
        assert len(taskforce) == 9
        with pytest.raises(TimeoutError):
            queued.wait(0.01)
        taskforce.start()
        assert eventually(lambda: len(ran) == 9)
        assert queued[3].cancelled()
        assert len(taskforce) == 0


def test_nothing_starts_after_pause_returned() -> None:
    with PythonThreadPoolTaskForce(4) as taskforce:
        for _ in range(20):
            started: list[int] = []
            group = taskforce.submit([lambda: started.append(1)] * 200)  # noqa: B023
            taskforce.pause()
            # Those that started before may still be about to say so.
            before = 200 - taskforce.queue_len
            time.sleep(0.001)
            assert eventually(lambda: len(started) == before)  # noqa: B023
            assert 200 - taskforce.queue_len == before
            taskforce.start()
            group.wait(10)


def test_cancel_what_has_not_started() -> None:
    with PythonThreadPoolTaskForce(1) as taskforce:
        entered, release = threading.Event(), threading.Event()
        running = taskforce.submit(partial(meet, entered, release))
        queued = taskforce.submit(int)
        entered.wait(10)
        assert not running.cancel()
        assert running.status == "running"
        assert queued.cancel()
        release.set()
        running.wait(10)
        assert queued.cancelled()


def test_shutdown_waits_for_what_is_queued() -> None:
    done: list[int] = []
    taskforce = PythonThreadPoolTaskForce(2)
    taskforce.submit([partial(slow, done.append, n) for n in range(50)])
    taskforce.shutdown()
    assert sorted(done) == list(range(50))
    assert threads_of(taskforce) == 0
    with pytest.raises(TaskForceError, match="shut down"):
        taskforce.submit(int)
    taskforce.shutdown()
    taskforce.close()


def test_shutdown_cancels_or_does_not_wait() -> None:
    taskforce = PythonThreadPoolTaskForce(1)
    entered, release = threading.Event(), threading.Event()
    running = taskforce.submit(partial(meet, entered, release))
    queued = taskforce.submit([int] * 10)
    entered.wait(10)
    taskforce.shutdown(wait=False, cancel_pending=True)
    assert queued.cancelled()
    assert running.status == "running"
    release.set()
    taskforce.shutdown()
    assert running.result is True

    other = PythonThreadPoolTaskForce(1)
    release.clear()
    first = other.submit(lambda: release.wait(30))
    second = other.submit(int)
    other.shutdown(wait=False)
    assert not first.finished()
    release.set()
    assert second.wait(10) == 0, "what was queued is done although nobody waits"


def test_shutdown_during_a_pause_does_what_is_queued() -> None:
    taskforce = PythonThreadPoolTaskForce(1)
    taskforce.pause()
    future = taskforce.submit(lambda: 1)
    taskforce.shutdown()
    assert future.result == 1


def test_a_task_may_shut_its_own_task_force_down() -> None:
    taskforce = PythonThreadPoolTaskForce(1)
    taskforce.submit(taskforce.shutdown).wait(10)
    taskforce.shutdown()
    assert threads_of(taskforce) == 0


def test_a_task_force_that_is_dropped_finishes_and_goes() -> None:
    taskforce = PythonThreadPoolTaskForce(2)
    crew = taskforce._crew
    future = taskforce.submit([lambda: time.sleep(0.01)] * 4)
    gone = weakref.ref(taskforce)
    del taskforce
    gc.collect()
    assert gone() is None
    future.wait(10)
    assert eventually(lambda: not crew.workers), "its threads go home"


def test_results_are_not_kept_by_idle_workers() -> None:
    class Big:
        pass

    with PythonThreadPoolTaskForce(1) as taskforce:
        future = taskforce.submit(Big)
        gone = weakref.ref(future.wait(10))
        del future
        gc.collect()
        assert eventually(lambda: gone() is None)


def test_imap() -> None:
    with PythonThreadPoolTaskForce(3) as taskforce:
        made: list[int] = []

        def endless() -> Any:
            for n in itertools.count():
                made.append(n)
                yield partial(slow, int, n)

        given = taskforce.imap(endless())
        assert [next(given).result for _ in range(50)] == list(range(50))
        assert len(made) <= 50 + taskforce.look_ahead
        assert list(itertools.islice(taskforce.map(endless()), 20)) == list(range(20))


def test_imap_overlaps() -> None:
    both = threading.Barrier(2)
    with PythonThreadPoolTaskForce(2) as taskforce:
        assert sorted(taskforce.map([lambda: both.wait(10)] * 2)) == [0, 1]


def test_guarantee_over_threads() -> None:
    with PythonThreadPoolTaskForce(3) as taskforce:
        done: list[int] = []
        with guarantee:
            for n in range(20):
                taskforce.submit(partial(taskforce.submit, partial(slow, done.append, n)))
        assert sorted(done) == list(range(20)), "tasks of tasks too"


def test_many_submit_wait_cancel_and_pause_at_once() -> None:
    total, threads = 400, 6
    ran = [0] * (total * threads)
    outcomes: list[int] = []
    problems: list[BaseException] = []
    with PythonThreadPoolTaskForce(3) as taskforce:

        def work(me: int) -> None:
            try:
                finished = cancelled = 0
                for n in range(0, total, 4):
                    numbers = [me * total + n + k for k in range(4)]

                    def run(number: int) -> int:
                        ran[number] += 1
                        return number

                    group = group_of(taskforce.submit([partial(run, number) for number in numbers]))
                    if n % 20 == 0:
                        taskforce.pause()
                        taskforce.start()
                    if n % 3 == 0:
                        group[1].cancel()
                    group._block(30)
                    assert group._is_settled()
                    for number, child in zip(numbers, group.futures(), strict=True):
                        if child.cancelled():
                            cancelled += 1
                            assert ran[number] == 0
                        else:
                            finished += 1
                            assert child.result == number
                            assert ran[number] == 1
                outcomes.append(finished + cancelled)
            except BaseException as error:  # noqa: BLE001 - the test's thread reports it
                problems.append(error)

        workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            taskforce.start()  # whatever order the pauses and starts came in
    assert problems == []
    assert outcomes == [total] * threads


def test_submitting_while_shutting_down_is_done_or_refused() -> None:
    for _ in range(20):
        taskforce = PythonThreadPoolTaskForce(2)
        futures: list[Future[int]] = []
        refused = threading.Event()

        def submit() -> None:
            try:
                while True:
                    futures.append(taskforce.submit(lambda: 1))  # noqa: B023
            except TaskForceError:
                refused.set()  # noqa: B023

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.002)
        taskforce.shutdown()
        for thread in threads:
            thread.join(30)
        assert refused.is_set()
        assert all(future.wait(10) == 1 for future in futures)
