"""The single future: states, outcome, callbacks, waiting, awaiting."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import subprocess
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from laila.entry import Entry
from laila.errors import (
    FutureCancelledError,
    FutureResultError,
    FutureSettledError,
    FutureTimeoutError,
    LailaError,
)
from laila.futures import (
    Future,
    FutureStatus,
    GroupFuture,
    RemoteFuture,
    Task,
    as_completed,
    runtime,
    set_observer,
    set_submitter,
    spawn,
)

pytestmark = pytest.mark.usefixtures("no_policy")

if TYPE_CHECKING:
    from collections.abc import Sequence


class Boom(Exception):
    """What the tasks of these tests raise."""


def raising() -> None:
    raise Boom("boom")


def failed_future() -> Future[None]:
    task = Task(raising)
    task.run()
    return task.future


def in_thread(fn: Any) -> threading.Thread:
    thread = threading.Thread(target=fn)
    thread.start()
    return thread


def later(seconds: float, fn: Any) -> threading.Thread:
    def work() -> None:
        time.sleep(seconds)
        fn()

    return in_thread(work)


def test_a_task_settles_its_future() -> None:
    task = Task(lambda: 42)
    future = task.future
    assert future.status is FutureStatus.NOT_STARTED
    assert future.not_started()
    assert [future.finished(), future.error(), future.cancelled()] == [False] * 3
    assert task.run()
    assert str(future.status) == "finished"
    assert future.finished()
    assert future.result == 42
    assert future.wait(0) == 42
    assert future.exception is None
    assert not task.run(), "a task runs once"


def test_running_is_seen() -> None:
    seen: list[FutureStatus] = []
    task = Task(lambda: seen.append(task.future.status))
    task.run()
    assert seen == [FutureStatus.RUNNING]


def test_a_failed_task_raises_its_own_error_with_its_traceback() -> None:
    future = failed_future()
    assert future.status == "error"
    assert future.error()
    for _ in range(3):
        with pytest.raises(Boom) as caught:
            _ = future.result
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-1] == "raising"
        assert frames.count("raising") == 1
        assert len(frames) == 4, f"a traceback that grows with each look: {frames}"
    assert isinstance(future.exception, Boom)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_whatever_ends_a_task_settles_its_future(kind: type[BaseException]) -> None:
    def end() -> None:
        raise kind("over")

    task = Task(end)
    task.run()
    assert task.future.error()
    with pytest.raises(kind):
        task.future.wait()


def test_a_future_does_not_tie_its_error_into_a_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        task = Task(raising)
        future = task.future
        in_thread(task.run).join()  # on a stack that refers to the future no more when it is over
        del task

        def look(future: Future[None]) -> None:
            with pytest.raises(Boom):
                future.wait()
            with pytest.raises(Boom):
                _ = future.result
            del future

        look(future)
        gone = weakref.ref(future)
        del future
        assert gone() is None, "kept alive by its own traceback"
    finally:
        gc.enable()


def test_completed_and_failed() -> None:
    assert Future.completed("x").result == "x"
    assert Future.completed(None).finished()
    future: Future[None] = Future.failed(Boom("given"))
    assert future.error()
    with pytest.raises(Boom, match="given"):
        future.wait()


def test_setters_settle_once() -> None:
    future: Future[int] = Future()
    future.status = FutureStatus.RUNNING
    assert future.status == "running"
    future.result = 1
    assert future.result == 1
    for name, value in (("result", 2), ("exception", Boom()), ("status", "cancelled"), ("status", "running")):
        with pytest.raises(FutureSettledError) as caught:
            setattr(future, name, value)
        assert isinstance(caught.value, RuntimeError)
    assert future.result == 1

    broken: Future[int] = Future()
    broken.exception = Boom("told")
    with pytest.raises(Boom, match="told"):
        broken.wait()
    gone: Future[int] = Future()
    gone.status = FutureStatus("cancelled")
    assert gone.cancelled()


def test_setters_refuse_nonsense() -> None:
    future: Future[int] = Future()
    with pytest.raises(ValueError, match="set result or exception"):
        future.status = FutureStatus.FINISHED
    with pytest.raises(ValueError, match="nonsense"):
        future.status = "nonsense"
    with pytest.raises(TypeError, match="exception instance"):
        future.exception = Boom  # type: ignore[assignment]
    assert future.not_started()


def test_the_exception_is_read_without_waiting() -> None:
    """Of a future, a group, an item of a batch and a remote future; the runtime's function waits."""
    gate = threading.Event()
    threads = []

    def start(tasks: Sequence[Task]) -> None:
        for task in tasks:
            threads.append(threading.Thread(target=task.run))
            threads[-1].start()

    def fail() -> None:
        gate.wait(150)
        raise Boom("late")

    task = Task(fail)
    batch = GroupFuture.batch(2, lambda: [gate.wait(150), Boom("second")], start)
    start([task])
    remote: RemoteFuture[int] = RemoteFuture()
    failed = failed_future()
    mixed = GroupFuture.of([task.future, failed])
    waiting: list[Any] = [task.future, batch, batch[1], remote, GroupFuture.of([task.future, remote])]
    assert [future.exception for future in waiting] == [None] * len(waiting)
    assert mixed.exception is failed.exception is not None, "of what has settled so far"
    gate.set()
    assert isinstance(runtime.exception(task.future), Boom)
    assert isinstance(runtime.exception(batch), Boom)
    remote.fail(Boom("far away"))
    assert [type(future.exception) for future in waiting] == [Boom] * len(waiting)
    assert mixed.exception is task.future.exception
    for thread in threads:
        thread.join()


