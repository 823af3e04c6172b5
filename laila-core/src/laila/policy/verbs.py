"""The module-level functions of ``laila``: each acts through the active policy, or builds an entry."""

from __future__ import annotations

from typing import overload

from laila.active import get_active_policy
from laila.calling import call, helpful
from laila.entry import Entry
from laila.policy.policy import local_policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal

    from laila.entry import Manifest
    from laila.futures import Future, GroupFuture
    from laila.views import View
    from laila.views.writing import ArrayWriter

__all__ = [
    "constant",
    "contingent",
    "forget",
    "history",
    "local_policies",
    "memorize",
    "open",
    "remember",
    "variable",
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
