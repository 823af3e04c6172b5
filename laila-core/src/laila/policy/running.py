"""Where the work of a verb runs.

What has to wait for a disk or a server goes to the task force as one task a call; a chain that never blocks
answers in the caller with a finished future.
"""

from __future__ import annotations

from laila.errors import TaskForceError
from laila.futures import Future, GroupFuture, spawn
from laila.futures.task import run_here
from laila.plugins import watch
from laila.policy.pending import PendingWrites
from laila.policy.storing import unmark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, overload

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.futures import Task
    from laila.policy.command import DefaultCentralCommand
    from laila.policy.events import Events

    Work = Callable[[], list[Any]]

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
            one: bool,
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
        one: bool = False,
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
                self.pending.make_room(size, self._command)
            future = (
                spawn(lambda: _only(work()), self._dispatch)
                if one
                else GroupFuture.batch(count, work, self._dispatch)
            )
            if entries:
                future.add_callback("cancelled", lambda _: unmark(entries))
            if size:
                self.pending.add(future, size)
            return future
        try:
            outcomes = work() if count else []
        except Exception as error:  # noqa: BLE001 - the outcome of the verb, kept for whoever asks the future
            outcomes = [error] * count
        if not one:
            return GroupFuture.completed(outcomes)
        (outcome,) = outcomes
        return Future.failed(outcome) if isinstance(outcome, BaseException) else Future.completed(outcome)

    def _dispatch(self, tasks: Sequence[Task]) -> None:
        """Hand tasks to the alpha task force. One that was shut down leaves them to the caller."""
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
