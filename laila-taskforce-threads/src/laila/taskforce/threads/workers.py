"""WorkerPool: worker threads that drain one queue, and grow in number while some of them wait.

A worker of the pool is at work, idle or blocked. At most ``size`` of them are not blocked: when a task waits
for another future, its worker counts as blocked and a spare takes its place; when the wait is over
there is one too many, and the next to finish a task retires. So tasks that wait for tasks always get on,
whatever the size of the pool, and the number of tasks that run at a time stays what was asked for.

Workers take tasks off a deque without a lock (``popleft`` is atomic). An idle worker lays its gate, a lock it
is about to acquire, on a stack and looks at the queue once more before it sleeps; who adds tasks fills the
queue first and opens gates after. So no task is left lying while a worker sleeps.
"""

from __future__ import annotations

import sys
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from threading import Lock, Thread, current_thread

from laila.contract import blocked, current_host, locks, run_here, set_host, shown
from laila.errors import ReentryError, TaskForceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract import Task

__all__ = ["WorkerPool"]

_MAX_NESTED = 50  # tasks run inside one another's waits on one thread

# One lock for all worker pools: under it threads are started. A call that interrupts its holder is refused.
_lock = locks.starting


class _Worker:
    """One thread of the worker pool, and the :class:`~laila.futures.waiting.Host` of the tasks it runs."""

    __slots__ = ("gate", "nested", "tasks", "thread", "waits", "worker_pool")

    def __init__(self, worker_pool: WorkerPool, name: str) -> None:
        self.worker_pool = worker_pool
        # A daemon, so that the interpreter does not wait for an idle thread; lifetime.py sees to the busy
        # ones.
        self.thread = Thread(target=self._live, name=name, daemon=True)
        self.gate = Lock()
        self.gate.acquire()
        self.waits = 0  # waits under way: more than one when an event loop runs in a task
        self.nested = 0
        self.tasks: list[Task] = []  # under way, innermost last

    def _live(self) -> None:
        set_host(self)
        worker_pool = self.worker_pool
        queue = worker_pool.queue
        with _lock:
            worker_pool.workers.add(self)  # again, for one whose start was interrupted
        while True:
            try:
                task = queue.popleft()
            except IndexError:
                if worker_pool.rest(self):
                    continue
                return
            self.run(task)
            del task  # or an idle worker would keep what its last task gave
            if len(worker_pool.workers) - worker_pool.blocked > worker_pool.size and worker_pool.retire(self):
                return

    def run(self, task: Task) -> bool:
        """Run one task off the queue."""
        self.tasks.append(task)
        del task  # the traceback of an error that its future holds may know this frame
        try:
            return self.tasks[-1].run()
        finally:
            self.tasks.pop()

    def adopt(self, task: Task, *, force: bool = False) -> bool:
        """Run ``task``, which this worker is about to wait for, if it is of this pool and has not started."""
        if task.owner is not self.worker_pool or task.started:
            if not force and not task.future._is_settled() and task in self.tasks:
                raise TaskForceError(
                    f"a task would wait for its own end for ever: {shown(task)} is under way in this "
                    "thread, and "
                    "waits, itself or through a task that it waits for, for its own future"
                )
            return False
        if not force and (self.nested >= _MAX_NESTED or _stack_is_deep()):
            return False
        self.nested += 1
        try:
            return self.run(task)
        finally:
            self.nested -= 1

    def block(self) -> bool:
        """Count this worker as blocked, and have a spare take its place if there is work."""
        worker_pool = self.worker_pool
        with _lock:
            self.waits += 1
            if self.waits == 1:
                worker_pool.blocked += 1
            return worker_pool.grow()

    def unblock(self) -> None:
        """The wait is over."""
        worker_pool = self.worker_pool
        with _lock:
            self.waits -= 1
            if self.waits == 0:
                worker_pool.blocked -= 1


