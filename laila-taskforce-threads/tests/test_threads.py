"""The thread task force: its options, its threads, and what they keep; test_conformance.py has the rest."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from functools import partial
from typing import Any

import pytest

from laila.component.component import Component
from laila.errors import SettingsError
from laila.taskforce.threads import PythonThreadPoolTaskForce
from laila.taskforce.threads import workers as workers_module


def threads_of(taskforce: PythonThreadPoolTaskForce) -> int:
    return len(taskforce._worker_pool.workers)


def eventually(condition: Any, seconds: float = 150) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def test_identity_options_and_threads() -> None:
    with PythonThreadPoolTaskForce(workers=2, nickname="two") as taskforce:
        assert isinstance(taskforce, Component)
        assert taskforce.global_id.startswith("LAILA:TASK_FORCE:GLOBAL_ID:")
        assert taskforce.options() == {"workers": 2, "nickname": "two"}
        thread = taskforce.submit(threading.current_thread).wait(150)
        assert thread is not threading.current_thread()
        assert thread.name.startswith("two-")


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
        taskforce.submit(int).wait(150)
        assert eventually(lambda: taskforce._worker_pool.idle)
    assert alive() == 1, "one at a time needs one thread"
    taskforce.shutdown()
    assert alive() == 0


@pytest.mark.parametrize("paused", [False, True], ids=["idle", "with work left"])
def test_the_collector_never_waits_for_the_lock(paused: bool) -> None:
    """It may run in a thread that is being started, for which the thread that holds the lock waits."""
    taskforce = PythonThreadPoolTaskForce(1)
    worker_pool = taskforce._worker_pool
    taskforce.submit(int).wait(150)
    if paused:
        taskforce.pause()
    future = taskforce.submit(lambda: 7)
    collected = threading.Event()

    def collect() -> None:
        nonlocal taskforce
        del taskforce
        gc.collect()
        collected.set()

    with workers_module._lock:
        thread = threading.Thread(target=collect)
        thread.start()
        assert collected.wait(150)
    thread.join()
    assert eventually(lambda: worker_pool.closed and not worker_pool.workers)
    assert future.wait(150) == 7


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_tasks_at_a_time_than_workers(workers: int) -> None:
    running, most = 0, 0
    lock, numbers, all_at_work = threading.Lock(), itertools.count(), threading.Barrier(workers)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if next(numbers) < workers:
            all_at_work.wait(100)
        time.sleep(0.002)
        with lock:
            running -= 1

    with PythonThreadPoolTaskForce(workers) as taskforce:
        taskforce.submit([work] * 30).wait(150)
    assert most == workers


def test_tasks_of_one_worker_run_in_order() -> None:
    order: list[int] = []
    with PythonThreadPoolTaskForce(1) as taskforce:
        taskforce.submit([partial(order.append, n) for n in range(100)]).wait(150)
    assert order == list(range(100))


def test_a_task_may_shut_its_own_task_force_down() -> None:
    taskforce = PythonThreadPoolTaskForce(1)
    taskforce.submit(taskforce.shutdown).wait(150)
    taskforce.shutdown()
    assert threads_of(taskforce) == 0


def test_a_task_force_that_is_dropped_finishes_and_goes() -> None:
    taskforce = PythonThreadPoolTaskForce(2)
    worker_pool = taskforce._worker_pool
    future = taskforce.submit([lambda: time.sleep(0.01)] * 4)
    gone = weakref.ref(taskforce)
    del taskforce
    gc.collect()
    assert gone() is None
    future.wait(150)
    assert eventually(lambda: not worker_pool.workers), "its threads go home"


def test_results_are_not_kept_by_idle_workers() -> None:
    class Big:
        pass

    with PythonThreadPoolTaskForce(1) as taskforce:
        future = taskforce.submit(Big)
        gone = weakref.ref(future.wait(150))
        del future
        gc.collect()
        assert eventually(lambda: gone() is None)


def test_imap_overlaps() -> None:
    both = threading.Barrier(2)
    with PythonThreadPoolTaskForce(2) as taskforce:
        assert sorted(taskforce.map([lambda: both.wait(150)] * 2)) == [0, 1]
