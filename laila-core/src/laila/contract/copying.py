"""``dest <= src``: copy everything from one pool into another with bounded memory.

What the destination has with the same content digest is skipped, so that a copy that was interrupted goes on
where it stopped; a damaged copy is replaced, and so is a constant with another content. An evolution is never
overwritten. Bytes move as they stand only between pools whose transformations and keys are equal; otherwise
they are undone and done again, so that an encrypting pool never holds a plain blob.
"""

from __future__ import annotations

from laila.contract.blob import Blob
from laila.errors import EntryNotFoundError, EvolutionConflictError, IdentityError, LailaError
from laila.identity import parse_global_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.blob import BlobHead
    from laila.contract.pool import Pool
    from laila.futures import GroupFuture

    Head = Blob | BlobHead | LailaError | None

__all__ = ["copy_pool"]

_CHUNK_BYTES = 16 * 1024 * 1024
_MAX_CHUNK = 512


def copy_pool(dest: Pool, source: Pool, keys: Sequence[str] | None = None) -> GroupFuture[str]:
    """Copy ``keys`` (all of ``source`` where None) into ``dest``, in the task force of the active policy.

    Returns a group with one child a key, which resolves to the key. A key that disappears meanwhile, is
    damaged, or is an evolution that ``dest`` has with another content, fails its own child only; a backend
    that fails, those not copied yet. A chain that is one store (``write="through"``) is copied from its last
    tier, and into as ``memorize`` does. Memory: about 16 MiB of blobs at a time, or the largest single blob.
    """
    from laila.futures import GroupFuture

    source = _home(source)
    wanted = list(source.keys() if keys is None else keys)
    return GroupFuture.batch(len(wanted), lambda: _copy(dest, source, wanted))


def _home(pool: Pool) -> Pool:
    """The pool that has everything: the last tier where the chain is one store."""
    return pool.chain()[-1] if pool.write_through else pool


def _copy(dest: Pool, source: Pool, keys: Sequence[str]) -> list[object]:
    outcomes: list[object] = []
    chunk = 8
    while (start := len(outcomes)) < len(keys):
        part = keys[start : start + chunk]
        try:
            copied, moved = _copy_chunk(dest, source, part)
        except Exception as error:  # noqa: BLE001 - the outcome of all that is left
            return outcomes + [error] * (len(keys) - start)
        outcomes += copied
        # The next chunk is sized by what this one weighed: few large blobs or many small ones alike.
        mean = moved // len(part) + 1
        chunk = max(1, min(_MAX_CHUNK, chunk * 4, _CHUNK_BYTES // mean))
    return outcomes


def _copy_chunk(dest: Pool, source: Pool, keys: Sequence[str]) -> tuple[list[object], int]:
    outcomes: dict[str, object] = dict.fromkeys(keys)
    there = dict(zip(keys, _home(dest).heads_here(keys), strict=True))
    known = [key for key in keys if _has_digest(there[key])]
    here = dict(zip(known, source.heads_here(known), strict=True)) if known else {}
    for key in known:
        if _is_same(dest, source, key, there[key], here[key]):
            outcomes[key] = key
        elif _has_digest(here[key]) and _is_evolution(key):
            outcomes[key] = EvolutionConflictError(
                f"pool {dest.label!r} has {key} with another content, which was kept",
                key=key,
                pool=dest.label,
            )
    wanted = [key for key in keys if outcomes[key] is None]
    blobs: list[Blob] = []
    for key, one in zip(wanted, _load(dest, source, wanted) if wanted else (), strict=True):
        if isinstance(one, Blob):
            blobs.append(one)
            outcomes[key] = key
        elif one is None:
            outcomes[key] = EntryNotFoundError(
                f"{key} went from pool {source.label!r} while it was copied", key=key, pool=source.label
            )
        else:
            outcomes[key] = one
    if blobs:
        _store(dest, blobs)
    return [outcomes[key] for key in keys], sum(blob.nbytes for blob in blobs)


def _load(dest: Pool, source: Pool, keys: Sequence[str]) -> list[Blob | BaseException | None]:
    """Read from ``source``: as they stand the blobs that ``dest`` would make the same, plain the others."""
    if dest.write_through or dest.transformations is None or dest.transformations != source.transformations:
        return source.load_here(keys)
    return source.load_here(keys, keep=dest.would_make)


def _store(dest: Pool, blobs: Sequence[Blob]) -> None:
    if dest.write_through:
        dest.store(blobs, replace=True)
    else:
        dest.store_here(blobs, replace=True)


def _has_digest(head: Head) -> bool:
    return head is not None and not isinstance(head, LailaError)


def _is_same(dest: Pool, source: Pool, key: str, there: Head, here: Head) -> bool:
    """Whether both hold the same content, told by the heads where they compare."""
    if there is None or here is None or isinstance(there, LailaError) or isinstance(here, LailaError):
        return False
    if there.digest == here.digest:
        return True
    if not there.transformations and not here.transformations:
        return False
    # A digest may be keyed: only the contents themselves tell.
    ours, theirs = _home(dest).load_here([key])[0], source.load_here([key])[0]
    return isinstance(ours, Blob) and isinstance(theirs, Blob) and ours.digest == theirs.digest


def _is_evolution(key: str) -> bool:
    try:
        return parse_global_id(key).evolution is not None
    except IdentityError:  # a pool takes any text for a key
        return False