def test_cancel_before_the_start_only() -> None:
    ran = []
    task = Task(lambda: ran.append(1))
    assert task.future.cancel()
    assert not task.future.cancel(), "it is settled by now"
    assert task.future.status == "cancelled"
    assert not task.run()
    assert ran == []
    with pytest.raises(FutureCancelledError):
        task.future.wait()
    assert isinstance(task.future.exception, FutureCancelledError)

    running = Task(lambda: running.future.cancel())
    running.run()
    assert running.future.result is False


def test_cancelling_lets_go_of_the_work() -> None:
    class Big:
        def __call__(self) -> None: ...

    work = Big()
    gone = weakref.ref(work)
    task = Task(work)
    del work
    task.future.cancel()
    assert gone() is None, "the queue still holds the task, but not its work"


def test_data_is_the_payload_of_an_entry() -> None:
    assert Future.completed(Entry.constant({"a": 1})).data == {"a": 1}
    with pytest.raises(FutureResultError, match="int") as caught:
        _ = Future.completed(3).data
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, LailaError)
    with pytest.raises(Boom):
        _ = failed_future().data


def test_wait_times_out_and_the_work_goes_on() -> None:
    future: Future[int] = Future()
    started = time.monotonic()
    with pytest.raises(FutureTimeoutError, match=r"0\.05 s") as caught:
        future.wait(0.05)
    assert time.monotonic() - started >= 0.05
    assert isinstance(caught.value, TimeoutError)
    assert future.status == "poll_timeout"
    assert future.not_started(), "what waits to be started still does"
    with pytest.raises(TimeoutError):
        future.wait(-1)
    future.result = 5
    assert future.status == "finished"
    assert future.wait(0) == 5


@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_a_timeout_is_a_number(timeout: Any) -> None:
    with pytest.raises(TypeError, match="seconds"):
        Future[int]().wait(timeout)


def test_odd_timeouts() -> None:
    future: Future[int] = Future()
    with pytest.raises(ValueError, match="NaN"):
        future.wait(float("nan"))
    thread = later(0.02, lambda: setattr(future, "result", 1))
    assert future.wait(float("inf")) == 1
    thread.join()


