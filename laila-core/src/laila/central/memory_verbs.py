"""The verbs for stored entries as an abstract class; :mod:`laila.central.interface` has the others."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal

    from laila.central.borrowing import Borrow
    from laila.contract.pool import Pool
    from laila.entry import Entry, Manifest
    from laila.entry.leaves import Leaf
    from laila.futures import Future, GroupFuture
    from laila.views import View

__all__ = ["MemoryVerbs"]


class MemoryVerbs(ABC):
    """The verbs for stored entries. Thread-safe. Each verb except ``history`` returns at once."""

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
        provenance: Mapping[str, object] | None = None,
    ) -> Future[Any] | GroupFuture[Any]:
        """Store one entry, or many as one batch.

        The payload is taken as it is now: changing it afterwards changes nothing stored.

        Args:
            entries: An entry or a manifest, or several. A manifest is stored with the entries that wait in
                it.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.
            overwrite: Replace a constant. An evolution of a variable is never replaced.
            on_conflict: ``"next"`` gives a variable the next free evolution.
            copy: False takes read-only buffers without copying them.
            verify: Read the snapshot again and compare it with the payload before anything is stored.
            missing_ok: Store a manifest without looking for the leaves that were given as ids.
            provenance: Where it came from: plain data, of at most 64 KiB, that is stored beside the content.
                ``inputs`` may be entries, ``function`` a callable, ``parameters`` any payload.

        Returns:
            A future of the global id, or a group of them in the order of the input.

        Raises:
            PayloadError: For a payload that would not come back exactly. It is raised at once.
            PoolNotFoundError: Where no such pool is known.
        """

    @abstractmethod
    def remember(
        self,
        entry_ids: Entry | str | Iterable[Entry | str] | None = None,
        *,
        nickname: str | Iterable[str] | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        evolution: int | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
        missing_ok: bool = False,
        copy: bool = True,
        refresh: bool = False,
    ) -> Future[Any] | GroupFuture[Any]:
        """Fetch one entry, or many as one batch.

        Args:
            entry_ids: An id or an entry, or several. An id without evolution means the constant, else the
                newest
                evolution.
            nickname: The nickname of the entry or manifest in the active namespace, or several.
            scope: ``"ENTRY"`` or ``"MANIFEST"``, where one nickname names both.
            evolution: The evolution of the variable that is meant, in place of the newest.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.
            missing_ok: Give None for what is missing.
            copy: False gives read-only views without copying, where the pool can.
            refresh: Ask the last tier of a chain alone, and renew the caches before it.

        Returns:
            A future of the entry, or a group of them in the order of the input.

        Raises:
            PoolNotFoundError: Where no such pool is known.
        """

    @abstractmethod
    def open(
        self,
        entry_id: Entry | str | None = None,
        *,
        nickname: str | None = None,
        scope: Literal["ENTRY", "MANIFEST"] | None = None,
        evolution: int | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> View:
        """Open one entry to read parts of it: its head is read at once, of its buffers what is asked for.

        Args:
            entry_id: An id or an entry. An id without evolution means the constant, else the newest
                evolution.
            nickname: The nickname of the entry in the active namespace.
            scope: ``"ENTRY"``, where one nickname names a manifest, too.
            evolution: Which evolution of a variable is meant.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.

        Returns:
            The view. This blocks until the head is read.

        Raises:
            EntryNotFoundError: There is no such entry.
            CorruptEntryError: Its head is damaged.
            TransformationError: Its stored form, for example ``zstd``, cannot be read in part.
            PoolNotFoundError: Where no such pool is known.
        """

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
        """Delete one entry, or many as one batch.

        Args:
            entry_ids: An id or an entry, or several. An id without evolution means the constant or all
                evolutions; a manifest's id means the manifest without its leaves.
            nickname: The nickname of the entry or manifest in the active namespace, or several.
            scope: ``"ENTRY"`` or ``"MANIFEST"``, where one nickname names both.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.
            missing_ok: Take what is missing for deleted.

        Returns:
            A future of None, or a group of them in the order of the input.

        Raises:
            PoolNotFoundError: Where no such pool is known.
        """

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
        """Return the stored evolutions of a variable. Blocks.

        Args:
            entry_id: An id of the variable, with or without evolution, or an entry.
            nickname: The nickname of the variable, in place of ``entry_id``.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.

        Returns:
            The numbers, ascending; empty where there are none.

        Raises:
            InvalidArgumentError: For more than one variable.
        """

    @abstractmethod
    def describe(
        self,
        entry_ids: Entry | str | Iterable[Entry | str],
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[Leaf | None]:
        """Say what stored entries are, by their heads. Blocks.

        What is stored transformed is read: its head does not say what is in it.

        Args:
            entry_ids: The ids, or the entries.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.

        Returns:
            For each type, shape, dtype, bytes and digest; None where nothing is there under that very id.

        Raises:
            PoolNotFoundError: Where no such pool is known.
        """

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
        provenance: Mapping[str, object] | None = None,
        pack: int | str | None = None,
    ) -> GroupFuture[Any]:
        """Store a manifest with the entries that wait in it.

        Args:
            manifest: The manifest.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            batch_size: How many entries are sent at a time; by default as many as fit into a batch of bytes.
            overwrite: Replace constants, the manifest included.
            verify: Read each snapshot again and compare it before anything is stored.
            missing_ok: Do not look for the leaves that were given as ids.
            provenance: Where the manifest came from; see :meth:`memorize`.
            pack: How many bytes of small leaves are stored together; None stores each by itself.

        Returns:
            A group of futures: one for each thing that is stored, the manifest last.
        """

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
        leaves: Iterable[Entry | str] | None = None,
    ) -> GroupFuture[Any]:
        """Fetch the leaves of a manifest.

        Args:
            manifest: The manifest.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            batch_size: How many leaves are fetched at a time.
            copy: False gives read-only views without copying, where the pool can.
            refresh: Ask the last tier of a chain alone, and renew the caches before it.
            leaves: Which leaves are fetched, in this order; all by default.

        Returns:
            A group of futures of the entries, in the order of the leaves.

        Raises:
            ManifestKeyError: one of ``leaves`` is no leaf of the manifest.
        """

    @abstractmethod
    def forget_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
    ) -> GroupFuture[Any]:
        """Delete a manifest and its leaves.

        Args:
            manifest: The manifest.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            batch_size: How many leaves are deleted at a time.

        Returns:
            A group of futures of None: one for each leaf, the manifest's last.
        """

    @abstractmethod
    def check_pool(self, pool_nickname: str) -> None:
        """Raise where it is known that there is no such pool.

        Args:
            pool_nickname: The nickname of the pool.

        Raises:
            PoolNotFoundError: Where no pool has this nickname.
        """

    @abstractmethod
    def extend(
        self,
        pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool; a peer refuses that.

        Args:
            pool: A pool, or the URL of one.
            affinity: How much the pool is preferred; the highest is asked first.
            pool_nickname: What this policy calls the pool.
            **options: Further options of the pool that a URL names.

        Returns:
            The pool.

        Raises:
            NotSupportedError: For a peer: pools are added in the process that has the policy.
        """

    @abstractmethod
    def borrow(
        self,
        keys: Entry | str | Iterable[Entry | str],
        global_borrow: bool = False,
        *,
        timeout: float | None = 60.0,
        ttl: float = 30.0,
        missing_ok: bool = False,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> Borrow:
        """Borrow entries: ``with memory.borrow([…]) as entries`` has them for itself until the end.

        Borrowers exclude each other: threads, processes and, where the pool is shared, hosts. Who does not
        borrow is not kept out. A variable is lent in its newest evolution. At a clean end the variables that
        evolved in the body are stored as one new evolution each, in one step where the pool has one. After an
        exception nothing is stored. A thread of this process renews the lease. If the lease is over all the
        same, because the process was stopped, the end raises and stores nothing.

        Args:
            keys: Global ids, Entries or nicknames.
            global_borrow: Exclude the borrowers of all connected peers, too. The policy with the smallest
                global id among this one and its peers grants that.
            timeout: Seconds to wait for other borrowers; None waits for ever.
            ttl: Seconds after which a lease is over that is not renewed, at most a day.
            missing_ok: Lend ids under which nothing is stored; the entry is None.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is
                meant.
            affinity: The pool with this affinity, or the next lower one.

        Returns:
            A context for one ``with``, which gives the entries as a
            :class:`~laila.central.borrowing.Borrowed`.

        Raises:
            InvalidArgumentError: Something in ``keys`` names nothing (a ``TypeError``).
            InvalidValueError: ``timeout`` or ``ttl`` is wrong.
            PoolNotFoundError: No such pool is known.
            LeaseTimeoutError: At the beginning: another borrower did not give an entry back in time.
            LeaseError: At the beginning: this thread has borrowed one of the entries already.
            EntryNotFoundError: At the beginning: there is no such entry.
            NotSupportedError: At the beginning: the pool cannot lend.
            LeaseLostError: At the end: the lease was over before. Nothing was stored.
            EvolutionConflictError: At the end: somebody who did not borrow stored the same evolution.
        """
