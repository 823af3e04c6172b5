"""WorkerPool: worker threads that drain one queue, and grow in number while some of them wait.

A worker of the pool is at work, idle or blocked. At most ``size`` workers are not blocked. When a task waits
for another future, its worker counts as blocked, and a spare worker takes its place. When the wait is over
there is one worker too many, and the next one to finish a task retires. So tasks that wait for tasks always
make progress, whatever the size of the pool, and the number of running tasks keeps its limit.

Workers take tasks off a deque without a lock (``popleft`` is atomic). An idle worker puts its gate, a lock
that it is about to acquire, on a stack, and looks at the queue once more before it sleeps. A submitter fills
the queue first and opens gates after that. So no task is left in the queue while a worker sleeps.
"""

from __future__ import annotations

import sys
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from threading import Lock, Thread, current_thread

from laila.contract import blocked, current_host, locks, run_here, set_host, shown, start_thread
from laila.errors import TaskForceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract import Task

__all__ = ["WorkerPool"]

_MAX_NESTED = 50  # tasks run inside one another's waits on one thread

# One lock for all worker pools: threads are started under it. A call that interrupts its holder is refused.
_lock = locks.starting


class _Worker:
    """One thread of the worker pool, and the :class:`~laila.futures.waiting.Host` of the tasks it runs."""

    __slots__ = ("gate", "nested", "tasks", "thread", "waits", "worker_pool")

    def __init__(self, worker_pool: WorkerPool, name: str) -> None:
        self.worker_pool = worker_pool
        # A daemon, so that the interpreter does not wait for an idle thread; lifetime.py waits for busy ones.
        self.thread = Thread(target=self._live, name=name, daemon=True)
        self.gate = Lock()
        self.gate.acquire()
        self.waits = 0  # waits in progress: more than one when an event loop runs in a task
        self.nested = 0
        self.tasks: list[Task] = []  # in progress, innermost last

    def _live(self) -> None:
        set_host(self)
        worker_pool = self.worker_pool
        queue = worker_pool.queue
        with _lock:
            worker_pool.workers.add(self)  # again, for a worker whose start was interrupted
        while True:
            try:
                task = queue.popleft()
            except IndexError:
                if worker_pool.rest(self):
                    continue
                return
            self.run(task)
            del task  # otherwise an idle worker would keep the result of its last task
            if len(worker_pool.workers) - worker_pool.blocked > worker_pool.size and worker_pool.retire(self):
                return

    def run(self, task: Task) -> bool:
        """Run one task of the queue."""
        self.tasks.append(task)
        del task  # the traceback of an error in its future may hold this frame
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
        """Count this worker as blocked, and let a spare take its place if there is work."""
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
    """Whether half of the recursion limit is used: beyond that, nesting is risky."""
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
        self.queue: deque[Task] = deque()  # tasks that workers may take
        self.held: deque[Task] = deque()  # tasks that were submitted during a pause
        self.paused = False
        self.closed = False  # takes no more tasks
        self.leaving = False  # workers end when the queue is empty, instead of sleeping
        self.abandoned = False  # the user gave up on it at exit: nobody waits for its workers any more
        self.workers: set[_Worker] = set()
        self.blocked = 0
        self.idle: list[Lock] = []
        self.joins: list[WorkerPool] = []  # pools that a worker of this pool is waiting to end
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
            # No thread can start, for example when the interpreter exits, and there is no worker.
            self.drain_here()

    def grow(self) -> bool:
        """Wake or start workers for queued tasks; return False if there is work and no thread to do it.

        The caller holds the lock.
        """
        wanted = len(self.queue)
        while wanted > 0 and self.idle:
            self._wake()
            wanted -= 1
        while wanted > 0 and len(self.workers) - self.blocked < self.size:
            self._count += 1
            worker = _Worker(self, f"{self.name}-{self._count}")
            self.workers.add(worker)
            try:
                runs = start_thread(worker.thread)
            except BaseException:
                # The exception of a signal handler. The worker may start yet, and adds itself again then.
                if worker.thread.ident is None:  # to join it would fail
                    self.workers.discard(worker)
                raise
            if not runs:
                self.workers.discard(worker)
                return len(self.workers) > self.blocked
            wanted -= 1
        return True

    # -------------------------------------------------------------------------------------- from the workers

    def rest(self, worker: _Worker) -> bool:
        """Sleep until there may be work; return False if ``worker`` should end."""
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
        """Let ``worker`` end if there is one too many; return whether it may."""
        with _lock:
            if len(self.workers) - self.blocked <= self.size:
                return False
            self.workers.discard(worker)
            return True

    # ------------------------------------------------------------------------------------------ from outside

    def pause(self) -> None:
        """Start no further task until :meth:`resume`."""
        with _lock:
            self.paused = True
            # A task that a worker takes at this moment has started; when this returns, no worker can take
            # one.
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
        """Take no more tasks; finish or cancel the queued ones, then let the workers end."""
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
        """Close the worker pool of a task force that was collected. Never waits.

        The garbage collector runs anywhere, also in a thread that is being started, whose starter holds the
        lock and waits for it.
        """
        with suppress(RuntimeError):  # the interpreter ends: its exit hook closes the worker pools
            start_new_thread(self.close, (False,))

    def abandon(self) -> int:
        """Drop tasks that have not started; nobody waits for the others. Return how many were dropped."""
        dropped = self.waiting()
        self.abandoned = True
        self.close(cancel_pending=True)
        return dropped

    def leave(self) -> None:
        """Let workers end when there is nothing left to do."""
        with _lock:
            self.leaving = True
            while self.idle:
                self._wake()

    def _wake(self) -> None:
        """Wake the worker that fell asleep last. The caller holds the lock.

        A signal handler may raise between any two steps. A gate that was opened and is still on the stack
        does no harm, because its worker removes it. A gate that was removed and not opened would be lost.
        """
        gate = self.idle[-1]
        if gate.locked():  # it is not open already
            gate.release()
        self.idle.pop()

    def others(self) -> list[Thread]:
        """Return the threads of the pool, except the calling one and those whose start was interrupted."""
        me = current_thread()
        with _lock:
            threads = [worker.thread for worker in self.workers]
        return [thread for thread in threads if thread is not me and thread.ident is not None]

    def join(self) -> None:
        """Wait until all workers have ended, after :meth:`leave`.

        A worker of this pool does not wait, nor does a worker of a pool that this pool already waits for.
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
            with blocked(host):  # the remaining work may need this thread's worker pool
                self._join_all()
        finally:
            with _lock:
                mine.joins.remove(self)

    def _is_joined_by(self, other: WorkerPool) -> bool:
        """Whether a worker of ``other`` waits for the end of this pool, directly or through other pools."""
        return other is self or any(self._is_joined_by(worker_pool) for worker_pool in other.joins)

    def _join_all(self) -> None:
        while not self.abandoned and (others := self.others()):
            others[0].join()
        # Work that the interrupted call of a signal handler had queued, and that has no worker yet.
        self.drain_here()

    def lose_threads(self) -> list[Task]:
        """In a forked child, which has only the forking thread: forget the others, return their tasks."""
        me = current_thread()
        lost = [*self.queue, *self.held]
        lost += [task for worker in self.workers if worker.thread is not me for task in worker.tasks]
        self.joins.clear()
        self.workers = {worker for worker in self.workers if worker.thread is me}
        self.blocked = sum(worker.waits > 0 for worker in self.workers)
        # A worker that forked is the only thread of the child: when its task is over, the child ends.
        self.leaving = self.leaving or bool(self.workers)
        self.idle.clear()
        self.queue.clear()
        self.held.clear()
        return lost

    def drain_here(self) -> None:
        """Run the queued tasks in the calling thread."""
        while True:
            try:
                task = self.queue.popleft()
            except IndexError:
                return
            run_here((task,))
