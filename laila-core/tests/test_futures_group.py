"""Groups and batches: children on demand, status, errors in input order, waiting for all."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from typing import Any

import pytest

from laila.entry import Entry
from laila.errors import FutureCancelledError, FutureResultError, FutureTimeoutError, TaskForceError
from laila.futures import Future, GroupFuture, Task, as_completed, future_bank

pytestmark = pytest.mark.usefixtures("no_policy")


class Falsy(Exception):
    """An error that is false, as one with an empty ``__len__`` may be."""

    def __len__(self) -> int:
        return 0


def held_batch(count: int, fn: Any) -> tuple[Task, GroupFuture[Any]]:
    """A batch whose task is in our hands."""
    taken: list[Task] = []
    group = GroupFuture.batch(count, fn, taken.extend)
    return taken[0], group


def test_a_batch_is_one_task() -> None:
    task, group = held_batch(3, lambda: ["a", "b", "c"])
    assert len(group) == 3
    assert group.not_started()
    assert group.status == {
        "total": 3,
        "percentages": {
            "finished": 0.0,
            "running": 0.0,
            "not_started": 100.0,
            "error": 0.0,
            "cancelled": 0.0,
        },
    }
    task.run()
    assert group.finished()
    assert group.result == ["a", "b", "c"]
    assert group.exception is None
    assert group.exceptions == []
    assert group.status["percentages"]["finished"] == 100.0


def test_an_outcome_that_is_an_error_fails_its_own_child() -> None:
    first, second = ValueError("first"), KeyError("second")
    group = GroupFuture.batch(4, lambda: [1, first, 3, second])
    assert group.error()
    assert not group.finished()
    assert group.status["percentages"] == {
        "finished": 50.0,
        "running": 0.0,
        "not_started": 0.0,
        "error": 50.0,
        "cancelled": 0.0,
    }
    with pytest.raises(ValueError, match="first"):
        group.wait()
    assert group.exception is first
    assert group.exceptions == [first, second]
    assert [child.status for child in group.futures()] == ["finished", "error", "finished", "error"]
    assert group[0].result == 1
    assert group[-1].exception is second
    with pytest.raises(ValueError, match="first"):
        _ = group[1].result


def test_an_error_is_an_error_even_when_it_is_false() -> None:
    with pytest.raises(Falsy):
        GroupFuture.completed([1, Falsy()]).wait()
    with pytest.raises(Falsy):
        _ = GroupFuture.of([Future.failed(Falsy())]).result


def test_a_batch_that_fails_as_a_whole_fails_every_child() -> None:
    def broken() -> list[int]:
        raise OSError("the store is gone")

    group = GroupFuture.batch(3, broken)
    assert group.status["percentages"]["error"] == 100.0
    with pytest.raises(OSError, match="the store is gone"):
        group.wait()
    assert [str(error) for error in group.exceptions] == ["the store is gone"] * 3
    with pytest.raises(OSError, match="the store is gone"):
        group[2].wait()

    short = GroupFuture.batch(3, lambda: [1])
    with pytest.raises(TaskForceError, match="3 items gave 1"):
        short.wait()


def _futures() -> set[int]:
    """The ids of all futures in this process."""
    return {id(value) for value in gc.get_objects() if issubclass(type(value), Future)}


def test_children_are_made_on_demand_and_once() -> None:
    gc.collect()
    before = _futures()
    group = GroupFuture.completed(range(2000))
    assert group.result == list(range(2000))
    made = _futures() - before  # the one future of the whole
    assert len(made) <= 1, "two thousand items, and no future for any of them"
    assert group[1999] is group[-1]
    assert group.futures()[1999] is group[1999]
    assert (group + group)[2000] is group[0]
    with pytest.raises(IndexError, match="2000"):
        _ = group[2000]
    part = group[10:12]
    assert isinstance(part, GroupFuture)
    assert part.result == [10, 11]


def test_iteration_gives_the_ids_of_the_children() -> None:
    group = GroupFuture.completed(["a", "b"])
    ids = list(group)
    assert ids == list(group)
    assert [future_bank[child].result for child in ids] == ["a", "b"]
    assert all(child.startswith("LAILA:FUTURE:GLOBAL_ID:") for child in ids)
    assert group.global_id.startswith("LAILA:GROUP_FUTURE:GLOBAL_ID:")


def test_a_child_of_a_batch_follows_the_batch() -> None:
    group: GroupFuture[Any]
    task, group = held_batch(2, lambda: [group[0].status, ValueError("second")])
    child, other = group[0], group[1]
    seen: list[Any] = []
    child.add_callback("finished", seen.append)
    assert child.not_started()
    assert not child.cancel(), "it is done with its batch, or not at all"
    with pytest.raises(TimeoutError):
        child.wait(0)
    assert child.status == "poll_timeout"
    task.run()
    assert child.result == "poll_timeout"
    assert seen == [child]
    assert isinstance(other.exception, ValueError)

    running, group = held_batch(1, lambda: [group[0].status])
    assert group[0].not_started()
    running.run()
    assert group[0].result == "running"


def test_cancelling_a_batch_cancels_its_children() -> None:
    task, group = held_batch(2, lambda: [1, 2])
    child = group[0]
    assert group.cancel()
    assert not group.cancel()
    assert not task.run()
    assert group.cancelled()
    assert child.cancelled()
    assert group[1].cancelled()
    assert group.status["percentages"]["cancelled"] == 100.0
    with pytest.raises(FutureCancelledError):
        group.wait()


def test_of_and_plus() -> None:
    one, two = Future.completed(1), Future.completed(2)
    group = GroupFuture.of([one, two])
    assert group.futures() == [one, two]
    assert group[0] is one
    both = group + GroupFuture.completed([3, 4]) + Future.completed(5)
    assert both.result == [1, 2, 3, 4, 5]
    assert both is not group
    assert len(group) == 2
    assert (Future.completed(0) + group).result == [0, 1, 2]
    assert GroupFuture.of([group, one]).result == [1, 2, 1]
    with pytest.raises(TypeError, match="int"):
        GroupFuture.of([3])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _ = group + 3  # type: ignore[operator]


def test_a_group_of_none() -> None:
    for group in (GroupFuture.of([]), GroupFuture.completed([])):
        assert len(group) == 0
        assert group, "it is a group all the same"
        assert group.result == []
        assert group.wait(0) == []
        assert group.finished()
        assert not group.not_started()
        assert group.status["total"] == 0
        assert group.status["percentages"]["finished"] == 100.0
        assert asyncio.run(awaited(group)) == []


async def awaited(group: Any) -> Any:
    return await group


def test_status_of_a_mixed_group() -> None:
    failing: Future[int] = Future()
    failing.exception = ValueError("x")
    running: Future[int] = Future()
    running.status = "running"
    cancelled: Future[int] = Future()
    cancelled.cancel()
    group = GroupFuture.of([Future.completed(1), failing, running, cancelled, Future()])
    assert group.status == {
        "total": 5,
        "percentages": {
            "finished": 20.0,
            "running": 20.0,
            "not_started": 20.0,
            "error": 20.0,
            "cancelled": 20.0,
        },
    }
    assert failing.exception is not None


def test_the_first_error_in_input_order_not_in_time() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    group = GroupFuture.of(futures)
    futures[2].exception = KeyError("last in order, first in time")
    futures[1].exception = ValueError("first in order")
    futures[0].result = 0
    with pytest.raises(ValueError, match="first in order"):
        group.wait()
    assert [type(error) for error in group.exceptions] == [ValueError, KeyError]


def test_the_traceback_does_not_grow() -> None:
    group = GroupFuture.batch(1, lambda: [1 // 0])
    depths = set()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError) as caught:
            _ = group.result
        depths.add(len(caught.traceback))
    assert len(depths) == 1


def test_wait_covers_the_whole_group() -> None:
    futures: list[Future[int]] = [Future() for _ in range(20)]
    group = GroupFuture.of(futures)
    futures[0].result = 0
    started = time.monotonic()
    with pytest.raises(FutureTimeoutError, match="19 of 20"):
        group.wait(0.1)
    assert 0.1 <= time.monotonic() - started < 60

    def settle() -> None:
        for number in (7, 19, 1, *range(2, 7), *range(8, 19)):
            futures[number].result = number

    thread = threading.Thread(target=settle)
    thread.start()
    assert group.wait(150) == list(range(20))
    thread.join()
    assert not any(future._listeners for future in futures)


def test_await_a_group() -> None:
    futures: list[Future[int]] = [Future() for _ in range(50)]
    group = GroupFuture.of(futures)

    def settle() -> None:
        for number in reversed(range(50)):
            futures[number].result = number

    async def main() -> list[int]:
        thread = threading.Thread(target=settle)
        thread.start()
        result = await group
        await asyncio.to_thread(thread.join)
        return result

    assert asyncio.run(main()) == list(range(50))


def test_data_of_a_group() -> None:
    group = GroupFuture.completed([Entry.constant(1), Entry.constant([2])])
    assert group.data == [1, [2]]
    with pytest.raises(FutureResultError):
        _ = GroupFuture.completed([3]).data


def test_callbacks_of_a_group() -> None:
    calls: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        return lambda group: calls.append((name, group))

    futures: list[Future[int]] = [Future(), Future()]
    group = GroupFuture.of(futures)
    for status in ("finished", "error", "cancelled"):
        group.add_callback(status, note(status))
    taken_back = note("taken back")
    group.add_callback("finished", taken_back)
    assert group.remove_callback("finished", taken_back)
    futures[0].result = 1
    assert calls == []
    futures[1].result = 2
    assert calls == [("finished", group)]
    group.add_callback("finished", note("late"))
    assert calls[1:] == [("late", group)]

    broken = GroupFuture.completed([1, ValueError()])
    broken.add_callback("error", note("broken"))
    assert calls[2:] == [("broken", broken)]
    assert broken.exceptions
    with pytest.raises(ValueError, match="running"):
        group.add_callback("running", note("never"))


def test_groups_complete_among_futures() -> None:
    task, batch = held_batch(2, lambda: [1, 2])
    one: Future[int] = Future()
    given = as_completed([batch, one], timeout=200)
    one.result = 1
    assert next(given) is one
    task.run()
    assert next(given) is batch
    assert batch.as_concurrent().result(0) == [1, 2]
    assert isinstance(GroupFuture.completed([ValueError()]).as_concurrent().exception(0), ValueError)


def test_children_nobody_looked_at_are_logged_once_for_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what earlier tests left
    caplog.clear()
    with caplog.at_level(logging.ERROR, "laila"):
        GroupFuture.completed([1, ValueError("lost one"), KeyError("lost two")])
        gc.collect()
        assert len(caplog.records) == 1
        assert "2 of 3" in caplog.text
        assert "lost one" in caplog.text

        caplog.clear()
        group = GroupFuture.completed([ValueError("seen"), KeyError("unseen")])
        assert group[0].exception is not None
        del group
        gc.collect()
        assert "1 of 2" in caplog.text
        assert "'unseen'" in caplog.text

        caplog.clear()
        GroupFuture.of([Future.failed(ValueError("a child"))])
        gc.collect()
        assert "a child" in caplog.text


def test_a_group_that_was_waited_for_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what earlier tests left
    caplog.clear()
    with caplog.at_level(logging.ERROR, "laila"):
        group = GroupFuture.of(
            [
                Future.failed(ValueError("first")),
                Future.failed(KeyError()),
                *GroupFuture.completed([OSError()]).futures(),
            ]
        )
        with pytest.raises(ValueError, match="first"):
            group.wait()
        del group
        gc.collect()
    assert caplog.records == []


def test_a_group_is_light() -> None:
    assert sys.getsizeof(GroupFuture.completed([])) <= 150


def test_many_threads_ask_for_the_same_children() -> None:
    task, group = held_batch(200, lambda: list(range(200)))
    found: list[list[Future[Any]]] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait(150)
        children = group.futures()
        assert group.wait(150) == list(range(200))
        assert [child.wait(150) for child in children] == list(range(200))
        found.append(children)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    barrier.wait(150)
    task.run()
    for thread in threads:
        thread.join(60)
    assert len(found) == 5
    assert all(one is other for children in found for one, other in zip(children, found[0], strict=True))