def test_waits_that_time_out_leave_nothing_behind() -> None:
    future: Future[int] = Future()
    for _ in range(50):
        with pytest.raises(TimeoutError):
            future.wait(0)
    assert not future._listeners


def test_result_blocks_until_settled_elsewhere() -> None:
    future: Future[str] = Future()
    thread = later(0.05, lambda: setattr(future, "result", "there"))
    assert future.result == "there"
    thread.join()


# ------------------------------------------------------------------------------------------------ callbacks


def test_callbacks_by_status() -> None:
    calls: list[str] = []

    def note(status: str, future: Future[int]) -> None:
        calls.append(f"{status} {future.status}")

    future: Future[int] = Future()
    for status in ("finished", "error", "cancelled", "running", FutureStatus.FINISHED):
        future.add_callback(status, partial(note, str(status)))
    future.status = FutureStatus.RUNNING
    assert calls == ["running running"]
    future.result = 1
    assert calls == ["running running", "finished finished", "finished finished"]


def test_callbacks_after_the_fact() -> None:
    calls: list[str] = []

    def note(status: str) -> Any:
        return lambda _future: calls.append(status)

    future = Future.completed(1)
    for status in FutureStatus:
        future.add_callback(status, note(status))
    assert calls == ["not_started", "running", "finished"]
    cancelled: Future[int] = Future()
    cancelled.cancel()
    calls.clear()
    for status in FutureStatus:
        cancelled.add_callback(status, note(status))
    assert calls == ["not_started", "cancelled"]


def test_a_time_out_calls_back_once() -> None:
    calls: list[Future[int]] = []
    future: Future[int] = Future()
    future.add_callback("poll_timeout", calls.append)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            future.wait(0)
    assert calls == [future]


def test_a_callback_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def bad(_future: Future[int]) -> None:
        raise SystemExit("bad callback")

    calls: list[Future[int]] = []
    future: Future[int] = Future()
    future.add_callback("finished", bad)
    future.add_callback("finished", calls.append)
    with caplog.at_level(logging.ERROR, "laila"):
        future.result = 1
        future.add_callback("finished", bad)
    assert calls == [future]
    assert future.result == 1
    assert caplog.text.count("bad callback") >= 2
    assert "Traceback" in caplog.text


def test_callbacks_are_taken_back() -> None:
    calls: list[str] = []
    future: Future[int] = Future()

    def first(_future: Future[int]) -> None:
        calls.append("first")

    def second(_future: Future[int]) -> None:
        calls.append("second")

    future.add_callback("finished", first)
    future.add_callback("finished", second)
    future.add_callback("error", first)
    assert future.remove_callback("finished", first)
    assert not future.remove_callback("finished", first)
    future.clear_callbacks("error")
    future.trigger_callback("finished")
    assert calls == ["second"]
    future.trigger_callback("finished")
    assert calls == ["second"], "a callback runs once"
    future.add_callback("finished", first)
    future.clear_all_callbacks()
    future.result = 1
    assert calls == ["second"]


def test_callbacks_are_checked() -> None:
    future: Future[int] = Future()
    with pytest.raises(ValueError, match="done"):
        future.add_callback("done", print)
    with pytest.raises(TypeError, match="callback"):
        future.add_callback("finished", 3)  # type: ignore[arg-type]


def test_the_observer_sees_every_future_that_settles() -> None:
    seen: list[Future[Any]] = []
    set_observer(seen.append)
    try:
        task = Task(lambda: 1)
        task.run()
        broken = failed_future()
    finally:
        set_observer(None)
    assert seen == [task.future, broken]
    assert broken.exception is not None
    Task(lambda: 1).run()
    assert len(seen) == 2


# ----------------------------------------------------------------------------------------------------- await


