"""The module-level functions of ``laila``: each acts through the active policy, or builds an entry."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from laila.active import get_active_policy
from laila.calling import call, helpful
from laila.central.again import current_folder
from laila.central.memory import DefaultCentralMemory
from laila.central.router import open_pool
from laila.entry import Entry
from laila.errors import InvalidArgumentError, NotSupportedError, SettingsError, TaskForceError
from laila.futures.failure import tell_failures
from laila.identity import universal_namespace
from laila.locks import check_may_wait
from laila.policy.policy import local_policies, open_policies
from laila.showing import shown
from laila.tracebacks import given_secrets
from laila.trying import do_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Literal, overload

    from laila.contract.pool import Pool
    from laila.entry import Manifest
    from laila.futures import Future, GroupFuture
    from laila.tiering.listing import Listed
    from laila.tiering.repairing import RepairReport
    from laila.tiering.verifying import VerifyReport
    from laila.views import View
    from laila.views.writing import ArrayWriter
else:

    def overload(fn):
        return fn


__all__ = [
    "add_peer",
    "add_tcpip_peer",
    "constant",
    "contingent",
    "find",
    "forget",
    "history",
    "local_policies",
    "ls",
    "memorize",
    "open",
    "remember",
    "remote_policies",
    "repair",
    "set_alpha_pool",
    "terminate",
    "tiers",
    "universe",
    "variable",
    "verify",
    "write_array",
]

constant = helpful(Entry.constant)
variable = helpful(Entry.variable)
contingent = Entry.contingent


@overload
def memorize(entries: Manifest, **kwargs: Any) -> GroupFuture[Any]: ...  # type: ignore[overload-overlap]
@overload
def memorize(
    entries: Entry,
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    overwrite: bool = ...,
    on_conflict: Literal["next"] | None = ...,
    copy: bool = ...,
    verify: bool = ...,
    missing_ok: bool = ...,
    provenance: Mapping[str, object] | None = ...,
) -> Future[str]: ...
@overload
def memorize(
    entries: Iterable[Entry],
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    overwrite: bool = ...,
    on_conflict: Literal["next"] | None = ...,
    copy: bool = ...,
    verify: bool = ...,
    missing_ok: bool = ...,
    provenance: Mapping[str, object] | None = ...,
) -> GroupFuture[Any]: ...
def memorize(entries: Any, **kwargs: Any) -> Any:
    """Store entries in a pool of the active policy; see :meth:`DefaultCentralMemory.memorize`.

    Args:
        entries: An entry, a manifest, or an iterable of them.
        **kwargs: The keywords of :meth:`DefaultCentralMemory.memorize`.

    Returns:
        A future, or a group of futures for an iterable.
    """
    memory = get_active_policy().central.memory
    return memory.memorize(entries) if not kwargs else call(memory.memorize, entries, kwargs)


@overload
def remember(entry_ids: Manifest, **kwargs: Any) -> Future[Manifest]: ...  # type: ignore[overload-overlap]
@overload
def remember(  # type: ignore[overload-overlap]
    entry_ids: Entry | str,
    *,
    evolution: int | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
    refresh: bool = ...,
) -> Future[Entry]: ...
@overload
def remember(
    entry_ids: Iterable[Entry | str],
    *,
    evolution: int | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
    refresh: bool = ...,
) -> GroupFuture[Any]: ...
@overload
def remember(  # type: ignore[overload-overlap]
    *,
    nickname: str,
    scope: Literal["MANIFEST"],
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
    refresh: bool = ...,
) -> Future[Manifest]: ...
@overload
def remember(  # type: ignore[overload-overlap]
    *,
    nickname: str,
    scope: Literal["ENTRY"] | None = ...,
    evolution: int | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
    refresh: bool = ...,
) -> Future[Any]: ...
@overload
def remember(
    *,
    nickname: Iterable[str],
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    evolution: int | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
    copy: bool = ...,
    refresh: bool = ...,
) -> GroupFuture[Any]: ...
def remember(entry_ids: Any = None, **kwargs: Any) -> Any:
    """Fetch entries from a pool of the active policy; see :meth:`DefaultCentralMemory.remember`.

    Args:
        entry_ids: A global id, an entry, or an iterable of them.
        **kwargs: The keywords of :meth:`DefaultCentralMemory.remember`.

    Returns:
        A future, or a group of futures for an iterable.
    """
    memory = get_active_policy().central.memory
    return memory.remember(entry_ids) if not kwargs else call(memory.remember, entry_ids, kwargs)


@helpful
def open(  # noqa: A001 - laila.open
    entry_id: Entry | str | None = None,
    *,
    nickname: str | None = None,
    scope: Literal["ENTRY", "MANIFEST"] | None = None,
    evolution: int | None = None,
    pool_id: str | None = None,
    pool_nickname: str | None = None,
    affinity: float | None = None,
) -> View:
    """Open one entry to read parts of it: ``laila.open(nickname="model")["encoder"]["weight"][10:20, ::2]``.

    Its head is read at once: types, shapes, dtypes, sizes. Of its buffers the pieces that are used are read,
    and verified, from the pool, tier or peer that has it. An entry that is compressed cannot be read in part;
    one that is encrypted can. Blocks until the head is read.

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
    return get_active_policy().central.memory.open(
        entry_id,
        nickname=nickname,
        scope=scope,
        evolution=evolution,
        pool_id=pool_id,
        pool_nickname=pool_nickname,
        affinity=affinity,
    )


