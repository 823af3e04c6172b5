"""Many requests at a time, with threads that stay for some seconds after a call.

The client's synchronous calls release the interpreter's lock, so threads are as quick as its asyncio
interface, and simpler. The calling thread does its share. It does more if no helper is free (too many calls
at once) or no thread can start (the interpreter ends): no call ever waits for a free thread.

Helpers are daemons, so an idle helper keeps no program from ending. A helper that returns from the client
while the interpreter ends would abort the process, so the exit waits for all of them.
"""

from __future__ import annotations

import atexit
import itertools
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from laila.contract import Renewed, locks, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["HelperPool"]

T = TypeVar("T")
R = TypeVar("R")


_IDLE_SECONDS = 5.0
"""How long a helper stays without work. Starting one takes as long as a request to a near service."""


class HelperPool:
    """At most ``size - 1`` helpers for all calls together, beside the calling threads. Thread-safe."""

    def __init__(self, size: int, name: str) -> None:
        self._most = size - 1
        self._name = name
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        self._lock = locks.long_lock()  # guards all attributes below
        self._changed = threading.Condition(self._lock)
        self._free = self._most  # shares of work that may still be given out
        self._offered: deque[_Job[Any, Any]] = deque()  # shares that no helper has taken yet
        self._threads: set[threading.Thread] = set()
        self._idle = 0  # threads without a share, and threads that are being started
        self._closed = False

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return ``work`` of each item, in order, several at a time. Blocks.

        After a failure no further item begins. The running ones end before the error is raised: the first
        error in the order of the items. An interrupt (Ctrl-C) does not wait for them.
        """
        if len(items) <= 1:
            return [work(item) for item in items]
        locks.check_free(self._lock)
        job = _Job(work, items, threading.Condition(self._lock))
        try:
            self._offer(job, len(items) - 1)
            while job.step():
                pass
        finally:
            job.stopped = True
            self._withdraw(job)
        with self._lock:
            while job.helpers:
                job.left.wait()
        return job.outcome()

    def close(self) -> None:
        """Let the helpers go; busy helpers finish first. The calling threads then do all work."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def threads(self) -> list[threading.Thread]:
        """Return the helpers, idle or at work."""
        with self._lock:
            return list(self._threads)

    def _offer(self, job: _Job[T, R], wanted: int) -> None:
        with self._lock:
            granted = 0 if self._closed else min(wanted, self._free)
            self._free -= granted
            self._offered.extend([job] * granted)
            self._changed.notify(granted)
            lacking = max(len(self._offered) - self._idle, 0) if granted else 0
            hired = [
                threading.Thread(target=self._help, name=self._name, daemon=True) for _ in range(lacking)
            ]
            self._threads.update(hired)
            self._idle += lacking
        started = 0
        try:
            for helper in hired:
                if not start_thread(helper):
                    break
                started += 1
        finally:
            with self._lock:
                self._threads.difference_update(hired[started:])
                self._idle -= lacking - started

    def _withdraw(self, job: _Job[T, R]) -> None:
        """Take back the shares that no helper has taken."""
        with self._lock:
            while job in self._offered:
                self._offered.remove(job)
                self._free += 1

    def _help(self) -> None:
        while (job := self._take()) is not None:
            with suppress(BaseException):  # the job keeps the failure
                while job.step():
                    pass
            with self._lock:
                self._free += 1
                self._idle += 1
                job.helpers -= 1
                if not job.helpers:
                    job.left.notify()
                del job  # the variable would keep the job and its results alive

    def _take(self) -> _Job[Any, Any] | None:
        """Wait for a share of a job; None when the helper is to go."""
        latest = monotonic() + _IDLE_SECONDS
        with self._lock:
            while not self._offered and not self._closed and (left := latest - monotonic()) > 0:
                self._changed.wait(left)
            self._idle -= 1
            if not self._offered:
                self._threads.discard(threading.current_thread())
                return None
            job = self._offered.popleft()
            job.helpers += 1
            return job


class _Job(Generic[T, R]):
    """One call of :meth:`HelperPool.map`, worked on by several threads."""

    def __init__(self, work: Callable[[T], R], items: Sequence[T], left: threading.Condition) -> None:
        self.helpers = 0  # at work on it
        self.left = left  # notified when no helper works on it any more; its lock guards `helpers`
        self._work = work
        self._items = items
        self._next = itertools.count()  # its next() is atomic
        self._results: list[R | None] = [None] * len(items)
        self._failures: dict[int, BaseException] = {}
        self.stopped = False

    def step(self) -> bool:
        """Do one item; return False if there are no more items, or one has failed."""
        if self.stopped or (place := next(self._next)) >= len(self._items):
            return False
        try:
            self._results[place] = self._work(self._items[place])
        except BaseException as error:
            self._failures[place] = error
            self.stopped = True
            if isinstance(error, Exception):
                return False  # outcome() raises it, in the calling thread
            raise
        return True

    def outcome(self) -> list[R]:
        """Return the results, or raise the first failure."""
        if self._failures:
            raise self._failures[min(self._failures)]
        return self._results  # type: ignore[return-value]  # every place was filled


# Its threads stay with the parent.
_every: Renewed[HelperPool] = Renewed(lambda helper_pool: helper_pool._begin())


@atexit.register
def _end() -> None:
    helper_pools = tuple(_every)
    for helper_pool in helper_pools:
        helper_pool.close()
    for helper_pool in helper_pools:
        for helper in helper_pool.threads():
            helper.join()  # requests are bounded in time
