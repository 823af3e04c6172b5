# ruff: noqa: PT012 - blocks that raise when they end are what these tests are about
"""guarantee and guarantee_async: blocks that end when all that was started in them has."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from laila.errors import FutureTimeoutError
from laila.futures import Future, GroupFuture, Task, guarantee, guarantee_async, spawn
from laila.futures.scope import current_scope

pytestmark = pytest.mark.usefixtures("no_policy")


class Boom(Exception):
    """What the tasks of these tests raise."""


def in_threads(tasks: Any) -> None:
    """A submitter that gives each task a thread, in the way of a task force."""
    for task in tasks:
        threading.Thread(target=task.run).start()


def start(fn: Any) -> Future[Any]:
    return spawn(fn, in_threads)


def slow_batch() -> GroupFuture[Any]:
    def work() -> list[int]:
        time.sleep(0.03)
        return [1, 2]

    return GroupFuture.batch(2, work, in_threads)


def after(seconds: float, result: Any = None) -> Future[Any]:
    def work() -> Any:
        time.sleep(seconds)
        if isinstance(result, BaseException):
            raise result
        return result

    return start(work)


def test_the_block_ends_when_its_futures_have() -> None:
    with guarantee:
        futures = [after(0.03), after(0.06), slow_batch()]
        assert not all(future.finished() for future in futures)
    assert all(future.finished() for future in futures)
    assert current_scope() is None


def test_the_first_error_in_order_is_raised() -> None:
    with pytest.raises(Boom, match="first"), guarantee:
        slow = after(0.05, Boom("first"))
        after(0, KeyError("second")).add_callback("error", lambda future: future.exception)
        last = after(0.06)
    assert slow.error()
    assert last.finished()
    with pytest.raises(Boom, match="done in the caller"), guarantee:
        GroupFuture.completed([1, Boom("done in the caller")])
    with pytest.raises(Boom, match="at once"), guarantee:
        Future.failed(Boom("at once"))


def test_what_was_cancelled_is_no_error() -> None:
    held: list[Task] = []
    with guarantee:
        assert spawn(lambda: 1, held.extend).cancel()
    assert len(held) == 1


def test_the_error_of_the_block_goes_on_after_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    futures: list[Future[Any]] = []
    with caplog.at_level(logging.ERROR, "laila"):
        with pytest.raises(ValueError, match="the block's own"), guarantee:
            futures.extend((after(0.05), after(0.01, Boom("of a future"))))
            raise ValueError("the block's own")
        assert futures[0].finished()
        futures.clear()
        gc.collect()
    assert "of a future" in caplog.text, "the other error is not swallowed"


def test_guarantees_nest() -> None:
    release = threading.Event()
    with guarantee:
        outer = start(partial(release.wait, 30))
        with guarantee:
            inner = after(0.02)
        assert inner.finished()
        assert not outer.finished(), "the inner block does not wait for the outer one's"
        with pytest.raises(Boom), guarantee:
            after(0, Boom())
        release.set()
    assert outer.finished()


def test_threads_do_not_see_each_other() -> None:
    never: list[Future[Any]] = []

    def elsewhere() -> None:
        assert current_scope() is None
        never.append(spawn(lambda: 1, lambda tasks: None))

    with guarantee:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert never[0].not_started()


def test_what_a_task_submits_belongs_to_the_scope_of_the_task() -> None:
    grandchildren = []

    def child() -> None:
        grandchildren.append(after(0.05))

    with guarantee:
        start(child)
    assert grandchildren[0].finished()


def test_a_guarantee_with_a_time_limit() -> None:
    release = threading.Event()
    with pytest.raises(FutureTimeoutError, match="1 of 2"), guarantee(timeout=0.05):
        late = start(release.wait)
        after(0)
    assert late.status == "running", "a guarantee is no poll"
    with pytest.raises(ValueError, match="own") as caught, guarantee(timeout=0.01):
        start(release.wait)
        raise ValueError("own")
    assert any("have not settled" in note for note in caught.value.__notes__)
    with pytest.raises(TypeError, match="seconds"):
        guarantee(timeout="1")  # type: ignore[arg-type]

    with guarantee:
        with pytest.raises(FutureTimeoutError), guarantee(timeout=0.01):
            handed_on = start(release.wait)
        threading.Timer(0.05, release.set).start()
    assert handed_on.finished(), "the outer block takes over what the inner one gave up"
    late.wait(150)


def test_progress_on_a_pipe_is_one_line() -> None:
    code = """
import sys, threading, time
for name in ("tqdm", "rich"):
    if name not in sys.argv: sys.modules[name] = None
from laila.futures import guarantee, spawn
def submit(tasks):
    for task in tasks: threading.Thread(target=task.run).start()
