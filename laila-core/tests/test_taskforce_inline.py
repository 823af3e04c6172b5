"""The task force contract, on the core's own task force and on one with everything in our hands."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from laila.contract.taskforce import Task, TaskForce
from laila.errors import InvalidTaskError, TaskForceError
from laila.futures import GroupFuture, guarantee
from laila.taskforce.inline import InlineTaskForce

pytestmark = pytest.mark.usefixtures("no_policy")

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class HandTaskForce(TaskForce):
    """Runs nothing but what a test asks for: the least an author has to write."""

    def __init__(self, look_ahead: int = 3) -> None:
        super().__init__()
        self.queue: list[Task] = []
        self.events: list[str] = []
        self._ahead = look_ahead

    def _start(self) -> None:
        self.events.append("start")

    def _submit(self, tasks: Sequence[Task]) -> None:
        if "shutdown" in self.events:
            raise TaskForceError("over")
        self.queue.extend(tasks)

    def _pause(self) -> None:
        self.events.append("pause")

    def _resume(self) -> None:
        self.events.append("resume")

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        self.events.append("shutdown")

    @property
    def queue_len(self) -> int:
        return len(self.queue)

    @property
    def look_ahead(self) -> int:
        return self._ahead


@pytest.mark.parametrize("tasks", [3, None, "work", [print, 3], {"a": 1}])
def test_nothing_is_queued_when_one_task_is_none(tasks: Any) -> None:
    taskforce = HandTaskForce()
    with pytest.raises(InvalidTaskError, match="callable") as caught:
        taskforce.submit(tasks)
    assert isinstance(caught.value, TypeError)
    assert taskforce.queue == []


def test_an_iterable_that_raises_queues_nothing() -> None:
    def tasks() -> Iterator[Any]:
        yield print
        raise TypeError("from the iterable")

    taskforce = HandTaskForce()
    with pytest.raises(TypeError, match="from the iterable"):
        taskforce.submit(tasks())
    assert taskforce.queue == []


def test_inline_runs_in_the_caller() -> None:
    taskforce = InlineTaskForce()
    future = taskforce.submit(threading.get_ident)
    assert future.finished()
    assert future.result == threading.get_ident()
    assert taskforce.submit(lambda: taskforce.submit(lambda: 5).result).result == 5
    assert bool(taskforce)
    assert len(taskforce) == 0


def test_an_author_is_started_once() -> None:
    taskforce = HandTaskForce()
    taskforce.submit(print)
    taskforce.pause()
    taskforce.start()
    taskforce.close()
    assert taskforce.events == ["start", "pause", "resume", "shutdown"]
    assert taskforce.closed


def test_work_done_elsewhere_is_claimed_and_settled_by_the_setters() -> None:
    taskforce = HandTaskForce()
    group = taskforce.submit([lambda: 1, lambda: 2, lambda: 3])
    assert isinstance(group, GroupFuture)
    first, second, third = taskforce.queue
    assert first.claim()
    assert not first.claim()
    assert group[0].status == "running"
    assert not group[0].cancel()
    first.future.result = 10
    second.claim()
    second.future.exception = OSError("the other side is gone")
    group[2].cancel()
    assert not third.claim()
    assert group[0].result == 10
    with pytest.raises(OSError, match="the other side is gone"):
        group.wait()


def test_imap_looks_ahead_and_gives_up_cleanly() -> None:
    taskforce = HandTaskForce(look_ahead=3)
    given = taskforce.imap(partial(int, n) for n in itertools.count())
    first = next(given)
    assert len(taskforce.queue) == 3
    assert first is taskforce.queue[0].future
    given.close()  # type: ignore[attr-defined]  # a generator
    assert [task.future.status for task in taskforce.queue] == ["not_started", "cancelled", "cancelled"]


def test_imap_holds_back_one_who_does_not_wait() -> None:
    taskforce = HandTaskForce(look_ahead=2)
    given = taskforce.imap(partial(int, n) for n in range(10))
    assert next(given).not_started()
    got = threading.Event()

    def take_one() -> None:
        next(given)
        got.set()

    thread = threading.Thread(target=take_one)
    thread.start()
    assert not got.wait(0.05), "two are under way"
    assert len(taskforce.queue) == 2
    for _ in range(10):
        for task in taskforce.queue:
            task.run()
        if got.wait(0.1):
            break
    thread.join(150)
    assert got.is_set()


@pytest.mark.parametrize("bad", ["raises", "no task"])
def test_imap_gives_what_came_before_an_error(bad: str) -> None:
    def tasks() -> Iterator[Any]:
        yield lambda: 1
        yield lambda: 2
        if bad == "raises":
            raise TypeError("from the iterable")
        yield 3

    given = HandTaskForce(look_ahead=5).imap(tasks())
    assert next(given).not_started()
    assert next(given).not_started()
    with pytest.raises(TypeError):
        next(given)


def test_what_is_submitted_belongs_to_the_guarantee() -> None:
    hand = HandTaskForce()
    with guarantee:
        future = hand.submit(lambda: 1)
        threading.Timer(0.03, hand.queue[0].run).start()
    assert future.finished()
