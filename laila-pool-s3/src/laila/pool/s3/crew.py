"""Doing many requests at a time, with threads that live no longer than the call that needs them.

The client's synchronous calls release the interpreter's lock, so threads are as quick as its asyncio
interface, and simpler. The calling thread does its share, and more than its share where no helper is to be
had (too many calls at once, or an interpreter that is ending and starts no thread any more): nothing ever
waits for a free thread.
"""

from __future__ import annotations

import itertools
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Crew"]

T = TypeVar("T")
R = TypeVar("R")


_FEW = 15
"""Helpers that a call begins with: where the service is near, more would but wait for one another."""

_FAR = 0.004
"""Seconds below which no request to a service that is not near ends: worth a helper for each."""


class Crew:
    """At most ``size - 1`` helpers for all calls together, beside the calling threads. Thread-safe."""

    def __init__(self, size: int, name: str) -> None:
        self._free = size - 1
        self._name = name
        self._lock = threading.Lock()

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return ``work`` of each item, in order, several at a time.

        Once one has failed no further one is begun; what is under way ends before the error is raised, the
        first in the order of the items. An interrupt (Ctrl-C) does not wait for it.
        """
        if len(items) <= 1:
            return [work(item) for item in items]
        job = _Job(work, items)
        wanted = len(items) - 1
        helpers = self._enlist(job, min(wanted, _FEW))
        try:
            while job.step():
                if job.is_far() and len(helpers) < wanted:
                    helpers += self._enlist(job, wanted - len(helpers))
                    wanted = len(helpers)  # no more than there were
            for helper in helpers:
                helper.join()
        finally:
            job.stopped = True
        return job.outcome()

    def _enlist(self, job: _Job[T, R], wanted: int) -> list[threading.Thread]:
        with self._lock:
            granted = min(wanted, self._free)
            self._free -= granted
        helpers: list[threading.Thread] = []
        try:
            for _ in range(granted):
                # No daemon: one that comes back from the client while the interpreter ends would abort the
                # process.
                helper = threading.Thread(target=self._help, args=(job,), name=self._name, daemon=False)
                helper.start()
                helpers.append(helper)
        except RuntimeError:
            pass  # no more threads: the system's limit, or the interpreter is ending
        finally:
            with self._lock:
                self._free += granted - len(helpers)
        return helpers

    def _help(self, job: _Job[T, R]) -> None:
        try:
            while job.step():
                pass
        finally:
            with self._lock:
                self._free += 1


class _Job(Generic[T, R]):
    """One call of :meth:`Crew.map`, worked on by several threads."""

    def __init__(self, work: Callable[[T], R], items: Sequence[T]) -> None:
        self._work = work
        self._items = items
        self._next = itertools.count()  # next() of it is atomic
        self._results: list[R | None] = [None] * len(items)
        self._failures: dict[int, BaseException] = {}
        self._fastest = 1e9  # seconds that the quickest item took so far
        self._done = 0
        self.stopped = False

    def step(self) -> bool:
        """Do one item; False when there are no more, or one has failed."""
        if self.stopped or (place := next(self._next)) >= len(self._items):
            return False
        begun = perf_counter()
        try:
            self._results[place] = self._work(self._items[place])
        except Exception as error:  # noqa: BLE001 - raised by outcome(), in the calling thread
            self._failures[place] = error
            self.stopped = True
            return False
        self._fastest = min(self._fastest, perf_counter() - begun)
        self._done += 1
        return True

    def is_far(self) -> bool:
        """Whether enough items were done to say that none of them will be quick."""
        return self._fastest > _FAR and self._done > _FEW

    def outcome(self) -> list[R]:
        """Return the results, or raise the first failure."""
        if self._failures:
            raise self._failures[min(self._failures)]
        return self._results  # type: ignore[return-value]  # every place was filled
