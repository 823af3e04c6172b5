"""GroupFuture: many futures waited for as one, and batches whose futures are made on demand.

A group is a row of parts: single futures, and batches. A batch is one task that gives the outcomes of many
items; the future of an item exists only once somebody asks for it, so that a group of thousands of entries
costs one future.
"""

from __future__ import annotations

from typing import TypeVar

from laila.errors import FutureTimeoutError, InvalidArgumentError, InvalidValueError
from laila.futures.base import FutureBase
from laila.futures.batch import Batch
from laila.futures.future import Future, entry_data
from laila.futures.outcomes import ItemFailure, checked, outcomes
from laila.futures.scope import register
from laila.futures.states import CANCELLED, FAILED, FINISHED, PENDING, RUNNING, FutureStatus
from laila.futures.task import Task, submit_tasks
from laila.locks import mutex
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Any, overload

    from laila.futures.states import GroupStatus
    from laila.futures.task import Submitter

__all__ = ["GroupFuture"]

T = TypeVar("T")


class GroupFuture(FutureBase[list[T]]):
    """Several futures waited for as one, in a fixed order; safe to use from any number of threads.

    ``len(group)`` counts the children; iteration gives their global ids; ``group[i]`` and :meth:`futures`
    give the children themselves, made when asked for. ``group + group`` is a new group of both.

    Waiting ends when every child has settled. It then raises the first error in input order;
    :attr:`exceptions` has all of them.
    """

    __slots__ = ("_count", "_parts", "_whole")

    _scopes = ("GROUP_FUTURE",)

    def __init__(self, parts: Iterable[Future[T] | Batch]) -> None:
        self._parts = tuple(parts)
        self._count = sum(part.count if isinstance(part, Batch) else 1 for part in self._parts)
        self._id = None
        self._banked = False
        self._whole: Future[None] | None = None

    if TYPE_CHECKING:

        @overload
        @classmethod
        def of(cls, futures: Iterable[Future[T]]) -> GroupFuture[T]: ...
        @overload
        @classmethod
        def of(cls, futures: Iterable[FutureBase[Any]]) -> GroupFuture[Any]: ...

    @classmethod
    def of(cls, futures: Iterable[FutureBase[Any]]) -> GroupFuture[Any]:
        """Make one group of several futures.

        Args:
            futures: Futures and groups; a group gives its children.

        Returns:
            The group.

        Raises:
            InvalidArgumentError: an item is not a future (a ``TypeError``).
        """
        parts: list[Future[Any] | Batch] = []
        for future in futures:
            if isinstance(future, GroupFuture):
                parts.extend(future._parts)
            elif isinstance(future, Future):
                parts.append(future)
            else:
                raise InvalidArgumentError(f"a group is made of futures, not of {type(future).__name__}")
        return GroupFuture(parts)

    @classmethod
    def batch(
        cls, count: int, fn: Callable[[], Iterable[Any]], submit: Submitter | None = None
    ) -> GroupFuture[Any]:
        """Do several items of work as one task. Does not block.

        The group belongs to the caller's guarantee, if there is one.

        Args:
            count: The number of items.
            fn: Gives the outcomes of the items, in order. An outcome that is an exception fails its own
                child; an error that ``fn`` raises fails all children.
            submit: Takes the list of tasks and runs them; the task force of the active policy by default.

        Returns:
            A group with one child for each item.
        """
        task = Task(checked(count, fn))
        group: GroupFuture[Any] = GroupFuture((Batch(task.future, count),))
        submit_tasks((task,), submit)
        register(group)
        return group

    @classmethod
    def completed(cls, values: Iterable[Any]) -> GroupFuture[Any]:
        """Return a group that has settled already, for work that was done in the caller.

        A group with failures belongs to the caller's guarantee, if there is one.

        Args:
            values: The outcomes, with exceptions for items that failed.

        Returns:
            The group.
        """
        settled = outcomes(values)
        group: GroupFuture[Any] = GroupFuture((Batch(Future.completed(settled), len(settled.values)),))
        if settled.failures:
            register(group)
        return group

    # ------------------------------------------------------------------------------------------- children

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return True  # an empty group is still a group

    def __iter__(self) -> Iterator[str]:
        """Give the global ids of the children, in order."""
        return (future.global_id for future in self.futures())

    def futures(self) -> list[Future[T]]:
        """List the children.

        Returns:
            The futures, in order.
        """
        children: list[Future[T]] = []
        for part in self._parts:
            if isinstance(part, Batch):
                children.extend(part.item(index) for index in range(part.count))
            else:
                children.append(part)
        return children

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> Future[T]: ...
        @overload
        def __getitem__(self, index: slice) -> GroupFuture[T]: ...

    def __getitem__(self, index: int | slice) -> Future[T] | GroupFuture[T]:
        """Return one child, or a group of some."""
        if isinstance(index, slice):
            return GroupFuture.of(self.futures()[index])
        if isinstance(index, str):
            raise InvalidArgumentError(
                "a group of futures has no names: ask for what they give by .result, or by .data for payloads"
            )
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"the group has {self._count} children: there is no number {index}")
        if len(self._parts) == self._count and not isinstance(part := self._parts[place], Batch):
            return part
        for part in self._parts:
            size = part.count if isinstance(part, Batch) else 1
            if place < size:
                return part.item(place) if isinstance(part, Batch) else part
            place -= size
        raise AssertionError("unreachable")

    def __add__(self, other: GroupFuture[T] | Future[T]) -> GroupFuture[T]:
        if not isinstance(other, GroupFuture | Future):
            return NotImplemented
        return GroupFuture.of((self, other))

    def __radd__(self, other: Future[T]) -> GroupFuture[T]:
        return GroupFuture.of((other, self)) if isinstance(other, Future) else NotImplemented

    # --------------------------------------------------------------------------------------------- status

    def _counts(self) -> list[int]:
        """How many children are in each of the states."""
        counts = [0] * 5
        for part in self._parts:
            if isinstance(part, Batch):
                failed = len(part.failures()) if part.source._state == FINISHED else 0
                counts[FAILED] += failed
                counts[part.source._state] += part.count - failed
            else:
                counts[part._current()] += 1
        return counts

    @property
    def status(self) -> GroupStatus:
        """The number of children, and the share of them in each state, in percent.

        A group of none is finished.

        >>> GroupFuture.completed([1, 2]).status["percentages"]["finished"]
        100.0
        """
        counts = self._counts()
        if not self._count:
            counts[FINISHED] = 1
        share = [100.0 * count / (self._count or 1) for count in counts]
        not_started, running, finished, error, cancelled = share
        return {
            "total": self._count,
            "percentages": {
                "finished": finished,
                "running": running,
                "not_started": not_started,
                "error": error,
                "cancelled": cancelled,
            },
        }

    def finished(self) -> bool:
        """Whether every child is done and gave a result."""
        return self._counts()[FINISHED] == self._count

    def error(self) -> bool:
        """Whether a child has failed."""
        return self._counts()[FAILED] > 0

    def cancelled(self) -> bool:
        """Whether all children have settled and some were cancelled, but none failed."""
        return self._is_settled() and self._outcome() == CANCELLED

    def not_started(self) -> bool:
        """Say whether every child waits to be started.

        Returns:
            True if none has started; False for an empty group.
        """
        return 0 < self._count == self._counts()[PENDING]

    def cancel(self) -> bool:
        """Cancel the children that have not started; whether there were any. The others go on."""
        return sum(future.cancel() for future in self._signals()) > 0  # all of them: any() stops at the first

    # -------------------------------------------------------------------------------------------- outcome

    @property
    def result(self) -> list[T]:
        """The results in input order, waiting for them if need be; raises the first error in input order."""
        try:
            return self.wait()
        finally:
            del self  # this frame is in the traceback of an error that a child holds

    @property
    def data(self) -> list[Any]:
        """The payloads of the Entries that are the results, in input order.

        Raises:
            RuntimeError: When a result is no Entry (:class:`~laila.errors.FutureResultError`).
        """
        try:
            return [entry_data(result) for result in self.wait()]
        finally:
            del self

    @property
    def exceptions(self) -> list[BaseException]:
        """All errors in input order, waiting for the end of all children if need be."""
        self._block(None)
        errors = []
        for part in self._parts:
            if isinstance(part, Batch):
                if part.source._state == FINISHED:
                    errors += [failure.look() for failure in part.failures()]
                else:
                    error = part.source._error()
                    errors += [error] * part.count if error is not None else []
            elif (error := part._error()) is not None:
                errors.append(error)
        return errors

    def wait(self, timeout: float | None = None) -> list[T]:
        """Wait until every child has settled, ``timeout`` seconds at most; return the results in order.

        Raises:
            FutureTimeoutError: When time is up (a ``TimeoutError``). The work goes on.
            BaseException: The first error in input order, with its traceback.
        """
        if not self._block(timeout):
            counts = self._counts()
            raise FutureTimeoutError(
                f"{counts[PENDING] + counts[RUNNING]} of {self._count} futures have not settled within "
                f"{timeout:g} s; the work goes on: wait again, or cancel()",
                timeout=timeout,
            )
        error = self._error()
        if error is None:
            return self._values()
        try:
            raise error
        finally:
            del self, error  # this frame is in the traceback of an error that a child holds

    def _values(self) -> list[T]:
        parts = self._parts
        if len(parts) == 1 and isinstance(parts[0], Batch):
            return list(parts[0].source._value.values)
        values: list[T] = []
        for part in parts:
            if isinstance(part, Batch):
                values += part.source._value.values
            else:
                values.append(part._value)
        return values

    def _error(self, *, look: bool = True) -> BaseException | None:
        """The first error in input order. ``look``: the whole group counts as looked at."""
        first: BaseException | None = None
        for part in self._parts:
            if isinstance(part, Batch) and part.source._state == FINISHED:
                for failure in part.failures():
                    error = failure.look() if look else failure.peek()
                    first = error if first is None else first
            else:
                future = part.source if isinstance(part, Batch) else part
                future_error = future._error(look=look)
                first = future_error if first is None else first
        return first

    def _outcome(self) -> int:
        """The state of the group as a whole, once it has settled."""
        counts = self._counts()
        return FAILED if counts[FAILED] else CANCELLED if counts[CANCELLED] else FINISHED

    # ------------------------------------------------------------------------------------------ callbacks

    def add_callback(self, status: FutureStatus | str, fn: Callable[[GroupFuture[T]], object]) -> None:
        """Have a function called once when every child has settled, or now if all have settled before.

        A group is ``error`` if a child failed, else ``cancelled`` if a child was cancelled, else
        ``finished``. The function is called if the group then has the status that it was added for. An error
        in a callback is logged and changes nothing else.

        Args:
            status: ``finished``, ``error`` or ``cancelled``.
            fn: Takes the group.

        Raises:
            InvalidArgumentError: ``fn`` is not callable (a ``TypeError``).
            InvalidValueError: a group never has this status (a ``ValueError``).
        """
        status = FutureStatus(status)
        if status not in {FutureStatus.FINISHED, FutureStatus.ERROR, FutureStatus.CANCELLED}:
            raise InvalidValueError(
                f"a group calls back when it is finished, error or cancelled, not {status}"
            )
        if not callable(fn):
            raise InvalidArgumentError(f"a callback is a callable that takes the group, not {shown(fn)}")
        self._join().add_callback(status, _ForGroup(self, fn))

    def remove_callback(self, status: FutureStatus | str, fn: Callable[[GroupFuture[T]], object]) -> bool:
        """Take back a callback that has not been called.

        Args:
            status: The status that it was added for.
            fn: The function that was added.

        Returns:
            Whether there was one.
        """
        return self._join().remove_callback(status, _ForGroup(self, fn))

    def clear_callbacks(self, status: FutureStatus | str) -> None:
        """Take back all callbacks for a status that have not been called.

        Args:
            status: The status.
        """
        self._join().clear_callbacks(status)

    def clear_all_callbacks(self) -> None:
        """Take back all callbacks that have not been called."""
        self._join().clear_all_callbacks()

    def trigger_callback(self, status: FutureStatus | str) -> None:
        """Call the callbacks for a status now, and never again.

        Args:
            status: The status.
        """
        self._join().trigger_callback(status)

    # -------------------------------------------------------------- for the other modules of laila.futures

    def _signals(self) -> Iterator[Future[Any]]:
        """The futures that settle when the children do."""
        return (part.source if isinstance(part, Batch) else part for part in self._parts)

    def _settled_count(self) -> int:
        return sum(self._counts()[FINISHED:])

    def _is_settled(self) -> bool:
        return all(future._state >= FINISHED for future in self._signals())

    def _join(self) -> Future[None]:
        """Return the future that settles, with the state of the group, when every child has."""
        if self._whole is None:
            fresh: Future[None] = Future()
            with mutex:
                whole = self._whole
                if whole is None:
                    self._whole = fresh
            if whole is None:
                self._settle_with_children(fresh)
        whole = self._whole
        assert whole is not None
        return whole

    def _settle_with_children(self, whole: Future[None]) -> None:
        # One listener at a time, on the last child that has not settled: when that is done, so are most of
        # the others, and waiting for thousands of children costs a few wake-ups instead of thousands of
        # listeners.
        waiting = [future for future in self._signals() if future._state < FINISHED]

        def step(_child: Future[Any] | None = None) -> None:
            while waiting:
                if waiting[-1]._listen(step):
                    return
                waiting.pop()
            state = self._outcome()
            failure = None
            if state == FAILED:
                failure = ItemFailure(Exception("a child failed"))  # the children hold, and log, what it was
            whole._settle(state, failure)

        step()

    def _listen(self, listener: Callable[[Any], object], *, first: bool = False) -> bool:
        return not self._is_settled() and self._join()._listen(_ForGroup(self, listener), first=first)

    def _unlisten(self, listener: Callable[[Any], object]) -> None:
        self._join()._unlisten(_ForGroup(self, listener))

    def _tasks(self) -> Iterator[Task]:
        return (task for future in self._signals() if (task := future._task) is not None)

    def _sleep(self, timeout: float | None) -> bool:
        return self._join()._sleep(timeout)

    def _timed_out(self) -> None:
        """A group has no such state."""

    def _yield_until_settled(self) -> Generator[Any, None, None]:
        return self._join()._yield_until_settled()

    def __repr__(self) -> str:
        return f"<{self._summary()}>"

    def _summary(self) -> str:
        shares = self.status["percentages"].items()
        states = ", ".join(f"{percent:.0f} % {state}" for state, percent in shares if percent)
        return f"GroupFuture of {self._count}: {states}{self._named()}"

    def _repr_html_(self) -> str:
        """Show in a notebook how far the group is."""
        from laila.notebook import progress_html

        counts = self._counts()
        done = counts[FINISHED] + counts[FAILED] + counts[CANCELLED]
        return progress_html(done, self._count, self._summary())


class _ForGroup:
    """A listener that is given the group, not the future that stands for the whole of it."""

    __slots__ = ("fn", "group")

    def __init__(self, group: GroupFuture[Any], fn: Callable[[Any], object]) -> None:
        self.group = group
        self.fn = fn

    def __call__(self, _whole: Future[None]) -> object:
        return self.fn(self.group)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ForGroup) and self.group is other.group and self.fn == other.fn

    __hash__ = None  # type: ignore[assignment]
