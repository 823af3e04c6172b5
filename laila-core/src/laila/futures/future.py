"""Future: the outcome of work that may not be done yet.

A future is small and made often, so it holds nothing it does not need yet: no lock, no list of listeners
until somebody waits, no id until somebody asks. Every change of state happens under one lock of the whole
module, held for a few assignments; what could run other code (dropped references, listeners) waits until it
is released.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TypeVar

from laila.errors import (
    FutureCancelledError,
    FutureResultError,
    FutureSettledError,
    FutureTimeoutError,
    InvalidArgumentError,
    InvalidValueError,
)
from laila.futures.callbacks import Callback, WithCallbacks
from laila.futures.failure import Failure
from laila.futures.loops import running_trio, wait_in_trio
from laila.futures.states import CANCELLED, FAILED, FINISHED, PENDING, RUNNING, STATUS, FutureStatus
from laila.locks import mutex
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, NoReturn, Self

    from laila.futures.task import Task

__all__ = ["Future", "entry_data", "set_observer"]

T = TypeVar("T")

_observer: Callable[[Future[Any]], object] | None = None


def set_observer(observer: Callable[[Future[Any]], object] | None) -> None:
    """Have a function called with every future that settles. The policy's hook uses this.

    Args:
        observer: Takes the future; None calls nobody.
    """
    global _observer
    _observer = observer


class Future(WithCallbacks[T]):
    """The outcome of work that may not be done yet; safe to use from any number of threads and event loops.

    Wait for it with :attr:`result`, :meth:`wait` or ``await``. Task forces settle it, once, through the
    setters of :attr:`result` and :attr:`exception`; doing so again raises
    :class:`~laila.errors.FutureSettledError`. ``Future()`` makes one that waits to be settled.

    A future that failed and that nobody looked at is logged at ERROR when it goes.
    """

    __slots__ = ("_polled", "_task", "_value")

    __iter__ = None  # what has an item is otherwise taken for a sequence

    def __init__(self, task: Task | None = None) -> None:
        self._state = PENDING
        self._value: Any = None
        self._task = task
        self._listeners = None
        self._id = None
        self._banked = self._polled = False

    @classmethod
    def completed(cls, result: T) -> Self:
        """Return a future that is finished already, for work that was done in the caller.

        Args:
            result: What the work gave.

        Returns:
            The future.
        """
        self = cls.__new__(cls)
        self._state = FINISHED
        self._value = result
        self._task = self._listeners = self._id = None
        self._banked = self._polled = False
        return self

    @classmethod
    def failed(cls, error: BaseException) -> Self:
        """Return a future that has failed already. It belongs to the caller's guarantee, if there is one.

        Args:
            error: What the work raised.

        Returns:
            The future.
        """
        from laila.futures.scope import register

        self = cls()
        self._settle(FAILED, Failure(error))
        register(self)
        return self

    # --------------------------------------------------------------------------------------------- status

    def _current(self) -> int:
        return self._state

    @property
    def status(self) -> FutureStatus:
        """Where the work stands; ``poll_timeout`` from a wait that timed out until the future settles.

        The setter is for task forces: ``running`` and ``cancelled``. ``finished`` and ``error`` come with a
        result or an exception and are set through those.

        Raises:
            FutureSettledError: When the future has settled already.
            ValueError: For a status that cannot be set.
        """
        state = self._current()
        if state < FINISHED and self._polled:
            return FutureStatus.POLL_TIMEOUT
        return STATUS[state]

    @status.setter
    def status(self, status: FutureStatus | str) -> None:
        status = FutureStatus(status)
        if status is FutureStatus.CANCELLED:
            if not self._settle(CANCELLED, None):
                self._refuse()
        elif status is FutureStatus.RUNNING:
            if not self._start() and self._state >= FINISHED:
                self._refuse()
        else:
            raise InvalidValueError(
                f"the status of a future cannot be set to {shown(status)}: set result or exception, "
                "or the status to 'running' or 'cancelled'"
            )

    def finished(self) -> bool:
        """Whether the work is done and gave a result."""
        return self._state == FINISHED

    def cancelled(self) -> bool:
        """Whether the work was cancelled before it started."""
        return self._state == CANCELLED

    def error(self) -> bool:
        """Whether the work failed."""
        return self._state == FAILED

    def not_started(self) -> bool:
        """Say whether the work waits to be started.

        Returns:
            True until the work starts or is cancelled.
        """
        return self._current() == PENDING

    def cancel(self) -> bool:
        """Cancel work that has not started; False when it has (it goes on) or the future has settled."""
        task = self._task
        if not self._settle(CANCELLED, None, PENDING):
            return False
        if task is not None:
            task.release()
        return True

    # -------------------------------------------------------------------------------------------- outcome

    @property
    def result(self) -> T:
        """The result of the work. Waits for it if needed; raises the error of the work, with its traceback.

        The setter is for task forces.

        Raises:
            FutureCancelledError: When the work was cancelled.
            FutureSettledError: On setting, when the future has settled already.
        """
        try:
            return self.wait()
        finally:
            del self  # this frame is in the traceback of an error that the future holds

    @result.setter
    def result(self, result: T) -> None:
        if not self._settle(FINISHED, result):
            self._refuse()

    @property
    def exception(self) -> BaseException | None:
        """The error of the work; None when it gave a result, and while it goes on. Never waits.

        So None alone does not say that the work is done: :meth:`finished` does. :meth:`wait` waits first and
        raises the error; ``laila.runtime.exception(future)`` waits and returns it. A cancelled future has a
        :class:`~laila.errors.FutureCancelledError`. The setter is for task forces.
        """
        self._is_settled()  # the item of a batch learns what became of it
        return self._error()

    @exception.setter
    def exception(self, error: BaseException) -> None:
        if not isinstance(error, BaseException):
            raise InvalidArgumentError(f"exception is an exception instance, not {shown(error)}")
        if not self._settle(FAILED, Failure(error)):
            self._refuse()

    @property
    def data(self) -> Any:
        """The payload of the Entry that the work gave, waiting for it if need be.

        Raises:
            RuntimeError: When the result is no Entry (:class:`~laila.errors.FutureResultError`).
        """
        try:
            return entry_data(self.wait())
        finally:
            del self

    def wait(self, timeout: float | None = None) -> T:
        """Wait until the work is done, ``timeout`` seconds at most, and return what it gave.

        Inside a task this never takes a worker away: work that has not started is done here, or another
        worker takes this one's place.

        Raises:
            FutureTimeoutError: When time is up (a ``TimeoutError``). The work goes on.
            FutureCancelledError: When the work was cancelled.
            BaseException: Whatever the work raised, with its traceback.
        """
        if self._state < FINISHED and not self._block(timeout):
            raise FutureTimeoutError(
                f"{self!r} has not settled within {timeout:g} s; the work goes on: wait again, or cancel()",
                timeout=timeout,
            )
        if self._state == FINISHED:
            return self._value  # type: ignore[no-any-return]  # holds a T from now on
        error = self._error()
        assert error is not None
        try:
            raise error
        finally:
            del self, error  # this frame is in the traceback of an error that the future holds

    def _error(self, *, look: bool = True) -> BaseException | None:
        """The error of a settled future; ``look``: it counts as looked at."""
        if self._state == CANCELLED:
            return FutureCancelledError(f"{self!r} was cancelled before it started")
        value = self._value
        if self._state != FAILED or not isinstance(value, Failure):
            return None
        return value.look() if look else value.peek()

    # -------------------------------------------------------------- for the other modules of laila.futures

    def _start(self) -> bool:
        """From pending to running; False when somebody else did, or it was cancelled."""
        with mutex:
            if self._state != PENDING:
                return False
            self._state = RUNNING
            listeners = self._listeners
        if listeners is not None:
            self.trigger_callback(FutureStatus.RUNNING)
        return True

    def _settle(self, state: int, value: object, below: int = RUNNING, *, quietly: bool = False) -> bool:
        """Settle with ``state`` and ``value``; False when that was done, or the state is beyond ``below``.

        ``quietly`` tells nobody but the bank.
        """
        with mutex:
            if self._state > below:
                return False
            self._value = value
            self._state = state
            # References are dropped after the lock is: what they lead to may run code when it goes.
            task, self._task = self._task, None
            listeners, self._listeners = self._listeners, None
            banked = self._banked
        if state == FAILED and isinstance(value, Failure):
            value.watch()
        if listeners is not None and not quietly:
            status = STATUS[state]
            callbacks = []
            for listener in listeners:
                if not isinstance(listener, Callback):
                    self._call(listener)
                elif listener.status is status or (
                    listener.status is FutureStatus.RUNNING and state != CANCELLED
                ):
                    callbacks.append(listener.fn)
            # Last, because they may take long, or wait for what the others set going.
            for fn in callbacks:
                self._call(fn)
        if banked:
            from laila.futures.bank import future_bank

            future_bank.settled(self)
        if _observer is not None and not quietly:
            self._call(_observer)
        del task
        return True

    def _abandon(self, error: BaseException) -> None:
        """Settle with ``error`` and tell nobody: in a forked child the listeners are the parent's."""
        failure = Failure(error)
        failure.seen = True
        self._settle(FAILED, failure, quietly=True)

    def _passed(self, status: FutureStatus) -> bool:
        """Whether this future has, or had, the status ``status``."""
        state = self._current()
        if status is FutureStatus.RUNNING:
            return state in {RUNNING, FINISHED, FAILED}
        if status is FutureStatus.POLL_TIMEOUT:
            return self._polled
        return status is FutureStatus.NOT_STARTED or status is STATUS[state]

    _count = 1

    def _settled_count(self) -> int:
        return int(self._is_settled())

    def _is_settled(self) -> bool:
        return self._state >= FINISHED

    def _tasks(self) -> tuple[Task, ...]:
        task = self._task
        return () if task is None else (task,)

    def _sleep(self, timeout: float | None) -> bool:
        gate = allocate_lock()
        gate.acquire()

        def wake(_future: Future[Any]) -> None:
            gate.release()

        if not self._listen(wake, first=True):
            return True
        try:
            if timeout is None:
                gate.acquire()
            else:
                gate.acquire(timeout=timeout)
        finally:
            self._unlisten(wake)
        return self._state >= FINISHED

    def _timed_out(self) -> None:
        with mutex:
            first = not self._polled and self._state < FINISHED
            if first:
                self._polled = True
        if first:
            self.trigger_callback(FutureStatus.POLL_TIMEOUT)

    def _yield_until_settled(self) -> Generator[Any, None, None]:
        """Let the running event loop go on until this has settled, whichever thread settles it."""
        if (trio := running_trio()) is not None:
            yield from wait_in_trio(trio, self)
            return
        from asyncio import get_running_loop

        loop = get_running_loop()
        settled = loop.create_future()

        def wake() -> None:
            if not settled.done():
                settled.set_result(None)

        def tell_loop(_future: Future[Any]) -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                if not loop.is_closed():
                    raise
                # A loop that was closed meanwhile has nobody left who waits.

        if not self._listen(tell_loop, first=True):
            return
        try:
            yield from settled
        finally:
            self._unlisten(tell_loop)

    def __getitem__(self, _key: object) -> NoReturn:
        raise InvalidArgumentError(
            "a future is not yet what it gives: ask for that by .result, or for an entry's payload by .data"
        )

    def _refuse(self) -> NoReturn:
        raise FutureSettledError(f"{self!r} has settled already: a future is told its outcome once")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}{self._named()}>"

    def _repr_html_(self) -> str:
        """Show in a notebook how far the future is, and what it failed with."""
        from laila.notebook import fields_html

        error = self.exception
        failed = () if error is None else (("error", f"{type(error).__name__}: {said(error)}"),)
        return fields_html(type(self).__name__, (("status", self.status), *failed))


def entry_data(result: object) -> Any:
    """Return the payload of ``result``, an Entry; raises :class:`FutureResultError` for anything else."""
    from laila.entry import Entry

    if isinstance(result, Entry):
        return result.data
    raise FutureResultError(
        f"the result is no Entry but of type {type(result).__name__}: `data` is for futures of remember(), "
        "`result` for all others"
    )
