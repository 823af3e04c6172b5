"""Small leaves of a manifest stored together: which ones, and the packs that are made of them."""

from __future__ import annotations

import re
from time import time
from typing import NamedTuple

import msgpack

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import tags
from laila.entry.packs import ALIGNMENT, LONGEST_PACKED, PACK_SCOPE, Place
from laila.errors import InvalidArgumentError, InvalidValueError
from laila.identity import make_global_id, new_uuid
from laila.keys import may_evolve
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from laila.entry import Entry
    from laila.entry.manifest_tree import ManifestTree

    Present = Callable[[Sequence[str]], Sequence[bool]]
    Stored = Callable[[str], ManifestTree | None]
    Pooled = Callable[[Entry], bool]

__all__ = ["Kept", "Packer", "is_small", "pack_bytes", "packs_of", "stays_apart"]


_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_read_size = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]{0,3})", re.ASCII).fullmatch
_SMALLEST, _LARGEST = 64 << 10, 1 << 30


def pack_bytes(size: int | str) -> int:
    """Return the bytes of a pack, given as a number or as a text such as ``"16 MiB"``.

    Raises:
        InvalidArgumentError: it is neither (a ``TypeError``).
        InvalidValueError: the text is no size, or the size is below 64 KiB or above 1 GiB (a ``ValueError``).
    """
    nbytes = size
    if isinstance(size, str):
        match = _read_size(size)
        unit = None if match is None else _UNITS.get(match[2].lower())
        if match is None or unit is None:
            raise InvalidValueError(f'pack={shown(size)} is no size: give bytes, or a text such as "16 MiB"')
        nbytes = int(float(match[1]) * unit)
    if type(nbytes) is not int:
        raise InvalidArgumentError(
            f'a pack has a size in bytes, or a text such as "16 MiB", not a {type(size).__name__}'
        )
    if not _SMALLEST <= nbytes <= _LARGEST:
        raise InvalidValueError(f"pack={shown(size)}: a pack has 64 KiB to 1 GiB")
    return nbytes


def stays_apart(entry: Entry) -> bool:
    """Whether an entry has a place of its own whatever its size: it is found by a name, or it evolves."""
    return entry._nickname is not None or not may_evolve(entry.global_id)


def is_small(blob: Blob) -> bytes | None:
    """Return the bytes of a blob that is small enough to be packed; None for a larger one."""
    if blob.content_nbytes > LONGEST_PACKED:
        return None
    data = bytes(blob)
    return data if len(data) <= LONGEST_PACKED else None


def packs_of(
    owner: str, leaves: Sequence[tuple[str, bytes]], size: int
) -> Iterator[tuple[Blob, dict[str, Place]]]:
    """Join the blobs of leaves to packs.

    Args:
        owner: The id of the manifest.
        leaves: The global ids of the leaves, with the bytes of their blobs.
        size: The most bytes of the payload of a pack.

    Yields:
        The blob of a pack, and the places of the leaves in it.
    """
    payload = bytearray()
    offsets: dict[str, tuple[int, int]] = {}
    for key, data in leaves:
        gap = -len(payload) % ALIGNMENT
        if offsets and len(payload) + gap + len(data) > size:
            yield _pack(owner, payload, offsets)
            payload, offsets, gap = bytearray(), {}, 0
        payload += bytes(gap)
        offsets[key] = len(payload), len(data)
        payload += data
    if offsets:
        yield _pack(owner, payload, offsets)


def _pack(
    owner: str, payload: bytearray, offsets: dict[str, tuple[int, int]]
) -> tuple[Blob, dict[str, Place]]:
    key = make_global_id((PACK_SCOPE,), new_uuid())
    tree = b"\xc1" + msgpack.packb([tags.BYTES, 0, None])
    about = msgpack.packb({"manifest": owner, "leaves": len(offsets)})
    buffer = Buffer(memoryview(payload).toreadonly())
    blob = Blob(key, tree, (buffer,), None, (time(), "bytes", len(tree) + len(payload), "rows", about))
    start = len(blob.head)
    places = {leaf: Place(key, start, offset, length, None) for leaf, (offset, length) in offsets.items()}
    return blob, places


class Packer:
    """Decides which leaves of manifests lie in packs. For one plan; not thread-safe."""

    def __init__(self, size: int | None, present: Present, stored: Stored, *, renew: bool = False) -> None:
        """Make one.

        Args:
            size: The most bytes of a new pack; None makes no packs, and keeps those that are there.
            present: Says of ids of packs whether they are there.
            stored: Gives what is stored under the id of a manifest, or None.
            renew: Pack what is stored by itself already, too.
        """
        self.size = size
        self.renew = renew
        self.found: dict[str, ManifestTree] = {}
        """The stored manifests that were looked at, by id."""
        self._present = present
        self._stored = stored

    def keep(self, manifests: Iterable[tuple[ManifestTree, Sequence[Entry]]], is_pooled: Pooled) -> Kept:
        """Find the leaves that stay where they are, and write their places into the manifests.

        These are what this process packed for the manifest before; and contents, under ids made from them,
        that the manifest has which is stored under this id.
        """
        packed: dict[int, str] = {}
        apart: set[int] = set()
        lost: set[int] = set()
        for manifest, pending in manifests:
            if self.size is None and not manifest.is_packed:
                continue
            candidates: dict[str, Place] = {}
            strangers = []
            for entry in pending:
                place = manifest.place_of(entry.global_id)
                if place is not None and is_pooled(entry):
                    candidates[entry.global_id] = place
                elif place is not None:
                    strangers.append(entry.global_id)
            manifest.drop_places(strangers)
            rest = [entry for entry in pending if entry.global_id not in candidates]
            if self.size is not None and rest and manifest.is_named:
                adopted, single = self._of_stored(manifest, rest)
                candidates |= adopted
                apart |= single
            packs = list(dict.fromkeys(place.pack for place in candidates.values()))
            there = dict(zip(packs, self._present(packs), strict=True)) if packs else {}
            kept = {leaf: place for leaf, place in candidates.items() if there[place.pack]}
            lost.update(
                id(entry)
                for entry in pending
                if entry.global_id in candidates and entry.global_id not in kept
            )
            manifest.drop_places([leaf for leaf in candidates if leaf not in kept])
            manifest.note_packed(kept)
            packed.update((id(entry), entry.global_id) for entry in pending if entry.global_id in kept)
        return Kept(packed, apart, lost)

    def _of_stored(
        self, manifest: ManifestTree, entries: Sequence[Entry]
    ) -> tuple[dict[str, Place], set[int]]:
        """Return the places of ``entries`` in the stored manifest, and those that it has by themselves."""
        before = self._stored(manifest.global_id)
        if before is None:
            return {}, set()
        self.found[manifest.global_id] = before
        packed: dict[str, Place] = {}
        apart: set[int] = set()
        leaves = set(before)
        for entry in entries:
            content, key = entry._content, entry.global_id
            row = before._leaves.get(key)
            if content is None or key not in leaves or row is None or row.digest != content.digest:
                continue
            place = before.place_of(key)
            if place is not None:
                packed[key] = place
            elif not self.renew:
                apart.add(id(entry))
        return packed, apart


class Kept(NamedTuple):
    """Where leaves are that were stored before, by the identities of their entries."""

    packed: dict[int, str]
    """In a pack: their global ids."""
    apart: set[int]
    """These have entries of their own."""
    lost: set[int]
    """In a pack that is not there any more: these are stored again."""