@helpful
def write_array(
    *,
    nickname: str | None = None,
    shape: tuple[int, ...],
    dtype: Any,
    metadata: Mapping[str, object] | None = None,
    overwrite: bool = False,
    folder: str | os.PathLike[str] | None = None,
    pool_id: str | None = None,
    pool_nickname: str | None = None,
    affinity: float | None = None,
) -> ArrayWriter:
    """Write an array that is larger than memory, row by row, and store it whole or not at all.

    ``with laila.write_array(nickname="x", shape=(n, 4), dtype="f4") as writer: writer.append(rows)``, or
    ``writer[a:b] = rows``, in order. At the end of ``with`` the array is a constant, as if it had been
    memorized. Until then the rows lie in a temporary file. Pools of files and HDF5 files take them from there
    a piece at a time; one that sends, compresses or encrypts may need room for all of it in the end.

    Args:
        nickname: The nickname of the entry; without one it has an id of its own.
        shape: The shape of the whole array; the first length counts its rows.
        dtype: The numpy dtype.
        metadata: Plain data to store beside the array.
        overwrite: Replace a constant of that nickname.
        folder: Where the temporary file is made; by default where the system keeps such files.
        pool_id: The global id of the pool.
        pool_nickname: The nickname of the pool. Without id, nickname and affinity the alpha pool is meant.
        affinity: The pool with this affinity, or the next lower one.

    Returns:
        The writer, a context manager; its ``global_id`` is the entry's, once that is stored.

    Raises:
        InvalidArgumentError: shape or dtype are those of no array (a ``TypeError``).
        InvalidValueError: rows of such a shape or dtype cannot be written (a ``ValueError``).
        PoolError: the temporary file cannot be made.
    """
    from laila.views.writing import ArrayWriter  # what few programs use

    memory = get_active_policy().central.memory
    if pool_nickname is not None:
        memory.check_pool(pool_nickname)

    def store(array: Any) -> str:
        entry = Entry.constant(array, nickname=nickname, metadata=metadata)
        future = memory.memorize(
            entry,
            pool_id=pool_id,
            pool_nickname=pool_nickname,
            affinity=affinity,
            overwrite=overwrite,
            copy=False,
        )
        return str(future.wait())

    return ArrayWriter(shape, dtype, store, folder)


