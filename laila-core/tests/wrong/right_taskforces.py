"""Two task forces that are short and keep their contract: what those of wrong_taskforces.py are made from.

One starts a thread for each task. The other has its tasks run in processes that die with what they run.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from threading import Condition, RLock, Thread, current_thread
from typing import Any
from weakref import WeakSet

from laila.contract.taskforce import Task, TaskForce, set_host
from laila.errors import InvalidTaskError, TaskForceError


class ThreadEach(TaskForce):
    """A thread for each task. Nobody takes a waiting task's place: its sub-tasks have their own threads."""

    def __init__(self, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.forget()
        _of_this_process.add(self)

    def forget(self) -> list[Task]:
        """Begin anew, and return the tasks that were queued or under way."""
        lost = [*getattr(self, "queue", ()), *getattr(self, "running", {}).values()]
        self.lock = RLock()
        self.queue: deque[Task] = deque()
        self.running: dict[Thread, Task] = {}
        self.holding = self.over = False
        return lost

    def _start(self) -> None:
        pass

    def _submit(self, tasks: Sequence[Task]) -> None:
        with self.lock:
            if self.over:
                raise TaskForceError(f"{self!r} was shut down: make a new one")
            self.queue.extend(tasks)
            if not self.holding:
                self.start_queued()

    def start_queued(self) -> None:
        """Start a thread for each task of the queue; called with the lock held."""
        while self.queue:
            task = self.queue.popleft()
            thread = Thread(target=self.run, args=(task,))
            self.running[thread] = task
            try:
                thread.start()
            except RuntimeError:  # the interpreter is on its way out
                del self.running[thread]
                task.run()

    def run(self, task: Task) -> None:
        """Run one task, in its thread."""
        set_host(self)
        try:
            task.run()
        finally:
            del task
            with self.lock:
                self.running.pop(current_thread(), None)

    # What the threads' waits ask (laila.futures.waiting.Host): during a pause the waiter does the work.

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        return self.holding and task.run()

    def block(self) -> bool:
        return not self.holding

    def unblock(self) -> None:
        pass

    def _pause(self) -> None:
        with self.lock:
            self.holding = True

    def _resume(self) -> None:
        with self.lock:
            self.holding = False
            self.start_queued()

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        with self.lock:
            self.over = True
            self.holding = False
            while cancel_pending and self.queue:
                self.queue.popleft().future.cancel()
            self.start_queued()
            threads = set(self.running) - {current_thread()}
        for thread in threads if wait else ():
            thread.join()

    @property
    def queue_len(self) -> int:
        return sum(not task.started for task in tuple(self.queue))


_of_this_process: WeakSet[ThreadEach] = WeakSet()


def _after_fork() -> None:
    for taskforce in _of_this_process:
        for task in taskforce.forget():
            task.abandon(TaskForceError("the process was forked; the task goes on in the parent"))


os.register_at_fork(after_in_child=_after_fork)


class Processes(TaskForce):
    """Two processes, each fed by a thread that sends it one task at a time and waits for the outcome."""

    workers = 2

    def __init__(self, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.changed = Condition()
        self.queue: deque[Task] = deque()
        self.holding = self.over = False
        self.feeders: list[Thread] = []

    def _start(self) -> None:
        _open_ones.add(self)

    def _submit(self, tasks: Sequence[Task]) -> None:
        with self.changed:
            if self.over:
                raise TaskForceError(f"{self!r} was shut down: make a new one")
            self.queue.extend(tasks)
            while len(self.feeders) < self.workers:
                self.feeders.append(Thread(target=self.feed, daemon=True))
                self.feeders[-1].start()
            self.changed.notify_all()

    def feed(self) -> None:
        """Have one task after the other done by a process of one's own."""
        worker = Worker()
        try:
            while (task := self.next_task()) is not None:
                if task.claim():
                    worker.have_done(task)
                del task
        finally:
            worker.end()

    def next_task(self) -> Task | None:
        """The next task, or None when there will be none."""
        with self.changed:
            while self.holding or not self.queue:
                if self.over and not self.queue:
                    return None
                self.changed.wait()
            return self.queue.popleft()

    def _pause(self) -> None:
        with self.changed:
            self.holding = True

    def _resume(self) -> None:
        with self.changed:
            self.holding = False
            self.changed.notify_all()

    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        with self.changed:
            self.over = True
            self.holding = False
            while cancel_pending and self.queue:
                self.queue.popleft().future.cancel()
            self.changed.notify_all()
        for feeder in self.feeders if wait else ():
            feeder.join()

    @property
    def queue_len(self) -> int:
        return sum(not task.started for task in tuple(self.queue))


class Worker:
    """A process that does what it is sent; started when it is needed, and again when it has died."""

    def __init__(self) -> None:
        self.process: Any = None
        self.connection: Connection[bytes, bytes] | None = None

    def have_done(self, task: Task) -> None:
        """Send a task, wait for its outcome, and settle its future."""
        try:
            work = pickle.dumps(task.fn)
        except Exception as error:  # noqa: BLE001
            task.future.exception = InvalidTaskError(f"{task.name} cannot be sent to a process: {error}")
            return
        if self.connection is None:
            self.connection, there = _context.Pipe()
            self.process = _context.Process(target=_live, args=(there,), daemon=False)
            self.process.start()
            there.close()
        try:
            self.connection.send_bytes(work)
            done, outcome = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            pid = self.process.pid
            self.end()
            task.future.exception = TaskForceError(
                f"the process {pid} that ran {task.name} ended before its task; it may have run in part"
            )
        else:
            if done:
                task.future.result = outcome
            else:
                task.future.exception = outcome

    def end(self) -> None:
        """Let the process end, and wait for it."""
        if self.connection is not None:
            self.connection.close()
            self.process.join()
            self.process.close()
            self.connection = None


def _live(connection: Connection[bytes, bytes]) -> None:
    """What a worker process does until nobody sends it anything any more."""
    while True:
        try:
            work = connection.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _outcome(work)
        try:
            data = pickle.dumps(answer)
            pickle.loads(data)
        except Exception as error:  # noqa: BLE001
            data = pickle.dumps((False, TaskForceError(f"what a task gave cannot be sent: {error}")))
        connection.send_bytes(data)


def _outcome(work: bytes) -> tuple[bool, object]:
    try:
        fn: Callable[[], object] = pickle.loads(work)
        return True, fn()
    except BaseException as error:  # noqa: BLE001 - whatever ends the task is its outcome
        error.add_note("In the process that ran the task:\n" + "".join(traceback.format_exception(error)))
        return False, error


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["laila.testing.tasks", "laila.policy", __name__])

_open_ones: WeakSet[Processes] = WeakSet()


@atexit.register
def _finish() -> None:
    for taskforce in tuple(_open_ones):
        taskforce.shutdown()