def test_await_from_any_loop() -> None:
    future: Future[int] = Future()
    results: list[int] = []

    async def wait() -> None:
        results.append(await future)

    loops = [in_thread(lambda: asyncio.run(wait())) for _ in range(4)]
    time.sleep(0.05)
    future.result = 7
    for loop in loops:
        loop.join(150)
    assert results == [7] * 4
    assert asyncio.run(awaited(Future.completed(1))) == 1
    with pytest.raises(Boom):
        asyncio.run(awaited(failed_future()))


async def awaited(future: Any) -> Any:
    return await future


def test_await_times_out_and_is_cancelled_like_any_other() -> None:
    future: Future[int] = Future()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(future), 0.02)
        task = asyncio.create_task(awaited(future))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not future._listeners, "nobody waits any more"

    asyncio.run(main())
    assert future.not_started(), "the work goes on"


def test_a_loop_that_closed_meanwhile_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    future: Future[int] = Future()
    loop = asyncio.new_event_loop()
    waiter = future.__await__()

    async def begin() -> None:
        next(waiter)

    loop.run_until_complete(begin())
    loop.close()
    future.result = 1
    assert future.result == 1
    assert not caplog.records
    waiter.close()


def test_as_concurrent() -> None:
    assert Future.completed(3).as_concurrent().result(0) == 3
    assert isinstance(failed_future().as_concurrent().exception(0), Boom)
    future: Future[int] = Future()
    theirs = future.as_concurrent()
    assert not theirs.done()
    future.result = 4
    assert theirs.result(0) == 4

    cancelled: Future[int] = Future()
    theirs = cancelled.as_concurrent()
    assert theirs.cancel()
    assert cancelled.cancelled()
    ours: Future[int] = Future()
    theirs = ours.as_concurrent()
    ours.cancel()
    with pytest.raises(CancelledError):
        theirs.result(0)

    async def wrapped() -> int:
        return await asyncio.wrap_future(Future.completed(5).as_concurrent())

    assert asyncio.run(wrapped()) == 5


def test_as_completed_gives_each_once_in_the_order_of_settling() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    futures[1].result = 1
    given = as_completed([*futures, futures[0]], timeout=200)
    assert next(given) is futures[1]
    futures[2].result = 2
    assert next(given) is futures[2]
    thread = later(0.02, lambda: setattr(futures[0], "result", 0))
    assert list(given) == [futures[0]]
    thread.join()
    assert list(as_completed([])) == []


def test_as_completed_times_out() -> None:
    done, never = Future.completed(1), Future[int]()
    given = as_completed([done, never], timeout=0.05)
    assert next(given) is done
    with pytest.raises(FutureTimeoutError, match="1 of 2"):
        next(given)
    assert not never._listeners


# ---------------------------------------------------------------------------------------------------- logging


def test_a_failure_nobody_looked_at_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what earlier tests left
    caplog.clear()
    with caplog.at_level(logging.ERROR, "laila"):
        failed_future()
        gc.collect()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "raising" in record.getMessage()
    assert "boom" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("looks", [False, True])