with guarantee(progress=True):
    for n in range(3): spawn(lambda n=n: time.sleep(n / 10), submit)
"""
    plain = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    assert plain.stderr == "laila: 3/3\n"
    for name in ("tqdm", "rich"):
        pytest.importorskip(name)
        command = [sys.executable, "-c", code, name]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        assert "laila" in shown.stderr
        assert shown.stdout == ""


def test_a_long_scope_does_not_keep_what_is_over() -> None:
    with guarantee:
        for _ in range(5000):
            spawn(lambda: 1)
        scope = current_scope()
        assert scope is not None
        assert len(scope.snapshot()) <= 1024
        assert scope.progress() == (5000, 5000)


def test_one_guarantee_serves_many_threads() -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with guarantee:
                    mine = [after(0.001) for _ in range(3)]
                assert all(future.finished() for future in mine)
        except BaseException as error:  # noqa: BLE001 - the test's thread reports it
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []


def test_leaving_in_another_context_is_an_error() -> None:
    contextvars.copy_context().run(guarantee.__enter__)
    with pytest.raises(RuntimeError, match="another context"):
        guarantee.__exit__(None, None, None)


# ----------------------------------------------------------------------------------------------------- async


def test_the_async_block_ends_when_its_futures_have() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        async with guarantee_async:
            futures = [after(0.05), after(0.1), slow_batch()]
        assert all(future.finished() for future in futures)
        assert ticks > 1, "the loop goes on meanwhile"
        ticking.cancel()

    asyncio.run(main())


def test_a_failure_cancels_the_async_block_and_is_raised() -> None:
    async def main() -> None:
        slow: Future[Any] | None = None
        with pytest.raises(Boom, match="child"):
            async with guarantee_async:
                slow = after(0.1)
                after(0.02, Boom("child"))
                await asyncio.sleep(60)
                raise AssertionError("the block goes on although a future failed")
        assert slow is not None
        assert slow.finished(), "the others are awaited"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "nothing of the cancellation is left"
        await asyncio.sleep(0)

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 30


def test_the_first_error_in_time_is_raised_by_the_async_block() -> None:
    def later() -> None:
        sooner_has_failed.wait(150)
        time.sleep(0.01)
        raise Boom("later")

    sooner_has_failed = threading.Event()

    async def main() -> None:
        async with guarantee_async:
            start(later).add_callback("error", lambda future: future.exception)
            sooner = after(0.02, KeyError("sooner"))
            sooner.add_callback("error", lambda _future: sooner_has_failed.set())

    with pytest.raises(KeyError, match="sooner"):
        asyncio.run(main())


def test_the_error_of_the_async_block_goes_on_after_the_wait() -> None:
    async def main() -> Future[Any]:
        future: Future[Any] | None = None
        with pytest.raises(ValueError, match="own"):
            async with guarantee_async:
                future = after(0.05)
                raise ValueError("own")
        assert future is not None
        return future

    assert asyncio.run(main()).finished()


def test_cancellation_from_outside_stays_one() -> None:
    release = threading.Event()

    async def block(failing: bool) -> None:
        async with guarantee_async:
            if failing:
                after(0, Boom()).add_callback("error", lambda future: future.exception)
            start(release.wait)
            await asyncio.sleep(60)

    async def main() -> None:
        for failing in (False, True):
            release.clear()
            task = asyncio.create_task(block(failing))
            await asyncio.sleep(0.05)
            assert not task.done(), "awaits what it started"
            task.cancel()
            await asyncio.sleep(0.05)
            release.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_async_tasks_do_not_see_each_other() -> None:
    release = threading.Event()

    async def slow() -> None:
        async with guarantee_async:
            start(release.wait)

    async def quick() -> bool:
        async with guarantee_async:
            future = after(0.01)
        return future.finished()

    async def main() -> None:
        other = asyncio.create_task(slow())
        await asyncio.sleep(0)
        assert await quick()
        assert not other.done()
        release.set()
        await other

    asyncio.run(main())


def test_async_guarantees_nest() -> None:
    async def main() -> None:
        with pytest.raises(Boom, match="outer"):
            async with guarantee_async:
                after(0.03, Boom("outer"))
                async with guarantee_async:
                    inner = after(0.08)
                    await asyncio.sleep(60)
        assert inner.finished()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


def test_a_failure_at_the_very_end_of_the_async_block() -> None:
    """Whenever a failure arrives, before, at or after the end of the block, it alone is raised."""

    async def main() -> None:
        for round_ in range(60):
            with pytest.raises(Boom):
                async with guarantee_async:
                    start(lambda: (_ for _ in ()).throw(Boom()))
                    for _ in range(round_ % 6):
                        await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)

    asyncio.run(main())
