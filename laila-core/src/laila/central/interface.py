"""The verbs of a policy as abstract classes, which a policy of this process and a peer both implement.

The active policy may be either. Whoever acts through it uses what stands here, and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Literal, Protocol

    from laila.central.command import DefaultCentralCommand
    from laila.central.memory import DefaultCentralMemory
    from laila.contract.pool import Pool
    from laila.entry import Entry, Manifest
    from laila.futures import Future, FutureBank, GroupFuture
    from laila.futures.task import Task

    class Central(Protocol):
        """The parts of a policy. A peer's communication is that of this process."""

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


class MemoryVerbs(ABC):
    """What can be done with stored entries. Thread-safe. Each verb but ``history`` returns at once."""

    @property
    @abstractmethod
    def alpha_pool(self) -> Pool:
        """The pool that a verb means when it names none; a peer does not give it away."""

    @alpha_pool.setter
    @abstractmethod
    def alpha_pool(self, pool: Pool | str) -> None: ...

    @abstractmethod
    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        overwrite: bool = False,
        on_conflict: Literal["next"] | None = None,
        copy: bool = True,
        verify: bool = False,
        missing_ok: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store one entry, or many as one batch."""

    @abstractmethod
    def remember(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
        copy: bool = True,
        refresh: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Fetch one entry, or many as one batch."""

    @abstractmethod
    def forget(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Delete one entry, or many as one batch."""

    @abstractmethod
    def history(
        self,
        entry_id: Entry | str | None = None,
        *,
        nickname: str | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[int]:
        """Return the stored evolutions of a variable, ascending. Blocks."""

    @abstractmethod
    def memorize_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
        overwrite: bool = False,
        verify: bool = False,
        missing_ok: bool = False,
    ) -> GroupFuture[Any]:
        """Store a manifest with the entries that wait in it."""

    @abstractmethod
    def remember_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
        copy: bool = True,
        refresh: bool = False,
    ) -> GroupFuture[Any]:
        """Fetch the leaves of a manifest."""

    @abstractmethod
    def forget_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
    ) -> GroupFuture[Any]:
        """Delete a manifest and its leaves."""

    @abstractmethod
    def check_pool(self, pool_nickname: str) -> None:
        """Raise :class:`~laila.errors.PoolNotFoundError` where it is known that there is no such pool."""

    @abstractmethod
    def extend(
        self,
        pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool; a peer refuses that."""

    @abstractmethod
    def borrow(self, keys: Iterable[str] = (), global_borrow: bool = False) -> None:
        """Reserved for exclusive leases. Raises ``NotImplementedError``."""


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
        """Have tasks done by a task force."""

    @abstractmethod
    def imap(self, tasks: Iterable[Any], *, taskforce_id: str | None = None) -> Iterator[Any]:
        """Give the futures of tasks in order; each is submitted when it is asked for."""

    @abstractmethod
    def map(self, tasks: Iterable[Any], *, taskforce_id: str | None = None) -> Iterator[Any]:
        """Give what tasks return, in order."""

    @abstractmethod
    def start(self) -> None:
        """Let the task forces go on."""

    @abstractmethod
    def pause(self) -> None:
        """Have the task forces start no further task."""

    @abstractmethod
    def dispatch(self, tasks: Sequence[Task]) -> None:
        """Have tasks of this process run in this process."""


class PolicyVerbs(ABC):
    """What the active policy can do, wherever it is."""

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
        """Fetch one entry itself, or None where it is nowhere. Blocks."""

    @abstractmethod
    def memorize(
        self,
        entries: Entry | Iterable[Entry],
        *,
        require_local_update: bool = False,
        require_global_update: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store entries in the alpha pool."""

    @abstractmethod
    def extend(
        self,
        new_pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool; a peer refuses that."""

    @abstractmethod
    def notify_entry(self, entry: Entry) -> None:
        """Tell observers of this process of an entry."""


class LocalPolicy(PolicyVerbs):
    """A policy of this process: its parts are here, with more than their verbs."""

    central: LocalCentral

    @abstractmethod
    def before_close(self, call: Callable[[], object]) -> None:
        """Have ``call()`` done when the policy is closed, while all of its parts are still open."""
