"""``dest <= src``: copy everything from one pool into another with bounded memory.

What the destination has with the same content digest is skipped, so that a copy that was interrupted goes on
where it stopped. Bytes move as they stand only between pools whose transformations and keys are equal;
otherwise they are undone and done again, so that an encrypting pool never holds a plain blob.
"""

from __future__ import annotations

from laila.errors import EntryNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool
    from laila.futures import GroupFuture

__all__ = ["copy_pool"]

_CHUNK_BYTES = 16 * 1024 * 1024
_MAX_CHUNK = 512


def copy_pool(dest: Pool, source: Pool, keys: Sequence[str] | None = None) -> GroupFuture:
    """Copy ``keys`` (all of ``source`` where None) into ``dest``, in the task force of the active policy.

    Returns a group with one child a key, which resolves to the key. A key that disappears meanwhile, or that
    is damaged, fails its own child only. Memory: about 16 MiB of blobs at a time, or the largest single blob.
    """
    from laila.futures import GroupFuture

    wanted = list(source.keys() if keys is None else keys)
    return GroupFuture.batch(len(wanted), lambda: _copy(dest, source, wanted))


def _copy(dest: Pool, source: Pool, keys: Sequence[str]) -> list[object]:
    outcomes: list[object] = []
    chunk = 8
    while (start := len(outcomes)) < len(keys):
        part = keys[start : start + chunk]
        copied, moved = _copy_chunk(dest, source, part)
        outcomes += copied
        # The next chunk is sized by what this one weighed: few large blobs or many small ones alike.
        mean = moved // len(part) + 1
        chunk = max(1, min(_MAX_CHUNK, chunk * 4, _CHUNK_BYTES // mean))
    return outcomes


def _copy_chunk(dest: Pool, source: Pool, keys: Sequence[str]) -> tuple[list[object], int]:
    wanted = [key for key in keys if not _has_same(dest, source, key)]
    found = dict(zip(wanted, source.load_here(wanted), strict=True)) if wanted else {}
    blobs = [one for one in found.values() if one is not None and not isinstance(one, BaseException)]
    if blobs:
        dest.store_here(blobs, replace=True)
    outcomes: list[object] = []
    for key in keys:
        one = found.get(key, key)
        if one is None:
            one = EntryNotFoundError(
                f"{key} went from pool {source.label!r} while it was copied", key=key, pool=source.label
            )
        outcomes.append(one if isinstance(one, BaseException) else key)
    return outcomes, sum(blob.nbytes for blob in blobs)


def _has_same(dest: Pool, source: Pool, key: str) -> bool:
    """Whether ``dest`` holds ``key`` with the same content, told by the heads where they compare."""
    there = dest.read_head(key)
    if there is None:
        return False
    here = source.read_head(key)
    if here is None:
        return False
    if there.digest == here.digest:
        return True
    if there.transformations == here.transformations:
        return False
    blobs: list[Blob | BaseException | None] = [*dest.load_here([key]), *source.load_here([key])]
    digests = {one.digest for one in blobs if one is not None and not isinstance(one, BaseException)}
    return len(blobs) == 2 and len(digests) == 1
