"""The checks of ``memorize`` before it writes to a pool.

They find taken names, missing leaves, and entries that need not be written again.
"""

from __future__ import annotations

from errno import EACCES

from laila.entry.provenance import NOTE, same_but_time
from laila.errors import EntryNotFoundError, IdentityConflictError, LailaError
from laila.keys import is_manifest, may_evolve, stem_of
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from laila.blob.blob import Blob
    from laila.blob.head import BlobHead
    from laila.contract.pool import Pool

__all__ = ["missing_leaves", "stays_as_it_is", "taken_names"]

_SHOWN_LEAVES = 3


def taken_names(
    pool: Pool, blobs: Sequence[Blob | None], held: Callable[[int], bool] | None = None
) -> dict[int, IdentityConflictError]:
    """Return by place the errors of named blobs that a look-up by their name would not find, or would hide.

    A constant hides the variable of its name. Asks the pool once for the constants and once for the
    evolutions among ``blobs``; not for what has no nickname, and not for what the pool ``held`` before (by
    place). Where the pool's credentials may not ask, the names are taken to be free. Raises what the
    backend raises otherwise.
    """
    asked: dict[str, list[int]] = {}
    kinds: dict[str, int] = {}
    taken: dict[int, IdentityConflictError] = {}
    for i, blob in enumerate(blobs):
        if blob is None or blob.nickname is None or is_manifest(blob.key):
            continue
        key = blob.key
        constant = may_evolve(key)
        first = kinds.setdefault(stem_of(key), i)
        other = blobs[first]
        if other is not None and may_evolve(other.key) is not constant:
            taken[i] = _taken(blob, other.key, None)
        elif held is None or not held(i):
            asked.setdefault(key, []).append(i)
    if not asked:
        return taken
    try:
        namesakes = pool.namesakes(list(asked))
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == EACCES:
            return taken
        raise
    for places, namesake in zip(asked.values(), namesakes, strict=True):
        for i in places if namesake is not None else ():
            checked = blobs[i]
            if checked is not None and namesake is not None:
                taken[i] = _taken(checked, namesake, f"pool {shown(pool.label)}")
    return taken


def _taken(blob: Blob, other: str, where: str | None) -> IdentityConflictError:
    name = shown(blob.nickname)
    constant = may_evolve(blob.key)
    this, that = ("constant", "variable") if constant else ("variable", "constant")
    message = (
        f"{name} is to be stored as a {this}, and {where or 'this call'} has a {that} of that name "
        f"({other}): the name means the constant where both are. Choose another nickname"
    )
    if where is not None:
        instead = (
            f"evolve what is there (laila.remember(nickname={name}), evolve(data=…), memorize)"
            if constant
            else "store a constant, with overwrite=True if its content is another"
        )
        message += f", {instead}, or forget what is there: laila.forget(nickname={name})"
    return IdentityConflictError(message, key=blob.key, other=other)


def missing_leaves(
    pool: Pool, leaves: Mapping[int, Sequence[str]], keys: Sequence[str], known: Collection[str] = ()
) -> dict[int, EntryNotFoundError]:
    """Return by place the errors of the manifests that have a leaf which is not in ``pool``.

    ``leaves`` maps the place of a manifest to the ids to look for; ``keys`` are the manifests' ids. Ids that
    are ``known`` to be there are not looked for. Asks the pool once.
    """
    every = list(
        dict.fromkeys(leaf for leaf_ids in leaves.values() for leaf in leaf_ids if leaf not in known)
    )
    if not every:
        return {}
    absent = {leaf for leaf, exists in zip(every, pool.present(every), strict=True) if not exists}
    missing = (
        {i: [leaf for leaf in leaf_ids if leaf in absent] for i, leaf_ids in leaves.items()} if absent else {}
    )
    return {i: _missing(keys[i], leaf_ids, pool) for i, leaf_ids in missing.items() if leaf_ids}


def stays_as_it_is(pool: Pool, blobs: Sequence[Blob]) -> list[bool]:
    """Return for each of ``blobs`` whether the pool that decides seems to hold the same, metadata included.

    That is what the heads say. What is transformed, cannot be asked for, or comes twice counts as another.
    """
    last = pool.deciding_tier
    if last.transformations is not None or len({blob.key for blob in blobs}) < len(blobs):
        return [False] * len(blobs)
    try:
        heads = last.heads_here([blob.key for blob in blobs])
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == EACCES:
            return [False] * len(blobs)
        raise
    return [
        head is not None and not isinstance(head, LailaError) and _alike(head, blob)
        for head, blob in zip(heads, blobs, strict=True)
    ]


def _alike(head: Blob | BlobHead, blob: Blob) -> bool:
    signers = [blob_or_head.signature and blob_or_head.signature[0] for blob_or_head in (head, blob)]
    return (
        not head.transformations
        and head._meta is not None
        and blob._meta is not None
        and head.digest == blob.digest
        and head.nickname == blob.nickname
        and signers[0] == signers[1]
        and head.metadata["user"] == blob.metadata["user"]
        # Where nothing is said now of where it came from, what was said before stays.
        and (not blob.notes or same_but_time((head.notes or {}).get(NOTE), blob.notes.get(NOTE)))
    )


def _missing(key: str, leaves: list[str], pool: Pool) -> EntryNotFoundError:
    shown_leaves = ", ".join(leaves[:_SHOWN_LEAVES]) + (", …" if len(leaves) > _SHOWN_LEAVES else "")
    what = "a leaf of it is" if len(leaves) == 1 else f"{len(leaves)} leaves of it are"
    return EntryNotFoundError(
        f"the manifest {key} was not stored: {what} not in pool {shown(pool.label)} ({shown_leaves}); "
        "memorize them there first, or pass missing_ok=True",
        key=leaves[0],
        pool=pool.label,
        missing=leaves,
    )
