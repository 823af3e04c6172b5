"""Task forces that each break one promise, under the suite that shall find it.

See test_conformance_finds_more.py. Those that make a test hang give it little patience.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

import pytest
from hypothesis import Phase, settings
from right_taskforces import Processes, ThreadEach, Worker

from laila.contract.taskforce import Task, TaskForce
from laila.errors import TaskForceError
from laila.testing import TaskForceConformance

# What is found is enough: it need not be made short.
settings.register_profile("find", settings(), phases=[Phase.generate])
settings.load_profile("find")


class RunsTwice(ThreadEach):
    def run(self, task: Task) -> None:
        fn = task.fn
        super().run(task)
        fn()


class LosesOneInTwenty(ThreadEach):
    count = 0

    def run(self, task: Task) -> None:
        with self.lock:
            self.count += 1
            if self.count % 20 == 0:
                task.fn = bool
        super().run(task)


class ForgetsOne(ThreadEach):
    patience = 3.0

    def _submit(self, tasks: Sequence[Task]) -> None:
        super()._submit(tasks[:-1] if len(tasks) > 1 else tasks)


class SwallowsErrors(ThreadEach):
    def run(self, task: Task) -> None:
        def quiet() -> Any:
            try:
                return fn()
            except Exception:  # noqa: BLE001
                return None

        fn, task.fn = task.fn, quiet
        super().run(task)


class WrapsErrors(ThreadEach):
    def run(self, task: Task) -> None:
        def wrapped() -> Any:
            try:
                return fn()
            except Exception as error:
                raise RuntimeError(f"the task failed: {error}") from error

        fn, task.fn = task.fn, wrapped
        super().run(task)


class LosesTracebacks(ThreadEach):
    def run(self, task: Task) -> None:
        if task.claim():
            try:
                task.future.result = task.fn()
            except Exception as error:  # noqa: BLE001
                task.future.exception = error.with_traceback(None)


class TwoWorkers(ThreadEach):
    """Two threads that take one task after the other, as a simple executor does."""

    def __init__(self, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.free = threading.Semaphore(2)

    def run(self, task: Task) -> None:
        with self.free:
            super().run(task)


class DeadlocksWhenNested(TwoWorkers):
    patience = 0.5


class HelpsWithAnything(ThreadEach):
    """A task that waits runs whatever is queued, in its own stack."""

    patience = 1.0

    def _submit(self, tasks: Sequence[Task]) -> None:
        with self.lock:
            if threading.current_thread() in self.running:
                self.queue.extend(tasks)
                return
        super()._submit(tasks)

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        while self.queue:
            self.queue.popleft().run()
        return True


class SwapsResults(ThreadEach):
    def _submit(self, tasks: Sequence[Task]) -> None:
        if len(tasks) > 1:
            tasks[0].fn, tasks[1].fn = tasks[1].fn, tasks[0].fn
        super()._submit(tasks)


class ReordersMap(ThreadEach):
    def imap(self, tasks: Any) -> Any:  # type: ignore[misc]
        return iter([self.submit(task) for task in tasks][::-1])


class EagerImap(ThreadEach):
    def imap(self, tasks: Any) -> Any:  # type: ignore[misc]
        return iter([self.submit(task) for task, _ in zip(tasks, range(100), strict=False)])


class QueuesHalfABatch(ThreadEach):
    def submit(self, tasks: Any, wait: bool = False, **options: Any) -> Any:  # type: ignore[misc]
        if not callable(tasks) and isinstance(tasks, list):
            return [super(ThreadEach, self).submit(task) for task in tasks][-1]
        return super().submit(tasks, wait)


class DiesOfSystemExit(ThreadEach):
    patience = 0.5

    def run(self, task: Task) -> None:
        if task.claim():
            try:
                task.future.result = task.fn()
            except Exception as error:  # noqa: BLE001
                task.future.exception = error
            except BaseException:  # noqa: BLE001
                return


class LosesContext(ThreadEach):
    def run(self, task: Task) -> None:
        task.context = Context()
        super().run(task)


class AtOnce(ThreadEach):
    """What it starts is done when the call returns: no test has to look at the right moment."""

    def _submit(self, tasks: Sequence[Task]) -> None:
        super()._submit(tasks)
        self.await_running()

    def _resume(self) -> None:
        super()._resume()
        self.await_running()

    def await_running(self) -> None:
        for thread in list(self.running):
            thread.join()


class IgnoresCancel(AtOnce):
    def _submit(self, tasks: Sequence[Task]) -> None:
        self.kept = {task: task.fn for task in tasks} | getattr(self, "kept", {})
        super()._submit(tasks)

    def run(self, task: Task) -> None:
        if task.future.cancelled():
            self.kept[task]()
        super().run(task)


class IgnoresPause(AtOnce):
    def _pause(self) -> None:
        pass


class IgnoresPauseInSomeOrder(AtOnce):
    """A second pause lets everything go."""

    patience = 60.0

    def _pause(self) -> None:
        super()._pause() if not self.holding else self._resume()


class CountsNothing(ThreadEach):
    @property
    def queue_len(self) -> int:
        return 0


class CountsTheCancelled(ThreadEach):
    @property
    def queue_len(self) -> int:
        return len(self.queue)


class TakesTasksForEver(ThreadEach):
    def _submit(self, tasks: Sequence[Task]) -> None:
        self.over = False
        super()._submit(tasks)


class DoesNotWait(ThreadEach):
    def run(self, task: Task) -> None:
        time.sleep(0.5)
        super().run(task)

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        super()._shutdown(False, cancel_pending)


class DropsWhatIsQueued(ThreadEach):
    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        self.queue.clear()
        super()._shutdown(wait, cancel_pending)


class CancelsNothing(ThreadEach):
    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        super()._shutdown(wait, False)


class HangsAtShutdown(ThreadEach):
    patience = 1.0

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        super()._shutdown(wait, cancel_pending)
        threading.Event().wait()


class LosesWhatComesLate(ThreadEach):
    """It looks whether it is shut down, and queues a moment later."""

    patience = 3.0

    def _submit(self, tasks: Sequence[Task]) -> None:
        if self.over:
            raise TaskForceError("over")
        time.sleep(0.02)
        with self.lock:
            if not self.over:
                super()._submit(tasks)


class LeaksAThread(ThreadEach):
    patience = 6.0

    def _start(self) -> None:
        threading.Thread(target=threading.Event().wait, name="left behind", daemon=True).start()


class LeaksAFile(ThreadEach):
    patience = 6.0

    def _start(self) -> None:
        os.pipe()


class LeaksAProcess(ThreadEach):
    patience = 6.0

    def _start(self) -> None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=True)


class DiesWithTheProgram(TwoWorkers):
    def run(self, task: Task) -> None:
        time.sleep(2)
        super().run(task)

    def start_queued(self) -> None:
        while self.queue:
            task = self.queue.popleft()
            threading.Thread(target=self.run, args=(task,), daemon=True).start()


class KeepsTheProgramAlive(ThreadEach):
    patience = 3.0

    def _start(self) -> None:
        threading.Thread(target=threading.Event().wait).start()


class HangsAfterAFork(ThreadEach):
    patience = 20.0

    def forget(self) -> list[Task]:
        super().forget()
        return []


class ForgetsItsNickname(ThreadEach):
    def __init__(self, *, nickname: str | None = None) -> None:
        super().__init__()


class StopsAfterMemorize(ThreadEach):
    patience = 3.0

    count = 0

    def _submit(self, tasks: Sequence[Task]) -> None:
        self.count += len(tasks)
        if self.count < 3:
            super()._submit(tasks)


class RunsAgainAfterACrash(Processes):
    def feed(self) -> None:
        worker = Worker()
        while (task := self.next_task()) is not None:
            if task.claim():
                tried = Task(task.fn)
                worker.have_done(tried)
                if isinstance(tried.future.exception, TaskForceError):
                    tried = Task(task.fn)
                    worker.have_done(tried)
                if tried.future.exception is None:
                    task.future.result = tried.future.result
                else:
                    task.future.exception = tried.future.exception
        worker.end()


class NeverHearsOfACrash(Processes):
    patience = 10.0

    def feed(self) -> None:
        worker = Worker()
        while (task := self.next_task()) is not None:
            if task.claim():
                tried = Task(task.fn)
                worker.have_done(tried)
                if tried.future.exception is None:
                    task.future.result = tried.future.result
        worker.end()


class CopiesArguments(Processes):
    pass


def _suite(made: type[TaskForce]) -> type[TaskForceConformance]:
    class Suite(TaskForceConformance):
        in_process = not issubclass(made, Processes) or made is CopiesArguments
        alpha = in_process
        patience = getattr(made, "patience", 60.0)

        @pytest.fixture
        def make_taskforce(self) -> Callable[..., TaskForce]:
            return made

    return Suite


for _made in list(globals().values()):
    if isinstance(_made, type) and issubclass(_made, ThreadEach | Processes):
        globals()[f"Test{_made.__name__}"] = _suite(_made)