def _stack_is_deep() -> bool:
    """Whether half of what the recursion limit allows is used up: then nesting is no longer for free."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)
    except ValueError:
        return False
    return True


class WorkerPool:
    """The worker threads of one task force and their queue. Holds no reference to the task force."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self.queue: deque[Task] = deque()  # what workers may take
        self.held: deque[Task] = deque()  # what was submitted during a pause
        self.paused = False
        self.closed = False  # takes no more tasks
        self.leaving = False  # workers go home when the queue is empty, instead of sleeping
        self.abandoned = False  # the user gave up on it at exit: nobody waits for its workers any more
        self.workers: set[_Worker] = set()
        self.blocked = 0
        self.idle: list[Lock] = []
        self.joins: list[WorkerPool] = []  # worker pools whose end a worker of this one waits for
        self._count = 0

    # ------------------------------------------------------------------------------------------ from outside

    def submit(self, tasks: Sequence[Task]) -> None:
        """Queue ``tasks`` and wake as many workers as they need."""
        locks.check_may_use()
        locks.check_free(_lock)
        for task in tasks:
            task.owner = self
        stranded = False
        with _lock:
            if self.closed:
                raise TaskForceError(
                    f"the thread task force {shown(self.name)} was shut down: make a new one"
                )
            if self.paused:
                self.held.extend(tasks)
                return
            self.queue.extend(tasks)
            stranded = not self.grow()
        if stranded:
            # No thread can be started, as when the interpreter is on its way out, and none is there.
            self.drain_here()

    def grow(self) -> bool:
        """Wake or start workers for what is queued; False when there is work and nobody to do it.

        Called with the lock held.
        """
        wanted = len(self.queue)
        while wanted > 0 and self.idle:
            self._wake()
            wanted -= 1
        while wanted > 0 and len(self.workers) - self.blocked < self.size:
            self._count += 1
            worker = _Worker(self, f"{self.name}-{self._count}")
            try:
                self.workers.add(worker)
                worker.thread.start()
            except ReentryError:
                # Of a signal handler that interrupted the start.
                if worker.thread.ident is None:
                    self.workers.discard(worker)
                raise
            except RuntimeError:
                # The system, or an interpreter that is shutting down, gives no more threads.
                self.workers.discard(worker)
                return len(self.workers) > self.blocked
            except BaseException as error:
                # An interrupt. A thread that was never started would be joined in vain.
                if worker.thread.ident is None:
                    self.workers.discard(worker)
                if type(error) is KeyError and error.__context__ is not None:
                    raise error.__context__ from None  # which Thread.start() stumbled over
                raise
            wanted -= 1
        return True

    # -------------------------------------------------------------------------------------- from the workers

    def rest(self, worker: _Worker) -> bool:
        """Sleep until there may be work; False when ``worker`` should go home."""
        with _lock:
            if self.queue:
                return True
            if self.leaving or len(self.workers) - self.blocked > self.size:
                self.workers.discard(worker)
                return False
            self.idle.append(worker.gate)
        worker.gate.acquire()
        if worker.gate in self.idle:
            with _lock, suppress(ValueError):
                self.idle.remove(worker.gate)
        return True

    def retire(self, worker: _Worker) -> bool:
        """Let ``worker`` go home if there is one too many; whether it may."""
        with _lock:
            if len(self.workers) - self.blocked <= self.size:
                return False
            self.workers.discard(worker)
            return True

    # ------------------------------------------------------------------------------------------ from outside

    def pause(self) -> None:
        """Have no further task start until :meth:`resume`."""
        with _lock:
            self.paused = True
            # A task that a worker takes at this moment has started; when this returns there is none to take.
            try:
                while True:
                    self.held.append(self.queue.popleft())
            except IndexError:
                pass

    def resume(self) -> None:
        """Let tasks start again."""
        with _lock:
            self.paused = False
            self.queue.extend(self.held)
            self.held.clear()
            stranded = not self.grow()
        if stranded:
            self.drain_here()

    def waiting(self) -> int:
        """How many tasks wait to be started."""
        return sum(not task.started for tasks in (self.queue, self.held) for task in tasks.copy())

    def close(self, cancel_pending: bool) -> None:
        """Take no more tasks; finish or cancel what is queued, then let the workers go."""
        with _lock:
            self.closed = True
        if cancel_pending:
            for tasks in (self.queue, self.held):
                try:
                    while True:
                        tasks.popleft().future.cancel()
                except IndexError:
                    pass
        self.resume()
        self.leave()

    def let_go(self) -> None:
        """Close the worker pool of a task force that was collected; never wait.

        The collector runs anywhere: also in a thread that is being started, whose starter holds the lock and
        waits for it.
        """
        with suppress(RuntimeError):  # the interpreter ends: its exit hook closes the worker pools
            start_new_thread(self.close, (False,))

    def abandon(self) -> int:
        """Drop what has not started, and have nobody wait for the rest; return how many were dropped."""
        dropped = self.waiting()
        self.abandoned = True
        self.close(cancel_pending=True)
        return dropped

    def leave(self) -> None:
        """Let workers go home when there is nothing left to do."""
        with _lock:
            self.leaving = True
            while self.idle:
                self._wake()

    def _wake(self) -> None:
        """Wake the worker that fell asleep last. Called with the lock held.

        A signal handler may raise between any two steps: a gate that was opened and is still listed is no
        harm, for its worker takes it off; one that was taken off and not opened would be lost.
        """
        gate = self.idle[-1]
        if gate.locked():  # not open already
            gate.release()
        self.idle.pop()

    def others(self) -> list[Thread]:
        """The threads of the pool but the calling one, and any whose start a signal handler broke off."""
        me = current_thread()
        with _lock:
            threads = [worker.thread for worker in self.workers]
        return [thread for thread in threads if thread is not me and thread.ident is not None]

    def join(self) -> None:
        """Wait until all workers are gone, after :meth:`leave`.

        A worker of this worker pool does not wait, nor one of a worker pool that this one waits for already.
        """
        locks.check_may_wait()
        host = current_host()
        mine = host.worker_pool if isinstance(host, _Worker) else None
        if host is None or mine is None:
            self._join_all()
            return
        with _lock:
            if mine._is_joined_by(self):
                return
            mine.joins.append(self)
        try:
            with blocked(host):  # what is left to do may need this thread's worker pool
                self._join_all()
        finally:
            with _lock:
                mine.joins.remove(self)

    def _is_joined_by(self, other: WorkerPool) -> bool:
        """Whether a worker of ``other`` waits for the end of this pool, itself or through further pools."""
        return other is self or any(self._is_joined_by(worker_pool) for worker_pool in other.joins)

    def _join_all(self) -> None:
        while not self.abandoned and (others := self.others()):
            others[0].join()
        # What the call that a signal handler interrupts had queued, and has no worker yet.
        self.drain_here()

    def lose_threads(self) -> list[Task]:
        """In a forked child, which has the forking thread only: forget the others, return their tasks."""
        me = current_thread()
        lost = [*self.queue, *self.held]
        lost += [task for worker in self.workers if worker.thread is not me for task in worker.tasks]
        self.joins.clear()
        self.workers = {worker for worker in self.workers if worker.thread is me}
        self.blocked = sum(worker.waits > 0 for worker in self.workers)
        # A worker that forked is all there is of the child: when its task is over, so is the child.
        self.leaving = self.leaving or bool(self.workers)
        self.idle.clear()
        self.queue.clear()
        self.held.clear()
        return lost

    def drain_here(self) -> None:
        """Run what is queued in the calling thread."""
        while True:
            try:
                task = self.queue.popleft()
            except IndexError:
                return
            run_here((task,))