def test_a_failure_behind_a_future_of_the_standard_library(
    looks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what earlier tests left
    caplog.clear()
    with caplog.at_level(logging.ERROR, "laila"):
        theirs = failed_future().as_concurrent()
        group = GroupFuture.completed([1, Boom("boom")]).as_concurrent()
        assert theirs.done()
        assert group.done()
        if looks:
            assert isinstance(theirs.exception(), Boom)
            with pytest.raises(Boom):
                group.result()
        del theirs, group
        gc.collect()
    assert len(caplog.records) == (0 if looks else 2)


def test_a_failure_somebody_looked_at_is_not(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what earlier tests left
    caplog.clear()
    with caplog.at_level(logging.ERROR, "laila"):
        assert failed_future().exception is not None
        with pytest.raises(Boom):
            failed_future().wait()
        with pytest.raises(Boom):
            asyncio.run(awaited(failed_future()))
        cancelled: Future[int] = Future()
        cancelled.cancel()
        del cancelled
        gc.collect()
    assert caplog.records == []


def test_what_failed_is_told_once_at_the_end_of_the_interpreter() -> None:
    code = """
from laila.futures import Task
def fail(): raise ValueError("kept to the end")
task = Task(fail)
task.run()
import sys
sys.keep = task.future
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    assert done.stderr.count("ValueError: kept to the end\nTraceback") == 1
    assert done.stderr.count("nobody looked") == 1


# ------------------------------------------------------------------------------------------------------- size


def test_a_future_is_light() -> None:
    assert sys.getsizeof(Future()) <= 150
    assert not hasattr(Future(), "__dict__")
    future = Future.completed(1)
    assert future._id is None
    repr(future)
    assert future._id is None, "a repr makes no id"


def test_a_future_stays_in_its_process() -> None:
    with pytest.raises(TypeError, match="future_identity"):
        pickle.dumps(Future.completed(1))
    with pytest.raises(TypeError, match="future_identity"):
        copy.copy(Future.completed(1))


def test_light_imports() -> None:
    code = """
import sys
import laila.futures
from laila.futures import Future, GroupFuture, spawn
assert GroupFuture.batch(2, lambda: [1, 2]).result == [1, 2]
heavy = {"asyncio", "concurrent.futures", "logging", "inspect", "dataclasses", "attr", "numpy"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], timeout=200, check=True)


# ------------------------------------------------------------------------------------------------------ spawn


def test_spawn_uses_the_submitter() -> None:
    taken: list[Task] = []

    def take(tasks: Sequence[Task]) -> None:
        taken.extend(tasks)

    assert spawn(lambda: 1).finished(), "nobody else: done in the caller"
    set_submitter(take)
    try:
        future = spawn(lambda: 2)
        direct: list[Task] = []
        spawn(lambda: 3, direct.extend)
    finally:
        set_submitter(None)
    assert future.not_started()
    assert [task.future for task in taken] == [future]
    taken[0].run()
    assert future.result == 2
    assert len(direct) == 1


# ----------------------------------------------------------------------------------------------------- stress


def test_settling_races_with_everything() -> None:
    """Many threads wait, listen, cancel, time out and settle the same futures: each settles once."""
    rounds, threads = 150, 8
    futures: list[Future[int]] = [Future() for _ in range(rounds)]
    settled = [0] * threads
    called: list[list[int]] = [[] for _ in range(rounds)]
    waited: list[list[object]] = [[] for _ in range(rounds)]
    barrier = threading.Barrier(threads)

    def note(number: int, me: int, _future: Future[int]) -> None:
        called[number].append(me)

    def work(me: int) -> None:
        for number, future in enumerate(futures):
            barrier.wait(150)
            for status in ("finished", "cancelled", "error"):
                future.add_callback(status, partial(note, number, me))
            if me % 4 == 0:
                try:
                    future.result = me
                    settled[me] += 1
                except FutureSettledError:
                    pass
            elif me % 4 == 1:
                settled[me] += future.cancel()
            elif me % 4 == 2:
                with suppress(TimeoutError, FutureCancelledError):
                    future.wait(0)
            try:
                waited[number].append(future.wait(150))
            except FutureCancelledError:
                waited[number].append("cancelled")

    workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert sum(settled) == rounds
    assert [sorted(calls) for calls in called] == [list(range(threads))] * rounds
    assert [len(outcomes) for outcomes in waited] == [threads] * rounds
    assert all(len(set(outcomes)) == 1 for outcomes in waited)


def test_a_task_is_run_once_whoever_asks() -> None:
    threads, rounds = 6, 300
    runs: list[int] = []
    tasks = [Task(partial(runs.append, n)) for n in range(rounds)]
    barrier = threading.Barrier(threads)

    def work() -> None:
        barrier.wait(150)
        for task in tasks:
            task.run()

    workers = [in_thread(work) for _ in range(threads)]
    for worker in workers:
        worker.join(60)
    assert sorted(runs) == list(range(rounds))
