"""Command: chooses the task force for submitted work.

A policy has one command and any number of task forces. Work that names none goes to the alpha task force. It
is made when first needed: the thread task force if its plugin is installed, otherwise a task force that runs
work in the caller.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from weakref import ref

from laila.calling import helpful
from laila.central.interface import CommandVerbs
from laila.component.component import Component
from laila.contract.taskforce import TaskForce
from laila.errors import InvalidArgumentError, PluginError, TaskForceError, TaskForceNotFoundError
from laila.locks import check_may_wait, long_lock
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Literal, TypeVar, overload
    from weakref import ReferenceType

    from laila.central.interface import LocalPolicy
    from laila.futures.future import Future
    from laila.futures.group import GroupFuture
    from laila.futures.task import Task

    T = TypeVar("T")

__all__ = ["DefaultCentralCommand"]

_NO_ARGUMENTS = "a task is called without arguments: give it its own by functools.partial or a lambda"


class DefaultCentralCommand(Component, CommandVerbs):
    """The task forces of a policy and the way to them. Safe to use from any number of threads.

    Args:
        taskforces: Task forces to begin with; the first is the alpha.
        alpha_factory: Makes the alpha task force when one is first needed and none was added. When it raises
            :class:`~laila.errors.PluginError`, work is done in the caller, and the first ``submit``
            warns once with the error's advice.
        nickname: As for every identifiable object.
    """

    scope = "CENTRAL_COMMAND"

    def __init__(
        self,
        taskforces: Iterable[TaskForce] = (),
        *,
        alpha_factory: Callable[[], TaskForce] | None = None,
        nickname: str | None = None,
    ) -> None:
        super().__init__(nickname=nickname)
        self._lock = long_lock()  # under it a plugin is imported, and the alpha task force made
        self._taskforces: dict[str, TaskForce] = {}
        self._replaced: list[TaskForce] = []
        self._alpha: TaskForce | None = None
        self._local: TaskForce | None = None
        self._policy: ReferenceType[LocalPolicy] | None = None
        self._alpha_factory = alpha_factory
        self._advice: str | None = None
        self._over = False
        for taskforce in taskforces:
            self.add_taskforce(taskforce)

    def belong_to(self, policy: LocalPolicy) -> None:
        """Tell the task forces which policy they belong to.

        Args:
            policy: The policy of this command.
        """
        with self._lock:
            self._policy = ref(policy)
            for taskforce in self._taskforces.values():
                taskforce.serve(policy)

    # ---------------------------------------------------------------------------------------- task forces

    @property
    def taskforces(self) -> Mapping[str, TaskForce]:
        """The task forces by global id: a read-only view. The alpha is among them once it was needed."""
        return MappingProxyType(self._taskforces)

    def add_taskforce(self, taskforce: TaskForce, *, alpha: bool = False) -> str:
        """Register ``taskforce`` and return its global id.

        The first one, or one given with ``alpha=True``, is the alpha. One of the same nickname as another
        takes the place of that, which does what it was given and takes no more.

        Args:
            taskforce: The task force.
            alpha: Whether work that names no task force goes there.

        Returns:
            The global id of the task force.

        Raises:
            TypeError: For what is no task force.
            TaskForceError: After :meth:`shutdown`.
        """
        if not isinstance(taskforce, TaskForce):
            raise InvalidArgumentError(
                f"a task force is an instance of laila.contract.TaskForce, not {shown(taskforce)}"
            )
        with self._lock:
            self._refuse_if_shut_down()
            before = self._taskforces.get(taskforce.global_id)
            self._taskforces[taskforce.global_id] = taskforce
            if self._policy is not None and (policy := self._policy()) is not None:
                taskforce.serve(policy)
            if alpha or self._alpha is None or self._alpha is before:
                self._alpha = taskforce
            if before is None or before is taskforce:
                return taskforce.global_id
            if self._local is before:
                self._local = None
            self._replaced.append(before)
        before.shutdown(wait=False)
        return taskforce.global_id

    @property
    def alpha_taskforce(self) -> TaskForce:
        """The task force for work that names none, made now if there is none."""
        alpha = self._alpha
        if alpha is None:
            check_may_wait()
            with self._lock:
                self._refuse_if_shut_down()
                if self._alpha is None:
                    self.add_taskforce(self._make_alpha())
                alpha = self._alpha
                assert alpha is not None
        return alpha

    @alpha_taskforce.setter
    def alpha_taskforce(self, taskforce: TaskForce) -> None:
        self.add_taskforce(taskforce, alpha=True)

    def _make_alpha(self) -> TaskForce:
        if self._alpha_factory is not None:
            try:
                return self._alpha_factory()
            except PluginError as missing:
                self._advice = str(missing)
        from laila.taskforce.inline import InlineTaskForce

        return InlineTaskForce()

    def _taskforce(self, taskforce_id: str | None) -> TaskForce:
        if taskforce_id is None:
            return self.alpha_taskforce
        taskforce = self._taskforces.get(taskforce_id)
        if taskforce is None:
            registered = list(self._taskforces)
            raise TaskForceNotFoundError(
                f"no task force is registered as {shown(taskforce_id)} (registered: "
                f"{', '.join(registered) or 'none'}): add_taskforce() gives the id",
                taskforce=taskforce_id,
                registered=registered,
            )
        return taskforce

    # ----------------------------------------------------------------------------------------------- work

    if TYPE_CHECKING:

        @overload
        def submit(
            self, tasks: Callable[[], T], wait: Literal[False] = False, *, taskforce_id: str | None = None
        ) -> Future[T]: ...
        @overload
        def submit(
            self, tasks: Callable[[], T], wait: Literal[True], *, taskforce_id: str | None = None
        ) -> T: ...
        @overload
        def submit(
            self,
            tasks: Iterable[Callable[[], T]],
            wait: Literal[False] = False,
            *,
            taskforce_id: str | None = None,
        ) -> Future[T] | GroupFuture[T]: ...
        @overload
        def submit(
            self, tasks: Iterable[Callable[[], T]], wait: Literal[True], *, taskforce_id: str | None = None
        ) -> T | list[T]: ...
        @overload
        def submit(
            self,
            tasks: Callable[[], Any] | Iterable[Callable[[], Any]],
            wait: bool = False,
            *,
            taskforce_id: str | None = None,
            memorize_to: str | None = None,
        ) -> Any: ...

    @partial(helpful, tip=_NO_ARGUMENTS)
    def submit(
        self,
        tasks: Callable[[], Any] | Iterable[Callable[[], Any]],
        wait: bool = False,
        *,
        taskforce_id: str | None = None,
        memorize_to: str | None = None,
    ) -> Any:
        """Have ``tasks`` done by a task force.

        Args:
            tasks: A callable without arguments, or several.
            wait: Wait for the end and return what they gave.
            taskforce_id: The global id of the task force; the alpha otherwise.
            memorize_to: The nickname of the pool to which the entries that the tasks return are memorized
                where they run; the value is the global id then. See :meth:`TaskForce.submit`.

        Returns:
            For a callable or a list of one a ``Future``, for several or none a ``GroupFuture``; with
            ``wait=True`` the value, or the list of values.

        Raises:
            InvalidTaskError: When one of them is no callable (a ``TypeError``), or cannot be sent to the
                process that is to run it; none was queued then.
            PoolNotFoundError: When there is no pool ``memorize_to``.
            TaskForceNotFoundError: For an unknown task force (a ``KeyError``).
            TaskForceError: For a task force that was shut down.
        """
        taskforce = self._taskforce(taskforce_id)
        self._advise()
        if memorize_to is None:
            return taskforce.submit(tasks, wait)
        return taskforce.submit(tasks, wait, memorize_to=memorize_to)

    @partial(helpful, tip=_NO_ARGUMENTS)
    def imap(
        self, tasks: Iterable[Callable[[], T]], *, taskforce_id: str | None = None
    ) -> Iterator[Future[T]]:
        """Give the futures of ``tasks`` in order, submitted lazily; see :meth:`TaskForce.imap`."""
        taskforce = self._taskforce(taskforce_id)
        self._advise()
        return taskforce.imap(tasks)

    @partial(helpful, tip=_NO_ARGUMENTS)
    def map(self, tasks: Iterable[Callable[[], T]], *, taskforce_id: str | None = None) -> Iterator[T]:
        """Give what ``tasks`` return in order, submitted lazily; see :meth:`TaskForce.map`."""
        taskforce = self._taskforce(taskforce_id)
        self._advise()
        return taskforce.map(tasks)

    def dispatch(self, tasks: Sequence[Task]) -> None:
        """Have tasks run in this process that were made elsewhere: what laila's own verbs use."""
        self._local_taskforce().dispatch(tasks)

    def _local_taskforce(self) -> TaskForce:
        """The alpha task force where its tasks run in this process; else another one whose tasks do."""
        alpha = self.alpha_taskforce
        if alpha.in_process:
            return alpha
        local = self._local
        if local is None:
            check_may_wait()
            with self._lock:
                self._refuse_if_shut_down()
                local = next(
                    (taskforce for taskforce in self._taskforces.values() if taskforce.in_process), None
                )
                if local is None:
                    local = self._make_alpha()
                    self.add_taskforce(local)
                self._local = local
        return local

    def _advise(self) -> None:
        if self._advice is not None:
            with self._lock:
                advice, self._advice = self._advice, None
            if advice is not None:
                import warnings

                warnings.warn(
                    f"work runs in the caller, one task after the other: {advice}",
                    RuntimeWarning,
                    stacklevel=4,
                )

    # ------------------------------------------------------------------------------------------ lifecycle

    @property
    def paused(self) -> bool:
        """Whether what the verbs have to do queues until :meth:`start`."""
        alpha = self._alpha
        local = alpha if alpha is None or alpha.in_process else self._local
        return local is not None and local.paused

    def start(self) -> None:
        """Start all task forces, or let them go on after :meth:`pause`."""
        self._refuse_if_shut_down()
        for taskforce in self._all() or [self.alpha_taskforce]:
            taskforce.start()

    def pause(self) -> None:
        """Have all task forces start no further task until :meth:`start`; what runs goes on."""
        self._refuse_if_shut_down()
        for taskforce in self._all() or [self.alpha_taskforce]:
            taskforce.pause()

    def shutdown(self, wait: bool = True, cancel_pending: bool = False) -> None:
        """Shut all task forces down, for good.

        Args:
            wait: Return when everything that was submitted has settled.
            cancel_pending: Cancel what has not started instead of doing it.
        """
        with self._lock:
            self._over = True
        taskforces = [*self._replaced, *self._all()]
        for taskforce in taskforces:  # all of them stop before any is waited for
            taskforce.shutdown(wait=False, cancel_pending=cancel_pending)
        if wait:
            for taskforce in taskforces:
                taskforce.shutdown(wait=True)

    def finish_elsewhere(self) -> None:
        """Shut those task forces down whose tasks run in other processes, when these have settled."""
        for taskforce in [*self._replaced, *self._all()]:
            if not taskforce.in_process:
                taskforce.shutdown(wait=True)

    def _close(self) -> None:
        self.shutdown()

    def __len__(self) -> int:
        return self.queue_len

    def __bool__(self) -> bool:
        return True

    @property
    def queue_len(self) -> int:
        """How many tasks wait to be started, in all task forces."""
        return sum(taskforce.queue_len for taskforce in self._all())

    def _all(self) -> list[TaskForce]:
        with self._lock:
            return list(self._taskforces.values())

    def _refuse_if_shut_down(self) -> None:
        if self._over:
            raise TaskForceError(f"{self!r} was shut down and runs nothing any more")
