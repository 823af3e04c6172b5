"""Central command: the alpha task force, submitting to one of several, the missing plugin."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest

from laila.central.command import DefaultCentralCommand
from laila.errors import InvalidTaskError, MissingPluginError, TaskForceError
from laila.futures import Future, FutureStatus, GroupFuture, Task
from laila.taskforce.inline import InlineTaskForce

ADVICE = "pip install laila-taskforce-threads"


def no_threads() -> InlineTaskForce:
    raise MissingPluginError(f"the thread task force is not installed: {ADVICE}", plugin="threads")


def test_the_alpha_is_made_when_needed() -> None:
    made: list[InlineTaskForce] = []

    def factory() -> InlineTaskForce:
        made.append(InlineTaskForce())
        return made[-1]

    command = DefaultCentralCommand(alpha_factory=factory)
    assert made == []
    assert dict(command.taskforces) == {}
    assert command.submit(lambda: 1, wait=True) == 1
    assert command.submit([lambda: 1, lambda: 2], wait=True) == [1, 2]
    assert made == [command.alpha_taskforce]
    assert list(command.taskforces) == [made[0].global_id]
    assert command.global_id.startswith("LAILA:CENTRAL_COMMAND:GLOBAL_ID:")


def test_what_submit_returns() -> None:
    command = DefaultCentralCommand()
    assert isinstance(command.submit(lambda: 1), Future)
    assert isinstance(command.submit([lambda: 1]), Future)
    assert isinstance(command.submit([lambda: 1, lambda: 2]), GroupFuture)
    assert isinstance(command.submit([]), GroupFuture)
    with pytest.raises(InvalidTaskError):
        command.submit([lambda: 1, 2])  # type: ignore[arg-type]
    assert [future.result for future in command.imap([lambda: 1, lambda: 2])] == [1, 2]
    assert list(command.map([lambda: 1, lambda: 2])) == [1, 2]


def test_the_first_submit_without_the_plugin_warns_once() -> None:
    command = DefaultCentralCommand(alpha_factory=no_threads)
    task = Task(lambda: 1)
    command.dispatch([task])
    assert task.future.result == 1, "what laila itself does needs no advice"
    with pytest.warns(RuntimeWarning, match=ADVICE) as caught:
        assert command.submit(lambda: 5).result == 5
    assert caught[0].filename == __file__, "the warning points at the caller"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        command.submit(lambda: 5)
        list(command.map([lambda: 5]))


def test_one_of_several() -> None:
    first, second = InlineTaskForce(), InlineTaskForce()
    command = DefaultCentralCommand([first])
    assert command.add_taskforce(second) == second.global_id
    assert command.alpha_taskforce is first
    second.pause()
    future = command.submit(lambda: 1, taskforce_id=second.global_id)
    assert command.submit(lambda: 1).finished()
    assert future.not_started()
    assert command.queue_len == len(command) == 1
    command.start()
    assert future.finished()
    command.alpha_taskforce = second
    assert command.alpha_taskforce is second
    with pytest.raises(TaskForceError, match="no task force is registered") as caught:
        command.submit(lambda: 1, taskforce_id="LAILA:TASK_FORCE:GLOBAL_ID:nowhere")
    assert second.global_id in str(caught.value)
    with pytest.raises(TypeError, match="task force"):
        command.add_taskforce("threads")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        command.taskforces["x"] = first  # type: ignore[index]


def test_pause_start_shutdown() -> None:
    command = DefaultCentralCommand([InlineTaskForce(), InlineTaskForce()])
    command.pause()
    futures: list[Future[Any]] = [
        command.submit(lambda: 1, taskforce_id=taskforce_id) for taskforce_id in command.taskforces
    ]
    assert [future.status for future in futures] == ["not_started"] * 2
    command.start()
    assert [future.result for future in futures] == [1, 1]
    command.pause()
    dropped = command.submit(lambda: 1)
    command.shutdown(cancel_pending=True)
    assert dropped.cancelled()
    command.shutdown()
    command.close()
    with pytest.raises(TaskForceError):
        command.submit(lambda: 1)
    with pytest.raises(TaskForceError):
        command.add_taskforce(InlineTaskForce())
    with pytest.raises(TaskForceError):
        DefaultCentralCommand().__enter__().shutdown() or command.start()  # type: ignore[func-returns-value]


def test_many_threads_get_one_alpha() -> None:
    made: list[InlineTaskForce] = []
    command = DefaultCentralCommand(alpha_factory=lambda: made.append(InlineTaskForce()) or made[-1])  # type: ignore[func-returns-value]
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait(150)
        command.submit(lambda: 1, wait=True)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert len(made) == 1


def test_what_is_no_task_is_refused_with_advice() -> None:
    command = DefaultCentralCommand([InlineTaskForce()])

    async def work() -> int:
        return 1

    with pytest.raises(TypeError, match=r"functools\.partial"):
        command.submit(print, 5)  # type: ignore[call-overload]
    for tasks in (work, [work]):
        with pytest.raises(TypeError, match="async function"):
            command.submit(tasks)
    assert command.queue_len == 0


def test_an_unknown_status_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"finish'; there are .*finished"):
        FutureStatus("finish")


def test_a_taskforce_of_the_same_nickname_takes_the_place_of_the_one_before() -> None:
    command = DefaultCentralCommand()
    first, second = InlineTaskForce(nickname="crew"), InlineTaskForce(nickname="crew")
    name = command.add_taskforce(first)
    command.pause()
    queued = command.submit(lambda: 1)
    assert command.add_taskforce(second) == name
    assert queued.wait(150) == 1, "what the one before was given is done"
    with pytest.raises(TaskForceError, match="shut down"):
        first.submit(lambda: 1)
    assert command.alpha_taskforce is second
    assert command.submit(lambda: 2, taskforce_id=name).wait(150) == 2
    assert command.add_taskforce(second) == name, "the same one again changes nothing"
    assert command.submit(lambda: 3).wait(150) == 3
    command.shutdown()