@overload
def forget(  # type: ignore[overload-overlap]
    entry_ids: Entry | str,
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> Future[None]: ...
@overload
def forget(
    entry_ids: Iterable[Entry | str],
    *,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> GroupFuture[Any]: ...
@overload
def forget(  # type: ignore[overload-overlap]
    *,
    nickname: str,
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> Future[None]: ...
@overload
def forget(
    *,
    nickname: Iterable[str],
    scope: Literal["ENTRY", "MANIFEST"] | None = ...,
    pool_id: str | None = ...,
    pool_nickname: str | None = ...,
    affinity: float | None = ...,
    missing_ok: bool = ...,
) -> GroupFuture[Any]: ...
def forget(entry_ids: Any = None, **kwargs: Any) -> Any:
    """Delete entries from a pool of the active policy; see :meth:`DefaultCentralMemory.forget`.

    Args:
        entry_ids: A global id, an entry, or an iterable of them.
        **kwargs: The keywords of :meth:`DefaultCentralMemory.forget`.

    Returns:
        A future, or a group of futures for an iterable.
    """
    memory = get_active_policy().central.memory
    return memory.forget(entry_ids) if not kwargs else call(memory.forget, entry_ids, kwargs)


@helpful
def history(
    entry_id: Entry | str | None = None,
    *,
    nickname: str | None = None,
    pool_id: str | None = None,
    pool_nickname: str | None = None,
    affinity: float | None = None,
) -> list[int]:
    """Return the stored evolutions of a variable, ascending. Blocks.

    Args:
        entry_id: An id of the variable, or its entry.
        nickname: Its nickname, in place of an id.
        pool_id: The global id of the pool.
        pool_nickname: The name of the pool in this policy.
        affinity: The least affinity of the pool.

    Returns:
        The numbers.
    """
    return get_active_policy().central.memory.history(
        entry_id, nickname=nickname, pool_id=pool_id, pool_nickname=pool_nickname, affinity=affinity
    )


@given_secrets
@helpful
def tiers(*pools: Pool | str, pool_nickname: str | None = None, affinity: float | None = None) -> Pool:
    """Chain ``pools``, the fastest first, into one store, register it, and return its first pool.

    ``memorize`` writes the last tier first, which decides conflicts and durability, and then fills the
    caches; ``remember`` looks from the first to the last and fills on the way back; ``forget`` deletes in the
    last and then in every tier. URLs are opened as :meth:`DefaultCentralMemory.extend` does; the
    same places under the same ``pool_nickname`` again give back the chain that is registered; without a
    nickname so do the same URLs. Raises
    ``ValueError`` for fewer than one pool, or for one that comes twice.

    Args:
        *pools: Pools or URLs.
        pool_nickname: The name of the store in this policy.
        affinity: Its priority, 0 by default.

    Returns:
        The first pool of the chain.
    """
    if not pools:
        raise SettingsError("tiers() chains at least one pool: laila.tiers(memory, hdf5)", option="pools")
    memory = _own_memory()
    made_of = (tuple(pools), current_folder()) if all(isinstance(pool, str) for pool in pools) else None
    again = None if made_of is None else memory.router.made_before(pool_nickname, made_of)
    urls = [pool for pool in pools if isinstance(pool, str)] if made_of is not None else []
    again = again or memory.router.named_before(pool_nickname, urls, {})  # before a file is made
    if again is not None:  # a cell or module that sets up is run a second time
        return memory.extend(again, affinity=affinity, pool_nickname=pool_nickname)
    chain: list[Pool] = []
    before: list[tuple[Pool, Pool | None, bool]] = []
    try:
        for pool in pools:
            chain.append(open_pool(pool) if isinstance(pool, str) else check_pool(pool, "tiers"))  # noqa: PERF401 - closed below, should one fail
        if len({id(pool) for pool in chain}) != len(chain):
            raise SettingsError("a pool comes twice in tiers(): a chain has each pool once", option="pools")
        before = [(pool, pool.proxy_to, pool.write_through) for pool in chain]
        for cache, origin in pairwise(chain):
            cache.proxy_to = origin
        chain[0].write_through = True
        memory.extend(chain[0], affinity=affinity, pool_nickname=pool_nickname)
    except BaseException:
        for pool, linked, through in before:
            pool._origin, pool.write_through = linked, through
        for source, pool in zip(pools, chain, strict=False):
            if isinstance(source, str):
                pool.close()
        raise
    memory.router.note_made(chain[0], made_of)
    return chain[0]


def _own_memory() -> DefaultCentralMemory:
    """Return the memory of the active policy. Raises :class:`NotSupportedError` where that is a peer."""
    memory = get_active_policy().central.memory
    if not isinstance(memory, DefaultCentralMemory):
        raise NotSupportedError(
            "the active policy is a peer, whose pools are its own: do this in its process, or activate a "
            "policy of this one"
        )
    return memory


def check_pool(pool: object, verb: str) -> Pool:
    from laila.contract.pool import Pool

    if not isinstance(pool, Pool):
        also = " or its URL" if verb == "tiers" else ""
        raise InvalidArgumentError(f"{verb}() takes a pool{also}, not a {type(pool).__name__}")
    return pool


@helpful
def ls(
    pool: Pool | None = None,
    pattern: str | None = None,
    *,
    where: str | Iterable[str] = (),
    named: bool = False,
    sort: str = "name",
) -> list[Listed]:
    """List what a pool holds, payloads unread. Blocks.

    Args:
        pool: The pool, without the tiers behind it. Of a chain that is one store, the last tier is listed. By
            default the alpha pool.
        pattern: The nickname or key, with ``*``, ``?`` and ``[…]``.
        where: A condition on the metadata that was stored with the entry, such as ``"lr>0.1"``, or several
            conditions that all hold.
        named: Leave out entries without a nickname.
        sort: ``name`` (nicknames first), ``bytes`` (the largest first) or ``created`` (the newest first).

    Returns:
        For each entry its ``key``, ``nickname``, ``kind``, ``type``, ``nbytes``, ``created``, ``metadata``.

    Raises:
        SettingsError: A condition or a sort is none.
        InvalidArgumentError: ``pool`` is no pool.
        NotSupportedError: The active policy is a peer.
    """
    from laila.tiering.listing import SORTS, list_pool

    if sort not in SORTS:
        raise SettingsError(f"there is no sort {shown(sort)}; there are {', '.join(SORTS)}", option="sort")
    chosen = _own_memory().alpha_pool if pool is None else check_pool(pool, "ls")
    return sorted(list_pool(chosen.deciding_tier, pattern, where=where, named=named), key=SORTS[sort])


@helpful
def find(pattern: str | None = None, *, where: str | Iterable[str] = ()) -> list[Listed]:
    """Find entries in all pools of the active policy, by name or metadata; payloads unread. Blocks.

    Args:
        pattern: The nickname or key, with ``*``, ``?`` and ``[…]``.
        where: A condition on the metadata that was stored with the entry, such as ``"lr>0.1"``, or several
            conditions that all hold.

    Returns:
        What :func:`ls` gives, with ``pool``, the pool's name. An entry in several tiers is there for each.

    Raises:
        SettingsError: A condition is none.
        NotSupportedError: The active policy is a peer.
    """
    from laila.tiering.listing import SORTS, list_pool

    pools: dict[int, Pool] = {}
    for first in _own_memory().router.pools.values():
        pools.update((id(tier), tier) for tier in first.chain())
    found = (entry for pool in pools.values() for entry in list_pool(pool, pattern, where=where))
    return sorted(found, key=SORTS["name"])


@helpful
def verify(
    pool: Pool,
    *,
    sample: float | None = None,
    part: tuple[int, int] | None = None,
    seed: int = 0,
    state: str | os.PathLike[str] | None = None,
    on_progress: Callable[[VerifyReport], object] | None = None,
) -> Future[VerifyReport]:
    """Read the entries of a pool, payloads included, to find what is damaged. Does not block.

    The pool alone is read, not the tiers behind it: verify each tier of ``pool.chain()``. Memory is bounded.

    Args:
        pool: The pool. Others may write to it meanwhile.
        sample: Read a share of the entries, above 0 and up to 1, that ``seed`` draws.
        part: Read part ``k`` of ``n``, as ``(k, n)``; an entry is always in the same part.
        seed: Another seed draws another sample.
        state: A file that remembers which entries are whole, so that an interrupted run goes on there.
        on_progress: Takes the report so far, in the thread that reads.

    Returns:
        The future of a report: ``whole``, ``damaged``, ``unread``, ``entries``, ``nbytes``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool, or both ``sample`` and ``part`` are given.
        SettingsError: A share or part is none.
    """
    from laila.futures.task import spawn
    from laila.tiering.verifying import Selection, verify_pool

    selection = Selection(sample=sample, part=part, seed=seed)
    return spawn(
        partial(
            verify_pool,
            check_pool(pool, "verify"),
            selection=selection,
            state=state,
            on_progress=on_progress,
        )
    )


@helpful
def repair(
    pool: Pool,
    source: Pool | None = None,
    *,
    keys: Iterable[str] | None = None,
    keep: str | os.PathLike[str] | bool = True,
) -> Future[RepairReport]:
    """Replace the damaged entries of a pool with whole copies, and read them once more. Does not block.

    Args:
        pool: The pool to repair; not the tiers behind it. Others may write to it meanwhile.
        source: The pool that has whole copies; by default the next tier of the chain.
        keys: The damaged entries; where it is None, the whole pool is verified first.
        keep: The folder in which the damaged bytes are kept; True for ``damaged`` in laila's home, False to
            keep none.

    Returns:
        The future of a report: ``repaired``, ``failed``, ``kept``.

    Raises:
        InvalidArgumentError: An argument is no pool.
    """
    from laila.futures.task import spawn
    from laila.tiering.repairing import repair_pool

    if source is not None:
        check_pool(source, "repair")
    wanted = None if keys is None else list(keys)
    return spawn(partial(repair_pool, check_pool(pool, "repair"), source, keys=wanted, keep=keep))


@given_secrets
def add_peer(uri: str, secret: str) -> str:
    """Connect to the policy at ``uri`` and return its global id, as the active policy.

    Args:
        uri: The address of the peer.
        secret: A secret that the peer knows.

    Returns:
        The global id of the peer.
    """
    peer: str = get_active_policy().central.communication.add_peer(uri, secret)
    return peer


@given_secrets
def add_tcpip_peer(host: str, port: int, secret: str) -> str:
    """Connect to the policy at ``host`` and ``port``; see :meth:`DefaultCentralCommunication.add_peer`.

    Args:
        host: The host.
        port: The TCP port.
        secret: A secret that the peer knows.

    Returns:
        The global id of the peer.
    """
    peer: str = get_active_policy().central.communication.add_tcpip_peer(host, port, secret)
    return peer


def remote_policies() -> dict[str, Any]:
    """Return the peers of all local policies by global id."""
    policies: dict[str, Any] = {}
    for policy in local_policies().values():
        policies.update(policy.central.communication.peers)
    return policies


def universe() -> Mapping[str, Any]:
    """Return every policy this process knows, its own and remote ones, by global id."""
    return {**remote_policies(), **local_policies()}


@given_secrets
def set_alpha_pool(pool: Pool | str) -> None:
    """Make ``pool``, or the pool of a URL, the alpha pool: verbs that name no pool use it."""
    from laila.ending import begin_anew

    begin_anew()
    get_active_policy().central.memory.alpha_pool = pool


def terminate() -> None:
    """Close every policy of this process: finish queued work, close protocols, task forces and pools.

    The next use builds a new policy; threads and handlers that used the old one say first where to store.
    Idempotent. When everything is closed the first error of closing is raised, else the first failure of a
    future that nobody looked at; the other failures are logged.

    Raises:
        ReentryError: In a signal handler or destructor that interrupted a call of laila's; nothing is closed.
    """
    check_may_wait()
    try:
        do_all(policy.close for policy in open_policies())
    except Exception:
        tell_failures()
        raise
    lost = tell_failures(raising=True)
    if isinstance(lost, Exception):
        try:
            raise lost
        finally:
            del lost
    if lost is not None:  # what ended a task shall not end the program
        raise TaskForceError(f"a task that nobody looked at ended by {type(lost).__name__}: {lost}") from lost


def __getattr__(name: str) -> Any:
    if name == "LAILA_UNIVERSAL_NAMESPACE":
        return universal_namespace()
    if name == "__version__":
        from importlib_metadata import version

        return version("laila-core")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
