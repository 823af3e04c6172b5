"""The task force contract: where and when tasks run.

An author writes five methods. :meth:`TaskForce._submit` receives tasks and sees to it that each is run once,
by :meth:`Task.run` in this process, or by :meth:`Task.claim` and the setters of its future elsewhere.
Everything a caller sees (futures, groups, guarantees, ``imap``) is made here, the same for every task force.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from contextvars import copy_context
from typing import final

# Here, before there are threads: when a process forks while another of its threads imports a module, that
# module stays locked in the child for ever.
import laila.futures.bank  # noqa: F401
from laila.component.authored import Authored
from laila.component.component import Component
from laila.errors import InvalidTaskError, TaskForceError
from laila.futures.base import wait_settled
from laila.futures.group import GroupFuture
from laila.futures.scope import register
from laila.futures.task import Task, check_task, run_here
from laila.futures.waiting import blocked, current_host, set_host
from laila.locks import long_lock
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, ClassVar, Literal, TypeVar, overload

    from laila.futures.future import Future

    T = TypeVar("T")

__all__ = ["Task", "TaskForce", "blocked", "current_host", "run_here", "set_host"]

_starting = long_lock()


class TaskForce(Authored, Component):
    """Runs tasks; the base class of every task force.

    ``len(taskforce)`` and :attr:`queue_len` count the tasks that wait to be started. Leaving a ``with``
    block, or :meth:`close`, shuts it down after its queued work. Safe to use from any number of threads.
    """

    scope = "TASK_FORCE"
    for_authors = frozenset(("_start", "_submit", "_pause", "_resume", "_shutdown", "_close"))
    keeps = frozenset(("_paused", "_shut_down", "_started"))

    in_process: ClassVar[bool] = True
    """Whether tasks run in this process, so that they share its objects. A policy uses only such a task force
    for its verbs, because these act on pools of this process."""

    # ---------------------------------------------------------------------------- what an author implements

    @abstractmethod
    def _start(self) -> None:
        """Get ready to run tasks. Called once, before the first :meth:`_submit`."""

    @abstractmethod
    def _submit(self, tasks: Sequence[Task]) -> None:
        """Take ``tasks``, in order, and return without waiting for them; all or, raising, none of them.

        Raises :class:`~laila.errors.TaskForceError` after :meth:`_shutdown`. Called from any thread, also by
        running tasks.
        """

    @abstractmethod
    def _pause(self) -> None:
        """Start no further task until :meth:`_resume`; what runs goes on. Tasks may still be submitted."""

    @abstractmethod
    def _resume(self) -> None:
        """Start tasks again."""

    @abstractmethod
    def _shutdown(self, wait: bool, cancel_pending: bool) -> None:
        """Take no more tasks; run or cancel what is queued; wait for all if asked. May be called again."""

    @property
    @abstractmethod
    def queue_len(self) -> int:
        """How many tasks wait to be started."""

    @property
    def look_ahead(self) -> int:
        """How many tasks :meth:`imap` keeps under way."""
        return 1

    # ------------------------------------------------------------------------------------ what a caller uses

    @final
    @property
    def paused(self) -> bool:
        """Whether work queues until :meth:`start`."""
        return self._paused

    def start(self) -> None:
        """Begin, or after :meth:`pause` go on, to run tasks. Never necessary but after a pause."""
        self._refuse_if_shut_down()
        self._ensure_started()
        self._paused = False
        self._resume()

    @final
    def pause(self) -> None:
        """Start no further task until :meth:`start`; tasks that run go on, and those they wait for."""
        self._refuse_if_shut_down()
        self._ensure_started()
        self._paused = True
        self._pause()

    if TYPE_CHECKING:

        @overload
        def submit(self, tasks: Callable[[], T], wait: Literal[False] = False) -> Future[T]: ...
        @overload
        def submit(self, tasks: Callable[[], T], wait: Literal[True]) -> T: ...
        @overload
        def submit(
            self, tasks: Iterable[Callable[[], T]], wait: Literal[False] = False
        ) -> Future[T] | GroupFuture[T]: ...
        @overload
        def submit(self, tasks: Iterable[Callable[[], T]], wait: Literal[True]) -> T | list[T]: ...
        @overload
        def submit(
            self,
            tasks: Callable[[], Any] | Iterable[Callable[[], Any]],
            wait: bool = False,
            *,
            memorize_to: str | None = None,
        ) -> Any: ...

    @final
    def submit(
        self,
        tasks: Callable[[], Any] | Iterable[Callable[[], Any]],
        wait: bool = False,
        *,
        memorize_to: str | None = None,
    ) -> Any:
        """Have ``tasks`` done.

        Args:
            tasks: A callable without arguments, or several.
            wait: Wait for the end and return what they gave.
            memorize_to: The nickname of a pool. What the tasks return, an Entry or a list of entries, is
                memorized there where the task runs, and the value is its global id, or the list of them.

        Returns:
            For a callable or a list of one a :class:`Future`, for several or none a :class:`GroupFuture`;
            with ``wait=True`` the value, or the list of values. In this process they run in a copy of the
            caller's context.

        Raises:
            InvalidTaskError: When one of them is no callable (a ``TypeError``), or cannot be sent to the
                process that is to run it; none was queued then.
            PoolNotFoundError: When there is no pool ``memorize_to``.
            TaskForceError: When the task force was shut down.
        """
        if wait is not True and wait is not False:
            raise InvalidTaskError(
                f"wait is True or False, not {shown(wait)}; for arguments of a task wrap the call: "
                "submit(functools.partial(work, x))"
            )
        future = self._future_of(tasks, memorize_to)
        if not wait:
            register(future)  # what is waited for here needs no guarantee
            return future
        try:
            return future.wait()
        finally:
            del future  # this frame is in the traceback of an error that the future holds

    def serve(self, policy: Any) -> None:
        """Learn the policy, for a task force that sends it along with its tasks. Called by the policy.

        Args:
            policy: The policy.
        """

    def _future_of(
        self, tasks: Callable[[], Any] | Iterable[Callable[[], Any]], memorize_to: str | None = None
    ) -> Future[Any] | GroupFuture[Any]:
        functions = [check_task(tasks)] if callable(tasks) else _functions(tasks)
        if memorize_to is not None:
            from laila.contract.memorizing import memorizing

            functions = [memorizing(fn, memorize_to) for fn in functions]
        self._ensure_started()
        context = copy_context()
        made = [Task(fn, context) for fn in functions]
        if made:
            self._submit(made)
        future: Future[Any] | GroupFuture[Any]
        future = made[0].future if len(made) == 1 else GroupFuture([task.future for task in made])
        return future

    @final
    def dispatch(self, tasks: Sequence[Task]) -> None:
        """Run tasks that were made elsewhere, such as by :func:`laila.futures.spawn`.

        Args:
            tasks: The tasks.
        """
        self._ensure_started()
        self._submit(tasks)

    @final
    def imap(self, tasks: Iterable[Callable[[], T]]) -> Iterator[Future[T]]:
        """Give the futures of ``tasks`` in order, submitting them lazily: ``tasks`` may be endless.

        A bounded number of tasks (:attr:`look_ahead`) is in progress at any time: the iterator blocks if the
        caller does not wait for the futures. When ``tasks`` raises, the futures of submitted tasks come
        first, then the error. Giving up early cancels tasks that were not given out and have not started.

        Args:
            tasks: Callables without arguments.

        Returns:
            An iterator over the futures.
        """
        self._refuse_if_shut_down()
        return self._imap(_each(tasks))

    def _imap(self, tasks: Iterator[Callable[[], T]]) -> Iterator[Future[T]]:
        ahead: deque[Future[T]] = deque()  # submitted, not given out
        under_way: deque[Future[T]] = deque()  # perhaps not settled, given out or not
        limit = max(self.look_ahead, 1)
        failure: BaseException | None = None
        try:
            while failure is None:
                try:
                    fn = check_task(next(tasks))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, in its turn
                    failure = error
                    break
                future: Future[T] = self._future_of(fn)  # type: ignore[assignment]  # one callable, one future
                register(future)
                ahead.append(future)
                under_way.append(future)
                if len(ahead) >= limit:
                    yield ahead.popleft()
                while len(under_way) >= limit:
                    wait_settled(under_way.popleft(), note=True)
            while ahead:
                yield ahead.popleft()
            if failure is not None:
                raise failure
        finally:
            for future in ahead:
                future.cancel()

    @final
    def map(self, tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Give the results of ``tasks``, in order and as lazily as :meth:`imap`; raises their errors.

        Args:
            tasks: Callables without arguments.

        Returns:
            An iterator over the values.
        """
        return (future.wait() for future in self.imap(tasks))

    @final
    def shutdown(self, wait: bool = True, cancel_pending: bool = False) -> None:
        """Take no more tasks, for good.

        Args:
            wait: Return when everything that was submitted has settled. Not inside a task of this very task
                force, which would wait for itself.
            cancel_pending: Cancel what has not started instead of doing it.
        """
        self._shut_down = True
        self._ensure_started()
        self._shutdown(wait, cancel_pending)

    def _close(self) -> None:
        self.shutdown()

    def __len__(self) -> int:
        return self.queue_len

    def __bool__(self) -> bool:
        return True  # an empty queue makes no task force false

    _started = False
    _paused = False
    _shut_down = False

    def _ensure_started(self) -> None:
        if not self._started:
            with _starting:
                if not self._started:
                    self._start()
                    self._started = True

    def _refuse_if_shut_down(self) -> None:
        if self._shut_down:
            raise TaskForceError(f"{self!r} was shut down and runs nothing any more: make a new task force")


def _each(tasks: object) -> Iterator[Callable[[], Any]]:
    try:
        each: Iterator[Callable[[], Any]] = iter(tasks)  # type: ignore[call-overload]  # told below
    except TypeError as error:
        if getattr(tasks, "__iter__", None) is not None:
            raise
        raise InvalidTaskError(
            f"expected a callable without arguments, or an iterable of them, not {type(tasks).__name__}"
        ) from error
    return each


def _functions(tasks: object) -> list[Callable[[], Any]]:
    functions = list(_each(tasks))
    for fn in functions:
        check_task(fn)
    return functions
