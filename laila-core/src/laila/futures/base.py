"""What a future and a group of futures share: an id made on demand, and ways to wait."""

from __future__ import annotations

from _thread import get_ident
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from laila.calling import no_attribute
from laila.errors import InvalidArgumentError
from laila.futures.loops import loop_is_held_up, warn_of_held_loop
from laila.futures.waiting import blocked, check_timeout, current_host, threads_that_wait
from laila.identity import Identifiable, make_global_id, new_uuid
from laila.locks import check_may_sleep, check_may_use, check_may_wait, mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future as ConcurrentFuture
    from typing import Any, NoReturn, SupportsIndex

    from laila.futures.bank import FutureIdentity
    from laila.futures.task import Task
    from laila.futures.waiting import Host

__all__ = ["FutureBase", "wait_settled"]

T_co = TypeVar("T_co", covariant=True)


class FutureBase(Identifiable, ABC, Generic[T_co]):
    """Something to wait for: a future or a group of them. Safe to use from any number of threads."""

    __slots__ = ("__weakref__", "_banked", "_id")

    # Class attributes: all futures of a kind share them, so they take no memory in each.
    _scopes = ("FUTURE",)
    _evolution = None
    _nickname = None

    _id: str | None
    _banked: bool

    if not TYPE_CHECKING:  # a type checker knows what there is

        def __getattr__(self, name):
            no_attribute(self, name, "a future is not yet what it gives: ask for that by .result")

    @property
    def _uuid(self) -> str:  # type: ignore[override]  # made on demand, and as fixed as any other from then on
        if self._id is None:
            fresh = new_uuid()
            with mutex:
                if self._id is None:
                    self._id = fresh
        return self._id

    @property
    def global_id(self) -> str:
        """The global id, under which :func:`laila.wait` and :func:`laila.status` find this future."""
        self._bank()
        return make_global_id(self._scopes, self._uuid)

    @property
    def uuid(self) -> str:
        """The uuid as text; asking for it makes the future known to the bank, as :attr:`global_id` does."""
        self._bank()
        return self._uuid

    @property
    def future_identity(self) -> FutureIdentity:
        """A small, picklable handle that finds this future in this process and keeps it alive."""
        from laila.futures.bank import FutureIdentity

        return FutureIdentity.of(self)

    def _bank(self) -> None:
        if not self._banked:
            from laila.futures.bank import future_bank

            future_bank.add(self)

    @abstractmethod
    def wait(self, timeout: float | None = None) -> T_co:
        """Wait until all is done. Blocks.

        Args:
            timeout: Seconds to wait at most; None waits until it is done.

        Returns:
            The result of the work.
        """

    @abstractmethod
    def finished(self) -> bool:
        """Say whether all is done and gave a result.

        Returns:
            True if every part gave a result.
        """

    @abstractmethod
    def cancelled(self) -> bool:
        """Say whether it ended because it was cancelled.

        Returns:
            True if it was cancelled.
        """

    @abstractmethod
    def error(self) -> bool:
        """Say whether it has failed.

        Returns:
            True if it, or a part of it, has failed.
        """

    @abstractmethod
    def cancel(self) -> bool:
        """Cancel what has not started. Does not block.

        Returns:
            Whether something was cancelled. Work that has started goes on.
        """

    @abstractmethod
    def _settled_count(self) -> int:
        """How many have settled, of as many as :attr:`_count` says there are."""

    @abstractmethod
    def _is_settled(self) -> bool:
        """Whether nothing will change any more."""

    @abstractmethod
    def _tasks(self) -> Iterable[Task]:
        """The tasks whose end this waits for, as far as they have not settled."""

    @abstractmethod
    def _sleep(self, timeout: float | None) -> bool:
        """Block this thread until this settles, ``timeout`` seconds at most; whether it did."""

    @abstractmethod
    def _timed_out(self) -> None:
        """Note that a wait ended before the work did."""

    @abstractmethod
    def _error(self, *, look: bool = True) -> BaseException | None:
        """The error of what has settled; ``look``: it counts as looked at."""

    @abstractmethod
    def _listen(self, listener: Callable[[Any], object], *, first: bool = False) -> bool:
        """Have ``listener`` called when this settles (``first``: before all others).

        False, and nothing is called, when it has.
        """

    @abstractmethod
    def _unlisten(self, listener: Callable[[Any], object]) -> None:
        """Take back what :meth:`_listen` was given, if it has not been called."""

    @abstractmethod
    def _yield_until_settled(self) -> Generator[Any, None, None]:
        """Let the running event loop go on until this has settled."""

    def _block(self, timeout: float | None, *, note: bool = True) -> bool:
        """Wait until this settles, ``timeout`` seconds at most; whether it did. Raises nothing of the work's.

        ``note`` says whether a wait that ends too early shows in the status.
        """
        if self._is_settled():
            return True
        timeout = check_timeout(timeout)
        if timeout != 0:
            # A task may need a lock that this thread holds to finish; an outcome that arrives by itself does
            # not.
            (check_may_wait if self._has_tasks() else check_may_use)()
            check_may_sleep()
            if loop_is_held_up():
                warn_of_held_loop()
        host = current_host()
        if host is None:
            me = get_ident()
            threads_that_wait.add(me)
            try:
                settled = self._sleep(timeout)
            finally:
                threads_that_wait.discard(me)
        # With a time limit the work is left to others: nobody knows how long it takes.
        elif timeout is None and self._do_here(host):
            return True
        else:
            with blocked(host) as replaced:
                if not replaced and self._do_here(host, force=True):
                    return True
                settled = self._sleep(timeout)
        if not settled and note:
            self._timed_out()
        return settled

    def _has_tasks(self) -> bool:
        """Whether a thread of this process has work to do before this settles."""
        return next(iter(self._tasks()), None) is not None

    def _do_here(self, host: Host, *, force: bool = False) -> bool:
        """Do what has not been started, as far as ``host`` may; whether this has settled."""
        for task in self._tasks():
            host.adopt(task, force=force)
        return self._is_settled()

    def _settled_soon(self) -> Generator[Any, None, None]:
        """Let the running event loop go on until this has settled, also inside a task."""
        host = current_host()
        if host is None:
            yield from self._yield_until_settled()
            return
        # The loop must not stand still for the work, so another worker does it: this one is the loop's.
        with blocked(host) as replaced:
            if not replaced:
                self._do_here(host, force=True)
            yield from self._yield_until_settled()

    @property
    def exception(self) -> BaseException | None:
        """The error of the work so far; None when it gave a result, and while it goes on. Never waits.

        What was cancelled has a :class:`~laila.errors.FutureCancelledError`; of a group it is the first error
        in input order of what has settled. :meth:`wait` waits first and raises the error, and
        ``laila.runtime.exception(future)`` waits and returns it.
        """
        self._is_settled()  # the item of a batch learns what became of it
        return self._error()

    def _settled_error(self) -> BaseException | None:
        """Wait for the end, and return the error or None."""
        self._block(None)
        return self._error()

    def __await__(self) -> Generator[Any, None, T_co]:
        try:
            if not self._is_settled():
                yield from self._settled_soon()
            return self.wait()
        finally:
            del self  # this frame is in the traceback of an error that the future holds

    def as_concurrent(self) -> ConcurrentFuture[T_co]:
        """Offer the outcome to code that knows :mod:`concurrent.futures`.

        Returns:
            A :class:`concurrent.futures.Future` with the same outcome; cancelling it cancels this future. A
            failure counts as looked at when somebody asks it for its result or exception.
        """
        from laila.futures.concurrent import to_concurrent

        return to_concurrent(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise InvalidArgumentError(
            f"{self!r} belongs to this process and cannot be pickled or copied: send its future_identity"
        )

    def _named(self) -> str:
        """The global id for messages, if anybody asked for it before."""
        return f" {make_global_id(self._scopes, self._id)}" if self._id else ""


def wait_settled(future: FutureBase[Any], timeout: float | None = None, *, note: bool = False) -> bool:
    """Wait until a future or a group has an outcome, which is not looked at: its error is not raised.

    Args:
        future: The future or the group.
        timeout: Seconds to wait; None waits for ever.
        note: Show in the status that a wait ended too early.

    Returns:
        Whether it has an outcome.
    """
    return future._block(timeout, note=note)
