"""Central memory: the verbs memorize, remember and forget.

``memorize`` encodes in the caller: that is the snapshot. Where the rest runs: :mod:`laila.central.running`.
"""

from __future__ import annotations

from functools import partial

from laila.calling import helpful
from laila.central import reading
from laila.central.again import current_folder
from laila.central.checking import taken_names
from laila.central.choice import ALPHA, PoolChoice
from laila.central.describing import describe
from laila.central.forgetting import forget_tree
from laila.central.ids import (
    READ_SIZE,
    as_entries,
    at_evolution,
    candidates,
    check_batch_size,
    check_no_scope,
    wanted,
)
from laila.central.interface import MemoryVerbs
from laila.central.known import known_in
from laila.central.leaves import (
    forgotten_leaves,
    leaf_reader,
    own_references,
    packer_for,
    stored_manifest,
    wanted_leaves,
    with_places,
)
from laila.central.marking import EntryPlan, store_entries
from laila.central.naming import open_pool
from laila.central.packing import pack_bytes
from laila.central.pending import MAX_PENDING_BYTES
from laila.central.router import DefaultPoolRouter
from laila.central.running import Runner
from laila.central.writing import ON_CONFLICT
from laila.component.component import Component
from laila.entry import Entry, Manifest, to_blob
from laila.entry.provenance import note_provenance
from laila.entry.states import came_from, mark, note_filed
from laila.errors import InvalidArgumentError, SettingsError, UnknownOptionError
from laila.futures import Future, GroupFuture
from laila.identity import stem
from laila.leasing.tables import MemoryLeases
from laila.plugins import watch
from laila.showing import shown
from laila.tracebacks import given_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, ClassVar, Literal

    from laila.blob.blob import Blob
    from laila.central.borrowing import Borrow
    from laila.central.command import DefaultCentralCommand
    from laila.central.events import Events
    from laila.contract.pool import Pool
    from laila.entry.leaves import Leaf
    from laila.leasing.tables import LeaseTable
    from laila.views import View

__all__ = ["DefaultCentralMemory"]

_NAMES = frozenset(("name", "nick", "alias", "pool_name", "label"))
"""Keywords that people write when they mean ``pool_nickname``."""


