"""The leaves of a manifest in a pool, those that are packed and those with entries of their own."""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.central import reading
from laila.central.ids import as_keys
from laila.central.packing import Packer
from laila.entry import EntryState, Manifest, from_blob
from laila.errors import LailaError, ManifestError, ManifestKeyError
from laila.tiering.packed import PackReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.entry.packs import Wanted

__all__ = [
    "forgotten_leaves",
    "leaf_reader",
    "own_references",
    "packed_among",
    "packer_for",
    "stored_manifest",
    "wanted_leaves",
    "with_places",
]


def wanted_leaves(manifest: Manifest, leaves: Iterable[Entry | str] | None) -> list[str]:
    """Return the ids of the leaves that are meant, all of them for None.

    Raises:
        ManifestKeyError: one of them is no leaf of the manifest.
    """
    if leaves is None:
        return list(manifest)
    keys = as_keys(leaves)
    unknown = [key for key in keys if not manifest.is_leaf(key)]
    if unknown:
        every = set(manifest)
        for key in unknown:
            if key not in every:
                raise ManifestKeyError(f"{key} is no leaf of the manifest {manifest.global_id}")
    return keys


def packer_for(pool: Pool, size: int | None, *, renew: bool, verify: bool) -> Packer:
    """Return what decides which leaves lie in packs of ``pool``."""
    last = pool.deciding_tier

    def present(keys: Sequence[str]) -> Sequence[bool]:
        try:
            return last.exist_here(keys)
        except (LailaError, OSError):
            return [True] * len(keys)  # storing the manifest asks again, and tells of it

    def stored(key: str) -> Manifest | None:
        return None if verify else stored_manifest(last, key)

    return Packer(size, present, stored, renew=renew)


def stored_manifest(pool: Pool, key: str) -> Manifest | None:
    """Return the manifest that is stored under an id; None where none is, or where it cannot be read."""
    try:
        (blob,) = pool.load([key])
        found = from_blob(blob) if isinstance(blob, Blob) else None
    except (LailaError, OSError):
        return None
    return found if isinstance(found, Manifest) else None


def with_places(manifest: Manifest, stored: Callable[[], Manifest | None]) -> Manifest:
    """Return a manifest that knows where its packed leaves are, as far as anybody knows.

    One that was made anew in this process does not. The stored one of the same id does.
    """
    is_known = manifest._stored is not None or manifest._state is EntryState.POOLED
    if manifest.is_packed or is_known or not manifest.is_named:
        return manifest
    before = stored()
    if before is None or not before.is_packed:
        return manifest
    known = Manifest(manifest.blueprint, global_id=manifest.global_id)
    places = {leaf: place for leaf in known if (place := before.place_of(leaf)) is not None}
    known.note_packed(places)
    known._leaves.add({leaf: row for leaf in places if (row := before._leaves.get(leaf)) is not None})
    return known


def leaf_reader(
    pool: Pool, manifest: Manifest, *, copy: bool, refresh: bool
) -> Callable[[Sequence[str]], list[Any]]:
    """Return what fetches leaves of a manifest, for one call of a verb: entries, or errors."""
    reader = PackReader(pool, refresh=refresh)
    known = manifest

    def fetch(keys: Sequence[str]) -> list[Any]:
        nonlocal known
        found = _fetch(keys)
        if known is manifest and any(isinstance(one, LookupError) for one in found):
            known = with_places(manifest, lambda: stored_manifest(pool, manifest.global_id))
            if known is not manifest:
                found = _fetch(keys)
        return found

    def _fetch(keys: Sequence[str]) -> list[Any]:
        packed = packed_among(known, keys)
        blobs = dict(zip(packed, reader.read(list(packed.values())), strict=True)) if packed else {}
        found = {key: reading.entry_of(blob, copy, pool) for key, blob in blobs.items() if blob is not None}
        rest = [key for key in keys if key not in found]  # of a copy without its packs, too
        others = iter(reading.remember(pool, rest, copy=copy, refresh=refresh) if rest else ())
        return [found[key] if key in found else next(others) for key in keys]

    return fetch


def packed_among(manifest: Manifest, keys: Iterable[str]) -> dict[str, Wanted]:
    """Return what is to be read for the packed leaves among ``keys``, each once."""
    if not manifest.is_packed:
        return {}
    wanted = ((key, manifest.wanted(key)) for key in dict.fromkeys(keys))
    return {key: one for key, one in wanted if one is not None}


def own_references(manifest: Manifest) -> list[str]:
    """Return what goes when a manifest is forgotten: its leaves, and the packs that were made with it."""
    lent = {
        place.pack
        for leaf in manifest
        if (place := manifest.place_of(leaf)) is not None and place.owner not in (None, manifest.global_id)
    }
    return [key for key in manifest.references() if key not in lent]


def forgotten_leaves(manifest: Manifest, gone: Mapping[str, Any]) -> list[Any]:
    """Return the outcome of each leaf, given the outcomes of what :func:`own_references` lists."""
    outcomes: list[Any] = []
    for leaf in manifest:
        place = manifest.place_of(leaf)
        if place is None:
            outcomes.append(gone[leaf])
        elif place.pack in gone:
            outcomes.append(gone[place.pack])
        else:
            outcomes.append(
                ManifestError(
                    f"{leaf} was not forgotten: it lies in a pack of the manifest {place.owner}, and goes "
                    "when that one is forgotten",
                    path=leaf,
                )
            )
    return outcomes
