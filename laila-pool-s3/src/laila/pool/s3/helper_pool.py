"""Doing many requests at a time, with threads that stay for some seconds after the call that needed them.

The client's synchronous calls release the interpreter's lock, so threads are as quick as its asyncio
interface, and simpler. The calling thread does its share, and more than its share where no helper is to be
had (too many calls at once, or an interpreter that is ending and starts no thread any more): nothing ever
waits for a free thread.

Helpers are daemons, so that an idle one keeps no program from ending. One that comes back from the client
while the interpreter ends would abort the process, and so all of them are waited for at exit.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from laila.contract import locks

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
        self._lock = locks.long_lock()  # of all that follows
        self._changed = threading.Condition(self._lock)
        self._free = self._most  # shares in the work that may still be given out
        self._offered: deque[_Job[Any, Any]] = deque()  # shares that no helper has taken yet
        self._threads: set[threading.Thread] = set()
        self._idle = 0  # of the threads: those that have no share, and those that are being started
        self._closed = False

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return ``work`` of each item, in order, several at a time.

        Once one has failed no further one is begun; what is under way ends before the error is raised, the
        first in the order of the items. An interrupt (Ctrl-C) does not wait for it.
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
        """Let the helpers go, those at work when that is done. Calls are then done by who makes them."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def threads(self) -> list[threading.Thread]:
        """The helpers that there are, idle or at work."""
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
                with locks.starting:
                    helper.start()
                started += 1
        except RuntimeError:
            pass  # no more threads: the system's limit, or the interpreter is ending
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
            with suppress(BaseException):  # it is among the job's failures
                while job.step():
                    pass
            with self._lock:
                self._free += 1
                self._idle += 1
                job.helpers -= 1
                if not job.helpers:
                    job.left.notify()
                del job  # and all that it holds on to

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
        self.left = left  # told when there are none any more; its lock is that of `helpers`
        self._work = work
        self._items = items
        self._next = itertools.count()  # next() of it is atomic
        self._results: list[R | None] = [None] * len(items)
        self._failures: dict[int, BaseException] = {}
        self.stopped = False

    def step(self) -> bool:
        """Do one item; False when there are no more, or one has failed."""
        if self.stopped or (place := next(self._next)) >= len(self._items):
            return False
        try:
            self._results[place] = self._work(self._items[place])
        except BaseException as error:
            self._failures[place] = error
            self.stopped = True
            if isinstance(error, Exception):
                return False  # raised by outcome(), in the calling thread
            raise
        return True

    def outcome(self) -> list[R]:
        """Return the results, or raise the first failure."""
        if self._failures:
            raise self._failures[min(self._failures)]
        return self._results  # type: ignore[return-value]  # every place was filled


_every: WeakSet[HelperPool] = WeakSet()


@atexit.register
def _end() -> None:
    helper_pools = tuple(_every)
    for helper_pool in helper_pools:
        helper_pool.close()
    for helper_pool in helper_pools:
        for helper in helper_pool.threads():
            helper.join()  # requests are bounded in time


def _after_fork() -> None:
    for helper_pool in tuple(_every):
        helper_pool._begin()  # its threads stayed with the parent


os.register_at_fork(after_in_child=_after_fork)