class DefaultCentralMemory(Component, MemoryVerbs):
    """Stores, retrieves and deletes entries across the pools of a policy. Thread-safe.

    ``pickle=False`` refuses payloads that need code to come back. ``memorize`` holds its caller back while
    more than ``max_pending_bytes`` of snapshots wait to be written. Each verb checks its arguments at once
    and raises before anything is written; what fails later is in the future it returned.
    """

    scope: ClassVar[str] = "CENTRAL_MEMORY"

    def __init__(
        self,
        command: DefaultCentralCommand,
        events: Events,
        router: DefaultPoolRouter | None = None,
        *,
        pickle: bool = True,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        super().__init__()
        self.runner = Runner(command, events, max_pending_bytes)
        self.router = DefaultPoolRouter() if router is None else router
        self.pickle = pickle
        self.grants: LeaseTable = MemoryLeases()
        """What is lent among this policy and its peers, where this one grants."""
        self.grantor: Callable[[], tuple[LeaseTable, str]] = lambda: (self.grants, "this policy")
        """Gives the table that lends among this policy and its peers, and the words that name it."""

    @property
    def pool_router(self) -> DefaultPoolRouter:
        """Deprecated: the name of ``router`` in the older package."""
        from warnings import warn

        warn("memory.pool_router is now memory.router", DeprecationWarning, stacklevel=2)
        return self.router

    # -- pools -----------------------------------------------------------------------------------------------

    @property
    def alpha_pool(self) -> Pool:
        """The pool that a verb means when it names none. Assign a pool, or the URL of one."""
        return self.router.choose(ALPHA)

    @alpha_pool.setter
    def alpha_pool(self, pool: Pool | str) -> None:
        if isinstance(pool, str):
            if pool in self.router.nicknames:
                raise SettingsError(
                    f"{shown(pool)} is the nickname of a pool: assign the pool, which extend() returned",
                    option="alpha_pool",
                )
            pool = self.extend(pool)
        self.router.alpha_pool = pool

    def finish_submitting(self) -> None:
        """Submit the writes that wait for room, whatever the bound: the task force is about to end."""
        self.runner.pending.finish()

    @property
    def max_pending_bytes(self) -> int:
        """How many bytes of snapshots may wait to be written before ``memorize`` holds its caller back."""
        return self.runner.pending.limit

    @given_secrets
    @helpful
    def extend(
        self,
        pool: Pool | str,
        *,
        affinity: float | None = None,
        pool_nickname: str | None = None,
        **options: object,
    ) -> Pool:
        """Register a pool, or build the pool of a URL, and return it.

        ``options`` are further options of the pool that a URL names, such as ``transformations=["zstd"]``.
        The same place, options and ``pool_nickname`` again, however the URL is written, give back the pool
        that is registered; without a nickname so does the same URL. Raises
        :class:`~laila.errors.MissingPluginError` (an ``ImportError``) for a scheme whose plugin is not
        installed, and what :meth:`DefaultPoolRouter.extend` raises.
        """
        if not isinstance(pool, str):
            if options:
                meant = "" if _NAMES.isdisjoint(options) else "; did you mean pool_nickname=?"
                raise InvalidArgumentError(
                    f"{', '.join(options)}: options go with a URL; this pool was built already{meant}"
                )
            self.router.extend(pool, affinity=affinity, pool_nickname=pool_nickname)
            return pool
        made_of = (pool, current_folder(), options)  # where a relative path begins counts
        again = self.router.made_before(pool_nickname, made_of)
        again = again or self.router.named_before(pool_nickname, [pool], options)
        if again is not None:  # a cell or module that sets up is run a second time
            self.router.extend(again, affinity=affinity, pool_nickname=pool_nickname)
            return again
        try:
            opened = open_pool(pool, **options)
        except UnknownOptionError as error:
            if error.option not in _NAMES:
                raise
            raise UnknownOptionError(
                f"neither extend() nor the pool has an option {shown(error.option)}; did you mean "
                "pool_nickname=, which is what this policy calls the pool?",
                option=error.option,
            ) from None
        try:
            self.router.extend(opened, affinity=affinity, pool_nickname=pool_nickname)
        except BaseException:
            opened.close()
            raise
        self.router.note_made(opened, made_of)
        return opened

    def check_pool(self, pool_nickname: str) -> None:
        """Raise :class:`~laila.errors.PoolNotFoundError` where no pool has this nickname."""
        self.router.choose(PoolChoice(pool_nickname=pool_nickname))

    @helpful
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

        Borrowers exclude each other: threads, processes and, where the pool is shared, hosts. At a clean end
        the variables that evolved are stored. ``docs/how-to/borrow.md`` says what is promised when a holder
        is stopped. :meth:`MemoryVerbs.borrow` lists arguments and errors.
        """
        from laila.central.borrowing import Borrow, named_keys  # what few programs use
        from laila.central.lending import PoolLender

        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        return Borrow(
            PoolLender(pool),
            named_keys(keys),
            timeout=timeout,
            ttl=ttl,
            missing_ok=missing_ok,
            pickle=self.pickle,
            grantor=self.grantor if global_borrow else None,
        )

    # -- the verbs -------------------------------------------------------------------------------------------

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
        """Store one entry (a Future of its global id) or many as one batch (a GroupFuture, in input order).

        The payload is taken as it is now: changing it afterwards changes nothing stored. A manifest is stored
        with the entries that wait in it. ``overwrite`` replaces a constant; ``on_conflict="next"`` gives a
        variable the next free evolution; ``copy=False`` takes read-only buffers without copying them.
        ``verify`` reads the snapshot again and compares it with the payload, bit by bit, before anything is
        stored; what has classes, codecs or pickles in it is always read again. ``missing_ok`` stores a
        manifest without looking for the leaves that were given as ids.

        ``provenance`` is stored beside the content, and is no part of it: what is there already keeps its
        own, unless ``overwrite``. Of a manifest, it is about the manifest itself.

        Large entries with ids by content are asked for first, in one batch that the caller waits for. What
        is there, as its head says, is neither copied nor sent; ``verify`` or ``overwrite`` sends it all the
        same.

        Raises at once: ``TypeError`` for what is no Entry, :class:`~laila.errors.PayloadError` for a payload
        that would not come back exactly, :class:`~laila.errors.PoolNotFoundError`, ``ValueError`` for routing
        that disagrees. In the future: :class:`~laila.errors.ImmutableEntryError`,
        :class:`~laila.errors.EvolutionConflictError`, :class:`~laila.errors.IdentityConflictError` where a
        nickname is a variable's and a constant is to be stored, or the other way round,
        :class:`~laila.errors.EntryNotFoundError` for leaves of a manifest that are not there, and what the
        pool's backend raises.
        """
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        if on_conflict not in ON_CONFLICT:
            raise SettingsError(
                f'on_conflict={shown(on_conflict)}: give "next" or nothing', option="on_conflict"
            )
        pickle = self.pickle
        items: Sequence[Entry]
        if isinstance(entries, Entry) and not isinstance(entries, Manifest):
            single, items = True, (entries,)
            note_provenance(items, provenance)
            if entries._content is None:
                blob = to_blob(entries, pickle=pickle, copy=copy, verify=verify)
                if not (overwrite or watch.anybody) and (filed := _file_new(pool, entries, blob)):
                    return filed
                blobs: list[Blob | None] = [blob]
            else:
                blobs = self._snapshots(pool, items, copy=copy, overwrite=overwrite, verify=verify)
        else:
            single = isinstance(entries, Manifest)
            items = (entries,) if single else as_entries(entries)  # type: ignore[assignment]
            note_provenance(items, provenance)
            if any(issubclass(kind, Manifest) for kind in set(map(type, items))):
                return self._memorize_manifests(
                    items,
                    pool,
                    None,
                    single=single,
                    overwrite=overwrite,
                    on_conflict=on_conflict,
                    copy=copy,
                    verify=verify,
                    missing_ok=missing_ok,
                )
            blobs = self._snapshots(pool, items, copy=copy, overwrite=overwrite, verify=verify)
        keys = [
            entry.global_id if blob is None else blob.key for entry, blob in zip(items, blobs, strict=True)
        ]
        mark(items)

        def write() -> list[Any]:
            return store_entries(pool, items, keys, blobs, overwrite=overwrite, on_conflict=on_conflict)

        return self.runner.run("memorize", pool, keys, write, single=single, entries=items, blobs=blobs)

    def _snapshots(
        self, pool: Pool, given: Sequence[Entry], *, copy: bool, overwrite: bool, verify: bool
    ) -> list[Blob | None]:
        """Take the snapshots of entries; None for what ``pool`` has already, by the id of its content."""
        there = set() if overwrite or verify else known_in(pool, given)
        return [
            None if i in there else to_blob(entry, pickle=self.pickle, copy=copy, verify=verify)
            for i, entry in enumerate(given)
        ]

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
        """Fetch one entry (a Future of it) or many as one batch (a GroupFuture, in input order).

        An id without evolution means the constant, else the newest evolution; ``evolution`` says which one is
        meant. ``nickname`` looks for an
        entry, then a manifest, of that name in the active namespace; ``scope`` says which where both are
        there. ``missing_ok`` gives None for what is missing; ``copy=False`` gives read-only views without
        copying where the pool can. ``refresh`` asks the last tier of a chain alone and renews the caches
        before it with what is there; a pool that stands alone has no caches, and it changes nothing.

        Raises at once: ``ValueError`` for malformed ids, ``TypeError`` for what names nothing,
        :class:`~laila.errors.PoolNotFoundError`. In the future: :class:`~laila.errors.EntryNotFoundError`,
        :class:`~laila.errors.CorruptEntryError`, :class:`~laila.errors.UntrustedPayloadError`.
        """
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        single, keys, names = wanted("remember", entry_ids, nickname)
        if evolution is not None:
            keys, names, scope = at_evolution(keys, names, scope, evolution)  # type: ignore[assignment]
        if names is None and scope is None and not (refresh or watch.anybody):
            future = _find(pool, keys, copy, single=single)
            if future is not None:
                return future
        if names is None:
            check_no_scope(scope)

            def read() -> list[Any]:
                return reading.remember(pool, keys, copy=copy, missing_ok=missing_ok, refresh=refresh)

            return self.runner.run("remember", pool, keys, read, single=single)
        meant = candidates(names, scope)

        def read_named() -> list[Any]:
            return reading.remember_named(
                pool, names, meant, copy=copy, missing_ok=missing_ok, refresh=refresh
            )

        return self.runner.run("remember", pool, _flat(meant), read_named, single=single, count=len(names))

    @helpful
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
        """Open one entry to read parts of it; see :func:`laila.open`. Blocks until its head is read.

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
            The view.

        Raises:
            EntryNotFoundError: There is no such entry.
            CorruptEntryError: Its head is damaged.
            TransformationError: Its stored form, for example ``zstd``, cannot be read in part.
            PoolNotFoundError: No such pool is known.
        """
        from laila.central.opening import checked_view, open_buffers  # what few programs use

        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        single, keys, names = wanted("open", entry_id, nickname)
        if not single:
            raise InvalidArgumentError("open() takes one entry at a time")
        keys, names, scope = at_evolution(keys, names, scope, evolution)  # type: ignore[assignment]
        if names is None:
            check_no_scope(scope)
            return checked_view(open_buffers(pool, keys, None))
        return checked_view(open_buffers(pool, candidates(names, scope)[0], names[0]))

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
        """Delete one entry (a Future of None) or many as one batch (a GroupFuture, in input order).

        An id without evolution means the constant or all evolutions; a manifest's id means the manifest alone
        (:meth:`laila.Manifest.forget` deletes its leaves too). Raises as :meth:`remember` does.
        """
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        single, keys, names = wanted("forget", entry_ids, nickname)
        if names is None:
            check_no_scope(scope)

            def delete() -> list[Any]:
                return reading.forget(pool, keys, missing_ok=missing_ok)

            return self.runner.run("forget", pool, keys, delete, single=single)
        meant = candidates(names, scope)

        def delete_named() -> list[Any]:
            return reading.forget_named(pool, names, meant, missing_ok=missing_ok)

        return self.runner.run("forget", pool, _flat(meant), delete_named, single=single, count=len(names))

    @helpful
    def history(
        self,
        entry_id: Entry | str | None = None,
        *,
        nickname: str | None = None,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[int]:
        """Return the stored evolutions of a variable, ascending; empty where there are none. Blocks."""
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        single, keys, names = wanted("list the history of", entry_id, nickname)
        if not single:
            raise InvalidArgumentError("history() takes one entry at a time")
        of = stem(keys[0]) if names is None else candidates(names, "ENTRY")[0][0]
        return pool.history([of])[0]

    def describe(
        self,
        entry_ids: Entry | str | Iterable[Entry | str],
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> list[Leaf | None]:
        """Say what stored entries are, by their heads: type, shape, dtype, bytes and digest. Blocks."""
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname, affinity))
        _, keys, _ = wanted("describe", entry_ids, None)
        return describe(pool, keys)

    # -- manifests -------------------------------------------------------------------------------------------

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
        """Store a manifest with its new leaves, for :meth:`laila.Manifest.memorize`."""
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname))
        size = None if batch_size is None else check_batch_size(batch_size, 0)
        pack_size = None if pack is None else pack_bytes(pack)
        note_provenance([manifest], provenance)
        group: GroupFuture[Any] = self._memorize_manifests(
            [manifest],
            pool,
            size,
            single=True,
            overwrite=overwrite,
            verify=verify,
            missing_ok=missing_ok,
            pack=pack_size,
        )
        return group

    def _memorize_manifests(
        self,
        given: Sequence[Entry],
        pool: Pool,
        size: int | None,
        *,
        single: bool,
        overwrite: bool = False,
        on_conflict: str | None = None,
        copy: bool = True,
        verify: bool = False,
        missing_ok: bool = False,
        pack: int | None = None,
    ) -> GroupFuture[Any]:
        """Store one manifest (a child for each thing stored), or many items (a child for each)."""
        if on_conflict is not None:
            raise SettingsError(
                "on_conflict= does not go with manifests: they name the evolutions that they refer to",
                option="on_conflict",
            )
        known = None if overwrite or verify else partial(known_in, pool)
        packer = packer_for(pool, pack, renew=overwrite, verify=verify)
        plan = EntryPlan(
            given, pool, pickle=self.pickle, copy=copy, verify=verify, known=known, packer=packer
        )
        plan.mark()

        def write() -> list[Any]:
            outcomes = plan.store(pool, size, overwrite=overwrite, missing_ok=missing_ok)
            return outcomes if single else plan.of_given(outcomes)

        keys = plan.entry_keys
        count = len(keys) if single else len(given)
        return self.runner.run(
            "memorize", pool, keys, write, count=count, entries=plan.entries, blobs=plan.blobs
        )

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
        """Fetch leaves of a manifest, for :meth:`laila.Manifest.remember`."""
        manifest.check_not_empty("remember")
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname))
        size, keys = check_batch_size(batch_size, READ_SIZE), wanted_leaves(manifest, leaves)

        def read() -> list[Any]:
            fetch = leaf_reader(pool, manifest, copy=copy, refresh=refresh)
            return reading.in_slices(keys, size, fetch)

        return self.runner.run("remember", pool, keys, read)

    def forget_manifest(
        self,
        manifest: Manifest,
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        batch_size: int | None = None,
    ) -> GroupFuture[Any]:
        """Delete a manifest and the leaves that nothing else has, for :meth:`laila.Manifest.forget`."""
        manifest.check_not_empty("forget")
        pool = self.router.choose(PoolChoice(pool_id, pool_nickname))
        leaves = list(manifest)
        size = check_batch_size(batch_size, len(leaves))

        def delete() -> list[Any]:
            known = with_places(manifest, lambda: stored_manifest(pool, manifest.global_id))
            every = own_references(known)
            *gone, last = forget_tree(pool, manifest.global_id, every, size)
            return [*forgotten_leaves(known, dict(zip(every, gone, strict=True))), last]

        return self.runner.run("forget", pool, [*leaves, manifest.global_id], delete)

    def _close(self) -> None:
        self.router.close()


def _file_new(pool: Pool, entry: Entry, blob: Blob) -> Future[Any] | None:
    """The shortest way of one new entry into memory; None where it is another's."""
    try:
        if blob.nickname is not None and (
            pool.blocking or taken_names(pool, [blob], lambda _: came_from(entry, pool))
        ):
            return None
        if not pool.file_new(blob):
            return None
    except Exception as error:  # noqa: BLE001 - the outcome of the verb, kept in the future
        return Future.failed(error)
    note_filed(entry, pool)
    return Future.completed(blob.key)


def _find(
    pool: Pool, keys: Sequence[str], copy: bool, *, single: bool
) -> Future[Any] | GroupFuture[Any] | None:
    """The shortest way of entries out of memory, also where it is a cache; None where they take another."""
    try:
        blobs = pool.find(keys)
    except Exception:  # noqa: BLE001 - the long way meets it again, and tells of it or asks the next tier
        return None
    if blobs is None:
        return None
    outcomes = [reading.entry_of(blob, copy, pool) for blob in blobs]
    if not single:
        return GroupFuture.completed(outcomes)
    (outcome,) = outcomes
    return Future.failed(outcome) if isinstance(outcome, BaseException) else Future.completed(outcome)


def _flat(parts: Iterable[Iterable[str]]) -> list[str]:
    return [item for part in parts for item in part]
