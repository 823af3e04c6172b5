"""Where the work of a verb runs.

What has to wait for a disk or a server goes to the task force as one task a call; a chain that never blocks
answers in the caller with a finished future.
"""

from __future__ import annotations

from laila.central.pending import PendingWrites
from laila.entry.states import unmark
from laila.errors import TaskForceError
from laila.futures import Future, GroupFuture, spawn
from laila.futures.task import run_here
from laila.plugins import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, overload

    from laila.blob.blob import Blob
    from laila.central.command import DefaultCentralCommand
    from laila.central.events import Events
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.futures import Task

    Work = Callable[[], list[Any]]
    Submitter = Callable[[Sequence[Task]], None]

__all__ = ["Runner"]


class Runner:
    """Runs the work of one policy's verbs and gives their futures. Thread-safe."""

    def __init__(self, command: DefaultCentralCommand, events: Events, max_pending_bytes: int) -> None:
        self._command = command
        self._events = events
        self.pending = PendingWrites(max_pending_bytes)

    if TYPE_CHECKING:

        @overload
        def run(
            self,
            verb: str,
            pool: Pool,
            keys: Sequence[str],
            work: Work,
            *,
            single: bool,
            count: int | None = None,
            entries: Sequence[Entry] = (),
            blobs: Sequence[Blob | None] = (),
        ) -> Future[Any] | GroupFuture[Any]: ...
        @overload
        def run(
            self,
            verb: str,
            pool: Pool,
            keys: Sequence[str],
            work: Work,
            *,
            count: int | None = None,
            entries: Sequence[Entry] = (),
            blobs: Sequence[Blob | None] = (),
        ) -> GroupFuture[Any]: ...

    def run(
        self,
        verb: str,
        pool: Pool,
        keys: Sequence[str],
        work: Work,
        *,
        single: bool = False,
        count: int | None = None,
        entries: Sequence[Entry] = (),
        blobs: Sequence[Blob | None] = (),
    ) -> Future[Any] | GroupFuture[Any]:
        """Do ``work``, which is about ``keys`` and gives ``count`` outcomes (as many as keys, unless said).

        Here where the pool never blocks, else in the task force: once there is room for ``blobs`` among what
        waits to be written. Should the task be cancelled, ``entries`` are not on their way any more.
        """
        count = len(keys) if count is None else count
        if watch.anybody:
            work = self._events.observe(verb, pool, keys, work)
        if count and _waits(pool, writes=verb == "memorize"):
            size = sum(blob.content_nbytes for blob in blobs if blob is not None)
            if size:
                return self._write(verb, size, work, count, single=single, entries=entries)
            return self._spawn(verb, work, count, self._dispatch, single=single)
        try:
            outcomes = work() if count else []
        except Exception as error:  # noqa: BLE001 - the outcome of the verb, kept in the future
            outcomes = [error] * count
        if not single:
            return GroupFuture.completed(outcomes)
        (outcome,) = outcomes
        return Future.failed(outcome) if isinstance(outcome, BaseException) else Future.completed(outcome)

    @staticmethod
    def _spawn(
        verb: str, work: Work, count: int, submit: Submitter, *, single: bool
    ) -> Future[Any] | GroupFuture[Any]:
        def do() -> Any:
            return _only(work()) if single else work()

        do.__qualname__ = verb  # what messages call it
        return spawn(do, submit) if single else GroupFuture.batch(count, do, submit)

    def _write(
        self, verb: str, size: int, work: Work, count: int, *, single: bool, entries: Sequence[Entry]
    ) -> Future[Any] | GroupFuture[Any]:
        """Submit a write of ``size`` bytes once there is room: now, or in an event loop when it comes."""
        place = self.pending.place(size)
        submit: Submitter = self._dispatch
        if not self.pending.take(place, self._command):

            def submit(tasks: Sequence[Task]) -> None:
                self.pending.queue(place, lambda: self._dispatch(tasks))

        def write() -> list[Any]:
            try:
                return work()
            finally:
                place.give_back()

        def not_written(_: object) -> None:
            place.give_back()
            unmark(entries)

        try:
            future = self._spawn(verb, write, count, submit, single=single)
            future.add_callback("cancelled", not_written)
            self.pending.began(place, future)
        except BaseException:  # an interrupt: what was not submitted does not end
            place.give_back()
            raise
        return future

    def _dispatch(self, tasks: Sequence[Task]) -> None:
        """Hand tasks to the alpha task force. If it was shut down, the caller runs them."""
        try:
            self._command.dispatch(tasks)
        except TaskForceError:
            run_here(tasks)


def _only(outcomes: list[Any]) -> Any:
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _waits(pool: Pool, *, writes: bool) -> bool:
    """Whether a verb may wait for a disk or a server: in the chain, or the pool where it works alone."""
    if pool._origin is None or (writes and not pool._write_through):
        return pool.blocking
    return any(tier.blocking for tier in pool.chain())
