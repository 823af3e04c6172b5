"""The verbs of a policy as abstract classes, which a policy of this process and a peer both implement.

The active policy may be either. Its users rely on these methods, and on nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from laila.central.memory_verbs import MemoryVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Protocol

    from laila.central.command import DefaultCentralCommand
    from laila.central.memory import DefaultCentralMemory
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.futures import Future, FutureBank, GroupFuture
    from laila.futures.task import Task

    class Central(Protocol):
        """The parts of a policy. A peer has the communication of this process."""

        @property
        def memory(self) -> MemoryVerbs: ...
        @property
        def command(self) -> CommandVerbs: ...
        @property
        def communication(self) -> Any: ...

    class LocalCentral(Protocol):
        """The parts of a policy of this process."""

        @property
        def memory(self) -> DefaultCentralMemory: ...
        @property
        def command(self) -> DefaultCentralCommand: ...
        @property
        def communication(self) -> Any: ...


__all__ = ["CommandVerbs", "LocalPolicy", "MemoryVerbs", "PolicyVerbs"]


class CommandVerbs(ABC):
    """Where work is submitted. Thread-safe."""

    @abstractmethod
    def submit(
        self,
        tasks: Any,
        wait: bool = False,
        *,
        taskforce_id: str | None = None,
        memorize_to: str | None = None,
    ) -> Any:
        """Have tasks done by a task force.

        Args:
            tasks: A callable without arguments, or several; of a peer, exported functions or their names.
            wait: Wait for the end and return what the tasks gave.
            taskforce_id: The global id of the task force; the alpha otherwise.
            memorize_to: The nickname of the pool to which the entries that the tasks return are memorized
                where
                they run. The value of a task is the global id then.

        Returns:
            A future, or a group of them for several; with ``wait=True`` the value, or the list of values.

        Raises:
            InvalidTaskError: For what is no task. Nothing was submitted then.
        """

    @abstractmethod
    def imap(self, tasks: Iterable[Any], *, taskforce_id: str | None = None) -> Iterator[Any]:
        """Give the futures of tasks in order; each is submitted when it is asked for.

        Args:
            tasks: Tasks as :meth:`submit` takes them.
            taskforce_id: The global id of the task force; the alpha otherwise.

        Returns:
            An iterator of futures.
        """

    @abstractmethod
    def map(self, tasks: Iterable[Any], *, taskforce_id: str | None = None) -> Iterator[Any]:
        """Give what tasks return, in order.

        Args:
            tasks: Tasks as :meth:`submit` takes them.
            taskforce_id: The global id of the task force; the alpha otherwise.

        Returns:
            An iterator of the values; it blocks where the next one is not there yet.
        """

    @abstractmethod
    def start(self) -> None:
        """Let the task forces go on."""

    @abstractmethod
    def pause(self) -> None:
        """Have the task forces start no further task."""

    @abstractmethod
    def dispatch(self, tasks: Sequence[Task]) -> None:
        """Have tasks of this process run in this process.

        Args:
            tasks: The tasks, each with the future that it settles.
        """


class PolicyVerbs(ABC):
    """The verbs of a policy, here or in another process."""

    central: Central

    @property
    @abstractmethod
    def global_id(self) -> str:
        """The identity of the policy."""

    @property
    @abstractmethod
    def nickname(self) -> str | None:
        """The name that the identity was made from, if it has one."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the policy, or the one through which the peer is reached, was closed."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, Any]:
        """A JSON-able dict that describes the policy, without secrets."""

    @property
    @abstractmethod
    def future_bank(self) -> FutureBank:
        """Where futures of this process are found by id."""

    @abstractmethod
    def remember(
        self,
        global_id: str,
        *,
        global_fetch: bool = False,
        pool_subset: Any = None,
        hint: str | Pool | None = None,
        refresh: bool = False,
    ) -> Entry | None:
        """Fetch one entry itself. Blocks.

        Args:
            global_id: The id of the entry.
            global_fetch: Look in every pool, by falling affinity.
            pool_subset: Look in ``hint`` and these pools alone: nicknames, ids, pools, or a dict of them.
            hint: The pool to look in first.
            refresh: Ask the last tier of each chain alone.

        Returns:
            The entry, or None where it is nowhere.

        Raises:
            LailaError: What the first place that failed raised, where no other place has the entry.
        """

    @abstractmethod
    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        require_local_update: bool = False,
        require_global_update: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries in the alpha pool.

        Args:
            entries: An entry, or several.
            require_local_update: Wait until they are stored there.
            require_global_update: Wait until every peer of a policy of this process has them, too.

        Returns:
            The future, or the group of futures, that the verb ``memorize`` gives.
        """

    @abstractmethod
    def extend(
        self,
        new_pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool; a peer refuses that.

        Args:
            new_pool: A pool, or the URL of one.
            affinity: How much the pool is preferred; the highest is asked first.
            pool_nickname: What this policy calls the pool.
            **options: Further options of the pool that a URL names.

        Returns:
            The pool.

        Raises:
            NotSupportedError: For a peer: pools are added in the process that has the policy.
        """

    @abstractmethod
    def notify_entry(self, entry: Entry) -> None:
        """Tell observers of this process of an entry. Writes nothing.

        Args:
            entry: The entry.
        """


class LocalPolicy(PolicyVerbs):
    """A policy of this process: its parts are here, with more than their verbs."""

    central: LocalCentral

    @abstractmethod
    def before_close(self, call: Callable[[], object]) -> None:
        """Have something done when the policy is closed, while all of its parts are still open.

        Args:
            call: Is called without arguments, once. What it raises is raised when all parts are closed.
        """
