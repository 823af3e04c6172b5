"""The facts in the heads of stored entries, for the tables of manifests and for users."""

from __future__ import annotations

from errno import EACCES

from laila.blob.blob import Blob
from laila.component.backend import Backend
from laila.entry import Manifest, from_blob, to_blob
from laila.entry.leaves import leaf_of
from laila.errors import LailaError
from laila.tiering.single import groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableSequence, Sequence

    from laila.contract.pool import Pool
    from laila.entry.leaves import Leaf

__all__ = ["complete", "describe", "is_same_manifest", "learn"]

_TOGETHER = 4096
_READ_TOGETHER = 32
_ROOM = 32 << 20  # bytes that are read at a time; of unknown size are as many blobs as above


def learn(pool: Pool, keys: Sequence[str]) -> dict[str, Leaf]:
    """Return what the heads of ``keys`` say, where the pool reads heads without reading what follows them.

    Entries that are missing, damaged, transformed, or not to be read are left out.
    """
    tiers = [pool.deciding_tier] if pool.write_through else pool.chain()
    if not keys or not all(map(_reads_heads, tiers)):
        return {}
    try:
        return _by_heads(pool, keys)
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == EACCES:
            return {}
        raise


def _reads_heads(tier: Pool) -> bool:
    kind = type(tier)
    own = kind._read_head is not Backend._read_head or kind._read_heads is not Backend._read_heads
    return own or not tier.blocking


def _by_heads(pool: Pool, keys: Sequence[str]) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    for start in range(0, len(keys), _TOGETHER):
        some = keys[start : start + _TOGETHER]
        for answers in pool.asked_heads(some):
            for key, head in zip(some, answers, strict=True):
                if key in found or head is None or isinstance(head, LailaError):
                    continue
                leaf = leaf_of(head)
                if leaf is not None:
                    found[key] = leaf
    return found


def describe(pool: Pool, keys: Sequence[str]) -> list[Leaf | None]:
    """Return for each key what is stored under it; None where nothing is.

    Reads heads alone. The head of a transformed blob does not describe its content, so that blob is read.
    """
    every = list(dict.fromkeys(keys))
    found = _by_heads(pool, every)
    rest = [key for key in every if key not in found]
    rest = [key for key, there in zip(rest, pool.present(rest), strict=True) if there] if rest else []
    # Others may ask for this: what is large is read alone.
    sizes = pool.sizes_here(rest) if rest else []
    sized = zip(rest, (_ROOM // _READ_TOGETHER if size is None else size for size in sizes), strict=True)
    for some in groups(sized, _ROOM):
        for key, blob in zip(some, pool.load(some), strict=True):
            leaf = leaf_of(blob) if isinstance(blob, Blob) else None
            if leaf is not None:
                found[key] = leaf
    return [found.get(key) for key in keys]


def complete(
    blobs: MutableSequence[Blob | None], unknown: Mapping[int, Sequence[str]], found: dict[str, Leaf]
) -> None:
    """Write what was ``found`` into the tables of manifests.

    Args:
        blobs: The blobs of a plan. Those of manifests are replaced.
        unknown: By the place of a manifest, inner ones first, the leaves that its table lacks.
        found: What is known of leaves; the new rows of manifests are added.
    """
    for place, leaves in unknown.items():
        blob = blobs[place]
        if blob is None or blob.signature is not None or not any(leaf in found for leaf in leaves):
            continue
        manifest = from_blob(blob)
        if not isinstance(manifest, Manifest):
            continue
        manifest.note_leaves(found)
        blobs[place] = again = to_blob(manifest)
        leaf = leaf_of(again)
        if leaf is not None:
            found[again.key] = leaf


def is_same_manifest(pool: Pool, blob: Blob) -> bool:
    """Whether the pool holds the same tree as ``blob``, a manifest, and no leaf is known to be another.

    One of them may know more of its leaves: it was stored when more of them were there.
    """
    try:
        (stored,) = pool.deciding_tier.load_here([blob.key])
        if not isinstance(stored, Blob) or stored.nickname != blob.nickname:
            return False
        there, here = from_blob(stored), from_blob(blob)
    except LailaError:
        return False
    return isinstance(there, Manifest) and isinstance(here, Manifest) and here.agrees_with(there)
